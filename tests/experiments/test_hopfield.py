"""`experiments.hopfield` as a process, and what the README says of its stored figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import hopfield
from rowlstm_jax import UserError

ROOT = Path(__file__).parents[2]
STORED = json.loads((ROOT / "experiments/results/hopfield/figures.json").read_text())


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_it_draws_and_writes_what_each_network_recalls(tmp_path):
    words = ["--stored", "2", "30", "--units", "100", "--folder", "out", "--seed", "3"]
    command = [sys.executable, "-m", "experiments.hopfield", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pictures = {"completions.png", "recalled.png", "capacity.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == pictures | {"figures.json"}
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures["stored"] == [2, 30]
    assert figures["recalled"]["modern, β = 1"] == figures["recalled"]["pseudo-inverse"] == [1, 1]
    assert figures["recalled"]["Hebb's rule"][1] == 0
    assert figures["kept"]["H = 100"][0] > 0.9 > figures["kept"]["H = 100"][-1]
    assert "Pictures and figures: " in done.stdout


@pytest.mark.parametrize(
    "wrong", [{"stored": ()}, {"stored": (5, 2)}, {"stored": (0, 1)}, {"units": ()}, {"units": (99,)}, {"seed": -1}]
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=f"--{next(iter(wrong))} "):
        hopfield.Config(**wrong)


def test_the_figures_of_the_page_on_models_are_the_stored_ones():
    page = " ".join((ROOT / "rowlstm_jax/models/README.md").read_text().split())
    recalled = {name: dict(zip(STORED["stored"], of, strict=True)) for name, of in STORED["recalled"].items()}
    assert list(recalled["Hebb's rule"].values()) == [1] + 9 * [0]
    assert "Hebb's rule recalls them while 2 are stored, and none of 3." in page
    inverse = recalled["pseudo-inverse"]
    assert (
        f"The pseudo-inverse recalls {inverse[100]:.0%} of 100, and {inverse[200]:.0%} of 200.".replace("%", " %")
        in page
    )
    assert f"with β = 1 recalls more than 99 % in one update, up to the {max(inverse):,} that were tried." in page
    assert min(recalled["modern, β = 1"].values()) > 0.99
    large, small = (dict(zip(STORED["loads"], STORED["kept"][of], strict=True)) for of in ("H = 1,000", "H = 500"))
    assert (
        "Up to 0.14 H patterns, networks of 1,000 units keep more of them than networks of 500; from 0.15 H on" in page
    )
    assert all(large[load] >= small[load] for load in large if load <= 0.14)
    assert all(large[load] < small[load] for load in large if 0.15 <= load <= 0.25)
