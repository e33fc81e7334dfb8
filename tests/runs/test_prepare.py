"""What is refused before anything is compiled or written: outputs, losses, metrics and selections that do not fit."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.data import Examples
from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import Seeds, make_mesh, storage
from rowlstm_jax.runs.prepare import make_steps, require_fit
from rowlstm_jax.tasks import Protocol
from rowlstm_jax.training.losses import CrossEntropy, brier_score, mean_squared_error
from rowlstm_jax.training.recipe import Recipe
from tests.runs.test_loop_metrics import Mean

PREPROCESSING = Protocol("tiny", "mnist", 13, "rows")


def check(make_run, data, model=None, protocol=PREPROCESSING, **fields):
    run = make_run(recipe=Recipe(model or Mean(), optax.adam(1e-2), **fields), protocol=protocol)
    require_fit(run, data, protocol.preprocessing(data.train))


def numbers(data, shape=()):
    def of(examples):
        return Examples(examples.inputs, np.zeros((len(examples), *shape), np.float32))

    return dataclasses.replace(data, class_names=(), train=of(data.train), validation=of(data.validation))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda outputs, labels: jnp.mean(outputs),
            r"returns float32\[\] for 3 examples; it must return a number for each",
        ),
        (lambda outputs, labels: outputs, r"returns float32\[3, 3\] for 3"),
        (lambda outputs, labels: 1.0, r"returns a (float|ShapeDtypeStruct)|returns float32\[\]"),
        (lambda outputs: outputs, r"can't take outputs float32\[3, 3\] and targets int32\[3\]: .*positional"),
        (
            CrossEntropy(class_weights=(1.0, 2.0)),
            "can't take outputs .*: class_weights has 2 weights, and the model has 3",
        ),
    ],
)
@pytest.mark.parametrize("place", ["loss", "metric"])
def test_a_loss_or_metric_that_does_not_judge_each_example_is_refused(make_run, tiny_data, function, words, place):
    fields = {"loss": function} if place == "loss" else {"metrics": {"mine": function}}
    name = "loss" if place == "loss" else r"metrics\['mine'\]"
    with pytest.raises(UserError, match=f"^{name} {words}" if "|" not in words else words):
        check(make_run, tiny_data, **fields)


def test_a_metric_may_return_a_sum_and_a_count_and_a_loss_may_not(make_run, tiny_data):
    def pair(outputs, labels):
        return brier_score(outputs, labels), labels > 0

    def three(outputs, labels):
        return (*pair(outputs, labels), labels)

    check(make_run, tiny_data, metrics={"mine": pair})
    with pytest.raises(UserError, match=r"^metrics\['mine'\] returns .* or a sum and a count for each"):
        check(make_run, tiny_data, metrics={"mine": three})
    with pytest.raises(UserError, match=r"^loss returns a tuple for 3 examples"):
        check(make_run, tiny_data, loss=pair)


def test_smoothed_labels_need_classes(make_run, tiny_data):
    check(make_run, tiny_data, label_smoothing=0.1)
    check(make_run, numbers(tiny_data), Mean(1))
    with pytest.raises(UserError, match=r"label_smoothing is 0\.1, and the targets are no classes"):
        check(make_run, numbers(tiny_data), Mean(1), label_smoothing=0.1)


def test_outputs_must_have_as_many_numbers_as_the_targets(make_run, tiny_data):
    check(make_run, numbers(tiny_data, (2, 2)), Mean(4), metrics={"mse": mean_squared_error})
    with pytest.raises(
        UserError, match=r"returns \[1, 3\] .*targets \[N, 2, 2\]; the last layer must return \[B, 2, 2\]"
    ):
        check(make_run, numbers(tiny_data, (2, 2)))
    with pytest.raises(UserError, match=r"returns \[1, 3\] .*targets \[N\]; the last layer must return \[B, 1\]"):
        check(make_run, numbers(tiny_data))


def test_a_selection_by_a_metric_that_there_is_not_is_refused(make_run, tiny_data):
    protocol = Protocol("tiny", "mnist", 13, "rows", selection="best_validation", select_by="max brier")
    with pytest.raises(UserError, match="selects by 'max brier', and this run has the metrics accuracy, loss; choose"):
        check(make_run, tiny_data, protocol=protocol)
    check(make_run, tiny_data, protocol=protocol, metrics={"brier": brier_score})
    by_accuracy = dataclasses.replace(protocol, select_by="max accuracy")
    with pytest.raises(UserError, match="selects by 'max accuracy', and this run has the metrics loss"):
        check(make_run, numbers(tiny_data), Mean(1), protocol=by_accuracy)


def test_data_that_do_not_fit_on_the_devices_stay_on_the_host_with_a_sentence(make_run, tiny_data, monkeypatch, capsys):
    monkeypatch.setattr(storage, "_free", lambda mesh: (2_000.0, 2))
    run = make_run(recipe=Recipe(Mean(), optax.sgd(0.1)))
    seeds = Seeds(1, make_mesh(4, 2, 1))
    steps = make_steps(run, tiny_data, seeds, PREPROCESSING.preprocessing(tiny_data.train))
    assert steps.storage.on_host
    assert "the data stay on the host, which sends each batch." in capsys.readouterr().out
