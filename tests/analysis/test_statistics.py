"""Intervals and tests of a difference: textbook values, exact enumeration, and how often they are wrong."""

import itertools
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pytest
from scipy import stats

from rowlstm_jax.analysis.statistics import (
    OverSeeds,
    compare_examples,
    compare_seeds,
    mcnemar,
    student_interval,
    summarize,
)

Found = TypeVar("Found")


def found(value: Found | None) -> Found:
    assert value is not None
    return value


def over_seeds(first: Sequence[float], second: Sequence[float]) -> OverSeeds:
    """The test of runs of several seeds, which there is."""
    return found(compare_seeds(first, second))


def discordant(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two networks' right answers with these counts, [N] each."""
    cells = [(1, 1)] * both + [(1, 0)] * only_first + [(0, 1)] * only_second + [(0, 0)] * neither
    return tuple(np.array(cells).T)


def test_summarize_of_several_values():
    values = [0.96, 0.97, 0.98, 0.97]
    summary = summarize(values)
    assert summary["values"] == values
    assert summary["mean"] == pytest.approx(0.97)
    assert summary["std"] == pytest.approx(np.sqrt(2e-4 / 3))
    assert summary["interval_95"] == list(student_interval(values))


@pytest.mark.parametrize("values", [[], [[0.5]], [0.5, np.nan], [np.inf]])
def test_values_are_finite_numbers(values):
    with pytest.raises(ValueError, match="one finite number for each seed"):
        summarize(values)


def test_the_interval_of_one_value_and_of_equal_values():
    assert student_interval([0.98]) is None
    assert student_interval([0.9] * 5) == pytest.approx((0.9, 0.9))


def test_student_interval_is_that_of_scipy():
    values = [0.967, 0.971, 0.966]
    expected = stats.ttest_1samp(values, 0.0).confidence_interval()
    assert student_interval(values) == pytest.approx((expected.low, expected.high))


def test_student_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).standard_normal((1000, 3))
    held = [low <= 0 <= high for low, high in (found(student_interval(values)) for values in draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_compare_seeds_by_hand():
    """Means 2 and 6, variances 1 and 4, four and three values: t = 4 / sqrt(1/4 + 4/3), by the formula of 1947."""
    first = [2 - np.sqrt(1.5), 2.0, 2.0, 2 + np.sqrt(1.5)]
    second = [4.0, 6.0, 8.0]
    errors = 1 / 4, 4 / 3
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / 3 + errors[1] ** 2 / 2)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(sum(errors))
    result = over_seeds(first, second)
    assert result.difference == pytest.approx(4.0)
    assert result.interval == pytest.approx((4 - half, 4 + half))
    assert result.welch_p == pytest.approx(2 * stats.t.sf(4 / np.sqrt(sum(errors)), freedom))
    assert result.permutation_p == result.smallest_p == pytest.approx(2 / 35)
    assert result.exact


def test_permutation_p_counts_all_permutations_ties_included():
    """Accuracies like 0.9871 are no binary fractions: their sums tie only if rounding is seen through."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        counts = rng.integers(9870, 9880, 8)
        sums = [sum(subset) for subset in itertools.combinations(counts.tolist(), 4)]
        above, below = np.mean(np.array(sums) >= sum(counts[:4])), np.mean(np.array(sums) <= sum(counts[:4]))
        result = over_seeds(counts[:4] / 10_000, counts[4:] / 10_000)
        assert result.permutation_p == pytest.approx(min(1.0, 2 * min(above, below)))


def test_compare_seeds_needs_two_values_of_both():
    assert compare_seeds([0.9], [0.8, 0.7]) is None
    assert compare_seeds([0.9, 0.8], [0.7]) is None


def test_compare_seeds_of_equal_values():
    same = over_seeds([0.98, 0.97], [0.97, 0.98])
    assert (same.difference, same.permutation_p) == (0.0, 1.0)
    assert same.welch_p == pytest.approx(1.0)
    constant = over_seeds([0.9] * 3, [0.9] * 4)
    assert (constant.welch_p, constant.permutation_p, constant.interval) == (None, 1.0, (0.0, 0.0))
    apart = over_seeds([0.25] * 3, [0.5] * 3)
    assert (apart.welch_p, apart.permutation_p, apart.interval) == (None, 0.1, (0.25, 0.25))
    half_constant = over_seeds([0.25] * 3, [0.5, 0.6, 0.7])
    assert 0 < found(half_constant.welch_p) < 0.1


def test_compare_seeds_turns_with_its_arguments():
    a, b = [0.96, 0.97, 0.99], [0.97, 0.98, 0.99, 0.995]
    there, back = over_seeds(a, b), over_seeds(b, a)
    assert back.difference == pytest.approx(-there.difference)
    assert back.interval == pytest.approx([-bound for bound in reversed(there.interval)])
    assert (back.welch_p, back.permutation_p) == pytest.approx((there.welch_p, there.permutation_p))


def test_many_seeds_are_permuted_by_a_sample():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.0, 1.0, 12), rng.normal(1.0, 1.0, 12)
    result = over_seeds(a, b)
    assert not result.exact
    assert result.permutation_p == over_seeds(a, b).permutation_p
    assert result.permutation_p == pytest.approx(stats.ttest_ind(a, b).pvalue, rel=0.3)


def test_mcnemar_of_a_table_by_hand():
    """1 and 5 discordant: p = 2 (C(6,0) + C(6,1)) / 2^6 = 14/64."""
    result = mcnemar(*discordant(10, 1, 5, 3))
    assert result == (10, 1, 5, 3, pytest.approx(14 / 64))


def test_mcnemar_of_a_textbook():
    """Agresti, Categorical Data Analysis, table 10.1: z^2 = (86 - 150)^2 / (86 + 150) = 17.36, one degree."""
    result = mcnemar(*discordant(794, 150, 86, 570))
    assert result.p == pytest.approx(stats.chi2.sf(64**2 / 236, 1), rel=0.3)
    assert mcnemar(*discordant(794, 118, 118, 570)).p == 1.0


def test_mcnemar_without_discordant_examples():
    assert mcnemar(*discordant(3, 0, 0, 2)) == (3, 0, 0, 2, 1.0)


@pytest.mark.parametrize("counts", [(10, 1, 5, 3), (100, 0, 40, 0), (5, 7, 7, 5), (50, 3, 0, 1), (4, 0, 0, 4)])
def test_sign_flips_of_one_network_each_are_mcnemars_test(counts):
    first, second = discordant(*counts)
    result = compare_examples(first[None], second[None])
    assert result.p == pytest.approx(mcnemar(first, second).p)
    assert result.difference == pytest.approx((counts[2] - counts[1]) / sum(counts))


@pytest.mark.parametrize("seeds", [(2, 2), (3, 2), (1, 4)])
def test_sign_flips_count_all_signs(seeds):
    rng = np.random.default_rng(3)
    first, second = (rng.random((count, 9)) < chance for count, chance in zip(seeds, (0.5, 0.8), strict=True))
    differences = second.mean(axis=0) - first.mean(axis=0)
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((1, -1), repeat=9)]
    result = compare_examples(first, second)
    assert result.difference == pytest.approx(differences.mean())
    assert result.p == pytest.approx(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9))
    expected = stats.ttest_1samp(differences, 0.0)
    half = stats.norm.ppf(0.975) * expected.statistic**-1 * differences.mean()
    assert result.interval == pytest.approx((differences.mean() - abs(half), differences.mean() + abs(half)))


def test_equal_networks_do_not_differ_and_clearly_better_ones_do():
    rng = np.random.default_rng(0)
    first = rng.random((5, 10_000)) < 0.97
    assert compare_examples(first, first) == (0.0, (0.0, 0.0), 1.0)
    better = first | (rng.random((5, 10_000)) < 0.5)
    result = compare_examples(first, better)
    assert result.p < 1e-50
    assert result.interval[0] > 0.01


def test_tests_of_equal_runs_are_significant_as_often_as_they_say():
    rng = np.random.default_rng(0)
    seeds, examples = [], []
    for _ in range(200):
        right = rng.random((6, 500)) < rng.beta(9, 1, 500)[None]
        seeds.append(over_seeds(right[:3].mean(axis=1), right[3:].mean(axis=1)).welch_p)
        examples.append(compare_examples(right[:3], right[3:]).p)
    for p in (seeds, examples):
        assert 0.01 < np.mean(np.array(p) < 0.05) < 0.09
        assert 0.4 < np.mean(p) < 0.6


@pytest.mark.parametrize("shapes", [((2, 5), (2, 6)), ((1, 1), (1, 1))])
def test_compare_examples_refuses_other_examples_and_too_few(shapes):
    first, second = (np.ones(shape, bool) for shape in shapes)
    with pytest.raises(ValueError, match="not the same two or more"):
        compare_examples(first, second)
