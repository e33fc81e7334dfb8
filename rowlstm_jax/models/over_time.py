"""One layer over a whole sequence: a cell applied at every time step. The only file with `nn.scan`."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rowlstm_jax.models.lengths import before_end, require_lengths, without_padding
from rowlstm_jax.models.lstm_scan import lstm_scan

ZEROS = nn.initializers.zeros_init()


def scan_over_time(
    cell: nn.RNNCellBase, inputs: jax.Array, reverse: bool = False, lengths: jax.Array | None = None
) -> jax.Array:
    """Apply a cell at every time step, from its initial carry.

    All steps share the parameters. A cell that draws random numbers (of any rng) draws new ones at each step. What
    it sows as "intermediates", and its "perturbations" (`nn.Module.perturb`), have an axis of time in front: [T, ...].

    Args:
      cell: bound to a parent module, which owns its parameters.
      inputs: [B, T, F].
      reverse: read from the last step to the first.
      lengths: int [B]; after the end of a sequence, what the cell returns is not used: the carry stays, and outputs
        are 0. There the cell reads zeros, and what it sows means nothing. None reads all steps.

    Returns:
      Outputs [B, T, H], each at the position of its input.

    Raises:
      ValueError: the cell does not return a new carry like the old one, and an output; or a length is out of range;
        or there are lengths, and a part of the carry is not [B, ...].
    """

    def step(cell, carry, read):
        x, keep = read
        new_carry, output = _checked(cell, carry, cell(carry, x))
        if not cell.is_initializing():
            new_carry, output = _observe(cell, (carry, x), new_carry, output)
        # Some cells return their carry in the dtype of the computation, but a scan needs one dtype throughout.
        new_carry = jax.tree.map(lambda new, old: new.astype(old.dtype), new_carry, carry)
        if keep is None:
            return new_carry, output
        return _where(keep, new_carry, carry), jnp.where(keep[:, None], output, jnp.zeros((), output.dtype))

    scan = nn.scan(
        step,
        variable_axes={"intermediates": 0, "perturbations": 0, "diagnostics": 0},
        variable_broadcast="params",
        # Flax takes "params" for an rng that has no key of its own; the initial values need the same at each step.
        split_rngs={"params": not cell.is_initializing(), nn.DenyList("params"): True},
        in_axes=1,
        out_axes=1,
        reverse=reverse,
    )
    keep = None
    if lengths is not None:
        require_lengths(lengths, *inputs.shape[:2])
        keep = before_end(lengths, inputs.shape[1])
        inputs = without_padding(inputs, lengths)
    carry = _initial_carry(cell, inputs)
    if lengths is not None:
        _require_batch(cell, carry, len(inputs))
    return scan(cell, carry, (inputs, keep))[1]


def _require_batch(cell: nn.RNNCellBase, carry: Any, batch: int) -> None:
    """Only a carry that each sequence has for itself can stay where that sequence ends."""
    for shape in map(jnp.shape, jax.tree.leaves(carry)):
        if shape[:1] != (batch,):
            raise ValueError(
                f"cell {type(cell).__name__} carries an array of shape {list(shape)}; with lengths, each part of the "
                f"carry must be [B, ...], here [{batch}, ...]."
            )


def _where(keep: jax.Array, new: Any, old: Any) -> Any:
    """For each sequence, the parts [B, ...] of the new carry if `keep`, [B], else those of the old one."""
    return jax.tree.map(lambda a, b: jnp.where(keep.reshape(-1, *(1,) * (a.ndim - 1)), a, b), new, old)


def _checked(cell: nn.RNNCellBase, carry: Any, result: Any) -> tuple[Any, jax.Array]:
    """What a cell returned; a mistake of a new cell is told in its terms, not in those of the scan."""
    name = f"cell {type(cell).__name__}"
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(f"{name} returned one {type(result).__name__}; a cell must return (new carry, output).")
    before, after = (jax.tree.map(jnp.shape, tree) for tree in (carry, result[0]))
    if before != after:
        raise ValueError(f"{name} got a carry of shapes {before} and returned {after}; they must be the same.")
    return result


def _observe(cell: nn.RNNCellBase, read: tuple[Any, jax.Array], carry: Any, output: jax.Array) -> tuple[Any, jax.Array]:
    """Let `diagnostics` see what a step reads, and differentiate by its new carry; does nothing at other times."""
    cell.sow("diagnostics", "read", read)
    leaves, tree = jax.tree.flatten(carry)
    varied = [n for n, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]  # not a counter
    after = list(leaves)
    for n, leaf in zip(varied, cell.perturb("carry", [leaves[n] for n in varied]), strict=True):
        after[n] = leaf
    # An output that is part of the carry varies with it.
    output = next((new for old, new in zip(leaves, after, strict=True) if old is output), output)
    return jax.tree.unflatten(tree, after), output


def lstm_over_time(
    cell: nn.RNNCellBase, inputs: jax.Array, reverse: bool, segment: int | None, lengths: jax.Array | None = None
) -> jax.Array:
    """The outputs [B, T, H] of `scan_over_time` for a `BasicLSTMCell`, computed by `lstm_scan`."""
    carry = _initial_carry(cell, inputs)
    if cell.is_initializing():
        cell(carry, inputs[:, 0])  # makes the cell's parameters
    params: Any = cell.variables["params"]
    _, outputs = lstm_scan(
        params["kernel"],
        params["bias"],
        inputs.swapaxes(0, 1),
        carry,
        forget_bias=cell.forget_bias,
        reverse=reverse,
        segment=segment,
        dtype=cell.dtype,
        lengths=lengths,
    )
    return outputs.swapaxes(0, 1)


def _initial_carry(cell: nn.RNNCellBase, inputs: jax.Array) -> Any:
    """The carry before the first step. Zeros are made without a random key, which other systems can't convert."""
    shape, method = inputs[:, 0].shape, type(cell).initialize_carry

    def carry() -> Any:
        return cell.initialize_carry(jax.random.key(0), shape)  # the key matters only to a random initial carry

    if getattr(cell, "carry_init", None) is ZEROS and method.__module__.startswith(("rowlstm_jax.", "flax.")):
        return jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), jax.eval_shape(carry))
    return carry()
