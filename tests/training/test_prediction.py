"""Learning to predict the next step: what a prediction may see, and its training against an own loop."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.models import SequenceClassifier, cells
from rowlstm_jax.training import learn_to_predict, log_odds

pytestmark = pytest.mark.usefixtures("quick_compiler")

MODEL = SequenceClassifier(cells.BasicLSTMCell(6), 2)
RNG = np.random.default_rng(0)


def test_a_prediction_sees_only_the_steps_before_it():
    x = jnp.float32(RNG.random((3, 5, 2)))
    params = jax.jit(MODEL.init)(jax.random.key(0), x)["params"]
    found = jax.jit(lambda x: log_odds(MODEL, params, x))(x)
    for t in (0, 3):
        before = jnp.concatenate([jnp.zeros((3, 1, 2)), x[:, :t]], axis=1)
        np.testing.assert_allclose(found[:, t], jax.jit(MODEL.apply)({"params": params}, before), atol=1e-6)


def nats(odds: np.ndarray, x: np.ndarray) -> float:
    """The cross-entropy of a sequence, the mean over sequences, by its definition."""
    p = 1 / (1 + np.exp(-np.float64(odds)))
    return float(-(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2)).mean())


def test_each_step_is_one_update_by_a_batch_of_its_own():
    inputs, key = RNG.integers(0, 2, (7, 4, 2)).astype(bool), jax.random.key(3)
    learned = jax.jit(lambda x: learn_to_predict(MODEL, optax.sgd(0.1), x, 3, 5, key))
    params, losses = learned(jnp.asarray(inputs))
    of_params, of_batches = jax.random.split(key)
    own = jax.jit(MODEL.init)(of_params, jnp.zeros((1, 4, 2)))["params"]
    odds = jax.jit(lambda p, x: log_odds(MODEL, p, x))
    slopes = jax.jit(jax.grad(lambda p, x: optax.sigmoid_binary_cross_entropy(odds(p, x), x).sum() / 5))
    for step in range(3):
        chosen = np.asarray(jax.random.randint(jax.random.fold_in(of_batches, step), (5,), 0, 7))
        x = np.float32(inputs[chosen])
        assert float(losses[step]) == pytest.approx(nats(odds(own, x), x), rel=1e-5)
        own = jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, own, slopes(own, x))
    chex.assert_trees_all_close(params, own, atol=1e-5)


def test_it_learns_what_can_be_predicted_and_no_more():
    first = RNG.integers(0, 2, (200, 1, 2))
    inputs = jnp.asarray((first + np.arange(6)[None, :, None]) % 2, jnp.float32)  # it alternates from a random start
    _, losses = jax.jit(lambda x: learn_to_predict(MODEL, optax.adam(0.03), x, 200, 50, jax.random.key(0)))(inputs)
    assert losses[0] > 7
    assert float(losses[-20:].mean()) == pytest.approx(2 * np.log(2), abs=0.25)
