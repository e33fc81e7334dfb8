"""How far a run has come: all that its next step depends on, and what a checkpoint holds. Pure."""

from typing import Any

import chex
import flax.struct
import jax
import jax.numpy as jnp

from rowlstm_jax.training.metrics import Metrics
from rowlstm_jax.training.recipe import Recipe, evaluation_params
from rowlstm_jax.training.step import TrainState, init_state


class Scores(flax.struct.PyTreeNode):
    """How well the seeds have done on validation, [S] each.

    Attributes:
      step: of the best evaluation, int32; of equals, the later.
      accuracy: of the best evaluation, float32; below 0 before the first.
      stale: evaluations since then, int32.
    """

    step: jax.Array
    accuracy: jax.Array
    stale: jax.Array

    @classmethod
    def none(cls, num_seeds: int) -> "Scores":
        """Those of seeds that have not been evaluated."""
        return cls(jnp.zeros(num_seeds, jnp.int32), jnp.full(num_seeds, -1.0), jnp.zeros(num_seeds, jnp.int32))

    def stopped(self, patience: int | None) -> jax.Array:
        """Which seeds have not been as good as before for `patience` evaluations in a row, bool [S]."""
        return self.stale < 0 if patience is None else self.stale >= patience

    def update(self, step: jax.Array, accuracy: jax.Array, patience: int | None) -> tuple["Scores", jax.Array]:
        """Take in an evaluation; for a seed that has stopped it does not count.

        Args:
          step: int32 [].
          accuracy: float32 [S].
          patience: see `stopped`.

        Returns:
          The scores after it, and for which seeds it was the best, bool [S].
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
    """All that the next step depends on, with the flags; every array has a leading axis S.

    Attributes:
      state: of every seed.
      metrics: sums since the last record.
      best: the weights of the best evaluated step so far, where the protocol selects these; else None.
      scores: which evaluation that was; else None.
    """

    state: TrainState
    metrics: Metrics
    best: Any = None
    scores: Scores | None = None

    def evaluation_params(self) -> chex.ArrayTree:
        """The weights that an evaluation sees, [S, ...]: where the optimiser keeps an average, that."""
        return evaluation_params(self.state.params, self.state.opt_state)


def initial_state(
    recipe: Recipe,
    inputs: jax.Array | jax.ShapeDtypeStruct,
    seeds: jax.Array,
    params: chex.ArrayTree | None = None,
    *,
    select_best: bool,
) -> RunState:
    """What is so before the first step, a function of the seeds, unless weights are given.

    Args:
      recipe: model, optimiser and loss.
      inputs: [1, T, F]; only the shape matters.
      seeds: uint32 [S].
      params: [S, ...], to start from instead of initial ones.
      select_best: whether the weights of the best evaluated step are kept.
    """

    def of_one(seed_and_params: tuple[jax.Array, Any]) -> TrainState:
        return init_state(recipe, jnp.zeros(inputs.shape), *seed_and_params)

    state, num_seeds = jax.lax.map(of_one, (seeds, params)), len(seeds)
    zeros = jax.tree.map(lambda x: jnp.zeros((num_seeds, *x.shape), x.dtype), Metrics.zeros())
    progress = RunState(state, zeros)
    return progress.replace(best=state.params, scores=Scores.none(num_seeds)) if select_best else progress


def keep_better(better: jax.Array, new: chex.ArrayTree, old: chex.ArrayTree) -> chex.ArrayTree:
    """Of two trees of [S, ...], for each seed the new one's values where it is better, bool [S]."""
    return jax.tree.map(lambda a, b: jnp.where(jnp.expand_dims(better, tuple(range(1, a.ndim))), a, b), new, old)
