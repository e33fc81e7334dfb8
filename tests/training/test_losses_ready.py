"""The ready losses and metrics: each example against NumPy or optax, gradients against optax or differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from rowlstm_jax.training.losses import (
    ClassAccuracy,
    CrossEntropy,
    Focal,
    TopK,
    accuracy,
    brier_score,
    class_accuracies,
    cross_entropy,
    default_loss,
    mean_absolute_error,
    mean_squared_error,
)
from rowlstm_jax.training.metrics import Metrics, expected_calibration_error

pytestmark = pytest.mark.usefixtures("quick_compiler")

RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.normal(size=(50, 4)).astype(np.float32)
LABELS = RNG.integers(0, 4, 50)
LOGS = scipy.special.log_softmax(LOGITS.astype(float), axis=1)
OWN = LOGS[np.arange(50), LABELS]
WEIGHTS = (0.5, 2.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (cross_entropy, -OWN),
        (CrossEntropy(), -OWN),
        (CrossEntropy(0.3), -0.7 * OWN - 0.3 * LOGS.mean(1)),
        (CrossEntropy(class_weights=WEIGHTS), -OWN * np.array(WEIGHTS)[LABELS]),
        (CrossEntropy(0.3, WEIGHTS), (-0.7 * OWN - 0.3 * LOGS.mean(1)) * np.array(WEIGHTS)[LABELS]),
        (Focal(0.0), -OWN),
        (Focal(2.0), -((1 - np.exp(OWN)) ** 2) * OWN),
        (Focal(0.5), -np.sqrt(1 - np.exp(OWN)) * OWN),
        (accuracy, LOGITS.argmax(1) == LABELS),
        (TopK(1), LOGITS.argmax(1) == LABELS),
        (TopK(3), [label in np.argsort(row)[-3:] for row, label in zip(LOGITS, LABELS, strict=True)]),
        (TopK(9), np.ones(50)),
        (brier_score, ((np.exp(LOGS) - np.eye(4)[LABELS]) ** 2).sum(1)),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_each_example_agrees_with_numpy(function, expected, dtype):
    found = jax.jit(function)(jnp.asarray(LOGITS, dtype), LABELS)
    assert found.shape == (50,)
    assert found.dtype == jnp.float32
    if dtype == jnp.float32:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    else:
        np.testing.assert_allclose(found, expected, rtol=0.3, atol=0.1)


def test_smoothing_agrees_with_optax():
    labels = optax.smooth_labels(jax.nn.one_hot(LABELS, 4), 0.2)
    np.testing.assert_allclose(
        CrossEntropy(0.2)(LOGITS, LABELS), optax.softmax_cross_entropy(LOGITS, labels), rtol=1e-4
    )


@pytest.mark.parametrize("loss", [CrossEntropy(0.3, WEIGHTS), Focal(2.0), Focal(0.5), brier_score], ids=range(4))
def test_gradients_agree_with_differences(loss):
    with jax.enable_x64(True):
        wide, by = jnp.asarray(LOGITS[:5], jnp.float32), 1e-2
        gradient = jax.grad(lambda logits: loss(logits, LABELS[:5]).sum())(wide)
        for b, c in np.ndindex(5, 4):
            step = np.zeros((5, 4), np.float32)
            step[b, c] = by
            above, below = (float(loss(wide + sign * step, LABELS[:5])[b]) for sign in (1, -1))
            np.testing.assert_allclose(gradient[b, c], (above - below) / (2 * by), rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_an_example_that_is_surely_right_has_a_focal_loss_and_gradient_of_zero(gamma):
    sure = jnp.array([[200.0, 0.0, 0.0]])
    loss, gradient = jax.value_and_grad(lambda logits: Focal(gamma)(logits, jnp.array([0])).sum())(sure)
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize("outputs", [(50,), (50, 1)])
def test_errors_of_numbers(outputs):
    given, targets = RNG.normal(size=50).astype(np.float32), RNG.normal(size=50).astype(np.float32)
    np.testing.assert_allclose(mean_squared_error(given.reshape(outputs), targets), (given - targets) ** 2, rtol=1e-5)
    np.testing.assert_allclose(mean_absolute_error(given.reshape(outputs), targets), abs(given - targets), rtol=1e-5)


def test_errors_of_several_numbers_are_means_over_them():
    given, targets = (RNG.normal(size=(6, 3, 2)).astype(np.float32) for _ in range(2))
    for loss, error in ((mean_squared_error, (given - targets) ** 2), (mean_absolute_error, abs(given - targets))):
        np.testing.assert_allclose(loss(given.reshape(6, 6), targets), error.reshape(6, 6).mean(1), rtol=1e-5)


def test_equal_logits_and_those_that_are_no_number_count_against_top_k():
    logits = jnp.array([[1.0, 1.0, 1.0], [np.nan, np.nan, np.nan], [1.0, 0.0, -1.0]])
    assert TopK(2)(logits, jnp.array([0, 0, 1])).tolist() == [0, 0, 1]


def test_accuracies_of_classes_are_sums_and_counts():
    metrics = class_accuracies(["a", "b", "c", "d", "no example"])
    assert list(metrics) == ["accuracy_a", "accuracy_b", "accuracy_c", "accuracy_d", "accuracy_no_example"]
    mask = np.arange(50) < 40
    means = Metrics.of_examples(LOGITS, LABELS, mask, None, metrics).means
    for label, name in enumerate("abcd"):
        of_class = mask & (label == LABELS)
        np.testing.assert_allclose(means[f"accuracy_{name}"], (LOGITS.argmax(1) == label)[of_class].mean(), rtol=1e-6)
    assert np.isnan(means["accuracy_no_example"])
    with pytest.raises(ValueError, match="two classes would be accuracy_a_b"):
        class_accuracies(["a b", "a/b"])


def test_further_metrics_are_merged_and_left_out_where_a_step_is_not_finite():
    more = {"first": ClassAccuracy(0), "brier": brier_score}
    parts = [
        Metrics.of_examples(LOGITS[at], LABELS[at], np.ones(25, bool), None, more) for at in (slice(25), slice(25, 50))
    ]
    whole = Metrics.of_examples(LOGITS, LABELS, np.ones(50, bool), None, more)
    merged = Metrics.zeros(more).merge(parts[0]).merge(parts[1])
    for name in more:
        np.testing.assert_allclose(merged.means[name], whole.means[name], rtol=1e-5)
    skipped = whole.of_step(jnp.float32(np.nan))
    assert skipped.nonfinite == 1
    assert not any(np.any(value) for pair in skipped.more.values() for value in pair)


def test_calibration_error_agrees_with_a_loop():
    probabilities = np.exp(LOGS)
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    error = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence >= low) & (confidence < low + 0.1)
        if inside.any():
            error += inside.mean() * abs((predicted == LABELS)[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(LOGITS, LABELS, 10) == pytest.approx(error, rel=1e-5)
    assert expected_calibration_error(np.array([[500.0, 0.0]]), np.array([1])) == 1


def test_the_default_loss_is_that_of_the_kind_of_targets():
    assert default_loss(jnp.zeros(2, jnp.uint8)) is cross_entropy
    assert default_loss(jnp.zeros(2)) is mean_squared_error


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CrossEntropy(1.0), "smoothing is 1.0; it must be from 0"),
        (lambda: CrossEntropy(class_weights=(1.0, -1.0)), "class_weights is .*; it must hold a number, 0 or more"),
        (lambda: CrossEntropy(class_weights=()), "class_weights is"),
        (lambda: Focal(-1.0), "gamma is -1.0; it must be a finite number"),
        (lambda: TopK(0), "k is 0; it must be 1 or more"),
        (
            lambda: CrossEntropy(class_weights=(1.0, 2.0))(LOGITS, LABELS),
            "class_weights has 2 weights, and .* 4 classes",
        ),
    ],
)
def test_settings_out_of_range_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_losses_with_settings_can_be_hashed_also_if_a_list_is_given():
    weights: tuple[float, ...] = [1, 2]  # pyright: ignore[reportAssignmentType]
    assert hash(CrossEntropy(class_weights=weights)) == hash(CrossEntropy(class_weights=(1.0, 2.0)))
