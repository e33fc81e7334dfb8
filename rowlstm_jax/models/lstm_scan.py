"""The LSTM recurrence as one function with its own backward pass: `BasicLSTMCell` over time, faster. Pure.

Both loops contain only what depends on the step before, and every array that grows with time is written in place. On a
CPU it is fast for three reasons:

- One tanh computes all four gates, behind an optimisation barrier. Without the barrier XLA copies the tanh into each of
  its readers, where it is not vectorised.
- The forward loop multiplies the derivatives of the gates out while they are in the cache. A backward step is then one
  matrix product and a few elementwise ones, which overwrite those derivatives.
- The gradient of the kernel is one product over all T * B rows, after the loop.

experiments/benchmarks/README.md says what else was tried.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from rowlstm_jax.models.lengths import before_end, require_lengths

LONG, NARROW = 400, 64  # T from which, and H up to which, segments are recomputed

Carry = tuple[jax.Array, jax.Array]  # c and h
Parameters = tuple[jax.Array, jax.Array]  # kernel and bias
Read = tuple[jax.Array, jax.Array | None]  # inputs [T, B, F], and whether each step is no padding, [T, B, 1]


def lstm_scan(
    kernel: jax.Array,
    bias: jax.Array,
    inputs: jax.Array,
    carry: Carry,
    *,
    forget_bias: float = 1.0,
    reverse: bool = False,
    segment: int | None = None,
    dtype: Dtype | None = None,
    lengths: jax.Array | None = None,
) -> tuple[Carry, jax.Array]:
    r"""Scan an LSTM with the parameters of `BasicLSTMCell` over time.

    .. math::
        [i, j, f, o] &= [x_t, h_{t-1}] W + b \\
        c_t &= \sigma(f + \mathrm{forget\_bias}) \, c_{t-1} + \sigma(i) \tanh(j) \\
        h_t &= \sigma(o) \tanh(c_t)

    Reverse mode differentiates it by all arrays, any number of times; forward mode (`jax.jvp`) raises JAX's TypeError
    for a custom_vjp. `jax.shard_map` may split the batch over devices, and `jax.vmap` may add axes.

    Example:
      >>> kernel, bias = jnp.zeros((3 + 4, 16)), jnp.zeros(16)
      >>> (c, h), outputs = lstm_scan(kernel, bias, jnp.ones((5, 2, 3)), (jnp.zeros((2, 4)), jnp.zeros((2, 4))))
      >>> outputs.shape
      (5, 2, 4)

    Args:
      kernel: [F + H, 4 H], gates in the order i, j, f, o.
      bias: [4 H].
      inputs: time-major, [T, B, F], T of 1 or more.
      carry: (c, h), each [B, H].
      forget_bias: added to the bias of f.
      reverse: read from the last step to the first.
      segment: T stores 7 H + F numbers a step for the backward pass. A smaller number of steps saves this memory: the
        backward pass recomputes that many steps at a time, for one more forward pass in all. Besides inputs and outputs
        it then stores T / segment carries and one segment. None takes what is faster, see `fast_segment`.
      dtype: of the products, their operands and the outputs; None takes that of the arguments. c and the gates are
        float32, or wider if the arguments are.
      lengths: int [B], the steps of each sequence, from 1 to T. What comes after is padding: it is not read, the carry
        stays, and the outputs there are 0. None reads all steps.

    Returns:
      The carry after the last step read, in the dtype of `carry`; and the outputs [T, B, H], h_t where x_t is.

    Raises:
      ValueError: the shapes do not fit together, `segment` is less than 1, or a length is out of range.
    """
    _check_shapes(kernel, bias, inputs, carry, segment)
    keep = None
    if lengths is not None:
        require_lengths(lengths, inputs.shape[1], len(inputs))
        keep = before_end(lengths, len(inputs)).T[..., None]  # [T, B, 1]
        inputs = jnp.where(keep, inputs, jnp.zeros((), inputs.dtype))
    dtype = jnp.dtype(dtype or jnp.result_type(kernel, bias, inputs, carry[1]))
    hidden = carry[1].shape[-1]
    forget = forget_bias * (jnp.arange(4 * hidden) // hidden == 2)
    parameters = kernel, bias + forget.astype(bias.dtype)
    read = inputs, keep
    if reverse:
        read = jax.tree.map(lambda x: jnp.flip(x, 0), read)
    wide = jnp.promote_types(jnp.result_type(dtype, kernel, *carry), jnp.float32)
    start = carry[0].astype(wide), carry[1].astype(wide)
    segment = segment or fast_segment(len(inputs), hidden)
    (c, h), outputs = _in_segments(parameters, (read[0].astype(dtype), read[1]), start, dtype, segment)
    outputs = jnp.flip(outputs, 0) if reverse else outputs
    if keep is not None:
        outputs = jnp.where(keep, outputs, jnp.zeros((), outputs.dtype))
    return (c.astype(carry[0].dtype), h.astype(carry[1].dtype)), outputs


def fast_segment(steps: int, hidden: int) -> int:
    """The steps to recompute at a time: all, unless fewer are faster.

    On a CPU, long sequences of narrow layers are bound by memory: at T=784, segments of 14 take 0.78 of the time with
    H=32 and 0.92 with H=64, but 1.14 with H=128; at T=196 they are slower for all H.

    Args:
      steps: T.
      hidden: H.
    """
    if jax.default_backend() != "cpu" or steps < LONG or hidden > NARROW:
        return steps
    return next((segment for segment in (14, 15, 16, 13, 12) if steps % segment == 0), steps)


def _check_shapes(kernel: jax.Array, bias: jax.Array, inputs: jax.Array, carry: Carry, segment: int | None) -> None:
    if inputs.ndim != 3 or len(inputs) == 0:
        raise ValueError(f"inputs have shape {inputs.shape}; they must be [T, B, F] with at least one time step.")
    hidden, (_, batch, features) = bias.shape[-1] // 4, inputs.shape
    expected = {
        "kernel": (features + hidden, 4 * hidden),
        "bias": (4 * hidden,),
        "c": (batch, hidden),
        "h": (batch, hidden),
    }
    found = {"kernel": kernel.shape, "bias": bias.shape, "c": carry[0].shape, "h": carry[1].shape}
    if found != expected:
        raise ValueError(f"The shapes are {found}; for inputs {inputs.shape} and this bias they must be {expected}.")
    if segment is not None and segment < 1:
        raise ValueError(f"segment is {segment}; it must be 1 or more.")


def _in_segments(parameters: Parameters, read: Read, carry: Carry, dtype: Any, segment: int) -> tuple[Carry, jax.Array]:
    """`_recurrence` over segments of time; only their carries are stored, and the last segment may be shorter."""
    inputs = read[0]
    if segment >= len(inputs):
        return _recurrence(dtype, parameters, read, carry)
    whole = len(inputs) // segment
    recomputed = jax.checkpoint(functools.partial(_recurrence, dtype), prevent_cse=False)
    parts = jax.tree.map(lambda x: x[: whole * segment].reshape(whole, segment, *x.shape[1:]), read)
    carry, outputs = jax.lax.scan(lambda carry, part: recomputed(parameters, part, carry), carry, parts)
    outputs = outputs.reshape(whole * segment, *outputs.shape[2:])
    if len(outputs) == len(inputs):
        return carry, outputs
    carry, rest = recomputed(parameters, jax.tree.map(lambda x: x[len(outputs) :], read), carry)
    return carry, jnp.concatenate([outputs, rest])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recurrence(dtype: Any, parameters: Parameters, read: Read, carry: Carry) -> tuple[Carry, jax.Array]:
    carry, reads, _ = _forward(dtype, parameters, read, carry, save=False)
    return carry, reads[1:, :, read[0].shape[-1] :]


def _recurrence_forward(dtype: Any, parameters: Parameters, read: Read, carry: Carry) -> tuple[Any, Any]:
    last, reads, saved = _forward(dtype, parameters, read, carry, save=True)
    return (last, reads[1:, :, read[0].shape[-1] :]), (parameters, reads, saved, read[1])


def _forward(
    dtype: Any, parameters: Parameters, read: Read, carry: Carry, save: bool
) -> tuple[Carry, jax.Array, tuple[jax.Array, ...]]:
    """The carry after the last step, `reads` [T + 1, B, F + H], and with `save` what the backward pass needs."""
    inputs, keep = read
    (steps, batch, features), (c, h) = inputs.shape, carry
    hidden = h.shape[-1]
    # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2, so that one tanh serves the sigmoids i, f, o and the tanh j.
    scale = jnp.where(jnp.arange(4 * hidden) // hidden == 1, 1.0, 0.5).astype(c.dtype)[None]
    kernel, bias = parameters[0].astype(dtype), parameters[1].astype(c.dtype)[None]
    # Row t is what step t reads: its input, and the output that step t - 1 writes there.
    reads = jnp.pad(inputs.astype(dtype), ((0, 1), (0, 0), (0, hidden)))
    reads = reads.at[0, :, features:].set(h.astype(dtype))
    saved = (
        (jnp.zeros((steps, batch, 4 * hidden), dtype), jnp.zeros((steps, batch, 2 * hidden), c.dtype)) if save else ()
    )

    def step(t: jax.Array, state: tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]):
        c_before, reads, saved = state
        products = jnp.matmul(_at(reads, t), kernel, preferred_element_type=c.dtype)
        z = jax.lax.optimization_barrier(jnp.tanh(scale * (products + bias)))
        i, j, f, o = jnp.split(scale * z + (1 - scale), 4, axis=-1)
        c_after = f * c_before + i * j
        squashed = jnp.tanh(c_after)
        h_after = (o * squashed).astype(dtype)
        if keep is not None:  # at a step of the padding the carry stays
            c_after = jnp.where(_at(keep, t), c_after, c_before)
            h_after = jnp.where(_at(keep, t), h_after, _at(reads, t)[:, features:])
        reads = jax.lax.dynamic_update_slice(reads, h_after[None], (t + 1, 0, features))
        if save:
            # dL/d(products) is [dc, dc, dc, dh] times these.
            factors = jnp.concatenate([j, i, c_before, squashed], axis=-1) * (scale * scale) * (1 - z * z)
            # dc * f goes to the step before; dh times the second half is added to dc.
            slopes = jnp.concatenate([f, o * (1 - squashed * squashed)], axis=-1)
            if keep is not None:  # c passes through, and no gate acts
                factors = jnp.where(_at(keep, t), factors, 0.0)
                slopes = jnp.where(_at(keep, t), slopes, jnp.arange(2 * hidden)[None] < hidden)
            saved = _put(saved[0], factors.astype(dtype), t), _put(saved[1], slopes, t)
        return c_after, reads, saved

    c, reads, saved = jax.lax.fori_loop(0, steps, step, (c, reads, saved))
    return (c, reads[-1, :, features:].astype(c.dtype)), reads, saved


def _recurrence_backward(dtype: Any, residuals: Any, cotangents: tuple[Carry, jax.Array]) -> tuple[Any, ...]:
    (kernel, bias), reads, (factors, slopes), keep = residuals
    (dc, dh), doutputs = cotangents
    (steps, batch, _), features = factors.shape, len(kernel) - dh.shape[-1]
    # Transposed once: without the barrier XLA transposes again in every step.
    to_inputs = kernel[:features].astype(dtype).T
    to_hidden = jax.lax.optimization_barrier(kernel[features:].astype(dtype).T)

    def step(n: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array, jax.Array]):
        dc, dh, dbias, dgates = state  # dgates holds the factors of the steps that are still to come
        t = steps - 1 - n
        f, slope = jnp.split(_at(slopes, t), 2, axis=-1)
        dh = dh + _at(doutputs, t)
        dc = dc + dh * slope
        products = jnp.concatenate([dc, dc, dc, dh], axis=-1) * _at(dgates, t)
        # The bias is added up here, while the products are in the cache; a sum over all rows would read them again.
        products, dbias = jax.lax.optimization_barrier((products.astype(dtype), dbias + products))
        through = jnp.matmul(products, to_hidden, preferred_element_type=dc.dtype)
        dh = through if keep is None else jnp.where(_at(keep, t), through, dh)
        return dc * f, dh, dbias, _put(dgates, products, t)

    dbias = jnp.zeros(factors.shape[1:], dc.dtype)
    dc, dh, dbias, dgates = jax.lax.fori_loop(0, steps, step, (dc, dh, dbias, factors))
    rows = dgates.reshape(steps * batch, -1)
    dkernel = jnp.matmul(reads[:-1].reshape(steps * batch, -1).T, rows, preferred_element_type=dc.dtype)
    dparameters = dkernel.astype(kernel.dtype), dbias.sum(axis=0).astype(bias.dtype)
    dinputs = jnp.matmul(rows, to_inputs, preferred_element_type=dc.dtype)
    dkeep = None if keep is None else np.zeros(keep.shape, jax.dtypes.float0)
    return dparameters, (dinputs.reshape(steps, batch, features).astype(dtype), dkeep), (dc, dh)


_recurrence.defvjp(_recurrence_forward, _recurrence_backward)


def _at(array: jax.Array, t: jax.Array) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(array, t, keepdims=False)


def _put(array: jax.Array, row: jax.Array, t: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(array, row, t, axis=0)
