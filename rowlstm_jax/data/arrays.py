"""One array of one's own: its kind, its shape and its values, checked in blocks so that it may lie on disk.

`where` names an array in all messages: "digits.npz: x_train". An array that needs no other dtype is not copied.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

BLOCK = 2**24  # bytes of an array that are looked at in one go
CHANNELS = 4  # pictures have 1 (grey), 3 (RGB) or 4 (and alpha)


def inputs_from(value: npt.ArrayLike, where: str) -> np.ndarray:
    """Pictures or sequences.

    Args:
      value: pictures, uint8 [N, R, K] or [N, R, K, channels], or sequences, float16, float32 or float64 [N, T, F].
      where: names the array in messages.

    Returns:
      A read-only uint8 or float32 array of the same shape. It shares its memory with `value` if the dtype is the same.

    Raises:
      ValueError: it is neither, is empty, or holds NaN, infinity or a number too large for float32.
    """
    array = numbers_from(value, where)
    what = f"{where} is {array.dtype} {list(array.shape)}"
    if array.dtype == np.uint8:
        if array.ndim not in (3, 4):
            raise ValueError(f"{what}; pictures need 3 axes, [N, R, K], or 4, [N, R, K, channels]. Reshape it.")
        if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] > CHANNELS:
            raise ValueError(f"{what}, which has the channels first; put them last with np.moveaxis(x, 1, -1).")
    elif array.dtype.kind == "f":
        if array.ndim == 4:
            raise ValueError(f"{what}; pictures must be uint8. Scale them to 0 to 255, round, and convert to np.uint8.")
        if array.ndim != 3:
            raise ValueError(f"{what}; sequences of floats need 3 axes, [N, T, F]. Reshape it.")
    else:
        raise ValueError(f"{what}; convert pictures to uint8 from 0 to 255, and sequences to float32.")
    if not array.size:
        raise ValueError(f"{what}, so it has no examples or they are empty; give at least one.")
    return read_only(array if array.dtype == np.uint8 else to_float32(array, where))


def targets_from(value: npt.ArrayLike, where: str) -> np.ndarray:
    """Classes or numbers to be predicted.

    Args:
      value: classes, whole numbers [N] or [N, 1], or floats [N, ...].
      where: names the array in messages.

    Returns:
      A read-only array: classes, of the same dtype, [N], or float32 [N, ...].

    Raises:
      ValueError: it is neither, or holds a negative class, NaN or infinity.
    """
    array = numbers_from(value, where)
    what = f"{where} is {array.dtype} {list(array.shape)}"
    if array.ndim == 0 or not array.size:
        raise ValueError(f"{what}, so it has no targets; give one for each example.")
    if array.dtype.kind == "f":
        return read_only(to_float32(array, where))
    if array.dtype.kind not in "iub":
        raise ValueError(f"{what}; targets are whole numbers (classes) or floats. Number the classes from 0.")
    if array.ndim == 2 and array.shape[1] == 1:  # as Keras has them
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{what}; classes are one whole number an example, [N]. Turn a one-hot code into it with "
            "y.argmax(-1), and convert numbers to be predicted to float32."
        )
    if array.min() < 0:
        index = int(np.argmax(array < 0))
        raise ValueError(f"{where} has the negative class {array[index]} in example {index}; number classes from 0.")
    return read_only(array)


def lengths_from(value: npt.ArrayLike, inputs: np.ndarray, where: str) -> np.ndarray:
    """The steps of each sequence that are no padding, int32 [N], read-only.

    Raises:
      ValueError: they are no whole numbers [N] from 1 to T, or the inputs are pictures.
    """
    array = numbers_from(value, where)
    count, steps = inputs.shape[:2]
    if inputs.dtype == np.uint8:
        raise ValueError(f"{where} is given, and the inputs are uint8 pictures, which have no lengths; leave it out.")
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise ValueError(
            f"{where} is {array.dtype} {list(array.shape)}; lengths are one whole number an example, [{count}] here."
        )
    wrong = (array < 1) | (array > steps)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(
            f"{where} has the length {array[index]} in example {index}; each must be from 1 to {steps}, the number of "
            "steps with padding."
        )
    return read_only(array.astype(np.int32))


def numbers_from(value: npt.ArrayLike, where: str) -> np.ndarray:
    """`value` as an array, without a copy if it is one; a memory-mapped array stays one."""
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{where} is a masked array, and a mask would be lost; fill it, or give lengths.")
    try:
        array = value if isinstance(value, np.memmap) else np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{where} holds rows of different lengths; pad them to one length, and give lengths."
        ) from error
    if array.dtype.hasobject:
        raise ValueError(f"{where} holds Python objects and not numbers; make one array of numbers of it.")
    return array


def to_float32(array: np.ndarray, where: str) -> np.ndarray:
    """The array as float32, itself if it is that already.

    Raises:
      ValueError: a number is NaN, infinite or too large.
    """
    if array.dtype.itemsize > 8:
        raise ValueError(f"{where} is {array.dtype}; convert it to float32.")
    result = array if array.dtype == np.float32 else np.empty(array.shape, np.float32)
    for start, block in blocks(array):
        _require_finite(block, start, f"{where} holds NaN or infinity", "remove or replace it.")
        if result is not array:
            with np.errstate(over="ignore"):
                result[start : start + len(block)] = block
            small = result[start : start + len(block)]
            _require_finite(small, start, f"{where} holds a number too large for float32", "scale the numbers.")
    return result


def _require_finite(block: np.ndarray, start: int, problem: str, remedy: str) -> None:
    finite = np.isfinite(block)
    if not finite.all():
        index = start + int(np.argmin(finite.reshape(len(block), -1).all(axis=1)))
        raise ValueError(f"{problem}, first in example {index}; {remedy}")


def blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The array in parts of about BLOCK bytes, each with the position of its first example, C-contiguous."""
    rows = max(1, BLOCK * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), rows):
        yield start, np.ascontiguousarray(array[start : start + rows])


def read_only(array: np.ndarray) -> np.ndarray:
    """A read-only view. The array itself stays as it is."""
    view = array.view()
    view.setflags(write=False)
    return view


def free_memory() -> int:
    """The bytes that a process can get without swapping."""
    import psutil

    return psutil.virtual_memory().available


def require_memory(size: int, source: str) -> None:
    """Refuse what would not fit into memory, before it is read.

    Raises:
      ValueError: `size` bytes are more than are free.
    """
    if size > (free := free_memory()):
        raise ValueError(
            f"{source}: the arrays take {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free; give fewer "
            "or smaller examples, or a folder of .npy files, which stay on disk."
        )


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an error of the disk into a ValueError that names the file, or `path` if it is not known."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{error.filename or path} can't be read ({reason}); make it readable.") from error
