"""Arrays that come from outside: as NumPy arrays, with their names, shapes and dtypes checked."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]


def as_numpy(value: Any) -> np.ndarray:
    """A NumPy array from a NumPy, JAX or Keras array, or from a PyTorch tensor on any device."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has no such dtype; float32 holds every value of it
            return value.float().numpy().astype(jnp.bfloat16)
        value = value.numpy()
    return np.asarray(value)


def checked(arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[Shape, np.dtype]]) -> dict[str, np.ndarray]:
    """The arrays, in the order of the expected names.

    Args:
      arrays: by name.
      expected: the shape and dtype of each array, by name.

    Raises:
      ValueError: an array is missing, is not expected, or has another shape or dtype.
    """
    for name in expected:
        required(arrays, name)
    for name in arrays:
        if name not in expected:
            raise ValueError(f"{name} is {_described(arrays[name])}, but this model has no such array.")
    # The shapes of biases say more about a wrong number of units than those of kernels, so they are checked first.
    for name, (shape, dtype) in sorted(expected.items(), key=lambda item: len(item[1][0])):
        found = arrays[name]
        if found.shape != shape or found.dtype != dtype:
            several = found.ndim > 0 and found.shape[1:] == shape and found.dtype == dtype
            seeds = " If these are the weights of several seeds, [S, ...], choose those of one." if several else ""
            raise ValueError(f"{name} is {_described(found)}; expected {_describe(shape, dtype)}.{seeds}")
    return {name: arrays[name] for name in expected}


def required(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """The array with this name. Raises a ValueError that lists the names there are if it is missing."""
    if name not in arrays:
        raise ValueError(f"{name} is missing; the arrays are {', '.join(arrays) or 'none'}.")
    return arrays[name]


def _described(array: np.ndarray) -> str:
    return _describe(array.shape, array.dtype)


def _describe(shape: Shape, dtype: np.dtype) -> str:
    return f"{dtype} {list(shape)}"
