"""Sequences of several lengths in one batch: what comes after the end of a sequence is padding. Pure."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def if_any(lengths: Any) -> dict[str, Any]:
    """The argument `lengths` of a model, if there are any: many models do not have it."""
    return {} if lengths is None else {"lengths": lengths}


def require_lengths(lengths: jax.Array, batch: int, steps: int) -> None:
    """Check lengths; their values only outside of jit, where they are known.

    Args:
      lengths: int [B].
      batch: B.
      steps: T.

    Raises:
      ValueError: they are no array of whole numbers [B], or one is not from 1 to T.
    """
    if not hasattr(lengths, "dtype"):
        raise ValueError(
            f"lengths are a {type(lengths).__name__}; they must be an array of whole numbers, int [{batch}]."
        )
    if jnp.shape(lengths) != (batch,) or not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        found = f"{jnp.result_type(lengths)} {list(jnp.shape(lengths))}"
        raise ValueError(f"lengths are {found}; they must be a whole number for each sequence, int [{batch}].")
    if isinstance(lengths, jax.core.Tracer):  # pyright: ignore[reportAttributeAccessIssue]
        return
    values = np.asarray(lengths)
    if wrong := [int(value) for value in values if not 1 <= value <= steps]:
        raise ValueError(f"lengths holds {wrong[0]}; a length must be from 1 to {steps}, the steps of the sequences.")


def before_end(lengths: jax.Array, steps: int) -> jax.Array:
    """Whether each step is none of the padding, bool [B, T]."""
    return jnp.arange(steps)[None] < lengths[:, None]


def without_padding(values: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Values [B, T, ...] with zeros in the padding; without lengths there is none."""
    if lengths is None:
        return values
    inside = jnp.expand_dims(before_end(lengths, values.shape[1]), tuple(range(2, values.ndim)))
    return jnp.where(inside, values, jnp.zeros((), values.dtype))


def at_end(values: jax.Array, lengths: jax.Array) -> jax.Array:
    """The values [B, ...] at the last step of each sequence, of [B, T, ...]."""
    return jax.vmap(lambda of_one, length: of_one[length - 1])(values, lengths)
