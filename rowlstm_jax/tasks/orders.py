"""How an image is read: images [B, R, K] to sequences [B, T, F]. Pure.

An order is an array of positions, index [T, F]: time step t reads the pixels index[t] of the flattened image (row by
row, from the top). To add one, write a function of the image's size and give it a name:

    ORDERS["rows_from_below"] = lambda rows, columns: np.arange(rows * columns).reshape(rows, columns)[::-1]
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.errors import UserError
from rowlstm_jax.tasks import permutations
from rowlstm_jax.tasks.augmentation import Affine

Order = Callable[[int, int], np.ndarray]  # R, K -> index [T, F]

PATCH = 4  # the side of a patch


Read = Callable[[jax.Array], jax.Array]  # images [B, R, K] -> sequences [B, T, F]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How stored pixels become what the model reads.

    Attributes:
      order: images [B, R, K] -> sequences [B, T, F].
      augmentation: of training images; None leaves them as they are.
    """

    order: Read
    augmentation: Affine | None = None


def scale(images: jax.Array) -> jax.Array:
    """Bring pixels to [0, 1] as the notebook's loader does: float32 multiplication by 1/255.

    Args:
      images: uint8, any shape.

    Returns:
      float32 of the same shape; 0 and 255 become exactly 0.0 and 1.0.
    """
    return images.astype(jnp.float32) * jnp.float32(1 / 255)


def read(images: jax.Array, index: np.ndarray) -> jax.Array:
    r"""Read images in an order.

    .. math:: x_{b,t,f} = \mathrm{images}_b[\mathrm{index}_{t,f}]

    Rows and pixels are a reshape, columns are a transpose; any other order is a gather.

    Example:
      >>> images = jnp.arange(6).reshape(1, 2, 3)
      >>> read(images, order_index("snake", 2, 3))[0, :, 0]
      Array([0, 1, 2, 5, 4, 3], dtype=int32)

    Args:
      images: [B, R, K], any dtype.
      index: int [T, F], positions from 0 to R K - 1; a NumPy array, as its values decide how the images are read.

    Returns:
      [B, T, F], of the dtype of the images.

    Raises:
      ValueError: a position lies outside the images.
    """
    _check_index(index, images.shape[1] * images.shape[2], "index")
    return _gather(images, index)


def unread(sequences: jax.Array, index: np.ndarray, rows: int, columns: int) -> jax.Array:
    """Put sequences back into images: the inverse of `read`.

    A pixel that was read more than once is taken from where it was read first.

    Example:
      >>> index = order_index("hilbert", 2, 3)
      >>> unread(read(jnp.arange(6).reshape(1, 2, 3), index), index, 2, 3)
      Array([[[0, 1, 2],
              [3, 4, 5]]], dtype=int32)

    Args:
      sequences: [B, T, F], any dtype.
      index: int [T, F], the order in which they were read; a NumPy array.
      rows: R.
      columns: K.

    Returns:
      [B, R, K], of the dtype of the sequences.

    Raises:
      ValueError: a position lies outside the images, or a pixel is never read.
    """
    _check_index(index, rows * columns, "index")
    positions, first = np.unique(index, return_index=True)
    if len(positions) < rows * columns:
        raise ValueError(f"index reads {len(positions)} of the {rows * columns} pixels; the others can't be restored.")
    return _gather(sequences, first.reshape(rows, columns))


def _gather(arrays: jax.Array, places: np.ndarray) -> jax.Array:
    """Take from each of B matrices the entries at `places` of the flattened matrix: [B, *places.shape]."""
    arrays = jnp.asarray(arrays)
    natural = np.arange(arrays.shape[1] * arrays.shape[2]).reshape(arrays.shape[1:])
    if np.array_equal(places.ravel(), natural.ravel()):
        return arrays.reshape(-1, *places.shape)
    if np.array_equal(places, natural.T):
        return arrays.swapaxes(1, 2)
    return arrays.reshape(len(arrays), -1).at[:, places].get(mode="promise_in_bounds")


def order_index(order: str, rows: int, columns: int) -> np.ndarray:
    """Return the index of a named order.

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
      UserError: there is no such order.
      ValueError: it does not fit the image, or its function returns no positions in the image.
    """
    require_orders([order])
    return _checked_index(ORDERS[order], order, rows, columns)


def require_orders(names: Sequence[str]) -> None:
    """Refuse names that are no keys of `ORDERS`.

    Raises:
      UserError: there is no such order, or no name.
    """
    if not names:
        raise UserError(f"--orders names nothing; choose from {', '.join(ORDERS)}.")
    for name in names:
        if name not in ORDERS:
            raise UserError(f"There is no order {name!r}; choose from {', '.join(ORDERS)}.")


@functools.cache  # by the function too: a name may be given to another
def _checked_index(function: Order, order: str, rows: int, columns: int) -> np.ndarray:
    index = np.asarray(function(rows, columns))
    _check_index(index, rows * columns, f"The order {order!r}")
    index = index.astype(np.int32)  # a copy: what the function returned stays writable
    index.flags.writeable = False
    return index


def _check_index(index: np.ndarray, size: int, name: str) -> None:
    if index.ndim != 2 or not index.size or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"{name} is {index.dtype}{list(index.shape)}; positions are whole numbers [T, F].")
    if index.min() < 0 or index.max() >= size:
        raise ValueError(f"{name} reads positions {index.min()} to {index.max()}; the image has 0 to {size - 1}.")


def order_digest(index: np.ndarray) -> str:
    """Return the SHA-256 of an order: of T, F and then index[0, 0], index[0, 1], ... as little-endian int32.

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
    """Rows from the top: T = 28, F = 28. The order of this project's notebook and of most tutorials."""
    return _positions(rows, columns)


def _columns(rows: int, columns: int) -> np.ndarray:
    """Columns from the left: T = 28, F = 28. The other axis that ReNet sweeps (arXiv:1505.00393)."""
    return _positions(rows, columns).T


def _rows_both_ways(rows: int, columns: int) -> np.ndarray:
    """Row t from the top beside row t from below: T = 28, F = 56. Two directions for one recurrence; ours."""
    index = _positions(rows, columns)
    return np.concatenate([index, index[::-1]], axis=1)


def _patches(rows: int, columns: int) -> np.ndarray:
    """Patches of 4 x 4 pixels, row by row: T = 49, F = 16. As images enter ViT (arXiv:2010.11929) and ReNet."""
    if rows % PATCH or columns % PATCH:
        raise ValueError(f"Patches of {PATCH} x {PATCH} pixels do not tile an image of {rows} x {columns}.")
    index = _positions(rows, columns).reshape(rows // PATCH, PATCH, columns // PATCH, PATCH)
    return index.swapaxes(1, 2).reshape(-1, PATCH * PATCH)


def _pixels(rows: int, columns: int) -> np.ndarray:
    """Pixels, row by row: T = 784, F = 1. "Sequential MNIST" (Le, Jaitly and Hinton, arXiv:1504.00941)."""
    return _positions(rows, columns).reshape(-1, 1)


def _snake(rows: int, columns: int) -> np.ndarray:
    """Pixels, every second row from the right: T = 784, F = 1. state-spaces/s4, `snake_permutation`."""
    index = _positions(rows, columns)
    index[1::2] = index[1::2, ::-1]
    return index.reshape(-1, 1)


def _hilbert(rows: int, columns: int) -> np.ndarray:
    """Pixels along a Hilbert curve: T = 784, F = 1. state-spaces/s4, `hilbert_permutation`.

    The curve fills the smallest square with a side 2**n that covers the image; what lies outside is skipped. Where the
    image is such a square, as in S4, the order is S4's.
    """
    row = column = np.zeros(1, np.int64)
    side = 1
    while side < max(rows, columns):  # four copies: the first and the last mirrored, so that their ends meet
        row, column = (
            np.concatenate([column, row, row + side, 2 * side - 1 - column]),
            np.concatenate([row, column + side, column + side, side - 1 - row]),
        )
        side *= 2
    inside = (row < rows) & (column < columns)
    return (row * columns + column)[inside].reshape(-1, 1)


# What a protocol may name as its order.
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
