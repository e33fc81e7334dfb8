"""Losses and metrics of a recipe through a whole run: what is logged, selected, summed up, and shared on resume."""

import dataclasses
import json
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.analysis import finish
from rowlstm_jax.data import Examples, Sealed, Splits
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.loop import Fitted, fit
from rowlstm_jax.tasks.protocol import Protocol
from rowlstm_jax.training.losses import Focal, TopK, brier_score, class_accuracies, mean_absolute_error
from rowlstm_jax.training.recipe import Recipe
from tests.trials import journal, train


class Mean(nn.Module):
    """A linear layer on all of an image: compiled in no time."""

    outputs: int = 3

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        return nn.Dense(self.outputs)(inputs.reshape(len(inputs), -1))


def kernel(fitted: Fitted) -> np.ndarray:
    params: Any = fitted.params
    return np.asarray(params["Dense_0"]["kernel"])


METRICS = {"top2": TopK(2), "brier": brier_score, **class_accuracies(["a", "b", "no one"])}


def margin(logits, labels):
    """Of the user."""
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return own - logits.mean(axis=1)


def recipe(metrics=None, optimizer=None, **fields) -> Recipe:
    return Recipe(Mean(), optimizer or optax.adam(1e-2), metrics=metrics, **fields)


@pytest.fixture
def regression(tiny_data) -> Splits:
    """The same images; of each, which row is bright, as a number."""

    def of(examples: Examples) -> Examples:
        return Examples(examples.inputs, examples.targets.astype(np.float32))

    test = Sealed(of(tiny_data.test.open(lambda: None)))
    parts = {"train": of(tiny_data.train), "validation": of(tiny_data.validation), "test": test}
    return dataclasses.replace(tiny_data, class_names=(), **parts)


@pytest.mark.parametrize("num_seeds", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_metrics_are_logged_recorded_summed_up_and_drawn(make_run, tiny_data, capsys, num_seeds):
    run = make_run(recipe=recipe(METRICS, loss=Focal(1.0)), num_seeds=num_seeds, strict_compile=True)
    data = dataclasses.replace(tiny_data, test=Sealed(tiny_data.test.open(lambda: None)))
    data.test.sample([0, 1])
    with RunFolder(run) as folder:
        fitted = fit(run, data, folder)
        summary = finish(run, fitted, data, folder)
    last = folder.journal.records()[-1]
    names = {"loss", "accuracy", *METRICS}
    assert {f"validation_{name}" for name in names} | {f"train_{name}" for name in names} | names < set(last)
    assert fitted.validation is not None
    logits, labels = fitted.validation.outputs.astype(float), data.validation.targets
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    right = shares[:, np.arange(len(labels)), labels]
    hits = logits.argmax(-1) == labels
    expected = {
        "loss": (-(1 - right) * np.log(right)).mean(1),
        "brier": ((shares - np.eye(3)[labels]) ** 2).sum(-1).mean(1),
        "top2": ((logits > np.take_along_axis(logits, labels[None, :, None], 2)).sum(-1) < 2).mean(1),
        "accuracy_a": hits[:, labels == 0].mean(1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(last[f"validation_{name}"], np.squeeze(values), rtol=1e-4, err_msg=name)
        of_summary = summary[f"validation_{name}"]
        np.testing.assert_allclose(
            of_summary if num_seeds == 1 else of_summary["values"], np.squeeze(values), rtol=1e-4
        )
    test = summary["test_brier"]
    if num_seeds == 2:
        assert {"values", "mean", "std", "interval_95"} <= set(test)
    assert np.size(summary["test_calibration_error"] if num_seeds == 1 else 1) == 1
    out, err = capsys.readouterr()
    assert "could not be drawn" not in err, err
    assert "top2" in out
    assert "accuracy_no_one" in out
    events = next(folder.path.glob("events.out.tfevents.*")).read_bytes()
    assert b"validation_brier" in events
    assert (folder.path / "plots" / "curves.png").exists()


def test_a_class_without_examples_has_no_accuracy(make_run, tiny_data):
    none = dataclasses.replace(tiny_data, validation=tiny_data.validation[np.flatnonzero(tiny_data.validation.targets)])
    run = make_run(recipe=recipe(class_accuracies("abc")))
    train(run, none)
    last = journal(run.config).records()[-1]
    assert last["validation_accuracy_a"] is None
    assert 0 <= last["validation_accuracy_b"] <= 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"top2": TopK(2)}, {"margin": margin, "top2": TopK(2), "brier": brier_score}, id="more"),
        pytest.param({"margin": margin, "top2": TopK(2)}, {"top2": TopK(2)}, id="fewer", marks=pytest.mark.slow),
        pytest.param(None, {"top2": TopK(2)}, id="first", marks=pytest.mark.slow),
        pytest.param({"top2": TopK(2)}, None, id="none", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_may_have_more_metrics_or_fewer(make_run, tiny_data, before, after):
    undisturbed = train(make_run("undisturbed", recipe=recipe()), tiny_data)
    train(make_run(recipe=recipe(before), steps=5), tiny_data)
    run = make_run(recipe=recipe(after), resume=True)
    resumed = train(run, tiny_data)
    assert resumed.steps_taken == 7
    np.testing.assert_array_equal(kernel(resumed), kernel(undisturbed))
    last = journal(run.config).records()[-1]
    assert {f"train_{name}" for name in after or ()} < set(last)
    assert ("train_margin" in last) == ("margin" in (after or {}))


@pytest.mark.slow
def test_metrics_that_share_helpers_do_not_depend_on_each_other(make_run, tiny_data):
    def helper(logits):
        return logits.mean(axis=1)

    metrics = {"one": lambda logits, labels: helper(logits), "two": lambda logits, labels: helper(2 * logits)}
    train(make_run(recipe=recipe({"two": metrics["two"]}), steps=5), tiny_data)
    train(make_run(recipe=recipe(metrics), steps=6, resume=True), tiny_data)
    assert train(make_run(recipe=recipe({"two": metrics["two"]}), steps=7, resume=True), tiny_data).steps_taken == 1


def test_a_changed_metric_or_loss_is_refused(make_run, tiny_data):
    train(make_run(recipe=recipe({"top": TopK(2)}, loss=Focal(2.0)), steps=5), tiny_data)
    for other, words in (
        (recipe({"top": TopK(1)}, loss=Focal(2.0)), r"recipe.metrics.top.k was 2 and is now 1"),
        (recipe({"top": brier_score}, loss=Focal(2.0)), r"recipe.metrics.top was TopK and is now brier_score"),
        (recipe({"top": TopK(2)}, loss=Focal(1.0)), r"recipe.loss.gamma was 2.0 and is now 1.0"),
        (recipe({"top": TopK(2)}), r"recipe.loss was Focal and is now absent"),
    ):
        with pytest.raises(UserError, match=rf"(?s)can't be resumed with other settings: .*{words}"):
            train(make_run(recipe=other, resume=True), tiny_data)


def test_a_changed_loss_is_refused_by_other_versions_too(make_run, tiny_data, monkeypatch):
    train(make_run(recipe=recipe(), steps=5), tiny_data)
    path = make_run().config.run_dir / "config.json"
    config = json.loads(path.read_text())
    config["versions"]["jax"] = "0.1"
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"recipe\.loss was absent and is now Focal"):
        train(make_run(recipe=recipe(loss=Focal()), resume=True), tiny_data)


@pytest.mark.parametrize("by", ["min loss", "min error"])
def test_regression_selects_its_smallest_loss_and_patience_ends_it(make_run, regression, by):
    # From the 41st update on the step size wrecks the model.
    schedule = optax.join_schedules([optax.constant_schedule(1e-2), optax.constant_schedule(1.0)], [40])
    protocol = Protocol("tiny", "mnist", 13, "rows", selection="best_validation", select_by=by)
    chosen = Recipe(Mean(1), optax.adam(schedule), patience=2, metrics={"error": mean_absolute_error})
    run = make_run(recipe=chosen, protocol=protocol, steps=300, eval_every=10, log_every=10)
    fitted = train(run, regression)
    name = by.removeprefix("min ")
    found = {record["step"]: record[f"validation_{name}"] for record in journal(run.config).records()}
    best = min(found, key=lambda step: (found[step], -step))
    assert fitted.selected_steps == [best]
    assert fitted.last_step == best + 20 < 300
    assert fitted.validation is not None
    np.testing.assert_allclose(fitted.validation.means[name], found[best], rtol=1e-6)
    assert "validation_accuracy" not in journal(run.config).records()[-1]


def test_a_regression_resumes(make_run, regression):
    fields = {"recipe": Recipe(Mean(1), optax.adam(1e-2), metrics={"error": mean_absolute_error}), "num_seeds": 2}
    whole = train(make_run("whole", **fields), regression)
    train(make_run("parts", steps=5, **fields), regression)
    resumed = train(make_run("parts", resume=True, **fields), regression)
    np.testing.assert_array_equal(*(kernel(of) for of in (whole, resumed)))
