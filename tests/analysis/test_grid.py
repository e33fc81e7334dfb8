import json
import os
import signal

import optax
import pytest

from rowlstm_jax.analysis import grid
from rowlstm_jax.config import RunConfig
from rowlstm_jax.errors import InterruptedRun, NonFiniteError, UserError
from rowlstm_jax.models import layers
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.runs.run import Run
from rowlstm_jax.tasks.protocol import PROTOCOLS, Protocol
from rowlstm_jax.training.recipe import Recipe
from tests.trials import at_steps


@pytest.fixture
def trained(monkeypatch) -> list[tuple[str, int]]:
    """Which runs were trained, and to which step; 0 for those that were only tested. Nothing is computed."""
    done = []

    def fit(run, data, folder):
        if folder.path.name == "lem-rows":
            raise NonFiniteError("The loss stopped being finite.")
        if folder.path.name == "gru-rows" and run.config.steps == 7:
            raise InterruptedRun("Stopped.", 2)
        steps = 0 if (folder.path / "summary.json").exists() and run.config.steps == 5 else run.config.steps
        folder.begin(0)
        done.append((folder.path.name, steps))

    def finish(run, fitted, data, folder):
        validation = {0.001: 0.6, 0.003: 0.8, 0.01: 0.8}[run.config.learning_rate]
        summary = {"steps": run.config.steps, "num_params": 9, "timing": {"ms_per_step": 3.0}}
        summary["test_accuracy"] = None if run.config.no_test else {"values": [0.5, 0.7]}
        summary["validation_accuracy"] = {"values": [validation - 0.1, validation + 0.1]}
        (folder.path / "summary.json").write_text(json.dumps(summary))
        return summary

    monkeypatch.setattr(grid, "fit", fit)
    monkeypatch.setattr(grid, "load_data", lambda run, folder: None)
    monkeypatch.setattr(grid, "finish", finish)
    return done


def make_run(config: RunConfig, cell: str, task: str) -> Run:
    model = SequenceClassifier(layers.make(cell, config.hidden), num_classes=10)
    return Run("grid", config, Protocol(task, "mnist", 0, task), Recipe(model, optax.adam(1e-3)))


def train(tmp_path, cells=("elman", "gru"), step_sizes=(1e-3,), **flags):
    config = RunConfig(**{"steps": 5, "num_seeds": 2, "hidden": 4, "run_dir": tmp_path / "grid"} | flags)
    return grid.train_grid("grid", config, cells, ["rows"], step_sizes, make_run)[1]


def test_what_is_finished_stays_and_what_has_too_few_steps_goes_on(tmp_path, trained):
    rows = train(tmp_path)
    assert trained == [("elman-rows", 5), ("gru-rows", 5)]
    assert json.loads((tmp_path / "grid" / "table.json").read_text()) == {"rows": rows, "steps": 5, "seeds": [0, 1]}
    again = train(tmp_path, ["elman", "gru", "jordan"], resume=True)
    assert again[:2] == rows
    assert trained[2:] == [("jordan-rows", 5)]
    train(tmp_path, resume=True, steps=6)
    assert trained[3:] == [("elman-rows", 6), ("gru-rows", 6)], "five steps are not six"


def test_the_step_size_of_the_best_validation_is_tested_and_of_equal_ones_the_smallest(tmp_path, trained, capsys):
    sizes = (0.01, 0.003, 0.001)
    (row,) = train(tmp_path, ["lru"], sizes)
    folders = ["lru-rows-0.01", "lru-rows-0.003", "lru-rows-0.001"]
    assert trained == [*((name, 5) for name in folders), ("lru-rows-0.003", 0)]
    assert (row["step_size"], row["accuracies"], row["layer"]) == (0.003, [0.5, 0.7], True)
    assert row["validation"] == pytest.approx({"0.01": 0.8, "0.003": 0.8, "0.001": 0.6})
    assert "lru on rows: step size 0.003 is chosen, with a validation accuracy of 0.8000." in capsys.readouterr().out
    summaries = [json.loads((tmp_path / "grid" / name / "summary.json").read_text()) for name in folders]
    assert [summary["test_accuracy"] is None for summary in summaries] == [True, False, True]
    assert train(tmp_path, ["lru"], sizes, resume=True) == [row]
    assert len(trained) == 4, "all was finished"


def test_a_step_size_whose_run_does_not_stay_finite_is_not_chosen(tmp_path, trained, monkeypatch):
    fit = grid.fit

    def fail(run, data, folder):
        if run.config.learning_rate > 0.002:
            raise NonFiniteError("The loss stopped being finite.")
        fit(run, data, folder)

    monkeypatch.setattr(grid, "fit", fail)
    (row,) = train(tmp_path, ["gru"], (0.001, 0.01))
    assert (row["step_size"], row["accuracies"], row["validation"]["0.01"]) == (0.001, [0.5, 0.7], None)


def test_a_task_is_an_order_or_a_protocol():
    assert grid.find_task("fashion_rows") is PROTOCOLS["fashion_rows"]
    assert grid.find_task("rows").sha256() == PROTOCOLS["notebook"].sha256()
    with pytest.raises(ValueError, match=r"^tasks names 'spiral'\. The order is 'spiral'; .* protocol: .*kmnist_rows"):
        grid.find_task("spiral")


def test_a_run_that_does_not_stay_finite_is_a_row_and_the_others_are_trained(tmp_path, trained, capsys):
    rows = train(tmp_path, ["lem", "gru"])
    assert [(row["cell"], row["accuracies"]) for row in rows] == [("lem", []), ("gru", [0.5, 0.7])]
    grid.show_grid(rows)
    out = capsys.readouterr().out
    assert "lem on rows, step size 0.001: The loss stopped being finite." in out
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
    def make_run(config: RunConfig, cell: str, task: str) -> Run:
        model = SequenceClassifier(layers.make(cell, config.hidden), num_classes=3)
        return Run("grid", config, Protocol(task, "mnist", 13, task), Recipe(model, optax.adam(config.learning_rate)))

    def train(learning_rate, **flags):
        config = RunConfig(steps=6, batch_size=4, hidden=4, log_every=1, run_dir=tmp_path / "grid", **flags)
        return grid.train_grid("grid", config, ["elman", "gru"], ["rows"], [learning_rate], make_run)[1]

    monkeypatch.setattr(grid, "load_data", lambda run, folder: tiny_data)
    monkeypatch.setattr(grid, "finish", lambda run, fitted, data, folder: summary(folder))

    def summary(folder):
        found = {"steps": 6, "test_accuracy": 0.5, "validation_accuracy": 0.5, "num_params": 9}
        found["timing"] = {"ms_per_step": 3.0}
        (folder.path / "summary.json").write_text(json.dumps(found))
        return found

    with pytest.raises(InterruptedRun), at_steps(3, action=lambda: os.kill(os.getpid(), signal.SIGTERM)):
        train(1e-3)
    assert not (tmp_path / "grid" / "gru-rows").exists()
    with pytest.raises(UserError, match=r"learning_rate was 0\.001 and is now 0\.01.\nStart .* add --reset-optimizer"):
        train(1e-2, resume=True)
    rows = train(1e-2, resume=True, reset_optimizer=True)
    assert [(row["cell"], row["accuracies"]) for row in rows] == [("elman", [0.5]), ("gru", [0.5])]
    for name in ("elman-rows", "gru-rows"):
        lines = (tmp_path / "grid" / name / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_a_grid_that_is_not_there_cannot_be_resumed(tmp_path, trained):
    with pytest.raises(UserError, match="There is no grid to resume in"):
        train(tmp_path, resume=True)
    assert not list(tmp_path.iterdir())
    train(tmp_path)
    with pytest.raises(UserError, match="elman-rows is the folder of a run, not of a grid"):
        train(tmp_path, resume=True, run_dir=tmp_path / "grid" / "elman-rows")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"steps": 5, "test_accuracy": {}, "validation_accuracy": 1, "num_params": 9, "timing": {"ms_per_step": 3.0}}',
        '{"steps": 5, "test_accuracy": 1, "validation_accuracy": 1, "num_params": 1e999, "timing": {"ms_per_step": 3}}',
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
