"""History compression: only the inputs that a predictor did not expect are passed on, with the time that passed. Pure.

What a network expects can be computed again, by anybody who has the network. So the inputs that it did not expect,
with their times, say as much as the whole sequence.

Source: Schmidhuber, "Learning complex, extended sequences using the principle of history compression", Neural
Computation 4(2) (1992).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Predictor(nn.Module):
    r"""A recurrent cell that says at each step what it expects next, and whatever else it shall learn to say.

    .. math::
        h_t &= \mathrm{cell}(h_{t-1}, x_t) \\
        o_t &= [x_t, h_t] W + b

    The sigmoid of the first F outputs is the prediction of x_{t+1}. Inputs are connected to the outputs directly, as in
    the source, so that the units are free for what lies further back.

    Parameters: `cell` holds those of the cell, `readout` has `kernel` [F + H, O] and `bias` [O].

    Attributes:
      cell: any recurrent cell.
      outputs: O.
    """

    cell: nn.RNNCellBase
    outputs: int

    @nn.compact
    def __call__(self, carry: Any, inputs: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
        """Take one step: inputs [..., F] to the new carry, the cell's output [..., H] and the outputs [..., O]."""
        carry, hidden = self.cell(carry, inputs)
        return carry, hidden, nn.Dense(self.outputs, name="readout")(jnp.concatenate([inputs, hidden], axis=-1))


def unexpected(predicted: jax.Array, inputs: jax.Array, tolerance: float, given: jax.Array | None = None) -> jax.Array:
    """Whether any number of an input differs from its prediction by more than the tolerance.

    Args:
      predicted: [..., F].
      inputs: [..., F].
      tolerance: below 0.5, an expected input of zeros and ones is the prediction, rounded.
      given: bool [..., F], the numbers that count; None counts all.

    Returns:
      bool [...].

    Raises:
      ValueError: the tolerance is not from 0 to less than 0.5.
    """
    if not 0 <= tolerance < 0.5:
        raise ValueError(f"tolerance is {tolerance}; it must be from 0 to less than 0.5.")
    missed = ~(jnp.abs(predicted - inputs) <= tolerance)  # NaN predicts nothing
    return (missed if given is None else missed & given).any(axis=-1)


def compress(inputs: jax.Array, passed_on: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The sequences that the next level reads: the inputs that are passed on, and the time between them.

    Example:
      >>> events, gaps, lengths = compress(jnp.array([[[5.0], [6.0], [7.0]]]), jnp.array([[False, True, True]]))
      >>> events[0, :, 0].tolist(), gaps[0].tolist(), int(lengths[0])
      ([6.0, 7.0, 0.0], [2, 1, 0], 2)

    Args:
      inputs: [B, T, F].
      passed_on: bool [B, T], as of `unexpected`.

    Returns:
      The inputs that are passed on, [B, T, F], in order from the first step on; the steps since the one before, or
      since the beginning, int32 [B, T]; and how many there are, int32 [B]. All is 0 in the padding.
    """
    steps = inputs.shape[1]
    order = jnp.argsort(~passed_on, axis=1, stable=True)
    lengths = passed_on.sum(axis=1, dtype=jnp.int32)
    used = jnp.arange(steps)[None] < lengths[:, None]
    gaps = jnp.diff(order + 1, axis=1, prepend=0)
    events = jnp.take_along_axis(inputs, order[..., None], axis=1)
    return jnp.where(used[..., None], events, 0), jnp.where(used, gaps, 0).astype(jnp.int32), lengths
