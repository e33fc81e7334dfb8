"""A batch of sequences, and how it is made of stored images. Pure."""

import flax.struct
import jax
import jax.numpy as jnp

from rowlstm_jax.tasks import Read, scale


class Batch(flax.struct.PyTreeNode):
    """Sequences with their classes.

    Attributes:
      inputs: float32 [B, T, F].
      labels: int32 [B].
      mask: bool [B]; false for padding.
    """

    inputs: jax.Array
    labels: jax.Array
    mask: jax.Array


def read_batch(images: jax.Array, labels: jax.Array, mask: jax.Array, order: Read) -> Batch:
    """Make a batch of stored images.

    Args:
      images: uint8 [B, R, K].
      labels: uint8 [B].
      mask: bool [B]; false for padding.
      order: images [B, R, K] -> sequences [B, T, F].
    """
    return Batch(inputs=order(scale(images)), labels=labels.astype(jnp.int32), mask=mask)


def gather(images: jax.Array, labels: jax.Array, indices: jax.Array, order: Read) -> Batch:
    """Make a batch of the examples at indices, int32 [B], of all images [N, R, K] and labels [N]."""
    return read_batch(images[indices], labels[indices], jnp.ones(indices.shape, bool), order)
