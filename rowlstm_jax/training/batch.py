"""A batch of sequences, and how it is made of stored inputs. Pure."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from rowlstm_jax.tasks import Read


class Batch(flax.struct.PyTreeNode):
    """Sequences with their targets.

    Attributes:
      inputs: float32 [B, T, F].
      targets: classes, int32 [B], or any float32 [B, ...].
      mask: bool [B]; false for padding.
      lengths: int32 [B], the steps of each sequence that are no padding; None if all steps count.
    """

    inputs: jax.Array
    targets: jax.Array
    mask: jax.Array
    lengths: jax.Array | None = None

    def model_arguments(self) -> dict[str, Any]:
        """The arguments of a model besides the inputs: `lengths`, if there are any."""
        return {} if self.lengths is None else {"lengths": self.lengths}


# What is stored of examples: inputs [N, ...], targets [N, ...] and, if there are any, lengths [N].
Stored = tuple[jax.Array, ...]


def read_batch(stored: Stored, mask: jax.Array, read: Read) -> Batch:
    """Make a batch of stored examples.

    Args:
      stored: of B examples.
      mask: bool [B]; false for padding.
      read: inputs [B, ...] -> sequences float32 [B, T, F].
    """
    inputs, targets, *lengths = stored
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        targets = targets.astype(jnp.int32)
    return Batch(read(inputs), targets, mask, *lengths)


def gather(stored: Stored, indices: jax.Array, read: Read) -> Batch:
    """Make a batch of the examples at indices, int32 [B], of all examples that are stored."""
    return read_batch(tuple(array[indices] for array in stored), jnp.ones(indices.shape, bool), read)
