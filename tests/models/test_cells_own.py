"""What is particular to one cell: a reservoir that does not learn, and starts that let the others learn."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.models.cells import (
    EchoStateCell,
    GRUCell,
    LayerNormLSTMCell,
    LEMCell,
    PeepholeLSTMCell,
    spectral_radius,
)
from rowlstm_jax.models.classifier import SequenceClassifier


def by_numpy(matrix) -> float:
    return np.abs(np.linalg.eigvals(np.asarray(matrix, np.float64))).max()


def params_of(cell: nn.RNNCellBase, features: int, seed: int = 0):
    carry = cell.initialize_carry(jax.random.key(0), (1, features))
    return jax.jit(cell.init)(jax.random.key(seed), carry, jnp.zeros((1, features)))["params"]


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
