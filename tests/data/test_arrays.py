"""One array of one's own: what it may be, and a sentence for each that it may not."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowlstm_jax.data import arrays
from rowlstm_jax.data.arrays import blocks, inputs_from, lengths_from, readable, require_memory, targets_from

PICTURES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
SEQUENCES = np.linspace(-1, 1, 24).reshape(4, 3, 2)


@pytest.mark.parametrize("shape", [(4, 3, 2), (2, 3, 2, 2), (4, 3, 2, 1), (1, 3, 2, 4)])
def test_pictures_stay_as_they_are_and_become_read_only(shape: tuple[int, ...]) -> None:
    value = PICTURES.reshape(shape)
    got = inputs_from(value, "x")
    np.testing.assert_array_equal(got, value, strict=True)
    assert np.shares_memory(got, value)
    assert not got.flags.writeable
    assert value.flags.writeable, "the caller's array stays writeable"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", ">f8"])
def test_sequences_become_float32(dtype: Any) -> None:
    value = SEQUENCES.astype(dtype)
    got = inputs_from(value, "x")
    np.testing.assert_array_equal(got, value.astype(np.float32), strict=True)
    assert np.shares_memory(got, value) == (dtype == np.float32)
    assert value.flags.writeable


def test_lists_and_other_arrays_are_taken() -> None:
    assert inputs_from(SEQUENCES.tolist(), "x").shape == (4, 3, 2)
    assert inputs_from(np.asfortranarray(PICTURES)[::2], "x").shape == (2, 3, 2)


def with_value(value: float) -> np.ndarray:
    changed = SEQUENCES.copy()
    changed[2, 1, 0] = value
    return changed


BAD_INPUTS: dict[str, tuple[Any, str]] = {
    "2 axes": (PICTURES[0], "is uint8 [3, 2]; pictures need 3 axes, [N, R, K], or 4"),
    "5 axes": (PICTURES[None, None], "is uint8 [1, 1, 4, 3, 2]; pictures need 3 axes"),
    "channels first": (np.zeros((2, 3, 8, 8), np.uint8), "has the channels first; put them last with np.moveaxis"),
    "floats of 2 axes": (SEQUENCES[0], "is float64 [3, 2]; sequences of floats need 3 axes, [N, T, F]"),
    "float pictures": (SEQUENCES[..., None], "is float64 [4, 3, 2, 1]; pictures must be uint8. Scale them to 0 to 255"),
    "ints": (PICTURES.astype(np.int64), "is int64 [4, 3, 2]; convert pictures to uint8 from 0 to 255"),
    "bools": (PICTURES > 3, "is bool [4, 3, 2]; convert pictures to uint8"),
    "complex": (SEQUENCES + 1j, "is complex128 [4, 3, 2]; convert"),
    "text": (np.full((2, 3, 4), "a"), "is <U1 [2, 3, 4]; convert"),
    "a path": ("x.npy", "is <U5 []; convert"),
    "long floats": (SEQUENCES.astype(np.longdouble), "convert it to float32"),
    "no examples": (PICTURES[:0], "is uint8 [0, 3, 2], so it has no examples or they are empty; give at least one"),
    "no columns": (SEQUENCES[..., :0], "is float64 [4, 3, 0], so it has no examples"),
    "NaN": (with_value(np.nan), "holds NaN or infinity, first in example 2; remove or replace it"),
    "infinity": (with_value(-np.inf).astype(np.float32), "holds NaN or infinity, first in example 2"),
    "too large": (with_value(1e39), "holds a number too large for float32, first in example 2; scale the numbers"),
    "objects": (np.array([{}], object), "holds Python objects and not numbers; make one array"),
    "nothing": (None, "holds Python objects and not numbers"),
    "ragged": ([[[1.0]], [[1.0], [2.0]]], "holds rows of different lengths; pad them to one length, and give lengths"),
    "masked": (np.ma.masked_array(SEQUENCES, SEQUENCES > 0), "is a masked array, and a mask would be lost"),
}

BAD_TARGETS: dict[str, tuple[Any, str]] = {
    "one": (3, "is int64 [], so it has no targets; give one for each example"),
    "none": (np.zeros(0, int), "is int64 [0], so it has no targets"),
    "empty": (np.zeros((4, 0)), "is float64 [4, 0], so it has no targets"),
    "one-hot": (np.eye(4, dtype=int), "is int64 [4, 4]; classes are one whole number an example, [N]. Turn a one-hot"),
    "negative": (np.array([0, 1, -2]), "has the negative class -2 in example 2; number classes from 0"),
    "text": (np.array(["cat", "dog"]), "is <U3 [2]; targets are whole numbers (classes) or floats. Number the classes"),
    "NaN": (np.array([0.5, np.nan]), "holds NaN or infinity, first in example 1"),
    "objects": (np.array([1, None]), "holds Python objects"),
}

BAD_LENGTHS: dict[str, tuple[Any, str]] = {
    "floats": (np.ones(4), "is float64 [4]; lengths are one whole number an example, [4] here"),
    "bools": (np.ones(4, bool), "is bool [4]; lengths are one whole number"),
    "too few": ([1, 2, 3], "is int64 [3]; lengths are one whole number an example, [4] here"),
    "2 axes": (np.ones((4, 1), int), "is int64 [4, 1]; lengths"),
    "0": ([1, 0, 3, 1], "has the length 0 in example 1; each must be from 1 to 3, the number of steps"),
    "4": ([1, 2, 3, 4], "has the length 4 in example 3; each must be from 1 to 3"),
    "objects": ([1, 2, 3, None], "holds Python objects"),
}


def refuses(words: str, call: Callable[[], object]) -> None:
    """The call raises one sentence that begins with the name of the array, or a few."""
    with pytest.raises(ValueError, match=r"^data\.npz: a .*" + re.escape(words)) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", ")"))


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_inputs_that_are_refused(case: str) -> None:
    value, words = BAD_INPUTS[case]
    refuses(words, lambda: inputs_from(value, "data.npz: a"))


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_targets_that_are_refused(case: str) -> None:
    value, words = BAD_TARGETS[case]
    refuses(words, lambda: targets_from(value, "data.npz: a"))


@pytest.mark.parametrize("case", BAD_LENGTHS)
def test_lengths_that_are_refused(case: str) -> None:
    value, words = BAD_LENGTHS[case]
    refuses(words, lambda: lengths_from(value, SEQUENCES, "data.npz: a"))


def test_pictures_have_no_lengths() -> None:
    refuses("is given, and the inputs are uint8 pictures", lambda: lengths_from([1] * 4, PICTURES, "data.npz: a"))


def test_targets_of_keras_and_of_any_whole_numbers() -> None:
    for dtype in (np.uint8, np.int8, np.int64, np.uint64, bool):
        assert targets_from(np.array([[0], [1]], dtype), "y").tolist() == [0, 1]
    assert targets_from([0, 2, 1], "y").tolist() == [0, 2, 1]
    assert targets_from(SEQUENCES, "y").dtype == np.float32
    lengths = lengths_from(np.array([1, 2, 3, 3], np.uint8), SEQUENCES, "lengths")
    assert (lengths.dtype, lengths.tolist(), lengths.flags.writeable) == (np.int32, [1, 2, 3, 3], False)


def test_a_memory_mapped_array_stays_on_disk_and_is_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK", 100)
    for dtype in (np.uint8, np.float32):
        value = (np.arange(50 * 12) % 200).reshape(50, 3, 4).astype(dtype)
        np.save(tmp_path / "x.npy", value)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        got = inputs_from(mapped, "x")
        assert isinstance(got, np.memmap)
        assert np.shares_memory(got, mapped)
        parts = list(blocks(got))
        assert max(part.nbytes for _, part in parts) <= 100
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), value)
        assert [start for start, _ in parts] == np.cumsum([0] + [len(part) for _, part in parts])[:-1].tolist()
    value[49] = np.nan
    np.save(tmp_path / "x.npy", value)
    with pytest.raises(ValueError, match="first in example 49"):
        inputs_from(np.load(tmp_path / "x.npy", mmap_mode="r"), "x")


def test_more_than_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "free_memory", lambda: 10**9)
    require_memory(10**9, "here")
    with pytest.raises(ValueError, match=r"^here: the arrays take 2\.0 GB, and 1\.0 GB of memory are free; give fewer"):
        require_memory(2 * 10**9, "here")


def test_an_error_of_the_disk_is_a_sentence(tmp_path: Path) -> None:
    long = tmp_path / ("a" * 300)
    with pytest.raises(ValueError, match=f"^{long} can't be read \\(File name too long\\); make"), readable(tmp_path):
        long.is_dir()
    with pytest.raises(ValueError, match=f"^{tmp_path} can't be read \\(broken\\); make"), readable(tmp_path):
        raise OSError("broken")
