"""A run that is trained without a test and tested later ends as one that was tested at its end."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import mnist_rows
from experiments.benchmarks import same_bits
from rowlstm_jax import cli
from rowlstm_jax.config import RunConfig

ROOT = Path(__file__).parents[2]
FLAGS = ["--steps", "20", "--hidden", "8", "--batch-size", "20", "--num-seeds", "2", "--cell", "gru"]


def run(script: str, *words: object) -> tuple[int, str, str]:
    command = [sys.executable, "-m", f"experiments.{script}", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_it_is_tested_once_with_the_flags_that_it_was_trained_with(tmp_path, mnist):
    tuned, tested = tmp_path / "tuned", tmp_path / "tested"
    status, out, err = run("mnist_rows", *FLAGS, "--run-dir", tuned, "--no-test")
    assert (status, err, "test sample" in out) == (0, "", False)
    assert json.loads((tuned / "summary.json").read_text())["test_examples_shown"] == []
    assert run("insight", tuned)[0] == 0
    status, out, err = run("test", tuned)
    assert (status, err) == (0, "")
    assert out.startswith(
        "python -m experiments.mnist_rows --num-seeds 2 --steps 20 --batch-size 20 --hidden 8 --cell gru"
    )
    assert "Test set, all 10,000 images" in out
    assert run("mnist_rows", *FLAGS, "--run-dir", tested)[0] == 0
    same_bits.require(tuned, tested)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (tuned, tested)]
    assert summaries[0]["timing"]["ms_per_step"] > 0, "that of the training"
    for name in ("test_accuracy", "test_loss", "validation_accuracy", "steps", "selected_step", "num_params"):
        assert summaries[0][name] == summaries[1][name], name
    assert len(summaries[0]["test_openings"]) == 1
    assert run("compare", tuned, tested, "--output", tmp_path / "compared.png")[0] == 0
    assert run("test", tuned)[::2] == (2, f"error: {tuned} was tested; its results are in summary.json.\n")
    for name, value in (("experiment", "benchmarks.fuzz"), ("test_loss", None)):
        summaries[0][name] = value
    (tuned / "summary.json").write_text(json.dumps(summaries[0]))
    status, _, err = run("test", tuned)
    assert status == 2
    assert err.startswith(f"error: {tuned} was trained by benchmarks.fuzz, which is no experiment here; start")


def test_flags_are_those_of_the_run_where_the_defaults_are_others():
    saved = {"seed": 3, "steps": 999, "resume": True, "no_test": True, "local_files": None, "distributed": True}
    saved |= {"memory_health": True, "devices": 2, "run_dir": "there", "gone_in_this_version": 1}
    words = cli.words(mnist_rows.Config, saved)
    assert [word for word in words if word not in ("--local-files", "None")] == [
        "--devices", "2", "--seed", "3", "--memory-health"
    ]  # fmt: skip


def test_flags_without_a_value_and_with_several():
    @dataclasses.dataclass(frozen=True)
    class Config(RunConfig):
        smooth: bool = True
        cells: tuple[str, ...] = ("lstm",)
        limit: int | None = 3

    words = cli.words(Config, {"smooth": False, "cells": ["gru", "lem"], "limit": None})
    assert [word for word in words if word != "--local-files"][-6:] == [
        "--no-smooth", "--cells", "gru", "lem", "--limit", "None"
    ]  # fmt: skip
