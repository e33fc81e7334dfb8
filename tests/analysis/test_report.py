"""The end of a run: what is written, in which order, and what a failing picture costs."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import optax
import pytest

from rowlstm_jax.analysis import compare, finish, open_run, plots
from rowlstm_jax.data import Examples, Sealed
from rowlstm_jax.errors import NonFiniteError, UserError
from rowlstm_jax.runs import RunFolder, fit, sample_indices
from rowlstm_jax.tasks import PROTOCOLS, Protocol
from rowlstm_jax.training import Recipe


@pytest.fixture
def trained(make_run, tiny_data):
    """Trains a tiny run and ends it; returns its folder and its summary."""

    def end(run=None, data=tiny_data):
        run = run or make_run(strict_compile=False)
        data = dataclasses.replace(data, test=Sealed(data.test.open(lambda: None)))
        data.test.sample(sample_indices(len(data.test)))  # as load_data does
        with RunFolder(run) as folder:
            summary = finish(run, fit(run, data, folder), data, folder, reference="a published result")
        return folder.path, summary

    return end


def test_results_are_written_and_the_opening_is_recorded(trained, tiny_data, capsys):
    folder, summary = trained()
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert len(summary["test_openings"]) == 1
    assert summary["test_examples_shown"] == [24, 25, 26]
    with np.load(folder / "test.npz") as arrays:
        assert np.mean(arrays["predictions"] == arrays["labels"]) == pytest.approx(summary["test_accuracy"])
    assert {path.stem for path in (folder / "plots").iterdir()} == {"samples", "curves", "confusion", "errors"}
    assert {"commit", "dirty"} == set(summary["git"])
    assert "script" not in "".join(summary["code"]), "pytest is no script of the user's"
    out = capsys.readouterr().out
    assert "For comparison: a published result." in out
    assert "notebook" not in out, "its numbers belong to its own protocol"


def test_only_the_notebooks_protocol_is_compared_with_the_notebook(make_run, trained, tiny_data, capsys):
    same = dataclasses.replace(PROTOCOLS["notebook"], name="under another name")
    trained(make_run("same", protocol=same, strict_compile=False))
    assert "On the first 128 images, as in the notebook: " in capsys.readouterr().out


def test_without_a_test_nothing_is_opened_until_the_run_is_resumed_with_it(make_run, trained, capsys):
    def run(**flags):
        return make_run("run", strict_compile=False, **flags)

    folder, summary = trained(run(no_test=True))
    assert {name for name, value in summary.items() if name.startswith("test_") and value} == {"test_examples_shown"}
    assert 0 < summary["validation_accuracy"] <= 1
    assert not (folder / "test.npz").exists()
    assert not (folder / "test_openings.jsonl").exists()
    assert {path.stem for path in (folder / "plots").iterdir()} == {"samples", "curves", "confusion", "errors"}
    out = capsys.readouterr().out
    assert "Validation set, all 13 images" in out
    assert f"To open the test set for them, once: python -m experiments.test {folder}, or this script again" in out
    untested = open_run(folder)
    assert not untested.tested
    with pytest.raises(UserError, match=r"The weights of .* were not tested"):
        _ = untested.accuracies
    with pytest.raises(UserError, match=r"The weights of .* were not tested"):
        compare(untested, shutil.copytree(folder, folder.with_name("copy")))
    assert trained(run(no_test=True, resume=True))[1] == summary
    assert "The run was finished, and its test set is not opened. " in capsys.readouterr().out
    _, tested = trained(run(resume=True))
    assert len(tested["test_openings"]) == 1
    assert tested["timing"] == summary["timing"], "those of the training"
    assert open_run(folder).accuracies == pytest.approx([tested["test_accuracy"]])
    _, directly = trained(make_run("tested", strict_compile=False))
    assert [tested[name] for name in ("test_loss", "validation_loss")] == [
        directly[name] for name in ("test_loss", "validation_loss")
    ]
    assert trained(run(no_test=True, resume=True))[1] == tested
    assert "its test set is not opened again" in capsys.readouterr().out


def test_a_run_that_has_stopped_early_keeps_its_results_when_it_is_resumed(make_run, trained, tiny_model):
    schedule = optax.join_schedules([optax.constant_schedule(2e-2), optax.constant_schedule(30.0)], [20])
    fields = {
        "recipe": Recipe(tiny_model, optax.adam(schedule), patience=2),
        "protocol": Protocol("tiny", "mnist", 13, "rows", selection="best_validation"),
        "steps": 200,
        "strict_compile": False,
    }
    folder, summary = trained(make_run(**fields))
    assert summary["steps"] < 200, "the models are wrecked after 20 steps"
    results = (folder / "test.npz").read_bytes()
    for no_test in (True, False):
        assert trained(make_run(resume=True, no_test=no_test, **fields))[1] == summary
        assert json.loads((folder / "summary.json").read_text()) == summary
        assert (folder / "test.npz").read_bytes() == results
    assert len((folder / "test_openings.jsonl").read_text().splitlines()) == 1


def test_results_are_there_before_any_picture_and_a_picture_that_fails_is_a_warning(trained, monkeypatch, capsys):
    seen = []

    def fail(path, *_, **__):
        seen.append({name: (path.parents[1] / name).exists() for name in ("weights.npz", "test.npz", "summary.json")})
        raise IndexError("index 102 is out of bounds\nfor axis 0")

    for name in ("samples", "curves", "confusion_matrix", "confident_errors"):
        monkeypatch.setattr(plots, name, fail)
    folder, summary = trained()
    assert seen == 4 * [{"weights.npz": True, "test.npz": True, "summary.json": True}]
    assert json.loads((folder / "summary.json").read_text()) == summary
    warnings = [line for line in capsys.readouterr().err.splitlines() if "drawn" in line]
    assert len(warnings) == 4
    assert warnings[0] == (
        f"warning: {folder}/plots/samples.png could not be drawn (IndexError: index 102 is out of bounds for axis 0)."
    )


def test_a_test_loss_that_is_not_finite_ends_the_run_with_its_weights_and_predictions(make_run, tiny_data):
    run = make_run(strict_compile=False)
    examples = tiny_data.test.open(lambda: None)
    labels = examples.targets.copy()
    labels[3] = 200
    data = dataclasses.replace(tiny_data, test=Sealed(Examples(examples.inputs, labels)))
    with RunFolder(run) as folder:
        fitted = fit(run, data, folder)
        with pytest.raises(NonFiniteError, match=r"The test loss is not finite; weights\.npz and test\.npz are in"):
            finish(run, fitted, data, folder)
    assert {"weights.npz", "test.npz"} <= {path.name for path in folder.path.iterdir()}
    assert not (folder.path / "summary.json").exists()


@pytest.mark.slow
def test_without_matplotlib_there_is_one_warning_and_all_results(mnist, tmp_path):
    (tmp_path / "broken" / "matplotlib").mkdir(parents=True)
    (tmp_path / "broken" / "matplotlib" / "__init__.py").write_text("raise ImportError('no matplotlib\\nhere')")
    path = os.pathsep.join([str(tmp_path / "broken"), str(Path(__file__).parents[2])])
    command = [sys.executable, "-m", "experiments.mnist_rows", "--steps", "5", "--hidden", "4", "--run-dir", "run"]
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "warning: The pictures could not be drawn (ImportError: no matplotlib here).\n"
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"weights.npz", "test.npz", "summary.json"}
    assert "plots" in json.loads((tmp_path / "run" / "summary.json").read_text())["timing"]["seconds"]


@pytest.mark.parametrize("number", [1, 2])
def test_a_small_test_set_is_tested_and_drawn(trained, tiny_data, number, capsys):
    few = dataclasses.replace(tiny_data, test=Sealed(tiny_data.test.open(lambda: None)[:number]))
    folder, summary = trained(data=few)
    assert len(summary["test_examples_shown"]) == min(3, number)
    assert len(list((folder / "plots").iterdir())) >= 3
    assert "Traceback" not in capsys.readouterr().err


def test_a_protocol_without_validation_images_has_none_in_its_summary(make_run, trained, tiny_data):
    protocol = Protocol("tiny", "mnist", 0, "rows")
    data = dataclasses.replace(tiny_data, validation=tiny_data.validation[:0])
    _, summary = trained(make_run(protocol=protocol, strict_compile=False), data)
    assert summary["validation_accuracy"] is None
