"""A model with variables besides its parameters, nn.BatchNorm, through a whole run."""

import dataclasses
from typing import Any

import chex
import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from rowlstm_jax.analysis import finish, open_run
from rowlstm_jax.data import Sealed
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.loop import fit
from rowlstm_jax.tasks.protocol import Protocol
from rowlstm_jax.training.recipe import Recipe
from tests.runs.test_loop import weights
from tests.trials import journal, train

pytestmark = pytest.mark.usefixtures("no_pictures")

BEST = Protocol("tiny", "mnist", 13, "rows", selection="best_validation", select_by="min loss")


class Normalized(nn.Module):
    """Features [B, T, F] are normalised before an LSTM."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        normal = nn.BatchNorm(use_running_average=not train, momentum=0.8, axis_name=self.axis_name)(inputs)
        return SequenceClassifier(BasicLSTMCell(4), 3, name="classifier")(normal)


def recipe(**fields) -> Recipe:
    return Recipe(Normalized(**fields), optax.adam(1e-2))


def mean_of(tree) -> np.ndarray:
    return np.asarray(tree["batch_stats"]["BatchNorm_0"]["mean"])


@pytest.mark.slow
def test_a_run_keeps_its_collections_resumes_and_writes_them(make_run, tiny_data):
    data = dataclasses.replace(tiny_data, test=Sealed(tiny_data.test.open(lambda: None)))
    fields = {"recipe": recipe(), "protocol": BEST, "num_seeds": 2, "memory_health": True}
    whole = make_run("whole", **fields)
    with RunFolder(whole) as folder:
        fitted = fit(whole, data, folder)
        summary = finish(whole, fitted, data, folder)
    assert mean_of(fitted.params).shape == (2, 7)
    assert np.abs(mean_of(fitted.params)).max() > 0
    train(make_run("parts", steps=7, **fields), tiny_data)
    parts = make_run("parts", resume=True, **fields)
    resumed = train(parts, tiny_data)
    assert weights(whole) == weights(parts)
    assert any("batch_stats" in name for name in weights(parts))
    chex.assert_trees_all_equal(jax.device_get(resumed.params), jax.device_get(fitted.params))
    with np.load(folder.path / "weights.npz") as arrays:
        np.testing.assert_array_equal(arrays["batch_stats/BatchNorm_0/mean"], mean_of(fitted.params))
    opened = open_run(folder.path).params(Normalized())
    chex.assert_trees_all_equal(opened, jax.device_get(fitted.params))
    parameters = jax.tree.leaves(opened["params"])
    assert summary["num_params"] == sum(leaf[0].size for leaf in parameters)
    outputs = Normalized().apply(jax.tree.map(lambda x: x[0], opened), data.validation.inputs / np.float32(255))
    assert fitted.validation is not None
    np.testing.assert_allclose(outputs, fitted.validation.outputs[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_statistics_are_those_of_the_steps_and_the_same_on_all_devices(make_run, tiny_data):
    found = {}
    for devices in (1, 4):
        run = make_run(f"on{devices}", recipe=recipe(), devices=devices, batch_size=8, steps=3)
        with RunFolder(run) as folder:
            fitted = fit(run, tiny_data, folder)
        selected: Any = fitted.params
        leaf = selected["batch_stats"]["BatchNorm_0"]["mean"]
        parts = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(parts) == devices
        for part in parts:
            np.testing.assert_array_equal(part, parts[0])
        found[devices] = mean_of(fitted.params)
    np.testing.assert_allclose(found[1], found[4], rtol=1e-3, atol=1e-5)  # means of equal parts


@pytest.mark.slow
def test_normalised_over_the_mesh_four_devices_compute_what_one_does(make_run, tiny_data):
    fields = {"batch_size": 8, "steps": 4}
    one = train(make_run("one", recipe=recipe(), devices=1, **fields), tiny_data)
    four = train(make_run("four", recipe=recipe(axis_name="batch"), devices=4, **fields), tiny_data)
    chex.assert_trees_all_close(*(jax.device_get(of.params) for of in (one, four)), rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_collections_are_taken_from_another_run(make_run, tiny_data):
    first = train(make_run("first", recipe=recipe()), tiny_data)
    run = make_run("second", recipe=recipe(), from_checkpoint=make_run("first").config.run_dir, steps=1)
    second = train(run, tiny_data)
    assert np.abs(mean_of(first.params) - mean_of(second.params)).max() < np.abs(mean_of(first.params)).max() / 2


@pytest.mark.slow
def test_a_skipped_step_leaves_the_collections_as_they_are(make_run, tiny_data):
    """An inner update that is not finite from the third one on; the statistics are finite all the same."""
    schedule = optax.join_schedules([optax.constant_schedule(1e-2), optax.constant_schedule(np.inf)], [2])
    after = []
    for steps in (2, 5):
        run = make_run(
            str(steps), recipe=Recipe(Normalized(), optax.sgd(schedule)), on_nonfinite="skip", steps=steps, log_every=5
        )
        after.append(mean_of(train(run, tiny_data).params))
    assert journal(run.config).records()[-1]["skipped_steps"] == 3
    np.testing.assert_array_equal(*after)
