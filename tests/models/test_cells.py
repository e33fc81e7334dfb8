import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.models.cells import BasicLSTMCell, flax_lstm_params
from rowlstm_jax.models.classifier import scan_over_time
from tests.reference import lstm

B, T, F, H = 5, 13, 7, 11  # sizes that divide nothing


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)


@pytest.fixture
def params() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "kernel": rng.normal(size=(F + H, 4 * H)).astype(np.float32),
        "bias": rng.normal(size=4 * H).astype(np.float32),
    }


def test_parameters_and_their_initialisation_are_those_of_tensorflow_1():
    cell = BasicLSTMCell(128)
    variables = cell.init(jax.random.key(0), cell.initialize_carry(jax.random.key(1), (1, 28)), jnp.zeros((1, 28)))
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    chex.assert_shape(kernel, (28 + 128, 4 * 128))
    limit = np.sqrt(6 / (28 + 128 + 4 * 128))  # Glorot uniform over the whole matrix
    assert 0.99 * limit < jnp.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.01)
    np.testing.assert_array_equal(bias, np.zeros(4 * 128))


@pytest.mark.parametrize("forget_bias", [0.0, 1.0])
@pytest.mark.parametrize("jit", [False, True])
def test_steps_from_a_random_carry_agree_with_numpy(inputs, params, forget_bias, jit):
    rng = np.random.default_rng(2)
    carry = tuple(rng.normal(size=(B, H)).astype(np.float32) for _ in range(2))
    expected, expected_carry = lstm(params["kernel"], params["bias"], inputs, forget_bias, carry)
    cell = BasicLSTMCell(H, forget_bias=forget_bias)
    step = jax.jit(cell.apply) if jit else cell.apply
    outputs = []
    for t in range(T):
        carry, output = step({"params": params}, carry, inputs[:, t])
        outputs.append(output)
    chex.assert_trees_all_close(jnp.stack(outputs, axis=1), expected.astype(np.float32), rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(carry, tuple(c.astype(np.float32) for c in expected_carry), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("flax_cell", [nn.LSTMCell, nn.OptimizedLSTMCell])
def test_agrees_with_flax_rnn_over_flax_cells_with_converted_weights(inputs, params, flax_cell):
    class Scan(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            return scan_over_time(BasicLSTMCell(H, forget_bias=1.0, name="cell"), inputs)

    ours = Scan().apply({"params": {"cell": params}}, inputs)
    converted = flax_lstm_params(params, forget_bias=1.0)
    theirs = nn.RNN(flax_cell(H)).apply({"params": {"cell": converted}}, inputs)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_bfloat16_computes_in_bfloat16_and_carries_float32(inputs, params):
    exact, _ = lstm(params["kernel"], params["bias"], inputs[:, :1], 1.0)
    cell = BasicLSTMCell(H, dtype=jnp.bfloat16)
    carry = cell.initialize_carry(jax.random.key(0), (B, F))
    (c, h), output = cell.apply({"params": params}, carry, inputs[:, 0])
    assert c.dtype == h.dtype == output.dtype == jnp.float32
    np.testing.assert_allclose(output, exact[:, 0], atol=0.03)
    assert np.abs(output - exact[:, 0]).max() > 1e-5, "the products were not in bfloat16"
