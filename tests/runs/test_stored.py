"""What is read of a run's folder without starting the run: its state, and the weights that it would test."""

import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from rowlstm_jax.errors import UserError
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.runs.stored import read_stored, selected_weights
from rowlstm_jax.tasks.protocol import Protocol
from rowlstm_jax.training import params_ema
from rowlstm_jax.training.recipe import Recipe
from tests.trials import train

pytestmark = pytest.mark.usefixtures("quick_compiler")

BEST = Protocol("tiny", "mnist", 13, "rows", selection="best_validation")
NO_BIAS = {"layer_0_forward": {"kernel": True, "bias": False}, "readout": {"kernel": True, "bias": True}}
OPTIMIZERS = {
    "plain": optax.adam(1e-2),
    "average": optax.chain(optax.adam(1e-2), params_ema(0.5)),
    "average of some": optax.chain(optax.adam(1e-2), optax.masked(params_ema(0.5), NO_BIAS)),
    "average in groups": optax.MultiSteps(optax.chain(optax.adam(1e-2), params_ema(0.5)), 2),
    "schedule-free": optax.contrib.schedule_free(optax.sgd(0.1), 0.1),
}


SLOW = ("plain", "average", "average in groups")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in OPTIMIZERS])
def test_the_weights_are_those_that_the_run_would_test(make_run, tiny_data, name):
    recipe = Recipe(SequenceClassifier(BasicLSTMCell(4), 3), OPTIMIZERS[name])
    run = make_run("run", recipe=recipe, num_seeds=2, steps=4)
    fitted = train(run, tiny_data)
    step, found = selected_weights(run.config.run_dir)
    assert step == 4
    chex.assert_trees_all_close(found, jax.device_get(fitted.params), rtol=1e-6, atol=1e-7)
    assert name == "plain" or not np.array_equal(
        found["readout"]["kernel"], saved(run)["state/params/readout/kernel"]
    )  # or the average would not be tested here


def saved(run) -> dict:
    from rowlstm_jax.runs import arrays_on_disk

    arrays = arrays_on_disk(run.config.run_dir / "checkpoints" / "4" / "state")
    return {name.replace(".", "/"): array for name, array in arrays.items()}


def test_the_best_weights_come_first_and_a_damaged_checkpoint_is_passed_over(make_run, tiny_data):
    run = make_run("run", protocol=BEST, steps=4, eval_every=2)
    fitted = train(run, tiny_data)
    _, found = selected_weights(run.config.run_dir)
    chex.assert_trees_all_equal(found, jax.device_get(fitted.params))
    checkpoints = run.config.run_dir / "checkpoints"
    for file in (checkpoints / "4" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    assert selected_weights(run.config.run_dir)[0] == 2
    shutil.rmtree(checkpoints / "2")
    with pytest.raises(UserError, match=r"has no good checkpoint, and so no weights"):
        selected_weights(run.config.run_dir)
    assert (checkpoints / "4").is_dir()  # nothing is renamed


def test_flags_records_and_sizes_are_read(make_run, tiny_data):
    run = make_run("run", num_seeds=2, steps=3, log_every=1)
    fitted = train(run, tiny_data)
    stored = read_stored(run.config.run_dir)
    assert stored.config["num_seeds"] == 2
    assert [record["step"] for record in stored.records] == [1, 2, 3]
    assert stored.num_params == sum(leaf[0].size for leaf in jax.tree.leaves(fitted.params))
    assert (stored.checkpoints[0], stored.running, stored.modules) == (3, "", {})
    assert stored.about["reading"]["class_names"] == list(tiny_data.class_names)
    (run.config.run_dir / "config.json").write_text("")  # as a loss of power may leave it
    assert read_stored(run.config.run_dir).identity == stored.identity
    modules = {"a": 3, "b": {"module": "os"}, "c": {"module": "os", "name": 3, "file": ""}}
    (run.config.run_dir / "config.json").write_text(json.dumps({"modules": modules}))
    assert read_stored(run.config.run_dir).modules == {}
    with pytest.raises(UserError, match=r"is no run: it has no config\.json"):
        read_stored(run.config.run_dir.parent)


def test_an_array_that_only_has_the_name_of_an_average_is_no_average():
    from rowlstm_jax.runs.stored import _averages

    assert _averages({"w": jnp.ones(2)}, {"0/average": jnp.ones(3), "0/z/other": jnp.ones(3)}) == []
    assert _averages({"w": jnp.ones(2)}, {"0/average/w": jnp.ones(2)}) == []
