"""The published permutations against their definitions, and against PyTorch where it is installed."""

import numpy as np
import pytest

from rowlstm_jax.tasks import permutations


@pytest.mark.parametrize("size", [1, 2, 3, 6, 8, 784, 1024])
def test_bit_reversal_sorts_by_the_reversed_digits(size):
    digits = (size - 1).bit_length()
    by_definition = sorted(range(size), key=lambda number: f"{number:0{digits}b}"[::-1])
    assert permutations.bit_reversal(size).tolist() == by_definition


@pytest.mark.parametrize("seed", [0, 5544, 12008, 2**32 - 1])
@pytest.mark.parametrize("size", [1, 2, 784])
def test_torch_permutation_is_what_torch_draws(size, seed):
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = torch.randperm(size).numpy()
    np.testing.assert_array_equal(permutations.torch_permutation(size, seed), drawn)


@pytest.mark.parametrize("seed", [0, 92916])
def test_numpy_permutation_is_the_legacy_shuffle(seed):
    """NumPy's own Fisher-Yates, from the last entry down, with masked rejection; on another reading of the stream."""
    draws = iter(np.random.RandomState(seed).randint(2**32, size=2000, dtype=np.uint32).tolist())
    order = list(range(784))
    for i in range(783, 0, -1):
        mask = 2 ** i.bit_length() - 1
        other = next(draw & mask for draw in draws if draw & mask <= i)
        order[i], order[other] = order[other], order[i]
    assert permutations.numpy_permutation(784, seed).tolist() == order
