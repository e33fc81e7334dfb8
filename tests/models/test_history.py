"""History compression: what is passed on, with its times, and that it says as much as the whole sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.models import cells, history

RNG = np.random.default_rng(0)
B, T, F, H = 5, 12, 3, 4


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def elman_predictor(params, h: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step in float64: the new hidden state and the outputs."""
    cell, readout = (jax.tree.map(np.float64, params["params"][name]) for name in ("cell", "readout"))
    h = np.tanh(np.concatenate([x, h]) @ cell["hidden"]["kernel"] + cell["hidden"]["bias"])
    return h, np.concatenate([x, h]) @ readout["kernel"] + readout["bias"]


def some_predictor(outputs: int = F):
    network = history.Predictor(cells.ElmanCell(H), outputs)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros(H), jnp.zeros(F))
    return network, jax.tree.map(lambda leaf: 2 * jax.random.normal(jax.random.key(3), leaf.shape), params)


def test_a_predictor_computes_its_equations():
    network, params = some_predictor(outputs=7)
    h, x = RNG.normal(size=H), RNG.normal(size=F)
    carry, hidden, outputs = jax.jit(network.apply)(params, jnp.float32(h), jnp.float32(x))
    expected_h, expected = elman_predictor(params, h, x)
    np.testing.assert_allclose(hidden, expected_h, atol=1e-5)
    np.testing.assert_array_equal(carry, hidden)
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


def test_an_input_is_unexpected_if_one_number_that_counts_is_off():
    inputs = jnp.array([1.0, 0.0, 1.0])
    predicted = jnp.array([[0.8, 0.2, 0.9], [0.79, 0.0, 1.0], [1.0, 0.21, 1.0], [1.0, 0.0, jnp.nan]])
    assert history.unexpected(predicted, inputs[None], 0.20001).tolist() == [False, True, True, True]
    given = jnp.array([[True, False, True]])
    assert history.unexpected(predicted, inputs[None], 0.20001, given).tolist() == [False, True, False, True]


@pytest.mark.parametrize("tolerance", [-0.1, 0.5, float("nan")])
def test_a_tolerance_with_which_a_prediction_says_nothing_is_refused(tolerance):
    with pytest.raises(ValueError, match=r"^tolerance is .*; it must be from 0 to less than 0.5\."):
        history.unexpected(jnp.zeros(1), jnp.zeros(1), tolerance)


def compressed(inputs: np.ndarray, passed_on: np.ndarray):
    """The definition, one step after the other."""
    events, gaps = np.zeros_like(inputs), np.zeros(passed_on.shape, np.int32)
    lengths = np.zeros(len(inputs), np.int32)
    for b in range(len(inputs)):
        before = -1
        for t in range(inputs.shape[1]):
            if passed_on[b, t]:
                events[b, lengths[b]], gaps[b, lengths[b]] = inputs[b, t], t - before
                before = t
                lengths[b] += 1
    return events, gaps, lengths


def test_what_is_passed_on_stands_in_order_with_the_time_that_passed():
    inputs = RNG.normal(size=(B, T, F)).astype(np.float32)
    passed_on = RNG.random((B, T)) < np.array([0, 0.2, 0.5, 0.8, 1])[:, None]
    found = jax.jit(history.compress)(inputs, passed_on)
    for ours, expected in zip(found, compressed(inputs, passed_on), strict=True):
        np.testing.assert_array_equal(ours, expected)
        assert ours.dtype == expected.dtype
    assert found[2][0] == 0
    assert found[2][-1] == T


def test_the_unexpected_inputs_and_their_times_say_as_much_as_the_sequence():
    """Whoever has the network makes the sequence again: it is the rounded prediction wherever nothing was passed on."""
    _, params = some_predictor()
    inputs = RNG.integers(0, 2, (T, F)).astype(np.float32)
    h, output, missed = np.zeros(H), np.zeros(F), []
    check = jax.jit(lambda predicted, x: history.unexpected(predicted, x, 0.49))
    for x in inputs:
        missed.append(bool(check(sigmoid(output), x)))
        h, output = elman_predictor(params, h, x)
    events, gaps, lengths = history.compress(jnp.asarray(inputs)[None], jnp.array([missed]))
    times = np.cumsum(gaps[0, : int(lengths[0])]) - 1
    h, output, restored = np.zeros(H), np.zeros(F), []
    for t in range(T):
        event = np.flatnonzero(times == t)
        restored.append(np.asarray(events[0, event[0]]) if len(event) else np.round(sigmoid(output)))
        h, output = elman_predictor(params, h, restored[-1])
    assert 0 < int(lengths[0]) < T
    np.testing.assert_array_equal(restored, inputs)
