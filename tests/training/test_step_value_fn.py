"""What an optimiser may ask for besides the gradient: value, grad and value_fn, on one device and over several."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from rowlstm_jax.tasks import scale
from rowlstm_jax.training.batch import read_batch
from rowlstm_jax.training.recipe import Recipe
from rowlstm_jax.training.state import init_state
from rowlstm_jax.training.step import train_step
from tests.runs.test_loop_metrics import Mean

pytestmark = pytest.mark.usefixtures("quick_compiler")


def asking() -> optax.GradientTransformationExtraArgs:
    """Makes no update; its state is what it was told: value, value_fn, the gradient of value_fn, and grad."""

    def told(params):
        return jnp.zeros(()), jnp.zeros(()), params, params

    def update(updates, state, params=None, *, value, grad, value_fn, **_):
        again, gradient = jax.value_and_grad(value_fn)(params)
        return jax.tree.map(jnp.zeros_like, updates), (value, again, gradient, grad)

    return optax.GradientTransformationExtraArgs(told, update)


@pytest.mark.parametrize("block", [None, 2])
@pytest.mark.parametrize("devices", [1, 2])
def test_value_and_gradient_of_the_whole_batch_are_told_on_every_device(tiny_data, devices, block):
    state = init_state(Recipe(Mean(), asking()), jnp.zeros((1, 5, 7)), 0)
    stored = jnp.asarray(tiny_data.train.inputs[:8]), jnp.asarray(tiny_data.train.targets[:8])
    batch = read_batch(stored, jnp.ones(8, bool), scale)
    mesh = jax.make_mesh((devices,), ("batch",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])

    def step(state, batch):
        told = train_step(state, batch, "batch", block)[0].opt_state
        return jax.tree.map(lambda x: x[None], told)

    split = jax.shard_map(step, mesh=mesh, in_specs=(P(), P("batch")), out_specs=P("batch"), check_vma=False)
    told = jax.jit(split)(state, batch)

    def loss(params):
        logits = Mean().apply({"params": params}, batch.inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets).mean()

    value, gradient = jax.value_and_grad(loss)(state.params)
    for device in range(devices):
        of_device = jax.tree.map(lambda x, at=device: x[at], told)
        chex.assert_trees_all_close(of_device, (value, value, gradient, gradient), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_value_fn_may_be_mapped_over_seeds(tiny_data):
    stored = jnp.asarray(tiny_data.train.inputs[:8]), jnp.asarray(tiny_data.train.targets[:8])
    batch = read_batch(stored, jnp.ones(8, bool), scale)
    recipe = Recipe(Mean(), optax.lbfgs())
    states = jax.vmap(lambda seed: init_state(recipe, jnp.zeros((1, 5, 7)), seed))(np.arange(2, dtype=np.uint32))
    together = jax.jit(jax.vmap(lambda state: train_step(state, batch)[0].params))(states)
    alone = [
        jax.jit(lambda s: train_step(s, batch)[0].params)(init_state(recipe, jnp.zeros((1, 5, 7)), n)) for n in range(2)
    ]
    chex.assert_trees_all_close(together, jax.tree.map(lambda *x: jnp.stack(x), *alone), rtol=1e-3, atol=1e-4)
