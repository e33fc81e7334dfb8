"""Parts of an optimiser that optax does not have: averaged parameters, skipped updates. Pure."""

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import chex
import flax.struct
import jax
import jax.numpy as jnp
import optax
from optax.contrib import ScheduleFreeState

from rowlstm_jax.training.groups import decay_mask, scale_rates

Tree = TypeVar("Tree")  # any tree of arrays


def adamw_cosine(
    peak: float,
    steps: int,
    *,
    warmup: int,
    weight_decay: float,
    clip: float = 1.0,
    average: float = 0.999,
    rates: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """AdamW with linear warm-up, cosine decay to zero, gradient clipping and averaged parameters.

    Args:
      peak: the highest step size.
      steps: updates in all.
      warmup: updates until the peak.
      weight_decay: of the parameters that `decay_mask` selects.
      clip: largest norm of the gradient.
      average: decay of `params_ema`.
      rates: factors of the step size by name of a parameter, see `scale_rates`.

    Raises:
      ValueError: `warmup` or `weight_decay` is out of range, or `steps` does not exceed `warmup`.

    Source: Loshchilov & Hutter, arXiv:1608.03983 and arXiv:1711.05101.
    """
    if warmup < 0:
        raise ValueError(f"warmup is {warmup}; it must be 0 or more.")
    if not 0 <= weight_decay < 2.0**128:
        raise ValueError(f"weight_decay is {weight_decay}; it must be a number from 0 to 3.4e38, the range of float32.")
    if steps <= warmup:
        raise ValueError(f"steps is {steps}, and the step size warms up for {warmup}; ask for more steps.")
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.adamw(warmup_cosine(peak, steps, warmup), weight_decay=weight_decay, mask=decay_mask),
        *([scale_rates(rates)] if rates else []),
        params_ema(average),
    )


def warmup_cosine(peak: float, steps: int, warmup: int) -> optax.Schedule:
    """The step sizes of `adamw_cosine`: linear from 0 to `peak` in `warmup` updates, then a cosine to 0 at `steps`."""
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, steps)


class EmaState(flax.struct.PyTreeNode):
    """The state of `params_ema`.

    Attributes:
      count: number of updates, int32 [].
      average: the averaged parameters, float32 or wider.
    """

    count: jax.Array
    average: chex.ArrayTree


def params_ema(decay: float) -> optax.GradientTransformation:
    r"""Keep an exponential moving average of the updated parameters; the updates stay as they are.

    .. math::
        d_t &= \min(\mathrm{decay}, (1 + t) / (10 + t)) \\
        \bar\theta_{t + 1} &= d_t \bar\theta_t + (1 - d_t) \theta_{t + 1}, \quad \bar\theta_0 = \theta_0

    d is small at first, so that the average soon forgets the initial values. Put `params_ema` last in a chain, where
    it sees the updates that are applied. `evaluation_params` finds the average in the optimiser's state.

    Example:
      >>> optimizer = optax.chain(optax.adam(1e-3), params_ema(0.999))
      >>> params = {"w": jnp.ones(3)}
      >>> evaluation_params(params, optimizer.init(params))
      {'w': Array([1., 1., 1.], dtype=float32)}

    Args:
      decay: from 0, which means no average, to less than 1.

    Raises:
      ValueError: `decay` is out of range, or `update` is called without the parameters.

    Source: Polyak & Juditsky, SIAM J. Control Optim. 30 (1992); the growing decay is from TensorFlow 1's
    `tf.train.ExponentialMovingAverage(num_updates=...)`.
    """
    if isinstance(decay, int | float) and not 0 <= decay < 1:  # `optax.inject_hyperparams` passes an array
        raise ValueError(f"decay is {decay}; it must be from 0 to less than 1.")

    def init(params: Any) -> Any:
        # Copies, because a step that donates its state must not get one buffer twice.
        average = jax.tree.map(lambda leaf: jnp.array(leaf, _wide(leaf), copy=True), params)
        return EmaState(jnp.zeros((), jnp.int32), average)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("params_ema needs the parameters: call update(updates, state, params).")
        share = 1 - jnp.minimum(decay, (1 + state.count) / (10 + state.count))
        average = jax.tree.map(
            lambda old, new: old + share.astype(old.dtype) * (new.astype(old.dtype) - old),
            state.average,
            optax.apply_updates(params, updates),
        )
        return updates, state.replace(count=optax.safe_increment(state.count), average=average)

    return optax.GradientTransformation(init, update)


def evaluation_params(params: Tree, opt_state: Any) -> Tree:
    """The parameters to evaluate: their average if the optimiser keeps one, else the parameters themselves.

    The average is that of `params_ema`, or that of a schedule-free optimiser (`optax.contrib.schedule_free_adamw` and
    the like; Defazio et al., arXiv:2405.15682).

    Args:
      params: the trained parameters.
      opt_state: an optimiser's state, with that of `params_ema` or of a schedule-free optimiser anywhere in it, also
        under `optax.MultiSteps`, `optax.masked` and the like.

    Returns:
      As `params`, in structure, shapes and dtypes.
    """
    for state in parts_of(opt_state, EmaState | ScheduleFreeState):
        if isinstance(state, EmaState):
            params = jax.tree.map(_averaged, params, state.average)
        else:
            params = jax.tree.map(functools.partial(_schedule_free, state.b1), params, state.z)
    return params


def parts_of(opt_state: chex.ArrayTree, kind: Any) -> list[Any]:
    """The parts of a kind in an optimiser's state, at any depth, in their order."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kind))
    return [node for node in nodes if isinstance(node, kind)]


def _schedule_free(b1: Any, y: jax.Array, z: Any) -> jax.Array:
    """The point x to evaluate, where y = (1 - b1) z + b1 x is trained; b1 may have an axis S of its own."""
    if isinstance(z, optax.MaskedNode):
        return y
    b1 = jnp.expand_dims(b1, tuple(range(jnp.ndim(b1), y.ndim))).astype(_wide(y))
    return (z + (y.astype(b1.dtype) - z) / b1).astype(y.dtype)


class SkipState(flax.struct.PyTreeNode):
    """The state of `skip_nonfinite`.

    Attributes:
      in_a_row: updates skipped since the last one made, int32 [].
      longest: the largest `in_a_row` so far, int32 [].
      total: updates skipped so far, int32 [].
      inner: state of the optimiser.
    """

    in_a_row: jax.Array
    longest: jax.Array
    total: jax.Array
    inner: Any


def skip_nonfinite(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Skip updates that are not finite: the parameters and the optimiser's state stay as they are.

    `optax.apply_if_finite` checks the gradients only. This checks the updated parameters too, and it counts the longest
    row of skipped updates, so that one can tell afterwards whether there were too many.

    Args:
      optimizer: makes the updates.

    Raises:
      ValueError: `update` is called without the parameters.
    """

    def init(params: Any) -> Any:
        zero = [jnp.zeros((), jnp.int32) for _ in range(3)]  # three arrays: a donated one must not appear twice
        return SkipState(zero[0], zero[1], zero[2], optimizer.init(params))

    inner_update = optax.with_extra_args_support(optimizer).update

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("skip_nonfinite needs the parameters: call update(updates, state, params).")
        new, inner = inner_update(updates, state.inner, params, **extra)
        leaves = jax.tree.leaves((updates, optax.apply_updates(params, new)))
        finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]))
        in_a_row = jnp.where(finite, 0, state.in_a_row + 1)
        return jax.tree.map(lambda x: jnp.where(finite, x, jnp.zeros_like(x)), new), SkipState(
            in_a_row,
            jnp.maximum(state.longest, in_a_row),
            jnp.where(finite, state.total, state.total + 1),
            jax.tree.map(lambda x, old: jnp.where(finite, x, old), inner, state.inner),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _wide(leaf: jax.Array) -> Any:
    """float32 or wider: in bfloat16, a small share of a new value would round to zero."""
    return jnp.promote_types(jnp.result_type(leaf), jnp.float32)


def _averaged(param: jax.Array, average: Any) -> jax.Array:
    return param if isinstance(average, optax.MaskedNode) else average.astype(param.dtype)
