"""What all cells of the registry have in common, and what is particular to one."""

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.models.cells import (
    CELLS,
    BasicLSTMCell,
    EchoStateCell,
    GRUCell,
    LayerNormLSTMCell,
    LEMCell,
    PeepholeLSTMCell,
    make,
    spectral_radius,
)
from rowlstm_jax.models.classifier import SequenceClassifier

pytestmark = pytest.mark.usefixtures("quick_compiler")

B, T, F, H, C, S = 5, 6, 4, 8, 3, 3

each_cell = pytest.mark.parametrize("name", CELLS)


def inputs(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(7), shape)


def started(cell: nn.RNNCellBase, seed: int = 0, shape: tuple[int, ...] = (B, F)):
    carry = cell.initialize_carry(jax.random.key(seed), shape)
    return jax.jit(cell.init)(jax.random.key(seed), carry, jnp.zeros(shape)), carry


def params_of(cell: nn.RNNCellBase, features: int, seed: int = 0):
    return started(cell, seed, (1, features))[0]["params"]


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


@each_cell
def test_a_cell_is_made_by_its_name(name):
    assert make(name, H, "scan") == CELLS[name](H)


def test_names_that_make_no_cell_are_refused():
    with pytest.raises(ValueError, match=r"^cell is 'lstmm'; choose one of lstm, peephole_lstm, "):
        make("lstmm", H)
    with pytest.raises(ValueError, match=r"^recurrence is 'fused', which .* 'auto' for gru\.$"):
        make("gru", H, "fused")
    assert make("lstm", H, "fused") == BasicLSTMCell(H)


def test_parameters_of_the_lstm_and_their_initialisation_are_those_of_tensorflow_1():
    params = params_of(BasicLSTMCell(128), 28)
    kernel, bias = params["kernel"], params["bias"]
    chex.assert_shape(kernel, (28 + 128, 4 * 128))
    limit = np.sqrt(6 / (28 + 128 + 4 * 128))  # Glorot uniform over the whole matrix
    assert 0.99 * limit < jnp.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.01)
    np.testing.assert_array_equal(bias, np.zeros(4 * 128))


def by_numpy(matrix) -> float:
    return np.abs(np.linalg.eigvals(np.asarray(matrix, np.float64))).max()


@pytest.mark.parametrize("size", [1, 2, 3, 10, 64])
def test_spectral_radius_of_random_matrices_is_numpys(size):
    matrices = np.random.default_rng(size).normal(size=(7, size, size)).astype(np.float32)
    found = jax.jit(jax.vmap(spectral_radius))(matrices)
    np.testing.assert_allclose(found, [by_numpy(matrix) for matrix in matrices], rtol=1e-4)


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.0, 1.0], [-1.0, 0.0]],  # a complex pair
        [[2.0, 0.0], [0.0, -2.0]],  # two of opposite signs
        [[1e-20, 0.0], [0.0, 1e-21]],
        [[1e20, 0.0], [3e20, 1e19]],
        [[0.5, 100.0], [0.0, 0.4]],  # far from normal
        [[0.0, 1.0], [0.0, 0.0]],  # nilpotent
        [[0.0, 0.0], [0.0, 0.0]],
    ],
)
def test_spectral_radius_of_awkward_matrices(matrix):
    np.testing.assert_allclose(jax.jit(spectral_radius)(np.array(matrix, np.float32)), by_numpy(matrix), rtol=3e-4)


@pytest.mark.parametrize(("units", "connections", "radius"), [(128, 10, 0.9), (60, 60, 1.3), (5, 10, 0.5)])
def test_a_reservoir_is_sparse_and_has_its_spectral_radius(units, connections, radius):
    cell = EchoStateCell(units, connections=connections, spectral_radius=radius, input_scaling=0.3, bias_scaling=0.2)
    params = params_of(cell, 28)
    np.testing.assert_allclose(by_numpy(params["reservoir_kernel"]), radius, rtol=1e-4)
    connected = np.asarray(params["reservoir_kernel"]) != 0
    np.testing.assert_allclose(connected.mean(), min(1, connections / units), rtol=0.1)
    for name, limit in (("input_kernel", 0.3), ("bias", 0.2)):
        values = params[f"reservoir_{name}"]
        assert 0.5 * limit < jnp.abs(values).max() <= limit
    assert params["reservoir_input_kernel"].min() < 0 < params["reservoir_input_kernel"].max()


def test_a_reservoir_without_connections_stays_finite():
    assert not params_of(EchoStateCell(5, connections=0), 3)["reservoir_kernel"].any()


def test_only_the_readout_of_an_echo_state_network_learns():
    model = SequenceClassifier(EchoStateCell(16), num_classes=3)
    inputs = jax.random.normal(jax.random.key(1), (5, 6, 4))
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    gradients: Any = jax.jit(jax.grad(lambda p: jnp.square(model.apply({"params": p}, inputs)).mean()))(params)
    reservoir, readout = gradients["layer_0_forward"], gradients["readout"]
    assert set(reservoir) == {"reservoir_input_kernel", "reservoir_kernel", "reservoir_bias"}
    assert not any(leaf.any() for leaf in jax.tree.leaves(reservoir))
    assert all(leaf.all() for leaf in jax.tree.leaves(readout))
    adam = optax.adam(0.1)
    updates: Any = adam.update(gradients, adam.init(params))[0]
    assert not any(leaf.any() for leaf in jax.tree.leaves(updates["layer_0_forward"]))


def test_an_echo_state_network_forgets_where_it_started():
    cell = EchoStateCell(64)
    params = params_of(cell, 3)
    starts = jax.random.normal(jax.random.key(2), (2, 4, 64))
    inputs = jax.random.normal(jax.random.key(3), (300, 4, 3))
    step = jax.jit(lambda carry, x: cell.apply({"params": params}, carry, x))
    ends = [jax.lax.scan(step, start, inputs)[0] for start in starts]
    assert jnp.abs(ends[0] - ends[1]).max() < 1e-3 * jnp.abs(starts[0] - starts[1]).max()


def test_initial_ranges_are_those_of_the_sources():
    peepholes = params_of(PeepholeLSTMCell(300), 28)["peephole_input"]
    assert 0.9 * 0.1 < jnp.abs(peepholes).max() <= 0.1  # sqrt(6 / (300 + 300))
    gru = params_of(GRUCell(16), 28)["recurrent"]["kernel"]
    np.testing.assert_allclose(gru @ gru.T, np.eye(16), atol=1e-5)
    for leaf in jax.tree.leaves(params_of(LEMCell(100), 28)):
        assert 0.9 * 0.1 < jnp.abs(leaf).max() <= 0.1


def test_blank_rows_do_not_blow_up_the_gradients_of_layer_normalisation():
    """As in every image of MNIST: with biases at zero, as in TensorFlow, the first gradients are not finite."""
    inputs = np.zeros((3, 12, 28), np.float32)
    inputs[:, 6:] = np.random.default_rng(0).uniform(size=(3, 6, 28))

    def gradient_norm(cell: LayerNormLSTMCell) -> jax.Array:
        model = SequenceClassifier(cell, num_classes=3)
        loss = lambda params: jnp.square(model.apply({"params": params}, inputs)).mean()  # noqa: E731
        return jax.jit(lambda key: optax.tree.norm(jax.grad(loss)(model.init(key, inputs)["params"])))(
            jax.random.key(1)
        )

    assert gradient_norm(LayerNormLSTMCell(16)) < 100
    as_in_tensorflow = LayerNormLSTMCell(16, epsilon=1e-12, bias_init=nn.initializers.zeros_init())
    assert not jnp.isfinite(gradient_norm(as_in_tensorflow))
