"""The order in which the pixels of an image are read: images [B, R, K] to sequences [B, T, F]. Pure.

An order is an array of positions, index [T, F]: time step t reads the pixels index[t] of the image, which is flattened
row by row, from the top. To add an order, add a function of the image's size to `ORDERS`:

    ORDERS["rows_from_below"] = lambda rows, columns: np.arange(rows * columns).reshape(rows, columns)[::-1]
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.tasks import permutations
from rowlstm_jax.tasks.augmentation import Affine

Order = Callable[[int, int], np.ndarray]  # R, K -> index [T, F]
Read = Callable[[jax.Array], jax.Array]  # images [B, R, K] -> sequences [B, T, F]

PATCH = 4  # the side of a patch


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images become the sequences that the model reads.

    Attributes:
      order: images [B, R, K] -> sequences [B, T, F].
      augmentation: of the training images; None for no augmentation.
    """

    order: Read
    augmentation: Affine | None = None


def scale(images: jax.Array) -> jax.Array:
    """Scale pixels to [0, 1] as the notebook's loader does, by a float32 multiplication by 1/255.

    Args:
      images: uint8, any shape.

    Returns:
      float32 of the same shape; 0 and 255 become exactly 0.0 and 1.0.
    """
    return images.astype(jnp.float32) * jnp.float32(1 / 255)


def read(images: jax.Array, index: np.ndarray) -> jax.Array:
    r"""Read images in an order.

    .. math:: x_{b,t,f} = \mathrm{images}_b[\mathrm{index}_{t,f}]

    Rows and pixels are computed as a reshape, columns as a transpose, and any other order as a gather.

    Example:
      >>> images = jnp.arange(6).reshape(1, 2, 3)
      >>> read(images, order_index("snake", 2, 3))[0, :, 0]
      Array([0, 1, 2, 5, 4, 3], dtype=int32)

    Args:
      images: [B, R, K], any dtype.
      index: int [T, F], positions from 0 to R K - 1; a NumPy array, as the computation depends on its values.

    Returns:
      [B, T, F], of the dtype of the images.

    Raises:
      ValueError: a position lies outside the images.
    """
    _check_index(index, images.shape[1] * images.shape[2], "index")
    images = jnp.asarray(images)
    natural = np.arange(images.shape[1] * images.shape[2]).reshape(images.shape[1:])
    if np.array_equal(index.ravel(), natural.ravel()):
        return images.reshape(-1, *index.shape)
    if np.array_equal(index, natural.T):
        return images.swapaxes(1, 2)
    return images.reshape(len(images), -1).at[:, index].get(mode="promise_in_bounds")


def order_index(order: str, rows: int, columns: int) -> np.ndarray:
    """The index of a named order.

    Example:
      >>> order_index("columns", 2, 3)
      array([[0, 3],
             [1, 4],
             [2, 5]], dtype=int32)

    Args:
      order: a key of `ORDERS`.
      rows: R.
      columns: K.

    Returns:
      int32 [T, F], read-only, and the same array at every call.

    Raises:
      ValueError: there is no such order, it does not fit the image, or its function returns other than positions.
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}; choose one of {', '.join(ORDERS)}.")
    if not callable(ORDERS[order]):
        raise ValueError(f"order is {order!r}, which is no function (rows, columns) -> positions [T, F] in `ORDERS`.")
    return _checked_index(ORDERS[order], order, rows, columns)


def require_orders(names: Sequence[str]) -> None:
    """Check the names of orders.

    Raises:
      ValueError: there is no name, or one that is not in `ORDERS`.
    """
    if not names:
        raise ValueError(f"orders is empty; choose from {', '.join(ORDERS)}.")
    for name in names:
        if name not in ORDERS:
            raise ValueError(f"orders names {name!r}; choose from {', '.join(ORDERS)}.")


@functools.cache  # the function is part of the key, as a name may be given to another function
def _checked_index(function: Order, order: str, rows: int, columns: int) -> np.ndarray:
    index = np.asarray(function(rows, columns))
    _check_index(index, rows * columns, f"order {order!r}")
    index = index.astype(np.int32)  # a copy, so that the function's own array stays writable
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


def _patches(rows: int, columns: int) -> np.ndarray:
    """Patches of 4 x 4 pixels, row by row: T = 49, F = 16. As in ViT (arXiv:2010.11929) and ReNet."""
    if rows % PATCH or columns % PATCH:
        raise ValueError(f"order is 'patches'; {PATCH} x {PATCH} pixels do not tile an image of {rows} x {columns}.")
    index = _positions(rows, columns).reshape(rows // PATCH, PATCH, columns // PATCH, PATCH)
    return index.swapaxes(1, 2).reshape(-1, PATCH * PATCH)


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
