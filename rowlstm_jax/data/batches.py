"""The order of examples: the batch of each step, a function of seed and step only; and PyTorch's permutations."""

import functools
from collections.abc import Sequence

import numpy as np


# For MNIST an order takes 6 ms and 0.2 MB. Each seed of a run needs one, or two at the end of an epoch.
@functools.lru_cache(maxsize=128)
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order in which an epoch visits the examples.

    It sorts the positions by raw 64-bit draws. NumPy guarantees the bits of its generators in all versions, but not
    those of `Generator.permutation`.

    Args:
      seed: of the run.
      epoch: 0, 1, ...
      num_examples: N.

    Returns:
      A permutation of 0 .. N - 1, int32 [N], read-only.
    """
    draws = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(num_examples)
    order = np.argsort(draws, kind="stable").astype(np.int32)
    order.flags.writeable = False
    return order


def batch_indices(seed: int, num_examples: int, batch_size: int, first_step: int, num_steps: int) -> np.ndarray:
    """The examples of some consecutive steps.

    A batch that the end of an epoch cannot fill takes its rest from the next epoch. So every example is seen exactly
    once an epoch, as in the notebook's loader.

    Example:
      >>> batch_indices(seed=0, num_examples=3, batch_size=2, first_step=0, num_steps=3).shape
      (3, 2)

    Args:
      seed: of the run.
      num_examples: N.
      batch_size: B.
      first_step: 0 for the first step of a run.
      num_steps: 1 or more.

    Returns:
      int32 [num_steps, B], values from 0 to N - 1.
    """
    positions = np.arange(first_step * batch_size, (first_step + num_steps) * batch_size)
    epochs, offsets = np.divmod(positions, num_examples)
    indices = np.empty(len(positions), np.int32)
    for epoch in np.unique(epochs).tolist():
        indices[epochs == epoch] = epoch_order(seed, epoch, num_examples)[offsets[epochs == epoch]]
    return indices.reshape(num_steps, batch_size)


def batches(seeds: Sequence[int], num_examples: int, batch_size: int, first_step: int, num_steps: int) -> np.ndarray:
    """The `batch_indices` of several seeds, int32 [S, number of steps, B]."""
    return np.stack([batch_indices(seed, num_examples, batch_size, first_step, num_steps) for seed in seeds])


def torch_permutation(size: int, seed: int) -> np.ndarray:
    """`torch.randperm(size)` on a CPU, right after `torch.manual_seed(seed)`.

    PyTorch swaps each entry i but the last with entry i + (u_i mod (size - i)). The u_i are the 32-bit numbers of
    MT19937, which NumPy's `RandomState` seeds in the same way.

    Example:
      >>> torch_permutation(5, seed=0)
      array([4, 0, 1, 3, 2])

    Args:
      size: 1 or more, and far below 2**32.
      seed: from 0 to 2**32 - 1.

    Returns:
      int64 [size].

    Source: pytorch/pytorch `aten/src/ATen/native/TensorFactories.cpp` (`randperm_cpu`).
    """
    draws = np.random.RandomState(seed).randint(2**32, size=size - 1, dtype=np.uint32)
    order = list(range(size))
    for i, draw in enumerate(draws.tolist()):
        other = i + draw % (size - i)
        order[i], order[other] = order[other], order[i]
    return np.array(order)
