"""What is trained and how: a recipe, and what it needs besides optax. Pure."""

import dataclasses
from typing import Any, TypeVar

import chex
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from rowlstm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that a script builds for a run; the rest are flags and the protocol.

    Attributes:
      model: [B, T, F] -> logits [B, C].
      optimizer: an optax chain: schedules, clipping, decay, `params_ema`, `optax.MultiSteps` and the like are
        parts of it.
      label_smoothing: the part of each label that is spread evenly over all classes.
      patience: a seed stops when its validation accuracy has not been reached again by so many evaluations in a row;
        None never stops early. What counts is then the best evaluated step, so the protocol must select that.

    Raises:
      ValueError: `label_smoothing` or `patience` is outside its range.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    label_smoothing: float = 0.0
    patience: int | None = None

    def __post_init__(self):
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}; it must be from 0 to less than 1.")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is {self.patience}; it must be 1 or more.")


T = TypeVar("T")  # any tree of arrays


def adamw_cosine(
    peak: float, steps: int, *, warmup: int, weight_decay: float, clip: float = 1.0, average: float = 0.999
) -> optax.GradientTransformation:
    """AdamW under a clipped gradient, a rate that warms up linearly and falls along a cosine to zero, averaged weights.

    Args:
      peak: the highest step size.
      steps: in all.
      warmup: steps until the peak.
      weight_decay: of matrices, by `decay_mask`.
      clip: largest norm of the gradient.
      average: decay of `params_ema`.

    Raises:
      UserError: there are not more steps than those of the warm-up, or it or the decay is outside its range.

    Source: Loshchilov & Hutter, arXiv:1608.03983 and arXiv:1711.05101.
    """
    if warmup < 0:
        raise UserError(f"--warmup is {warmup}; it must be 0 or more.")
    if not 0 <= weight_decay < 2.0**128:
        raise UserError(f"--weight-decay is {weight_decay}; it must be a number from 0 to 3.4e38, what float32 holds.")
    if steps <= warmup:
        raise UserError(f"--steps is {steps}, and the step size warms up for {warmup}; ask for more steps.")
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, steps)
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.adamw(schedule, weight_decay=weight_decay, mask=decay_mask),
        params_ema(average),
    )


class EmaState(flax.struct.PyTreeNode):
    """The state of `params_ema`.

    Attributes:
      count: updates so far, int32 [].
      average: the averaged parameters, float32 or wider.
    """

    count: jax.Array
    average: chex.ArrayTree


def params_ema(decay: float) -> optax.GradientTransformation:
    r"""Keep an exponential moving average of the updated parameters; the updates pass through as they are.

    .. math::
        d_t &= \min(\mathrm{decay}, (1 + t) / (10 + t)) \\
        \bar\theta_{t + 1} &= d_t \bar\theta_t + (1 - d_t) \theta_{t + 1}, \quad \bar\theta_0 = \theta_0

    d grows at first, so that the average soon forgets the initial values. Put it last in a chain, where the updates
    are those that will be applied. `evaluation_params` finds the average in the optimiser's state.

    Example:
      >>> optimizer = optax.chain(optax.adam(1e-3), params_ema(0.999))
      >>> params = {"w": jnp.ones(3)}
      >>> evaluation_params(params, optimizer.init(params))
      {'w': Array([1., 1., 1.], dtype=float32)}

    Args:
      decay: from 0, which keeps the last parameters, to less than 1.

    Raises:
      ValueError: `decay` is outside its range, or `update` is called without the parameters.

    Source: Polyak & Juditsky, SIAM J. Control Optim. 30 (1992); the growing decay is that of TensorFlow 1's
    `tf.train.ExponentialMovingAverage(num_updates=...)`.
    """
    if isinstance(decay, int | float) and not 0 <= decay < 1:  # `optax.inject_hyperparams` hands over an array
        raise ValueError(f"decay is {decay}; it must be from 0 to less than 1.")

    def init(params: Any) -> Any:
        # Copies: a step that donates its state may not be given one buffer twice.
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


def evaluation_params(params: T, opt_state: Any) -> T:
    """The parameters to evaluate: their average where the optimiser keeps one, else themselves.

    Args:
      params: what is trained.
      opt_state: an optimiser's state; `params_ema` may lie anywhere in it, under `optax.MultiSteps`,
        `optax.masked` and the like.

    Returns:
      As `params`, in structure, shapes and dtypes.
    """
    states = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, EmaState))
    for state in states:
        if isinstance(state, EmaState):
            params = jax.tree.map(_averaged, params, state.average)
    return params


class SkipState(flax.struct.PyTreeNode):
    """The state of `skip_nonfinite`.

    Attributes:
      in_a_row: updates refused since the last one made, int32 [].
      longest: the most of them so far, int32 [].
      total: refused so far, int32 [].
      inner: of the optimiser.
    """

    in_a_row: jax.Array
    longest: jax.Array
    total: jax.Array
    inner: Any


def skip_nonfinite(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Refuse updates that are not finite: parameters and optimiser stay as they are.

    Unlike `optax.apply_if_finite`, which looks at the gradients alone, it looks at the updated parameters too, and it
    remembers the longest row of refusals, so that one can tell afterwards whether there were too many.

    Args:
      optimizer: whose updates are made or refused.

    Raises:
      ValueError: `update` is called without the parameters.
    """

    def init(params: Any) -> Any:
        zero = [jnp.zeros((), jnp.int32) for _ in range(3)]  # one array each: a donated one may not appear twice
        return SkipState(zero[0], zero[1], zero[2], optimizer.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("skip_nonfinite needs the parameters: call update(updates, state, params).")
        new, inner = optimizer.update(updates, state.inner, params)
        leaves = jax.tree.leaves((updates, optax.apply_updates(params, new)))
        finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]))
        in_a_row = jnp.where(finite, 0, state.in_a_row + 1)
        return jax.tree.map(lambda x: jnp.where(finite, x, jnp.zeros_like(x)), new), SkipState(
            in_a_row,
            jnp.maximum(state.longest, in_a_row),
            jnp.where(finite, state.total, state.total + 1),
            jax.tree.map(lambda x, old: jnp.where(finite, x, old), inner, state.inner),
        )

    return optax.GradientTransformation(init, update)


def decay_mask(params: chex.ArrayTree) -> chex.ArrayTree:
    """Which parameters decay: matrices, and not biases, nor a reservoir's fixed matrices, named `reservoir_...`.

    Example:
      >>> decay_mask({"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4), "reservoir_kernel": jnp.ones((4, 4))})
      {'bias': False, 'kernel': True, 'reservoir_kernel': False}

    Args:
      params: nested dictionaries of arrays.

    Returns:
      The same tree of bools, for the `mask` of `optax.adamw`.
    """

    def decays(path: tuple[Any, ...], leaf: jax.Array) -> bool:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        return jnp.ndim(leaf) >= 2 and not name.startswith("reservoir_")

    return jax.tree_util.tree_map_with_path(decays, params)


def _wide(leaf: jax.Array) -> Any:
    """float32 or wider: in bfloat16, small shares of new values would round to nothing."""
    return jnp.promote_types(jnp.result_type(leaf), jnp.float32)


def _averaged(param: jax.Array, average: Any) -> jax.Array:
    return param if isinstance(average, optax.MaskedNode) else average.astype(param.dtype)
