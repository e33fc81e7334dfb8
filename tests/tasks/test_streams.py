"""Streams: the task with a long lag against its definition in plain Python, and when a task counts as solved."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.tasks import lag_stream, solved_after

RNG = np.random.default_rng(0)


def stream(is_a: list[bool], lag: int) -> tuple[list[list[float]], list[list[bool]]]:
    names = ["a", "x", *(f"b{n}" for n in range(1, lag + 1))]
    inputs, given = [], []
    for before, now in itertools.pairwise(is_a):
        for symbol in ["a" if now else "x", *names[2:]]:
            begins = symbol in "ax"
            inputs.append([float(symbol == name) for name in names] + [float(begins and before)])
            given.append([True] * len(names) + [begins])
    return inputs, given


@pytest.mark.parametrize("lag", [1, 3, 20])
def test_the_target_comes_after_the_sequence_that_it_is_of(lag):
    is_a = [True, False, False, True, True, False]
    inputs, given = lag_stream(jnp.array(is_a), lag)
    expected = stream(is_a, lag)
    np.testing.assert_array_equal(inputs, expected[0])
    np.testing.assert_array_equal(given, expected[1])
    assert inputs.dtype == jnp.float32


def test_a_stream_can_be_cut_in_parts():
    is_a = jnp.array(RNG.random(8) < 0.5)
    whole, parts = lag_stream(is_a, 4), [lag_stream(is_a[:4], 4), lag_stream(is_a[3:], 4)]
    for of_whole, *of_parts in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(of_whole, np.concatenate(of_parts))


@pytest.mark.parametrize("in_a_row", [1, 3, 10])
def test_a_task_is_solved_after_so_many_right_ones_in_a_row(in_a_row):
    right = RNG.random((50, 30)) < np.linspace(0, 1, 50)[:, None]
    expected = []
    for row in right:
        streak, found = 0, 0
        for n, ok in enumerate(row, 1):
            streak = streak + 1 if ok else 0
            if streak == in_a_row and not found:
                found = n
        expected.append(found)
    assert solved_after(right, in_a_row).tolist() == expected
    assert expected[0] == 0
    assert expected[-1] == in_a_row
