"""A loss of power at random moments, by a library that forgets what was not synced."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.benchmarks import power_loss
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("mnist"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]


def test_a_loss_of_power_costs_nothing_that_was_saved(tmp_path):
    power_loss.main(power_loss.Config(losses=8, json=tmp_path / "rows.json"))
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert sum(row["losses"] for row in rows) == 8


def test_without_syncing_the_benchmark_finds_what_is_lost(tmp_path, monkeypatch):
    """It can fail: a run whose files are not synced loses some of them."""
    text = Path(files.__file__).read_text()
    copy = shutil.copytree("rowlstm_jax", tmp_path / "rowlstm_jax")
    shutil.copytree("experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("results"))
    broken = text.replace("    os.fsync(file.fileno())", "    pass").replace(
        "                os.fsync(file.fileno())", "                pass"
    )
    assert broken != text
    (copy / "runs" / "files.py").write_text(broken)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match=r"ended with status|went on from step|differ in"):
        power_loss.main(power_loss.Config(losses=20))
