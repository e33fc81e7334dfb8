"""The scripts of history compression, as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


# The same script on the first digits: to read all 70,000 pixel by pixel takes a minute.
COMPRESSED_PIXELS = """
import dataclasses
from experiments import compressed_pixels as script
from rowlstm_jax import cli

load = script.load

def few(*arguments):
    digits = load(*arguments)
    return dataclasses.replace(digits, train=digits.train[:3000], test=digits.test[:1000])

script.load = few
cli.run(script.main, script.Config)
"""


def start(folder: Path, *words: str) -> str:
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
def test_both_systems_learn_the_same_stream_and_are_drawn(tmp_path):
    words = ["--sequences", "120", "--num-seeds", "2", "--learning-rates", "0.02", "--folder", "lag"]
    told = start(tmp_path, "-m", "experiments.history_compressor", *words)
    assert "chunking system: solved by 0 of 2 seeds" in told
    figures = json.loads((tmp_path / "lag" / "lag.json").read_text())
    assert figures["sequences"] == 120
    assert list(figures["systems"]) == ["chunking system", "conventional, rate 0.02"]
    for of in figures["systems"].values():
        assert of["needed"] == [0, 0]
        assert all(0.4 < share < 0.6 for share in of["accuracy"])  # nothing is learned in 120 sequences
    assert (tmp_path / "lag" / "lag.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_shortened_digits_are_data_for_a_classifier(tmp_path):
    start(tmp_path, "-c", COMPRESSED_PIXELS, "--steps", "30")
    folder = tmp_path / "runs" / "compressed_pixels"
    figures = json.loads((folder / "pixels.json").read_text())
    with np.load(folder / "unexpected.npz") as short, np.load(folder / "pixels.npz") as whole:
        for part in ("train", "test"):
            lengths, events = short[f"lengths_{part}"], short[f"x_{part}"]
            assert figures[part]["unexpected"] == pytest.approx(lengths.mean(), abs=0.01)
            assert (len(events), whole[f"x_{part}"].shape[1:]) == (len(whole[f"x_{part}"]), (784, 1))
            assert 28 * events[..., 1].sum(axis=1).max() <= 784
            assert not events[np.arange(events.shape[1]) >= lengths[:, None]].any()
        assert short["x_train"].shape[1] == max(figures[part]["most"] for part in ("train", "test"))
        assert len(whole["x_test"]) == 1_000
    assert (folder / "passed_on.png").exists()
    words = ["--steps", "3", "--hidden", "4", "--run-dir", "run"]
    start(tmp_path, "-m", "experiments.own_data", "--data", str(folder / "unexpected.npz"), *words)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["test_accuracy"] > 0
