"""Data sets in memory: their checks, their split and the sealed test set."""

import dataclasses
import hashlib

import numpy as np
import pytest

from rowlstm_jax.data import DATASETS, Dataset, Examples, Sealed, split
from rowlstm_jax.data.dataset import MOST_SHOWN, DamagedError, checked
from tests.data.tiny import Tiny


def examples(count: int) -> Examples:
    """Image i and label i are filled with i."""
    labels = np.arange(count, dtype=np.uint8)
    return Examples(np.broadcast_to(labels[:, None, None], (count, 28, 28)).copy(), labels)


def test_examples_slice(tiny: Tiny) -> None:
    examples = tiny.load().train
    assert len(examples) == 32
    assert len(examples[3:10]) == 7
    np.testing.assert_array_equal(examples[3:10].targets, tiny.arrays[1][3:10])
    assert examples[3:10].inputs.base is not None
    with pytest.raises(ValueError, match="read-only"):
        examples.inputs[0, 0, 0] = 0


def test_only_the_arrays_of_the_catalogue_pass(tiny: Tiny) -> None:
    assert checked(tiny.spec, tiny.arrays, "here").sha256 == tiny.spec.sha256
    train_images, train_labels, test_images, test_labels = tiny.arrays
    other = train_images.copy()
    other[3, 5, 7] ^= 1
    for arrays, words in (
        ((train_images[1:], train_labels, test_images, test_labels), r"uint8 \[31, 28, 28\], not uint8 \[32, 28, 28\]"),
        ((train_images, train_labels.astype(np.int64), test_images, test_labels), r"int64 \[32\], not uint8 \[32\]"),
        ((other, train_labels, test_images, test_labels), "SHA-256"),
    ):
        with pytest.raises(DamagedError, match=words):
            checked(tiny.spec, arrays, "here")


def test_a_stored_digest_counts_where_the_catalogue_has_none(tiny: Tiny) -> None:
    spec = dataclasses.replace(tiny.spec, sha256=None)
    assert checked(spec, tiny.arrays, "here", tiny.spec.sha256).sha256 == tiny.spec.sha256
    with pytest.raises(DamagedError, match=f"not {'0' * 64}"):
        checked(spec, tiny.arrays, "here", "0" * 64)


def test_a_split_holds_out_the_first_training_images_and_seals_the_test_set() -> None:
    spec = DATASETS["mnist"]
    dataset = Dataset("mnist", spec.version, spec.class_names, examples(30), examples(20), "0" * 64, "here")
    data = split(dataset, 10)
    assert data.validation.targets.tolist() == list(range(10))
    assert data.train.targets.tolist() == list(range(10, 30))
    assert (len(data.test), type(data.test)) == (20, Sealed)
    assert (len(split(dataset, 0).validation), len(split(dataset, 0).train)) == (0, 30)


def test_opening_the_test_set_is_recorded_before_it_is_read() -> None:
    openings = []
    assert Sealed(examples(20)).open(lambda: openings.append("opened")).targets.tolist() == list(range(20))
    assert openings == ["opened"]

    def fail() -> None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        Sealed(examples(20)).open(fail)


def test_a_few_test_examples_may_be_shown_and_are_noted() -> None:
    sealed = Sealed(examples(30))
    assert sealed.shown == []
    shown = sealed.sample([7, 3, 7])
    assert shown.targets.tolist() == [7, 3, 7]
    assert (shown.inputs[:, 0, 0] == shown.targets).all()
    assert sealed.shown == [3, 7]
    assert len(sealed.sample([])) == 0
    sealed.sample(np.arange(MOST_SHOWN - 1))  # 0 to 14: 3 and 7 again
    assert sealed.shown == list(range(MOST_SHOWN - 1))


@pytest.mark.parametrize(
    "calls",
    [[range(30)], [range(MOST_SHOWN + 1)], [range(10), range(8, 17)], [[index] for index in range(30)]],
    ids=["all", "one too many", "in two calls", "one by one"],
)
def test_most_of_the_test_set_stays_sealed(calls: list) -> None:
    sealed = Sealed(examples(30))

    def look() -> None:
        for indices in calls:
            sealed.sample(indices)

    with pytest.raises(ValueError, match=r"^indices would bring the number of test examples shown to 1?\d\d?; at most"):
        look()
    assert len(sealed.shown) <= MOST_SHOWN
    assert set(sealed.shown) < set().union(*calls)
    assert len(sealed.sample(sealed.shown)) == len(sealed.shown), "those that were shown may be shown again"


@pytest.mark.parametrize("index", [20, 100, -1])
def test_an_index_beyond_a_small_test_set_is_named(index: int) -> None:
    sealed = Sealed(examples(20))
    with pytest.raises(ValueError, match=f"^indices holds {index}; the test examples are 0 to 19"):
        sealed.sample([3, index])
    assert sealed.shown == []


@pytest.mark.parametrize("indices", [slice(None), [True] * 20, [[0, 1], [2, 3]], [0.0, 1.0], np.ones(20, bool)])
def test_what_is_no_list_of_indices_gets_nothing_more(indices) -> None:
    sealed = Sealed(examples(20))
    try:
        labels = sealed.sample(indices).targets
    except TypeError:
        labels = []
    assert set(labels) <= {1}, "True is the index 1, and not a mask"
    assert len(sealed.shown) <= 1


def test_nothing_else_leads_to_the_sealed_examples() -> None:
    sealed = Sealed(examples(20))
    assert repr(sealed) == "Sealed(20 examples, 0 of them shown)"
    assert not dataclasses.is_dataclass(sealed)
    public = {name for name in dir(sealed) if not name.startswith("_")}
    assert public == {"open", "sample", "shown"}
    assert not hasattr(sealed, "__iter__")
    assert not hasattr(sealed, "__getitem__")
    shown = sealed.sample([3])
    shown.inputs[:] = 0
    assert sealed.sample([3]).inputs[0, 0, 0] == 3, "a sample is a copy"


def test_a_split_that_leaves_no_training_image_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"validation_examples is 10000000, and \w+ has \d+ training examples; hold"):
        split(checked(tiny.spec, tiny.arrays, "here"), 10_000_000)


@pytest.mark.parametrize(
    ("count", "held_out", "seed", "first", "digest"),
    [
        (10, 3, 0, [2, 6, 8], "dea62eae57c5412c"),
        (41, 13, 42, [3, 4, 5, 8, 9, 14], "01b288f37122fc46"),
        (50_000, 5_000, 42, [15, 18, 28, 40, 44, 45], "b5c85ed3bceb88d8"),
    ],
)
def test_a_seed_holds_out_what_random_split_of_pytorch_does(count, held_out, seed, first, digest):
    """Golden numbers of torch 2.x: the sorted indices of the second part, and the SHA-256 of them as int32."""
    examples = Examples(np.arange(count, dtype=np.int32).reshape(-1, 1, 1), np.zeros(count, np.uint8))
    whole = Dataset("numbers", "1", ("a",), examples, examples, "0" * 64, "here")
    parts = split(whole, held_out, seed)
    found = parts.validation.inputs.ravel()
    assert found[: len(first)].tolist() == first
    assert hashlib.sha256(found.astype("<i4").tobytes()).hexdigest()[:16] == digest
    np.testing.assert_array_equal(np.sort([*found, *parts.train.inputs.ravel()]), np.arange(count))
