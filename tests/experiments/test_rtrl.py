"""The script of real-time recurrent learning: its figures, its picture, and a size that is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import rtrl

ROOT = Path(__file__).parents[2]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.rtrl", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_figures_in_prose_are_those_of_the_stored_run():
    stored = json.loads((ROOT / "experiments/results/rtrl/rtrl.json").read_text())
    online, beside = (100 * sum(of[-1] for of in stored["accuracies"][name]) / 3 for name in (rtrl.RTRL, rtrl.BPTT))
    said = " ".join((rtrl.__doc__ or "").split())
    assert f"sequences: {online:.1f} % online, {beside:.1f} % by backpropagation (seeds 0-2, validation)" in said
    (forward, *_), backward = (stored["megabytes"][name] for name in (rtrl.RTRL, rtrl.BPTT))
    assert (
        f"{forward:.0f} MB for any T; backpropagation needs {backward[1]:.1f} MB for T = 28, {backward[4]:.0f} " in said
    )
    assert stored["difference"] < 1e-6
    ratio = stored["seconds"][rtrl.RTRL] / stored["seconds"][rtrl.BPTT]
    page = " ".join((ROOT / "experiments/README.md").read_text().split())
    assert f"here it took {ratio:.0f} times as long" in page


@pytest.mark.usefixtures("mnist")
def test_too_much_memory_is_refused_in_a_sentence(tmp_path):
    done = run(tmp_path, "--hidden", "64", "--batch-size", "100", "--most-megabytes", "100")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "error: --most-megabytes is 100. The sensitivities take 152 MB: 100 sequences x 64 " in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_a_short_run_writes_picture_and_figures(tmp_path):
    done = run(tmp_path, "--steps", "12", "--hidden", "8", "--batch-size", "4", "--num-seeds", "2")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "runs/rtrl/rtrl.json").read_text())
    assert 0 < figures["difference"] < 1e-5
    assert figures["read"] == [4 * n for n in range(1, 13)]
    assert [len(of) for of in figures["accuracies"].values()] == [2, 2]
    assert (tmp_path / "runs/rtrl/rtrl.png").stat().st_size > 10_000
    assert all(f"{name}: " in done.stdout for name in (rtrl.RTRL, rtrl.BPTT))
