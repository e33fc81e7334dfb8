"""The published permutations of pixels: for R rows and K columns, the position that each step reads. NumPy only.

"Permuted MNIST" is a different task in each line of work, because each draws its permutation from a seed of its own.
Accuracies are comparable only for the same permutation. All of them apply it as `pixels[permutation]`.
"""

import numpy as np

from rowlstm_jax.data import torch_permutation


def bit_reversal(size: int) -> np.ndarray:
    """Sort the numbers below `size` by their binary digits in reverse, with as many digits as `size - 1` has.

    Example:
      >>> bit_reversal(6)
      array([0, 4, 2, 1, 5, 3])

    Args:
      size: 1 or more.

    Returns:
      int64 [size].

    Source: state-spaces/s4 `src/utils/permutations.py` (Gu et al., arXiv:2111.00396); S5 has the same.
    """
    order = np.zeros(1, np.int64)
    while len(order) < size:  # a new leading digit is the last one to change
        order = np.concatenate([2 * order, 2 * order + 1])
    return order[order < size]


def numpy_permutation(size: int, seed: int) -> np.ndarray:
    """`numpy.random.RandomState(seed).permutation(size)`, which is the same in all versions of NumPy (NEP 19).

    Example:
      >>> numpy_permutation(5, seed=0)
      array([2, 0, 1, 3, 4])

    Args:
      size: 1 or more.
      seed: from 0 to 2**32 - 1.

    Returns:
      int64 [size].
    """
    return np.random.RandomState(seed).permutation(size)


def permuted_bit_reversal(rows: int, columns: int) -> np.ndarray:
    """Pixels by reversed binary position: T = 784, F = 1. S4 (arXiv:2111.00396) and S5 (arXiv:2208.04933)."""
    return bit_reversal(rows * columns).reshape(-1, 1)


def permuted_numpy_92916(rows: int, columns: int) -> np.ndarray:
    """Permuted pixels: T = 784, F = 1. scoRNN (arXiv:1707.09520) and expRNN (arXiv:1901.08428)."""
    return numpy_permutation(_mnist_size(rows, columns), 92916).reshape(-1, 1)


def permuted_numpy_0(rows: int, columns: int) -> np.ndarray:
    """Permuted pixels: T = 784, F = 1. LMU (Voelker, Kajić and Eliasmith, NeurIPS 2019; abr/neurips2019)."""
    return numpy_permutation(_mnist_size(rows, columns), 0).reshape(-1, 1)


def permuted_torch_5544(rows: int, columns: int) -> np.ndarray:
    """Permuted pixels: T = 784, F = 1. UnICORNN (arXiv:2103.05487) and LEM (arXiv:2110.04744)."""
    return torch_permutation(_mnist_size(rows, columns), 5544).reshape(-1, 1)


def permuted_torch_12008(rows: int, columns: int) -> np.ndarray:
    """Permuted pixels: T = 784, F = 1. coRNN (arXiv:2010.00951) and Lipschitz RNN (arXiv:2006.12070)."""
    return torch_permutation(_mnist_size(rows, columns), 12008).reshape(-1, 1)


def _mnist_size(rows: int, columns: int) -> int:
    if rows * columns != 784:
        raise ValueError(f"order is a permutation published for 784 pixels, not for an image of {rows} x {columns}.")
    return 784
