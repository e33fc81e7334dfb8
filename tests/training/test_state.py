import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.training.optimizers import params_ema
from rowlstm_jax.training.recipe import Recipe
from rowlstm_jax.training.state import RunState, Scores, init_state, initial_state, keep_better


def run(history, patience):
    scores, bests = Scores.none(len(history[0])), []
    update = jax.jit(lambda scores, step, accuracy: scores.update(step, accuracy, patience))
    for step, accuracy in enumerate(history, start=1):
        scores, better = update(scores, step, jnp.array(accuracy))
        bests.append(better.tolist())
    return scores, bests


def test_the_best_evaluation_counts_and_of_equals_the_later():
    scores, bests = run([(0.5, 0.0), (0.7, 0.0), (0.7, 0.1), (0.6, 0.05)], patience=None)
    assert scores.step.tolist() == [3, 3]
    np.testing.assert_allclose(scores.accuracy, [0.7, 0.1], rtol=1e-6)
    assert scores.stale.tolist() == [1, 1]
    assert bests == [[True, True], [True, True], [True, True], [False, False]]
    assert not scores.stopped(None).any()


def test_a_seed_that_has_stopped_stays_with_its_best():
    scores, bests = run([(0.5, 0.1), (0.4, 0.2), (0.4, 0.3), (0.9, 0.4)], patience=2)
    assert scores.step.tolist() == [1, 4]
    assert scores.stopped(2).tolist() == [True, False]
    assert [better[0] for better in bests] == [True, False, False, False], "0.9 came too late"


def test_choose_takes_each_seeds_values_from_one_tree():
    old, new = ({"a": jnp.full((2, 3), value), "b": jnp.full(2, value)} for value in (0.0, 1.0))
    chosen = keep_better(jnp.array([True, False]), new, old)
    chex.assert_trees_all_equal(chosen, {"a": jnp.array([[1.0] * 3, [0.0] * 3]), "b": jnp.array([1.0, 0.0])})


@pytest.mark.parametrize("select_best", [False, True])
def test_each_seed_starts_as_it_does_alone(tiny_model, select_best):
    recipe, inputs = Recipe(tiny_model, optax.chain(optax.sgd(0.1), params_ema(0.9))), jnp.zeros((1, 5, 7))
    start = jax.jit(lambda seeds: initial_state(recipe, inputs, seeds, select_best=select_best))
    together: RunState = start(np.array([3, 4], np.uint32))
    for place, seed in enumerate((3, 4)):
        alone = jax.jit(lambda seed: init_state(recipe, inputs, seed))(np.uint32(seed))
        chex.assert_trees_all_equal(jax.tree.map(lambda leaf, at=place: leaf[at], together.state.params), alone.params)
    assert all(leaf.shape == (2,) and not leaf.any() for leaf in jax.tree.leaves(together.metrics))
    if together.scores is not None:
        assert select_best
        chex.assert_trees_all_equal(together.best, together.state.params)
        assert together.scores.accuracy.tolist() == [-np.inf, -np.inf]
    else:
        assert not select_best
        assert together.best is None


def test_an_average_is_what_is_evaluated(tiny_model):
    recipe, seeds = Recipe(tiny_model, optax.chain(optax.sgd(0.1), params_ema(0.9))), np.arange(2, dtype=np.uint32)
    progress = jax.jit(lambda seeds: initial_state(recipe, jnp.zeros((1, 5, 7)), seeds, select_best=False))(seeds)
    moved = progress.replace(state=progress.state.replace(params=jax.tree.map(jnp.zeros_like, progress.state.params)))
    chex.assert_trees_all_equal(moved.evaluation_params(), progress.state.params)


def test_the_fields_that_name_the_arrays_of_a_checkpoint():
    """A renamed field makes the checkpoints of earlier versions unreadable."""
    scores = Scores.none(2)
    progress = RunState(state=None, metrics=None, best=None, scores=scores)
    assert set(vars(progress)) == {"state", "metrics", "best", "scores"}
    assert set(vars(scores)) == {"step", "accuracy", "stale"}
