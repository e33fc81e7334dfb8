"""The order in which the pixels of an image are read: images [B, R, K] to sequences [B, T, F]. Pure.

An order is an array of positions, index [T, F]: time step t reads the pixels index[t] of the image, which is flattened
row by row, from the top. To add an order, add a function of the image's size to `ORDERS`:

    ORDERS["rows_from_below"] = lambda rows, columns: np.arange(rows * columns).reshape(rows, columns)[::-1]

A pixel of an image with channels [R, K, channels] is read with all its channels, so F is `channels` times as large. A
sequence [T, F] of numbers is read as an image of T rows: the order "rows" reads it as it is.
"""

import functools
import hashlib
import math
import re
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.tasks import permutations

Order = Callable[[int, int], np.ndarray]  # R, K -> index [T, F]
Read = Callable[[jax.Array], jax.Array]  # inputs [B, ...] -> sequences [B, T, F]

PATCHES = re.compile("patches(?:_([1-9][0-9]{0,3})(?:x([1-9][0-9]{0,3}))?)?")  # patches_8, patches_7x4; else 4 x 4


def read(images: jax.Array, index: np.ndarray) -> jax.Array:
    r"""Read images in an order.

    .. math:: x_{b,t,f} = \mathrm{images}_b[\mathrm{index}_{t,f}]

    Rows and pixels are computed as a reshape, columns as a transpose, and any other order as a gather.

    Example:
      >>> images = jnp.arange(6).reshape(1, 2, 3)
      >>> read(images, order_index("snake", 2, 3))[0, :, 0]
      Array([0, 1, 2, 5, 4, 3], dtype=int32)

    Args:
      images: [B, R, K] or [B, R, K, channels], any dtype.
      index: int [T, F], positions from 0 to R K channels - 1; a NumPy array, as the computation depends on its values.

    Returns:
      [B, T, F], of the dtype of the images.

    Raises:
      ValueError: a position lies outside the images.
    """
    images, shape = jnp.asarray(images), images.shape[1:]
    natural = np.arange(math.prod(shape)).reshape(shape)
    _check_index(index, natural.size, "index")
    if np.array_equal(index.ravel(), natural.ravel()):
        return images.reshape(-1, *index.shape)
    if np.array_equal(index, natural.swapaxes(0, 1).reshape(shape[1], -1)):
        return images.swapaxes(1, 2).reshape(-1, *index.shape)
    return images.reshape(images.shape[0], -1).at[:, index].get(mode="promise_in_bounds")


def order_index(order: str, rows: int, columns: int, channels: int = 1) -> np.ndarray:
    """The index of a named order.

    Example:
      >>> order_index("columns", 2, 3)
      array([[0, 3],
             [1, 4],
             [2, 5]], dtype=int32)

    Args:
      order: a key of `ORDERS`; or patches_<n> or patches_<r>x<k>, patches of n x n or r x k pixels, row by row.
      rows: R.
      columns: K.
      channels: of a pixel.

    Returns:
      int32 [T, F], read-only, and the same array at every call.

    Raises:
      ValueError: there is no such order, it does not fit the image, or its function returns other than positions.
    """
    if not _is_order(order):
        raise ValueError(f"order is {order!r}; choose one of {', '.join(ORDERS)}, or patches_<side>.")
    function = ORDERS.get(order, _patches)
    if not callable(function):
        raise ValueError(f"order is {order!r}, which is no function (rows, columns) -> positions [T, F] in `ORDERS`.")
    return _checked_index(function, order, rows, columns, channels)


def _is_order(name: object) -> bool:
    return isinstance(name, str) and (name in ORDERS or PATCHES.fullmatch(name) is not None)


def require_orders(names: Sequence[str]) -> None:
    """Check the names of orders.

    Raises:
      ValueError: there is no name, or one that is not in `ORDERS`.
    """
    if not names:
        raise ValueError(f"orders is empty; choose from {', '.join(ORDERS)}.")
    for name in names:
        if not _is_order(name):
            raise ValueError(f"orders names {name!r}; choose from {', '.join(ORDERS)}.")


@functools.cache  # the function is part of the key, as a name may be given to another function
def _checked_index(function: Order, order: str, rows: int, columns: int, channels: int) -> np.ndarray:
    patch = PATCHES.fullmatch(order) if function is _patches else None
    sides = [int(side) for side in patch.groups() if side] if patch else []
    index = np.asarray(function(rows, columns, *sides))  # pyright: ignore[reportCallIssue]
    _check_index(index, rows * columns, f"order {order!r}")
    index = (index[..., None] * channels + np.arange(channels)).reshape(len(index), -1)
    index = index.astype(np.int32)
    index.flags.writeable = False
    return index


def _check_index(index: np.ndarray, size: int, name: str) -> None:
    if index.ndim != 2 or not index.size or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"{name} is {index.dtype}{list(index.shape)}; positions are whole numbers [T, F].")
    if index.min() < 0 or index.max() >= size:
        raise ValueError(f"{name} reads positions {index.min()} to {index.max()}; the image has 0 to {size - 1}.")


def order_digest(index: np.ndarray) -> str:
    """The SHA-256 of an order: of T, F and then index[0, 0], index[0, 1], ... as little-endian int32.

    Example:
      >>> order_digest(order_index("rows", 28, 28))[:16]
      'b20436ab18a51128'

    Args:
      index: int [T, F].
    """
    return hashlib.sha256(np.array([*index.shape, *index.ravel()], "<i4").tobytes()).hexdigest()


def _positions(rows: int, columns: int) -> np.ndarray:
    return np.arange(rows * columns).reshape(rows, columns)


def _rows(rows: int, columns: int) -> np.ndarray:
    """Rows from the top: T = 28, F = 28. The notebook and most tutorials read this order."""
    return _positions(rows, columns)


def _columns(rows: int, columns: int) -> np.ndarray:
    """Columns from the left: T = 28, F = 28. The other axis that ReNet sweeps (arXiv:1505.00393)."""
    return _positions(rows, columns).T


def _rows_both_ways(rows: int, columns: int) -> np.ndarray:
    """Row t from the top and row t from the bottom, side by side: T = 28, F = 56. Our own."""
    index = _positions(rows, columns)
    return np.concatenate([index, index[::-1]], axis=1)


def _patches(rows: int, columns: int, height: int = 4, width: int | None = None) -> np.ndarray:
    """Patches of 4 x 4 pixels, row by row: T = 49, F = 16. As in ViT (arXiv:2010.11929) and ReNet."""
    width = width or height
    if rows % height or columns % width:
        raise ValueError(f"order is 'patches'; {height} x {width} pixels do not tile an image of {rows} x {columns}.")
    index = _positions(rows, columns).reshape(rows // height, height, columns // width, width)
    return index.swapaxes(1, 2).reshape(-1, height * width)


def _pixels(rows: int, columns: int) -> np.ndarray:
    """Pixels, row by row: T = 784, F = 1. "Sequential MNIST" (Le, Jaitly and Hinton, arXiv:1504.00941)."""
    return _positions(rows, columns).reshape(-1, 1)


def _snake(rows: int, columns: int) -> np.ndarray:
    """Pixels, every second row from right to left: T = 784, F = 1. state-spaces/s4, `snake_permutation`."""
    index = _positions(rows, columns)
    index[1::2] = index[1::2, ::-1]
    return index.reshape(-1, 1)


def _hilbert(rows: int, columns: int) -> np.ndarray:
    """Pixels along a Hilbert curve: T = 784, F = 1. state-spaces/s4, `hilbert_permutation`.

    The curve fills the smallest square with a side of 2**n that covers the image; positions outside the image are
    skipped. If the image is such a square, the order is that of S4.
    """
    row = column = np.zeros(1, np.int64)
    side = 1
    while side < max(rows, columns):  # four copies; the first and the last are mirrored, so that the ends meet
        row, column = (
            np.concatenate([column, row, row + side, 2 * side - 1 - column]),
            np.concatenate([row, column + side, column + side, side - 1 - row]),
        )
        side *= 2
    inside = (row < rows) & (column < columns)
    return (row * columns + column)[inside].reshape(-1, 1)


# The orders that a protocol can name.
ORDERS: dict[str, Order] = {
    "rows": _rows,
    "columns": _columns,
    "rows_both_ways": _rows_both_ways,
    "patches": _patches,
    "pixels": _pixels,
    "snake": _snake,
    "hilbert": _hilbert,
    "permuted_bit_reversal": permutations.permuted_bit_reversal,
    "permuted_numpy_92916": permutations.permuted_numpy_92916,
    "permuted_numpy_0": permutations.permuted_numpy_0,
    "permuted_torch_5544": permutations.permuted_torch_5544,
    "permuted_torch_12008": permutations.permuted_torch_12008,
}
