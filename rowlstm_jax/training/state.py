"""The state of a run of S seeds, which is what a checkpoint holds. Pure."""

from typing import Any

import chex
import flax.struct
import jax
import jax.numpy as jnp

from rowlstm_jax.training.metrics import Metrics
from rowlstm_jax.training.optimizers import evaluation_params
from rowlstm_jax.training.recipe import Recipe
from rowlstm_jax.training.step import TrainState, init_state


class Scores(flax.struct.PyTreeNode):
    """The best evaluation of each seed on the validation examples.

    Attributes:
      step: its step, int32 [S]; the later one, if two are equal.
      accuracy: its accuracy, float32 [S]; below 0 before the first evaluation.
      stale: number of evaluations since then, int32 [S].
    """

    step: jax.Array
    accuracy: jax.Array
    stale: jax.Array

    @classmethod
    def none(cls, num_seeds: int) -> "Scores":
        """Before the first evaluation."""
        return cls(jnp.zeros(num_seeds, jnp.int32), jnp.full(num_seeds, -1.0), jnp.zeros(num_seeds, jnp.int32))

    def stopped(self, patience: int | None) -> jax.Array:
        """Which seeds have had `patience` evaluations in a row below their best, bool [S]."""
        return self.stale < 0 if patience is None else self.stale >= patience

    def update(self, step: jax.Array, accuracy: jax.Array, patience: int | None) -> tuple["Scores", jax.Array]:
        """Add an evaluation. It does not count for a seed that has stopped.

        Args:
          step: int32 [].
          accuracy: float32 [S].
          patience: see `stopped`.

        Returns:
          The new scores, and the seeds for which this evaluation is the best, bool [S].
        """
        running = ~self.stopped(patience)
        better = running & (accuracy >= self.accuracy)
        updated = Scores(
            step=jnp.where(better, step, self.step),
            accuracy=jnp.where(better, accuracy, self.accuracy),
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

    def evaluation_params(self) -> chex.ArrayTree:
        """The weights to evaluate, [S, ...]; see `rowlstm_jax.training.optimizers.evaluation_params`."""
        return evaluation_params(self.state.params, self.state.opt_state)


def initial_state(
    recipe: Recipe,
    inputs: jax.Array | jax.ShapeDtypeStruct,
    seeds: jax.Array,
    params: chex.ArrayTree | None = None,
    *,
    select_best: bool,
) -> RunState:
    """The state of a run before the first step.

    Args:
      recipe: model, optimiser and loss.
      inputs: [1, T, F]; only the shape matters.
      seeds: uint32 [S].
      params: [S, ...], parameters to start from instead of the model's initial ones.
      select_best: whether to keep the weights of the best evaluation.
    """

    def of_one(seed_and_params: tuple[jax.Array, Any]) -> TrainState:
        return init_state(recipe, jnp.zeros(inputs.shape), *seed_and_params)

    state, num_seeds = jax.lax.map(of_one, (seeds, params)), len(seeds)
    zeros = jax.tree.map(lambda x: jnp.zeros((num_seeds, *x.shape), x.dtype), Metrics.zeros())
    best, scores = (state.params, Scores.none(num_seeds)) if select_best else (None, None)
    return RunState(state, zeros, best, scores)


def keep_better(better: jax.Array, new: chex.ArrayTree, old: chex.ArrayTree) -> chex.ArrayTree:
    """For each seed, the values of the new tree [S, ...] if it is better, bool [S], else those of the old one."""
    return jax.tree.map(lambda a, b: jnp.where(jnp.expand_dims(better, tuple(range(1, a.ndim))), a, b), new, old)
