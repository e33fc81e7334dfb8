"""Streams for networks that learn step by step: the task with a long lag, and when it is solved. Pure."""

import jax
import jax.numpy as jnp
import numpy as np


def lag_stream(is_a: jax.Array, lag: int = 20) -> tuple[jax.Array, jax.Array]:
    """Sequences a b1 ... bL and x b1 ... bL, one after the other; L is the lag.

    Each step has one symbol, as one unit of L + 2 that is 1: a, x, b1 ... bL. The last unit is the target, which comes
    with the first symbol after a sequence: 1 if that sequence began with a, 0 if with x. At other steps it is 0, and
    not given. So a network that predicts the next step has to predict the target after bL, L steps after the symbol
    that it depends on.

    Args:
      is_a: bool [N + 1], whether each sequence begins with a. The first one lies before the stream: its target begins
        the stream, so that streams can be cut in parts.
      lag: L.

    Returns:
      float32 [N (L + 1), L + 3], and which of these numbers are given at a step, bool of the same shape.

    Source: Schmidhuber, Neural Computation 4(2) (1992), "An experiment".
    """
    count = len(is_a) - 1
    first = jax.nn.one_hot(jnp.where(is_a[1:], 0, 1), lag + 2)
    others = jnp.broadcast_to(jnp.eye(lag + 2)[2:], (count, lag, lag + 2))
    begins = jnp.arange(lag + 1) == 0
    targets = (is_a[:-1, None] & begins[None])[..., None]
    inputs = jnp.concatenate([jnp.concatenate([first[:, None], others], axis=1), targets], axis=-1)
    given = jnp.concatenate([jnp.ones((lag + 1, lag + 2), bool), begins[:, None]], axis=-1)
    return inputs.reshape(-1, lag + 3), jnp.tile(given, (count, 1))


def solved_after(right: np.ndarray, in_a_row: int = 100) -> np.ndarray:
    """The number of predictions until `in_a_row` of them in a row were right, int [S]; 0 for never.

    Args:
      right: bool [S, N].
      in_a_row: from 1 to N.
    """
    counts = np.cumsum(np.pad(right, ((0, 0), (1, 0))), axis=1)
    reached = counts[:, in_a_row:] - counts[:, :-in_a_row] == in_a_row
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + in_a_row, 0)
