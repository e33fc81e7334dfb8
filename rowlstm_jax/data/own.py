"""`from_arrays`: a data set of one's own, after the checks that a published one does not need."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rowlstm_jax.data.arrays import blocks, inputs_from, lengths_from, read_only, targets_from
from rowlstm_jax.data.dataset import Dataset, Examples


def from_arrays(
    x_train: npt.ArrayLike,
    y_train: npt.ArrayLike,
    x_test: npt.ArrayLike,
    y_test: npt.ArrayLike,
    *,
    lengths_train: npt.ArrayLike | None = None,
    lengths_test: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    source: str = "arrays in memory",
    allow_duplicates: bool = False,
) -> Dataset:
    """A data set from arrays of one's own.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> x, y = rng.normal(size=(30, 12, 2)), np.arange(30) % 3
      >>> data = from_arrays(x[:20], y[:20], x[20:], y[20:], class_names=("walk", "run", "rest"), name="steps")
      >>> data.shape, data.train.inputs.dtype, len(data.test)
      ((12, 2), dtype('float32'), 10)

    Args:
      x_train: pictures, uint8 [N, R, K] or [N, R, K, channels], or sequences, float16, float32 or float64 [N, T, F].
        A memory-mapped array stays on disk if it is uint8 or float32.
      y_train: classes, whole numbers [N] or [N, 1] from 0 to C - 1, or floats [N, ...] that are to be predicted.
      x_test: as `x_train`.
      y_test: as `y_train`.
      lengths_train: [N], the steps of each sequence that are no padding.
      lengths_test: as `lengths_train`.
      class_names: [C]; if None, the classes have their numbers as names.
      name: of the data set, in logs, pictures and records.
      source: where the arrays came from; all messages begin with it.
      allow_duplicates: whether the same input may be in training and test.

    Returns:
      The arrays in the same order, read-only. Do not change the originals later, as they may share their memory.

    Raises:
      ValueError: an array is wrong, or arrays do not fit each other.
    """
    return assemble(
        examples_from(x_train, y_train, lengths_train, "train", source),
        examples_from(x_test, y_test, lengths_test, "test", source),
        class_names=class_names,
        name=name,
        version="1",
        source=source,
        allow_duplicates=allow_duplicates,
    )


def examples_from(
    inputs: npt.ArrayLike, targets: npt.ArrayLike, lengths: npt.ArrayLike | None, part: str, source: str
) -> Examples:
    """The examples of a part, "train" or "test", each array checked by itself, and their number."""
    x = inputs_from(inputs, f"{source}: x_{part}")
    y = targets_from(targets, f"{source}: y_{part}")
    if len(x) != len(y):
        raise ValueError(
            f"{source}: x_{part} has {len(x):,} examples and y_{part} {len(y):,} targets; give one target an example."
        )
    return Examples(x, y, None if lengths is None else lengths_from(lengths, x, f"{source}: lengths_{part}"))


def assemble(
    train: Examples,
    test: Examples,
    *,
    class_names: Sequence[str] | None,
    name: str,
    version: str,
    source: str,
    allow_duplicates: bool,
    label: Callable[[str, int], str] = "x_{}[{}]".format,
) -> Dataset:
    """Check that the parts fit each other, and make a data set of them.

    Args:
      train: from `examples_from`.
      test: from `examples_from`.
      class_names: as in `from_arrays`.
      name: of the data set.
      version: of the data set.
      source: where it came from.
      allow_duplicates: whether the same input may be in training and test.
      label: names an example of "train" or "test" in a message, from its position.

    Raises:
      ValueError: they do not fit.
    """
    _require_same_kind(train, test, source)
    if train.targets.dtype.kind == "f":
        if class_names is not None:
            raise ValueError(f"{source}: class_names is given, and the targets are floats, not classes; leave it out.")
        names = ()
    else:
        names = _checked_names(class_names, _count_classes(train.targets, test.targets, source), source)
        train, test = (as_classes(part, len(names)) for part in (train, test))
    if not allow_duplicates and (found := duplicates(train, test)):
        ours, theirs = (label(part, index) for part, index in zip(("train", "test"), found[0], strict=True))
        raise ValueError(
            f"{source}: {len(found):,} of {len(test):,} test inputs are also training inputs, the first {theirs}, "
            f"which equals {ours}; remove them, or pass allow_duplicates=True."
        )
    return Dataset(name, version, names, train, test, digest(train, test, names), source)


def as_classes(examples: Examples, num_classes: int) -> Examples:
    """The examples with their classes as uint8, or as int32 if there are more than 256."""
    dtype = np.uint8 if num_classes <= 256 else np.int32
    return Examples(examples.inputs, read_only(examples.targets.astype(dtype)), examples.lengths)


def duplicates(train: Examples, test: Examples) -> list[tuple[int, int]]:
    """The positions in training and test of each test input that is a training input too. Padding does not count."""
    seen: dict[bytes, int] = {}
    for index, key in enumerate(_row_digests(train)):
        seen.setdefault(key, index)
    return [(seen[key], index) for index, key in enumerate(_row_digests(test)) if key in seen]


def digest(train: Examples, test: Examples, class_names: Sequence[str]) -> str:
    """The SHA-256 of the dtype, the shape and the bytes of all arrays, and of the class names."""
    sha256 = hashlib.sha256()
    for array in train.arrays + test.arrays:
        sha256.update(f"{array.dtype.name} {list(array.shape)}\n".encode())
        for _, block in blocks(array):
            sha256.update(block.data)
    sha256.update(json.dumps(list(class_names)).encode())
    return sha256.hexdigest()


def _row_digests(examples: Examples) -> Iterator[bytes]:
    for start, block in blocks(examples.inputs):
        for index, row in enumerate(block, start):
            used = row if examples.lengths is None else row[: examples.lengths[index]]
            yield hashlib.blake2b(used.data, digest_size=16).digest()


def _require_same_kind(train: Examples, test: Examples, source: str) -> None:
    """Training and test have inputs and targets of one kind and shape, and both have lengths or neither has."""
    for letter, ours, theirs in (("x", train.inputs, test.inputs), ("y", train.targets, test.targets)):
        kinds = [f"{array.dtype} {['N', *array.shape[1:]]}".replace("'", "") for array in (ours, theirs)]
        same = ours.dtype == theirs.dtype or (letter == "y" and "f" not in ours.dtype.kind + theirs.dtype.kind)
        if ours.shape[1:] != theirs.shape[1:] or not same:
            raise ValueError(
                f"{source}: {letter}_train is {kinds[0]} and {letter}_test {kinds[1]}; make them of one kind and shape."
            )
    if (train.lengths is None) != (test.lengths is None):
        given, other = ("train", "test") if test.lengths is None else ("test", "train")
        raise ValueError(f"{source}: lengths_{given} is given and lengths_{other} is not; give both or neither.")


def _count_classes(train: np.ndarray, test: np.ndarray, source: str) -> int:
    """C, if the training targets are the classes 0 to C - 1 and the test targets some of them."""
    found = np.unique(train)
    if len(found) == 1:
        raise ValueError(f"{source}: y_train has the class {found[0]} only; give examples of at least two classes.")
    if len(untrained := np.setdiff1d(test, found)):
        raise ValueError(
            f"{source}: y_test has the class {untrained[0]}, which y_train has not; give training examples of it, or "
            "remove its test examples."
        )
    if int(found[-1]) != len(found) - 1:
        absent = next(number for number, label in enumerate(found.tolist()) if number != label)
        raise ValueError(
            f"{source}: y_train has classes up to {found[-1]} and none of class {absent}; number the {len(found)} "
            f"classes from 0 to {len(found) - 1}, for example with np.unique(y, return_inverse=True)."
        )
    return len(found)


def _checked_names(class_names: Sequence[str] | None, num_classes: int, source: str) -> tuple[str, ...]:
    if class_names is None:
        return tuple(map(str, range(num_classes)))
    if isinstance(class_names, str) or not isinstance(class_names, Iterable):
        raise ValueError(f"{source}: class_names is {class_names!r}; give a list of one text for each class.")
    names = list(class_names)
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{source}: class_names holds {name!r}; give a list of one text for each class.")
        if not name.isprintable():
            raise ValueError(f"{source}: class_names holds {name!r}; use characters that can be printed.")
        if names.count(name) > 1:
            raise ValueError(f"{source}: class_names holds {name!r} twice; give each class its own name.")
    if len(names) != num_classes:
        raise ValueError(
            f"{source}: class_names has {len(names)} names, and there are {num_classes} classes; name each."
        )
    return tuple(map(str, names))
