"""Data sets from arrays of one's own: what they become, and a sentence for each pair of arrays that does not fit."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowlstm_jax.data import arrays, from_arrays, split


def sequences(**changes: Any) -> dict[str, Any]:
    """The arguments of a small data set: ten training and five test sequences of three classes, and some changes."""
    rng = np.random.default_rng(0)
    arguments = {
        "x_train": rng.normal(size=(10, 4, 2)),
        "y_train": np.arange(10) % 3,
        "x_test": rng.normal(size=(5, 4, 2)),
        "y_test": np.arange(5) % 3,
    }
    return arguments | changes


def pictures(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (15, 4, 3), np.uint8)
    return sequences(x_train=x[:10], x_test=x[10:]) | changes


def test_what_it_becomes() -> None:
    data = from_arrays(**sequences(), class_names=["a", "b", "c"], name="own", source="somewhere")
    assert (data.name, data.version, data.class_names, data.source) == ("own", "1", ("a", "b", "c"), "somewhere")
    assert (len(data.train), len(data.test), data.shape, data.is_pictures) == (10, 5, (4, 2), False)
    assert (data.train.targets.dtype, data.train.targets.tolist()) == (np.uint8, (np.arange(10) % 3).tolist())
    assert data.train.lengths is None
    assert not any(array.flags.writeable for array in data.arrays)
    assert from_arrays(**pictures()).is_pictures
    assert from_arrays(**pictures()).class_names == ("0", "1", "2")
    assert len(split(data, 4).train) == 6


def test_many_classes_are_int32() -> None:
    x = np.random.default_rng(0).normal(size=(600, 2, 1))
    many = from_arrays(x[:300], np.arange(300), x[300:], np.arange(300))
    assert many.train.targets.dtype == many.test.targets.dtype == np.int32
    few = from_arrays(x[:256], np.arange(256), x[300:], np.zeros(300, int))
    assert few.test.targets.dtype == np.uint8


def test_lengths_and_floats_to_predict() -> None:
    data = from_arrays(**sequences(lengths_train=[4] * 10, lengths_test=[1, 2, 3, 4, 4]))
    assert data.test.lengths is not None
    assert data.test.lengths.tolist() == [1, 2, 3, 4, 4]
    floats = from_arrays(**sequences(y_train=np.ones((10, 2, 2)), y_test=np.zeros((5, 2, 2))))
    assert (floats.class_names, floats.train.targets.dtype, floats.train.targets.shape) == ((), np.float32, (10, 2, 2))


def test_the_digest_is_of_everything_that_counts() -> None:
    base = from_arrays(**sequences())
    assert from_arrays(**sequences(), name="other", source="elsewhere").sha256 == base.sha256
    x, y = sequences()["x_train"].copy(), np.arange(10) % 3
    x[3, 2, 1] += 1
    y[0] = 1
    others = [
        sequences(x_train=x),
        sequences(y_train=y),
        sequences(class_names=("a", "b", "c")),
        sequences(lengths_train=[4] * 10, lengths_test=[4] * 5),
        sequences(lengths_train=[4] * 10, lengths_test=[4] * 4 + [3]),
        sequences(x_train=sequences()["x_train"].reshape(10, 2, 4), x_test=sequences()["x_test"].reshape(5, 2, 4)),
        sequences(x_train=sequences()["x_train"][:9], y_train=y[:9]),
    ]
    digests = [from_arrays(**arguments).sha256 for arguments in others]
    assert len({base.sha256, *digests}) == len(others) + 1
    assert re.fullmatch("[0-9a-f]{64}", base.sha256)


def test_the_digest_does_not_depend_on_layout_or_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = from_arrays(**pictures())
    np.save(tmp_path / "x.npy", pictures()["x_train"])
    monkeypatch.setattr(arrays, "BLOCK", 30)
    mapped = from_arrays(**pictures(x_train=np.load(tmp_path / "x.npy", mmap_mode="r")))
    assert isinstance(mapped.train.inputs, np.memmap)
    labels = np.arange(10, dtype=np.uint8) % 3
    other = from_arrays(**pictures(x_train=np.asfortranarray(pictures()["x_train"]), y_train=labels))
    assert mapped.sha256 == other.sha256 == base.sha256


SEQ = sequences()
BAD: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any], str]] = {
    "N differ": (sequences, {"y_train": np.arange(9) % 3}, "x_train has 10 examples and y_train 9 targets; give one"),
    "N of test differ": (sequences, {"y_test": np.arange(6) % 3}, "x_test has 5 examples and y_test 6 targets"),
    "shapes differ": (
        sequences,
        {"x_test": SEQ["x_test"][:, :3]},
        "x_train is float32 [N, 4, 2] and x_test float32 [N, 3, 2]; make them of one kind and shape",
    ),
    "kinds differ": (
        pictures,
        {"x_test": np.zeros((5, 4, 3))},
        "x_train is uint8 [N, 4, 3] and x_test float32 [N, 4, 3]; make",
    ),
    "targets differ": (sequences, {"y_test": np.ones(5)}, "y_train is int64 [N] and y_test float32 [N]; make"),
    "shapes of targets differ": (
        sequences,
        {"y_train": np.ones((10, 2)), "y_test": np.ones((5, 3))},
        "y_train is float32 [N, 2] and y_test float32 [N, 3]; make",
    ),
    "one class": (sequences, {"y_train": [0] * 10, "y_test": [0] * 5}, "y_train has the class 0 only; give"),
    "a skipped class": (
        sequences,
        {"y_train": np.arange(10) % 3 * 2, "y_test": [0] * 5},
        "y_train has classes up to 4 and none of class 1; number the 3 classes from 0 to 2",
    ),
    "from 1": (
        sequences,
        {"y_train": np.arange(10) % 3 + 1, "y_test": [1] * 5},
        "y_train has classes up to 3 and none of class 0; number",
    ),
    "an untrained class": (sequences, {"y_test": [0, 1, 2, 3, 0]}, "y_test has the class 3, which y_train has not"),
    "too few names": (sequences, {"class_names": ["a", "b"]}, "class_names has 2 names, and there are 3 classes"),
    "too many names": (sequences, {"class_names": list("abcd")}, "class_names has 4 names, and there are 3 classes"),
    "one name twice": (sequences, {"class_names": ["a", "b", "a"]}, "class_names holds 'a' twice; give each class its"),
    "a number for a name": (sequences, {"class_names": ["a", "b", 3]}, "class_names holds 3; give a list of one text"),
    "an empty name": (sequences, {"class_names": ["a", "b", " "]}, "class_names holds ' '; give a list of one text"),
    "a text for names": (sequences, {"class_names": "abc"}, "class_names is 'abc'; give a list of one text"),
    "a number for all names": (sequences, {"class_names": 3}, "class_names is 3; give a list of one text"),
    "no names": (sequences, {"class_names": []}, "class_names has 0 names, and there are 3 classes"),
    "a name of two lines": (
        sequences,
        {"class_names": ["a", "b", "c\nd"]},
        r"class_names holds 'c\nd'; use",
    ),
    "names of floats": (
        sequences,
        {"y_train": np.ones(10), "y_test": np.ones(5), "class_names": ["a"]},
        "class_names is given, and the targets are floats, not classes; leave it out",
    ),
    "lengths of one": (
        sequences,
        {"lengths_train": [4] * 10},
        "lengths_train is given and lengths_test is not; give both",
    ),
    "lengths of the other": (sequences, {"lengths_test": [4] * 5}, "lengths_test is given and lengths_train is not"),
    "lengths of pictures": (
        pictures,
        {"lengths_train": [4] * 10, "lengths_test": [4] * 5},
        "lengths_train is given, and the inputs are uint8 pictures, which have no lengths",
    ),
    "bad values": (sequences, {"y_test": [0, -1, 0, 0, 0]}, "y_test has the negative class -1 in example 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str) -> None:
    make, changes, words = BAD[case]
    with pytest.raises(ValueError, match=r"^lab book: " + re.escape(words)) as caught:
        from_arrays(**make(**changes), source="lab book")
    assert "\n" not in str(caught.value)


def test_the_same_picture_in_training_and_test() -> None:
    x = pictures()["x_test"].copy()
    x[1], x[4] = pictures()["x_train"][7], pictures()["x_train"][2]
    words = "here: 2 of 5 test inputs are also training inputs, the first x_test[1], which equals x_train[7]; remove"
    with pytest.raises(ValueError, match=re.escape(words)):
        from_arrays(**pictures(x_test=x), source="here")
    assert len(from_arrays(**pictures(x_test=x), allow_duplicates=True).test) == 5


def test_padding_does_not_count_as_a_difference() -> None:
    x = sequences()["x_test"].copy()
    x[3, :2] = sequences()["x_train"][6, :2]
    lengths = {"lengths_train": [2] * 10, "lengths_test": [2] * 5}
    from_arrays(**sequences(x_test=x))
    from_arrays(**sequences(x_test=x), lengths_train=[3] * 10, lengths_test=[2] * 5)
    with pytest.raises(ValueError, match=r"1 of 5 test inputs .* x_test\[3\], which equals x_train\[6\]"):
        from_arrays(**sequences(x_test=x, **lengths))
