"""What all cells of the registry have in common."""

import functools

import chex
import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from rowlstm_jax.models.cells import CELLS
from rowlstm_jax.models.classifier import SequenceClassifier

B, T, F, H, C, S = 5, 6, 4, 8, 3, 3

each_cell = pytest.mark.parametrize("name", CELLS)


def inputs(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(7), shape)


def started(cell: nn.RNNCellBase, seed: int = 0, shape: tuple[int, ...] = (B, F)):
    carry = cell.initialize_carry(jax.random.key(seed), shape)
    return jax.jit(cell.init)(jax.random.key(seed), carry, jnp.zeros(shape)), carry


@each_cell
def test_it_starts_from_zeros_and_gives_its_units_as_output(name):
    cell = CELLS[name](H)
    assert (cell.features, cell.num_feature_axes) == (H, 1)
    variables, carry = started(cell)
    chex.assert_trees_all_equal(carry, jax.tree.map(jnp.zeros_like, carry))
    after, output = jax.jit(cell.apply)(variables, carry, inputs(B, F))
    chex.assert_trees_all_equal_shapes_and_dtypes(after, carry)
    chex.assert_shape(output, (B, 10 if name == "jordan" else H))  # a Jordan network gives its ten outputs
    assert jnp.abs(output).max() > 1e-3
    chex.assert_tree_all_finite((after, output))


@each_cell
def test_parameters_are_a_function_of_the_key_and_have_their_dtype(name):
    cell = CELLS[name](H)
    chex.assert_trees_all_equal(started(cell)[0], started(cell)[0])
    first, second = (jax.flatten_util.ravel_pytree(started(cell, seed)[0])[0] for seed in (0, 1))
    assert (first != second).any()
    narrow, carry = started(cell.clone(param_dtype=jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves((narrow, carry))} == {jnp.dtype(jnp.bfloat16)}


@each_cell
def test_bfloat16_is_for_the_products_and_the_carry_stays_float32(name):
    cell = CELLS[name](H)
    variables, carry = started(cell)
    x = inputs(B, F)
    exact = jax.jit(cell.apply)(variables, carry, x)
    rough = jax.jit(cell.clone(dtype=jnp.bfloat16).apply)(variables, carry, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(rough)} == {jnp.dtype(jnp.float32)}
    chex.assert_trees_all_close(rough, exact, atol=0.05)
    difference = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.subtract, rough, exact))[0]
    assert jnp.abs(difference).max() > 1e-6, "the products were not in bfloat16"


@each_cell
@pytest.mark.slow
def test_any_leading_axes_and_vmap_over_examples_and_seeds_agree_with_loops(name):
    cell = CELLS[name](H)
    keys = jax.random.split(jax.random.key(3), S)
    init = jax.jit(lambda key: cell.init(key, cell.initialize_carry(key, (F,)), jnp.zeros(F)))
    variables = jax.jit(jax.vmap(init))(keys)
    for s in range(S):
        own = jax.tree.map(lambda leaf, s=s: leaf[s], variables)
        chex.assert_trees_all_close(own, init(keys[s]), rtol=1e-5, atol=1e-6)
    x = inputs(S, B, F)
    _, carry = started(cell, shape=x.shape)
    carry = jax.tree.map(lambda leaf: inputs(*leaf.shape), carry)
    one = jax.jit(cell.apply)
    mapped = jax.jit(jax.vmap(jax.vmap(one, in_axes=(None, 0, 0))))(variables, carry, x)
    for s in range(S):
        own, own_carry = jax.tree.map(lambda leaf, s=s: leaf[s], (variables, carry))
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, s=s: leaf[s], mapped), one(own, own_carry, x[s]), rtol=1e-5, atol=1e-5
        )
        single = jax.tree.map(lambda leaf: leaf[0], own_carry)
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, s=s: leaf[s, 0], mapped), one(own, single, x[s, 0]), rtol=1e-5, atol=1e-5
        )


@functools.cache
def loss_and_params(name: str):
    model = SequenceClassifier(CELLS[name](H), num_classes=C)
    params = jax.jit(model.init)(jax.random.key(0), inputs(B, T, F))["params"]
    loss = lambda params, x: jnp.square(model.apply({"params": params}, x)).mean()  # noqa: E731
    return loss, params


@each_cell
def test_gradients_through_a_classifier_are_the_numerical_ones(name):
    loss, params = loss_and_params(name)
    learned, unravel = jax.flatten_util.ravel_pytree(params)
    x, gradient_of = inputs(B, T, F), jax.jit(jax.grad(loss, argnums=(0, 1)))
    by_params, by_inputs = gradient_of(params, x)
    direction = jax.random.normal(jax.random.key(5), learned.shape)
    if name == "echo_state":  # its reservoir has slopes that it hides
        fixed = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.full_like(leaf, "reservoir" in str(path)), params
        )
        direction = direction * (1 - jax.flatten_util.ravel_pytree(fixed)[0])
    step = 3e-3
    at = jax.jit(lambda size: loss(unravel(learned + size * direction), x))
    slope = (at(step) - at(-step)) / (2 * step)
    np.testing.assert_allclose(direction @ jax.flatten_util.ravel_pytree(by_params)[0], slope, rtol=0.02, atol=1e-4)
    direction = inputs(B, T, F)[::-1]
    at = jax.jit(lambda size: loss(params, x + size * direction))
    slope = (at(step) - at(-step)) / (2 * step)
    np.testing.assert_allclose((direction * by_inputs).sum(), slope, rtol=0.02, atol=1e-4)


@each_cell
@pytest.mark.slow
def test_gradients_under_vmap_over_seeds_agree_with_a_loop(name):
    loss, _ = loss_and_params(name)
    model = SequenceClassifier(CELLS[name](H), num_classes=C)
    x = inputs(B, T, F)
    params = jax.jit(jax.vmap(lambda key: model.init(key, x)["params"]))(jax.random.split(jax.random.key(1), S))
    together = jax.jit(jax.vmap(jax.grad(loss), in_axes=(0, None)))(params, x)
    alone = jax.jit(jax.grad(loss))
    for s in range(S):
        own, expected = jax.tree.map(lambda leaf, s=s: leaf[s], (together, params))
        chex.assert_trees_all_close(own, alone(expected, x), rtol=1e-4, atol=1e-6)


@each_cell
@pytest.mark.slow
def test_it_serves_in_every_shape_of_a_classifier(name):
    model = SequenceClassifier(CELLS[name](H), num_classes=C, num_layers=2, bidirectional=True, dtype=jnp.bfloat16)
    x = inputs(B, T, F)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    logits = jax.jit(model.apply)(variables, x)
    chex.assert_shape(logits, (B, C))
    chex.assert_tree_all_finite(logits)


def test_a_cell_of_ones_own_takes_two_lines(monkeypatch):
    monkeypatch.setitem(CELLS, "mine", nn.OptimizedLSTMCell)
    model = SequenceClassifier(CELLS["mine"](H), num_classes=C)
    logits, _ = model.init_with_output(jax.random.key(0), inputs(B, T, F))
    chex.assert_shape(logits, (B, C))
