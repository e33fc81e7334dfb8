"""The linear recurrence h_t = a_t h_{t-1} + b_t, for each channel alone, with its own backward pass. Pure.

It is computed in one of two ways, with results equal within rounding:

- "sequential": a loop over time, which writes in place. The state and the sums of gradients stay in the cache.
- "associative": `jax.lax.associative_scan`, about 2 log2(T) operations over whole arrays, for accelerators.

The backward pass is the same recurrence from the last step to the first. It needs a and h only. Complex numbers are two
real numbers side by side, because XLA does not vectorise complex ones on a CPU.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rowlstm_jax.models.lengths import at_end, require_lengths, without_padding

Method = Literal["auto", "sequential", "associative"]

SHORT = 8  # steps up to which an accelerator takes the loop too; on an H200 the loop is slower even there


def linear_scan(
    a: jax.Array,
    b: jax.Array,
    start: jax.Array | None = None,
    *,
    lengths: jax.Array | None = None,
    reverse: bool = False,
    method: Method = "auto",
) -> jax.Array:
    r"""Compute a diagonal linear recurrence over time.

    .. math::
        h_t = a_t h_{t-1} + b_t, \quad h_{-1} = \mathrm{start}

    Complex numbers have an axis of two before the last one, real and imaginary parts: b is then [B, T, 2, N]. The state
    is float32 or wider. The backward pass stores a and h and nothing else. Reverse mode differentiates by all arrays;
    forward mode (`jax.jvp`) raises JAX's TypeError for a custom_vjp. `jax.shard_map` may split the batch, and
    `jax.vmap` may add axes.

    Example:
      >>> linear_scan(jnp.array([0.5]), jnp.ones((1, 4, 1)))[0, :, 0].tolist()
      [1.0, 1.5, 1.75, 1.875]

    Args:
      a: [N] or [2, N], the same at all steps, or like b.
      b: [B, T, N] or [B, T, 2, N].
      start: the state before the first step that is read, [B, N] or [B, 2, N]; None is zero.
      lengths: int [B], the steps of each sequence, from 1 to T. What comes after is padding: h is 0 there, and a
        reverse scan begins at each sequence's own end. None reads all steps.
      reverse: read from the last step to the first: h_t = a_t h_{t+1} + b_t.
      method: "sequential", "associative", or "auto", which is "sequential" on a CPU and for up to 8 steps.

    Returns:
      h, in the shape and dtype of b.

    Raises:
      ValueError: the shapes do not fit together, `method` is unknown, or a length is out of range.

    Source: Blelloch, "Prefix sums and their applications" (1990); Martin & Cundy, arXiv:1709.04057, for the gradient.
    """
    _check(a, b, start, method)
    batch, steps = b.shape[:2]
    if lengths is not None:
        require_lengths(lengths, batch, steps)
    b = without_padding(b, lengths)
    a = a if a.ndim < 3 else without_padding(a, lengths)
    if start is not None:
        first = jnp.zeros(batch, jnp.int32)
        if reverse:
            first = first + steps - 1 if lengths is None else lengths - 1
        a_first = a[None] if a.ndim < 3 else at_end(a, first + 1)
        # A scan that starts at zero is the same if the first b holds what the start adds to it.
        b = b.at[jnp.arange(batch), first].add(_product(_wide(a_first), _wide(start), b.ndim == 4).astype(b.dtype))
    if method == "auto":
        method = "sequential" if jax.default_backend() == "cpu" or steps <= SHORT else "associative"
    h: Any = _scan(method, reverse, a, b)
    return without_padding(h, lengths)


def _check(a: jax.Array, b: jax.Array, start: jax.Array | None, method: str) -> None:
    if b.ndim not in (3, 4) or 0 in b.shape or (b.ndim == 4 and b.shape[2] != 2):
        raise ValueError(
            f"b has the shape {list(b.shape)}; it must be [B, T, N], or [B, T, 2, N] for complex numbers, without an "
            "axis of length 0."
        )
    if a.shape not in (b.shape, b.shape[2:]):
        raise ValueError(f"a has the shape {list(a.shape)}; it must be {list(b.shape[2:])} or {list(b.shape)}, as b.")
    if start is not None and start.shape != b.shape[:1] + b.shape[2:]:
        expected = [len(b), *b.shape[2:]]
        raise ValueError(f"start has the shape {list(start.shape)}; it must be {expected}, as b at one step.")
    if method not in ("auto", "sequential", "associative"):
        raise ValueError(f'method is {method!r}; it must be "auto", "sequential" or "associative".')


def complex_product(x: jax.Array, y: jax.Array) -> jax.Array:
    """x y by elements, of complex numbers [..., 2, N] with as many axes."""
    return x[..., :1, :] * y + _signs(-1, 1, y) * x[..., 1:, :] * jnp.flip(y, -2)


def _product(x: jax.Array, y: jax.Array, pairs: bool) -> jax.Array:
    """x y by elements; if `pairs`, both are complex."""
    return complex_product(x, y) if pairs else x * y


def _conjugate(x: jax.Array, pairs: bool) -> jax.Array:
    return x * _signs(1, -1, x) if pairs else x


def _signs(real: int, imaginary: int, of: jax.Array) -> jax.Array:
    """Signs of the parts of an array, with as many axes and in its dtype."""
    return jnp.array([real, imaginary], of.dtype).reshape(*(1,) * (of.ndim - 2), 2, 1)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan(method: str, reverse: bool, a: jax.Array, b: jax.Array) -> jax.Array:
    return _associative(a, b, reverse) if method == "associative" else _sequential(a, b, reverse)


def _scan_forward(method: str, reverse: bool, a: jax.Array, b: jax.Array) -> tuple[jax.Array, Any]:
    h: Any = _scan(method, reverse, a, b)
    return h, (a, h)


def _scan_backward(method: str, reverse: bool, residuals: Any, dh: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, h = residuals
    backward = _associative_backward if method == "associative" else _sequential_backward
    da, db = backward(a, h, dh, reverse)
    return da.astype(a.dtype), db


_scan.defvjp(_scan_forward, _scan_backward)


def _sequential(a: jax.Array, b: jax.Array, reverse: bool) -> jax.Array:
    steps, pairs = b.shape[1], b.ndim == 4

    def step(n: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        h, rows = state  # rows holds b of the steps that are still to come
        t = steps - 1 - n if reverse else n
        h = _product(_at(a, t), h, pairs) + _at(rows, t)
        return h, _put(rows, h, t)

    return jax.lax.fori_loop(0, steps, step, (jnp.zeros_like(_wide(b[:, 0])), b))[1]


def _sequential_backward(a: jax.Array, h: jax.Array, dh: jax.Array, reverse: bool) -> tuple[jax.Array, jax.Array]:
    """da and db, where db_t is the total derivative by h_t: db_t = dh_t + conj(a_{t+1}) db_{t+1}."""
    steps, pairs, constant = h.shape[1], h.ndim == 4, a.ndim < 3

    def step(n: jax.Array, state: tuple[jax.Array, jax.Array, Any]) -> tuple[jax.Array, jax.Array, Any]:
        later, rows, da = state  # later is db of the step that was read after t
        t = n if reverse else steps - 1 - n
        # The first time there is no later step; `later` is zero then, and the index does not matter.
        after = jnp.maximum(t - 1, 0) if reverse else jnp.minimum(t + 1, steps - 1)
        at_t = _at(h, t)
        if constant:
            da = [total + part * later for total, part in zip(da, _turned(at_t, pairs), strict=True)]
        else:
            da = _put(da, _product(_conjugate(at_t, pairs), later, pairs), after)
        later = _product(_conjugate(_at(a, after), pairs), later, pairs) + _at(rows, t)
        return later, _put(rows, later, t), da

    zeros = jnp.zeros_like(_wide(dh[:, 0]))
    totals = _turned(zeros, pairs) if constant else jnp.zeros_like(a)
    _, db, da = jax.lax.fori_loop(0, steps, step, (zeros, dh, totals))
    if not constant:
        return da, db
    straight, *crossed = (total.sum(axis=0) for total in da)
    return jnp.stack([straight.sum(axis=0), crossed[0][1] - crossed[0][0]]) if pairs else straight, db


def _turned(x: jax.Array, pairs: bool) -> list[jax.Array]:
    """x, and of pairs also x with its parts exchanged.

    Times y, they hold the four products of the parts of conj(x) y. XLA adds these up by vector instructions. With
    conj(x) y itself, a backward loop over 25 or 50 sequences takes nearly twice as long.
    """
    return [x, jnp.flip(x, -2)] if pairs else [x]


def _at(x: jax.Array, t: jax.Array) -> jax.Array:
    """x [B, ...] at a step, float32 or wider; [1, ...] of what is the same at all steps."""
    return _wide(x[None] if x.ndim < 3 else jax.lax.dynamic_index_in_dim(x, t, axis=1, keepdims=False))


def _put(x: jax.Array, row: jax.Array, t: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(x, row.astype(x.dtype), t, axis=1)


def _associative(a: jax.Array, b: jax.Array, reverse: bool) -> jax.Array:
    pairs = b.ndim == 4

    def combine(before: tuple[jax.Array, jax.Array], after: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return _product(after[0], before[0], pairs), _product(after[0], before[1], pairs) + after[1]

    if a.ndim < 3:
        a = jnp.broadcast_to(a, (1, *b.shape[1:]))  # its powers do not depend on the batch
    _, h = jax.lax.associative_scan(combine, (_wide(a), _wide(b)), reverse=reverse, axis=1)
    return h.astype(b.dtype)


def _associative_backward(a: jax.Array, h: jax.Array, dh: jax.Array, reverse: bool) -> tuple[jax.Array, jax.Array]:
    pairs, constant = h.ndim == 4, a.ndim < 3
    after = a if constant else _before(a, not reverse)
    db = _associative(_conjugate(after, pairs), dh, not reverse)
    da = _product(_conjugate(_before(_wide(h), reverse), pairs), _wide(db), pairs)
    return da.sum(axis=(0, 1)) if constant else da, db


def _before(rows: jax.Array, reverse: bool) -> jax.Array:
    """What is read before each of rows [B, T, ...]; zeros before the first."""
    none = jnp.zeros_like(rows[:, :1])
    return jnp.concatenate([rows[:, 1:], none] if reverse else [none, rows[:, :-1]], axis=1)
