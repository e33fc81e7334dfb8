import json
import os
import signal

import optax
import pytest

from rowlstm_jax.analysis import grid
from rowlstm_jax.config import RunConfig
from rowlstm_jax.errors import InterruptedRun, NonFiniteError, UserError
from rowlstm_jax.models.cells import CELLS
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.runs.run import Run
from rowlstm_jax.tasks.protocol import Protocol
from rowlstm_jax.training.recipe import Recipe
from tests.trials import at_steps


@pytest.fixture
def trained(monkeypatch) -> list[tuple[str, int]]:
    """Which runs were trained, and to which step; nothing is computed."""
    done = []

    def fit(run, data, folder):
        if folder.path.name == "lem-rows":
            raise NonFiniteError("The loss stopped being finite.")
        if folder.path.name == "gru-rows" and run.config.steps == 7:
            raise InterruptedRun("Stopped.", 2)
        folder.begin(0)
        done.append((folder.path.name, run.config.steps))

    def finish(run, fitted, data, folder):
        values = {"values": [0.5, 0.7]}
        summary = {"steps": run.config.steps, "test_accuracy": values, "num_params": 9, "timing": {"ms_per_step": 3.0}}
        (folder.path / "summary.json").write_text(json.dumps(summary))
        return summary

    monkeypatch.setattr(grid, "fit", fit)
    monkeypatch.setattr(grid, "load_data", lambda run, folder: None)
    monkeypatch.setattr(grid, "finish", finish)
    return done


def make_run(config: RunConfig, cell: str, order: str) -> Run:
    model = SequenceClassifier(CELLS[cell](config.hidden), num_classes=10)
    return Run("grid", config, Protocol(order, "mnist", 0, order), Recipe(model, optax.adam(1e-3)))


def train(tmp_path, cells=("elman", "gru"), **flags):
    config = RunConfig(**{"steps": 5, "num_seeds": 2, "hidden": 4, "run_dir": tmp_path / "grid"} | flags)
    return grid.train_grid("grid", config, cells, ["rows"], make_run)[1]


def test_what_is_finished_stays_and_what_has_too_few_steps_goes_on(tmp_path, trained):
    rows = train(tmp_path)
    assert trained == [("elman-rows", 5), ("gru-rows", 5)]
    assert json.loads((tmp_path / "grid" / "table.json").read_text()) == {"rows": rows, "steps": 5, "seeds": [0, 1]}
    again = train(tmp_path, ["elman", "gru", "jordan"], resume=True)
    assert again[:2] == rows
    assert trained[2:] == [("jordan-rows", 5)]
    train(tmp_path, resume=True, steps=6)
    assert trained[3:] == [("elman-rows", 6), ("gru-rows", 6)], "five steps are not six"


def test_a_run_that_does_not_stay_finite_is_a_row_and_the_others_are_trained(tmp_path, trained, capsys):
    rows = train(tmp_path, ["lem", "gru"])
    assert [(row["cell"], row["accuracies"]) for row in rows] == [("lem", []), ("gru", [0.5, 0.7])]
    grid.show_grid(rows)
    out = capsys.readouterr().out
    assert "lem: The loss stopped being finite." in out
    assert "not finite" in out
    assert "60.00 ± 14.14" in out


def test_an_interrupted_grid_says_how_the_grid_goes_on(tmp_path, trained):
    with pytest.raises(InterruptedRun, match=r"Stopped at gru on rows\. .* --resume --run-dir \S+/grid$") as stopped:
        train(tmp_path, steps=7)
    assert stopped.value.signum == 2


def test_an_error_in_one_pair_keeps_the_rows_of_the_others(tmp_path, trained, monkeypatch):
    fit = grid.fit

    def fail(run, data, folder):
        if folder.path.name == "gru-rows":
            raise RuntimeError("out of memory")
        fit(run, data, folder)

    monkeypatch.setattr(grid, "fit", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(tmp_path)
    (row,) = json.loads((tmp_path / "grid" / "table.json").read_text())["rows"]
    assert (row["cell"], row["accuracies"]) == ("elman", [0.5, 0.7])
    monkeypatch.setattr(grid, "fit", fit)
    assert [row["cell"] for row in train(tmp_path, resume=True)] == ["elman", "gru"]
    assert trained == [("elman-rows", 5), ("gru-rows", 5)]


@pytest.mark.slow
def test_a_grid_is_resumed_with_reset_optimizer_though_one_pair_has_not_begun(tmp_path, tiny_data, monkeypatch):
    def make_run(config: RunConfig, cell: str, order: str) -> Run:
        model = SequenceClassifier(CELLS[cell](config.hidden), num_classes=3)
        return Run("grid", config, Protocol(order, "mnist", 13, order), Recipe(model, optax.adam(config.learning_rate)))

    def train(**flags):
        config = RunConfig(steps=6, batch_size=4, hidden=4, log_every=1, run_dir=tmp_path / "grid", **flags)
        return grid.train_grid("grid", config, ["elman", "gru"], ["rows"], make_run)[1]

    monkeypatch.setattr(grid, "load_data", lambda run, folder: tiny_data)
    monkeypatch.setattr(grid, "finish", lambda run, fitted, data, folder: summary(folder))

    def summary(folder):
        found = {"steps": 6, "test_accuracy": 0.5, "num_params": 9, "timing": {"ms_per_step": 3.0}}
        (folder.path / "summary.json").write_text(json.dumps(found))
        return found

    with pytest.raises(InterruptedRun), at_steps(3, action=lambda: os.kill(os.getpid(), signal.SIGTERM)):
        train(learning_rate=1e-3)
    assert not (tmp_path / "grid" / "gru-rows").exists()
    with pytest.raises(UserError, match=r"learning_rate was 0\.001 and is now 0\.01.\nStart .* add --reset-optimizer"):
        train(learning_rate=1e-2, resume=True)
    rows = train(learning_rate=1e-2, resume=True, reset_optimizer=True)
    assert [(row["cell"], row["accuracies"]) for row in rows] == [("elman", [0.5]), ("gru", [0.5])]
    for name in ("elman-rows", "gru-rows"):
        lines = (tmp_path / "grid" / name / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_a_grid_that_is_not_there_cannot_be_resumed(tmp_path, trained):
    with pytest.raises(UserError, match="There is no grid to resume in"):
        train(tmp_path, resume=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"steps": 5, "test_accuracy": {}, "num_params": 9, "timing": {"ms_per_step": 3.0}}',
        '{"steps": 5, "test_accuracy": 1, "num_params": 1e999, "timing": {"ms_per_step": 3.0}}',
    ],
)
def test_a_damaged_summary_of_a_finished_run_is_named(tmp_path, trained, text):
    train(tmp_path)
    path = tmp_path / "grid" / "elman-rows" / "summary.json"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"{path} .*; remove it, and the run is tested again\."):
        train(tmp_path, resume=True)
    path.unlink()
    assert len(train(tmp_path, resume=True)) == 2
