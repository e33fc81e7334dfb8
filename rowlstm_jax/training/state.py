"""The state of one seed, and of a run of S seeds, which is what a checkpoint holds. Pure."""

from collections.abc import Mapping
from typing import Any

import chex
import flax.core
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from flax.training import train_state

from rowlstm_jax.models import lasting, variables, weights
from rowlstm_jax.training.losses import Loss, Metric
from rowlstm_jax.training.metrics import Metrics
from rowlstm_jax.training.optimizers import evaluation_params
from rowlstm_jax.training.recipe import Recipe


class TrainState(train_state.TrainState):
    """Flax's TrainState (step, params, opt_state, apply_fn, tx) with more fields.

    Attributes:
      key: the random key from which the keys of all steps are derived.
      collections: the variables of the model besides its parameters, such as "batch_stats"; {} for most models.
      label_smoothing: see `Recipe`.
      loss: see `Recipe`.
      metrics: see `Recipe`.
    """

    key: jax.Array
    collections: dict[str, Any] = flax.struct.field(default_factory=dict)
    label_smoothing: float = flax.struct.field(pytree_node=False, default=0.0)
    loss: Loss | None = flax.struct.field(pytree_node=False, default=None)
    metrics: Mapping[str, Metric] | None = flax.struct.field(pytree_node=False, default=None)


def init_state(
    recipe: Recipe, inputs: jax.Array, seed: jax.Array | int, start: chex.ArrayTree | None = None
) -> TrainState:
    """The state of one seed before the first step.

    Args:
      recipe: model, optimiser and loss.
      inputs: an example batch [1, T, F]; only its shape and dtype matter.
      seed: 0 or more.
      start: weights to begin with instead of the model's initial ones, see `variables`.
    """
    given = variables(initial_weights(recipe.model, inputs, seed) if start is None else start)
    _, steps_key = jax.random.split(jax.random.key(seed))
    state = TrainState.create(
        apply_fn=recipe.model.apply,
        params=given["params"],
        tx=recipe.optimizer,
        key=steps_key,
        collections=lasting(given),
        label_smoothing=recipe.label_smoothing,
        loss=recipe.loss,
        metrics=flax.core.FrozenDict(recipe.metrics or {}),  # which can be hashed, as JAX needs
    )
    return state.replace(step=jnp.zeros((), jnp.int32))


def initial_weights(model: nn.Module, inputs: jax.Array, seed: jax.Array | int) -> Any:
    """The weights that a seed gives a model, see `variables`; of the inputs [1, T, F], only shape and dtype matter."""
    params_key, _ = jax.random.split(jax.random.key(seed))
    given = model.init(params_key, inputs)
    return weights(given["params"], lasting(given))


def step_keys(state: TrainState) -> tuple[jax.Array, jax.Array]:
    """The random keys of a step's dropout and augmentation. They depend on the seed and the step only."""
    dropout, augmentation = jax.random.split(jax.random.fold_in(state.key, state.step))
    return dropout, augmentation


class Scores(flax.struct.PyTreeNode):
    """The best evaluation of each seed on the validation examples.

    Attributes:
      step: its step, int32 [S]; the later one, if two are equal.
      accuracy: its score, float32 [S]: by default its accuracy. Larger is better, so of a metric that is selected by
        its smallest value, it is the negative. -inf before the first evaluation.
      stale: number of evaluations since then, int32 [S].
    """

    step: jax.Array
    accuracy: jax.Array
    stale: jax.Array

    @classmethod
    def none(cls, num_seeds: int) -> "Scores":
        """Before the first evaluation."""
        return cls(jnp.zeros(num_seeds, jnp.int32), jnp.full(num_seeds, -jnp.inf), jnp.zeros(num_seeds, jnp.int32))

    def stopped(self, patience: int | None) -> jax.Array:
        """Which seeds have had `patience` evaluations in a row below their best, bool [S]."""
        return self.stale < 0 if patience is None else self.stale >= patience

    def update(self, step: jax.Array, score: jax.Array, patience: int | None) -> tuple["Scores", jax.Array]:
        """Add an evaluation. It does not count for a seed that has stopped.

        Args:
          step: int32 [].
          score: float32 [S], larger is better.
          patience: see `stopped`.

        Returns:
          The new scores, and the seeds for which this evaluation is the best, bool [S].
        """
        running = ~self.stopped(patience)
        better = running & (score >= self.accuracy)
        updated = Scores(
            step=jnp.where(better, step, self.step),
            accuracy=jnp.where(better, score, self.accuracy),
            stale=jnp.where(better, 0, self.stale + running),
        )
        return updated, better


class RunState(flax.struct.PyTreeNode):
    """The state of a run between two steps. Every array has a leading axis S.

    Attributes:
      state: of each seed.
      metrics: sums since the last logged step.
      best: the weights of the best evaluation so far, if the protocol selects them; else None.
      scores: the best evaluation so far, if the protocol selects its weights; else None.
    """

    state: TrainState
    metrics: Metrics
    best: Any = None
    scores: Scores | None = None

    @property
    def weights(self) -> Any:
        """The weights that are trained, [S, ...]; see `variables`."""
        return weights(self.state.params, self.state.collections)

    def evaluation_params(self) -> Any:
        """The weights to evaluate, [S, ...]; see `variables`, and `evaluation_params` for their average."""
        return weights(evaluation_params(self.state.params, self.state.opt_state), self.state.collections)


def initial_state(
    recipe: Recipe,
    inputs: jax.Array | jax.ShapeDtypeStruct,
    seeds: jax.Array,
    given: chex.ArrayTree | None = None,
    *,
    select_best: bool,
    classes: bool = True,
) -> RunState:
    """The state of a run before the first step.

    Args:
      recipe: model, optimiser and loss.
      inputs: [1, T, F]; only the shape matters.
      seeds: uint32 [S].
      given: [S, ...], weights to start from instead of the model's initial ones.
      select_best: whether to keep the weights of the best evaluation.
      classes: whether the targets are classes.
    """

    def of_one(seed_and_weights: tuple[jax.Array, Any]) -> TrainState:
        return init_state(recipe, jnp.zeros(inputs.shape), *seed_and_weights)

    state, num_seeds = jax.lax.map(of_one, (seeds, given)), len(seeds)
    zeros = Metrics.zeros(recipe.metrics or (), classes=classes)
    zeros = jax.tree.map(lambda x: jnp.zeros((num_seeds, *x.shape), x.dtype), zeros)
    best, scores = (weights(state.params, state.collections), Scores.none(num_seeds)) if select_best else (None, None)
    return RunState(state, zeros, best, scores)


def keep_better(better: jax.Array, new: chex.ArrayTree, old: chex.ArrayTree) -> chex.ArrayTree:
    """For each seed, the values of the new tree [S, ...] if it is better, bool [S], else those of the old one."""
    return jax.tree.map(lambda a, b: jnp.where(jnp.expand_dims(better, tuple(range(1, a.ndim))), a, b), new, old)
