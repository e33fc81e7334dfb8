"""Intervals of a mean over seeds, and tests of a difference over seeds and over test examples. Pure."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # it loads `scipy.stats`, which takes 0.6 s, when it is first used

CONFIDENCE = 0.95
RESAMPLES = 200_000  # enough that up to 10 seeds against 10 are permuted exactly: 184,756 ways


class OverSeeds(NamedTuple):
    """Whether two ways to train differ: what new seeds would give, with the same training and test examples."""

    difference: float  # mean of the second minus mean of the first
    interval: tuple[float, float]  # Welch's, 95 %
    welch_p: float | None  # two-sided; None if no value differs from its mean
    permutation_p: float  # two-sided
    smallest_p: float  # that `permutation_p` can reach with so few seeds
    exact: bool  # whether all permutations were counted, or a sample of them


class OverExamples(NamedTuple):
    """Whether two sets of trained networks differ: what new test examples would give, with the same weights."""

    difference: float  # mean accuracy of the second minus mean accuracy of the first
    interval: tuple[float, float]  # 95 %, paired, by the normal distribution
    p: float  # two-sided, of the exact sign-flip test


class McNemar(NamedTuple):
    """How many examples two networks classify correctly, and the p-value of McNemar's exact test."""

    both: int
    only_first: int
    only_second: int
    neither: int
    p: float


def summarize(values: Sequence[float]) -> dict[str, Any]:
    """The values over seeds, their mean, standard deviation (with S - 1) and `student_interval`, as JSON values.

    Example:
      >>> summarize([0.5])
      {'values': [0.5], 'mean': 0.5, 'std': None, 'interval_95': None}
    """
    array = _finite(values)
    student = student_interval(values)
    return {
        "values": array.tolist(),
        "mean": float(array.mean()),
        "std": float(array.std(ddof=1)) if len(array) > 1 else None,
        "interval_95": list(student) if student else None,
    }


def student_interval(values: Sequence[float]) -> tuple[float, float] | None:
    r"""Student's 95 % interval of the mean, exact for normal values; None for fewer than two values.

    .. math:: \bar x \pm t_{S-1} \, s / \sqrt{S}

    Example:
      >>> [round(bound, 3) for bound in student_interval([1.0, 2.0, 3.0])]
      [-0.484, 4.484]
    """
    array = _finite(values)
    if len(array) < 2:
        return None
    half = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array))
    return float(array.mean() - half), float(array.mean() + half)


def compare_seeds(first: Sequence[float], second: Sequence[float]) -> OverSeeds | None:
    """Test whether two means over seeds differ; None unless both have two values or more.

    Seeds are not paired. Seed 0 of two models shares the order of the data only, and pairing would halve the degrees of
    freedom. The permutation test assumes no distribution, but with few seeds it can't reach a small p-value. Welch's
    t-test can; it assumes that values are about normal, and allows two variances.

    Example:
      >>> compare_seeds([0.90, 0.91, 0.92], [0.95, 0.96, 0.97]).permutation_p  # 2 of 20 permutations are as extreme
      0.1

    Args:
      first: [S], one value for each seed.
      second: [S], of the same or another number of seeds.

    Source: Welch, Biometrika 34 (1947); Fisher, The Design of Experiments (1935), section 21. For their use on
    learning algorithms: Colas, Sigaud and Oudeyer, arXiv:1904.06979.
    """
    a, b = _finite(first), _finite(second)
    if min(len(a), len(b)) < 2:
        return None
    varies = bool(np.ptp(a) or np.ptp(b))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy's, if the values of one side are equal
        welch: Any = scipy.stats.ttest_ind(b, a, equal_var=False)
        interval = welch.confidence_interval(CONFIDENCE)
    difference = float(b.mean() - a.mean())
    ways = math.comb(len(a) + len(b), len(a))
    return OverSeeds(
        difference=difference,
        interval=(float(interval.low), float(interval.high)) if varies else (difference, difference),
        welch_p=float(welch.pvalue) if varies else None,
        permutation_p=_permutation_p(a, b),
        smallest_p=min(1.0, 2 / min(ways, RESAMPLES)),
        exact=ways <= RESAMPLES,
    )


def _permutation_p(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided. Differences are rounded, so that sums of the same values in another order are equal."""
    spread = np.ptp(np.concatenate([a, b]))
    if not spread:
        return 1.0

    def statistic(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.round((y.mean(axis=axis) - x.mean(axis=axis)) / spread, 9)

    options: Any = {"n_resamples": RESAMPLES, "batch": 20_000, "rng": np.random.default_rng(0)}
    found = scipy.stats.permutation_test((a, b), statistic, vectorized=True, **options)
    return float(found.pvalue)


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    r"""McNemar's exact test of two trained networks on the same examples.

    Only the discordant examples count, which one of the networks classifies correctly and the other does not. If both
    networks err equally often, each discordant example belongs to either with probability 1/2:

    .. math:: p = \min(1, 2 \, P[X \le \min(n_1, n_2)]), \quad X \sim \mathrm{Binomial}(n_1 + n_2, 1/2)

    Example:
      >>> mcnemar(np.array([1, 1, 1, 0]), np.array([1, 1, 0, 0]))
      McNemar(both=2, only_first=1, only_second=0, neither=1, p=1.0)

    Args:
      first: [N], whether the first network classifies an example correctly.
      second: [N], of the second network, for the same examples.

    Source: McNemar, Psychometrika 12 (1947); Dietterich, Neural Computation 10 (1998), who recommends it for models
    that are trained once: it says nothing of other seeds or training sets.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(~first & second))
    discordant = only_first + only_second
    p = float(scipy.stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemar(int(np.sum(first & second)), only_first, only_second, int(np.sum(~first & ~second)), p)


def compare_examples(first: np.ndarray, second: np.ndarray) -> OverExamples:
    r"""Test whether two sets of trained networks differ in mean accuracy, paired on the examples.

    d_n is the share of the second set's networks that classify example n correctly, minus that of the first set's. The
    sign-flip test asks how often random signs give as large a sum:

    .. math:: p = P\left[\left|\sum_n \pm d_n\right| \ge \left|\sum_n d_n\right|\right]

    All signs are counted, none is sampled. With one network in each set, it is McNemar's exact test.

    Args:
      first: [S, N], whether each network classifies each example correctly.
      second: [S, N], of the same or another number of networks, for the same examples.

    Raises:
      ValueError: the numbers of examples differ, or there are fewer than two.

    Source: Fisher, The Design of Experiments (1935), section 21; Dietterich, Neural Computation 10 (1998).
    """
    a, b = np.asarray(first, np.int64), np.asarray(second, np.int64)
    if a.shape[1] != b.shape[1] or a.shape[1] < 2:
        raise ValueError(f"first and second have {a.shape[1]} and {b.shape[1]} examples, not the same two or more.")
    scale = math.lcm(len(a), len(b))  # makes the shares whole numbers
    differences = b.sum(axis=0) * (scale // len(b)) - a.sum(axis=0) * (scale // len(a))
    mean = differences.mean() / scale
    half = scipy.stats.norm.ppf((1 + CONFIDENCE) / 2) * differences.std(ddof=1) / scale / math.sqrt(len(differences))
    return OverExamples(float(mean), (float(mean - half), float(mean + half)), _sign_flip_p(differences))


def compare_losses(first: np.ndarray, second: np.ndarray) -> OverExamples:
    r"""Test whether two sets of trained networks differ in mean loss, paired on the examples.

    d_n is the second set's mean loss of example n minus the first set's. Under random signs their sum is nearly normal,
    with the variance of the sum of squares:

    .. math:: z = \sum_n d_n / \sqrt{\sum_n d_n^2}

    Args:
      first: float [S, N], the loss of each example by each network.
      second: [S, N], of the same or another number of networks, for the same examples.
    """
    differences = np.asarray(second, np.float64).mean(axis=0) - np.asarray(first, np.float64).mean(axis=0)
    mean, count = differences.mean(), len(differences)
    half = scipy.stats.norm.ppf((1 + CONFIDENCE) / 2) * differences.std(ddof=1) / math.sqrt(count)
    scale = math.sqrt(float(np.square(differences).sum()))
    p = 2 * float(scipy.stats.norm.sf(abs(differences.sum()) / scale)) if scale else 1.0
    return OverExamples(float(mean), (float(mean - half), float(mean + half)), p)


def _sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided; the distribution of a sum of whole numbers with random signs is a convolution of binomial ones."""
    magnitudes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    probabilities = np.ones(1)  # of the sum of those with a positive sign
    for magnitude, count in zip(magnitudes, counts, strict=True):
        positive = np.zeros(magnitude * count + 1)
        positive[::magnitude] = scipy.stats.binom.pmf(np.arange(count + 1), count, 0.5)
        probabilities = np.convolve(probabilities, positive)
    total = len(probabilities) - 1
    sums = 2 * np.arange(total + 1) - total
    return min(1.0, float(probabilities[np.abs(sums) >= abs(differences.sum())].sum()))


def _finite(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"values must be one finite number for each seed, not {values}.")
    return array
