import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.training.losses import cross_entropy, smooth_labels
from tests import reference

LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0], [1.0, 1.5, 0.0], [9.0, 0.0, 0.0]], np.float32)
LABELS = np.array([0, 1, 1, 2])
MASK = np.array([True, True, True, False])


def smoothed(logits: jax.Array, share: float) -> jax.Array:
    loss = jnp.mean(cross_entropy(logits, LABELS), where=MASK)
    return smooth_labels(loss, logits, MASK, jnp.int32(3), share)


def test_cross_entropy_is_that_of_numpy_in_float32():
    losses = jax.jit(cross_entropy)(LOGITS, LABELS)
    chex.assert_shape(losses, (4,))
    expected = [reference.cross_entropy(LOGITS[i : i + 1].astype(float), LABELS[i : i + 1]) for i in range(4)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert cross_entropy(jnp.asarray(LOGITS, jnp.bfloat16), LABELS).dtype == jnp.float32


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_smoothed_labels_give_each_class_its_part(share):
    """Against optax's own smoothing of one-hot labels, for a batch of which one example is padding."""
    labels = optax.smooth_labels(jax.nn.one_hot(LABELS, 3), share)
    expected = optax.softmax_cross_entropy(LOGITS, labels)[MASK].mean()
    np.testing.assert_allclose(jax.jit(smoothed, static_argnums=1)(LOGITS, share), expected, rtol=1e-5)
    gradient = jax.jit(jax.grad(smoothed), static_argnums=1)(LOGITS, share)
    wanted = np.where(MASK[:, None], jax.nn.softmax(LOGITS) - labels, 0) / 3
    np.testing.assert_allclose(gradient, wanted, atol=1e-6)


def test_without_smoothing_the_loss_is_returned():
    loss = jnp.float32(1.5)
    assert smooth_labels(loss, LOGITS, MASK, jnp.int32(3), 0.0) is loss
