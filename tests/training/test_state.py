import chex
import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.training.state import Scores, keep_better


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
