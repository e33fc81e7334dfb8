import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from rowlstm_jax.training.losses import ClassAccuracy, accuracy, mean_absolute_error, mean_squared_error
from rowlstm_jax.training.metrics import Metrics, expected_calibration_error, wilson_interval
from tests.reference import cross_entropy

LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0], [1.0, 1.5, 0.0], [9.0, 0.0, 0.0]], np.float32)
LABELS = np.array([0, 1, 1, 2])


@pytest.mark.parametrize("jit", [False, True])
def test_masked_examples_count_nothing(jit):
    of_examples = jax.jit(Metrics.of_examples) if jit else Metrics.of_examples
    logits = LOGITS.copy()
    logits[3] = np.nan
    metrics = of_examples(logits, LABELS, np.array([True, True, True, False]))
    chex.assert_rank(jax.tree.leaves(metrics), 0)
    assert (metrics.correct, metrics.examples) == (2, 3)
    np.testing.assert_allclose(metrics.loss / 3, cross_entropy(LOGITS[:3].astype(float), LABELS[:3]), rtol=1e-6)


def test_merging_parts_gives_the_metrics_of_the_whole():
    mask = np.ones(2, bool)
    parts = [Metrics.of_examples(LOGITS[at], LABELS[at], mask) for at in (slice(2), slice(2, 4))]
    whole = Metrics.of_examples(LOGITS, LABELS, np.ones(4, bool))
    merged = Metrics.zeros().merge(parts[0]).merge(parts[1])
    chex.assert_trees_all_equal_shapes_and_dtypes(merged, whole)
    chex.assert_trees_all_close(merged, whole, rtol=1e-6)


@pytest.mark.parametrize(("norm", "nonfinite"), [(1.5, 0), (np.inf, 1), (np.nan, 1)])
def test_a_step_counts_its_gradient_norm_or_only_that_it_was_not_finite(norm, nonfinite):
    metrics = Metrics.zeros().replace(examples=jnp.int32(4)).of_step(jnp.float32(norm))
    assert metrics.gradient_norm == (0 if nonfinite else norm)
    assert (metrics.steps, metrics.examples, metrics.nonfinite) == (1 - nonfinite, 4 * (1 - nonfinite), nonfinite)


@pytest.mark.parametrize(("correct", "examples"), [(0, 5), (124, 128), (9_688, 10_000), (7, 7)])
def test_wilson_interval_agrees_with_scipy(correct, examples):
    expected = scipy.stats.binomtest(correct, examples).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson_interval(correct, examples), expected, atol=1e-7)


def test_further_metrics_are_sums_and_counts_without_the_padding():
    mask, more = np.array([True, True, True, False]), {"right": accuracy, "second": ClassAccuracy(1)}
    found = jax.jit(lambda: Metrics.of_examples(LOGITS, LABELS, mask, None, more))()
    assert {name: float(value) for name, value in found.means.items() if name != "loss"} == {
        "accuracy": pytest.approx(2 / 3),
        "right": pytest.approx(2 / 3),
        "second": 0.5,
    }
    chex.assert_trees_all_equal_shapes_and_dtypes(found, Metrics.zeros(more))


def test_targets_that_are_no_classes_have_no_accuracy():
    outputs, targets, mask = jnp.array([[1.0], [3.0], [9.0]]), jnp.array([0.0, 1.0, 0.0]), np.array([True, True, False])
    found = Metrics.of_examples(outputs, targets, mask, mean_squared_error, {"error": mean_absolute_error})
    assert {name: float(value) for name, value in found.means.items()} == {"loss": 2.5, "error": 1.5}
    assert found.correct is None
    with pytest.raises(ValueError, match="the targets are not classes"):
        _ = found.accuracy


def test_the_calibration_error_is_that_of_a_loop_over_bins():
    rng = np.random.default_rng(0)
    logits, labels = 2 * rng.normal(size=(500, 4)), rng.integers(0, 4, 500)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    confidence, right, expected = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, 0.0
    for low in np.arange(15) / 15:
        chosen = (confidence >= low) & (confidence < low + 1 / 15)
        if chosen.any():
            expected += chosen.mean() * abs(right[chosen].mean() - confidence[chosen].mean())
    assert expected_calibration_error(logits, labels) == pytest.approx(expected)
    sure = 100 * np.eye(4)[labels]
    assert expected_calibration_error(sure, labels) == pytest.approx(0)
