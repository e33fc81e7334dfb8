"""The fuzz: its inputs can be repeated, and it sees the faults that it looks for."""

import random
import signal

import pytest

from experiments.benchmarks import fuzz
from experiments.benchmarks.fuzz_inputs import Input, describe, draw_input


def test_inputs_depend_on_the_seed_only():
    first, second = ([draw_input(random.Random(5)) for _ in range(3)] for _ in range(2))
    assert first == second
    assert describe(first[0]).count("experiments.") == 1


@pytest.mark.parametrize(
    ("status", "output", "fault"),
    [
        (0, "fine", ""),
        (2, "error: --steps is 0; it must be from 1.", ""),
        (143, "Stopped at step 3", ""),
        (1, "Traceback (most recent call last)\n  x", "a traceback"),
        (2, "", "status 2 without a sentence"),
        (139, "", "status 139"),
        (0, "\x1b[31mred", "control characters"),
        (fuzz.NO_END, "", "it did not end"),
    ],
)
def test_a_fault_is_seen(status, output, fault):
    assert fuzz.fault_of(Input(["mnist_rows"], {}, "", signal.SIGTERM, 1.0), status, output).startswith(fault)
    assert bool(fuzz.fault_of(Input(["mnist_rows"], {}, "", signal.SIGTERM, 1.0), status, output)) == bool(fault)


@pytest.mark.slow
def test_some_inputs_show_no_fault(tmp_path, mnist):
    fuzz.main(fuzz.Config(inputs=12, seed=3, json=tmp_path / "rows.json"))
