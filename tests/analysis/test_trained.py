"""Trained networks as values: what they take, what they refuse, and that they compute what the run computed."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.analysis.trained import TrainedModel
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.tasks import Preprocessing, Standardization, order_index, read, to_grey

MODULE = SequenceClassifier(BasicLSTMCell(5), 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (600, 4, 6), np.uint8)


def make(module: nn.Module = MODULE, shape=(4, 6), order="rows", pictures=True, **more) -> TrainedModel:
    standardize = more.pop("standardize", None)
    index = order_index(order, *shape)
    weights = [module.init(jax.random.key(seed), jnp.zeros((1, *index.shape)))["params"] for seed in (3, 4)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *weights)
    how = Preprocessing(functools.partial(read, index=index), standardize=standardize)
    return TrainedModel(module, stacked, (3, 4), how, shape, pictures, class_names=("a", "b", "c"), **more)


def test_each_seed_gives_the_softmax_of_its_logits_in_blocks_of_any_size():
    model = make()
    for position, seed in enumerate((3, 4)):
        params = jax.tree.map(lambda leaf, n=position: leaf[n], model.weights)
        logits = np.asarray(MODULE.apply({"params": params}, PIXELS / np.float32(255)))
        np.testing.assert_allclose(model.logits(PIXELS, seed), logits, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.predict(PIXELS, seed), jax.nn.softmax(logits), rtol=1e-5)
    assert model.predict(PIXELS).shape == (600, 3)
    np.testing.assert_array_equal(model.predict(PIXELS), model.predict(PIXELS, seed=3))
    for number in (1, 3, 513):
        np.testing.assert_allclose(model.logits(PIXELS[:number]), model.logits(PIXELS)[:number], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"^seed is 0; the run has 3, 4\.$"):
        model.predict(PIXELS, seed=0)


def test_a_float_picture_is_not_divided_again():
    model = make()
    np.testing.assert_allclose(model.logits(PIXELS / 255), model.logits(PIXELS), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.sequences(PIXELS[:2]), PIXELS[:2] / np.float32(255), rtol=1e-6)


def test_probabilities_over_time_end_in_those_of_the_whole():
    found = make().over_time(PIXELS[:5])
    assert found.shape == (5, 4, 3)
    np.testing.assert_allclose(found[:, -1], make().predict(PIXELS[:5]), rtol=1e-5)
    with pytest.raises(ValueError, match="reads backward too"):
        make(SequenceClassifier(BasicLSTMCell(5), 3, bidirectional=True)).over_time(PIXELS[:5])


def test_sequences_with_lengths_are_read_to_their_ends():
    model = make(shape=(4, 6), pictures=False)
    inputs = np.random.default_rng(1).normal(size=(3, 4, 6))
    found = model.logits(inputs, lengths=[4, 2, 1])
    alone = [
        model.logits(inputs[n : n + 1, :end] if end == 4 else padded(inputs[n, :end]), lengths=[end])[0]
        for n, end in enumerate([4, 2, 1])
    ]
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)
    assert not np.allclose(found[1], model.logits(inputs)[1])
    for lengths in ([4, 2], [4, 2, 0], [4, 2, 5], [4.0, 2.0, 1.0]):
        with pytest.raises(ValueError, match=r"^lengths are .*; they must be \[3\] whole numbers from 1 to 4\.$"):
            model.logits(inputs, lengths=lengths)


def padded(sequence: np.ndarray) -> np.ndarray:
    return np.concatenate([sequence, np.full((4 - len(sequence), 6), 7.0)])[None]


def test_colours_are_made_grey_as_in_the_run_and_values_standardized():
    colours = np.random.default_rng(2).integers(0, 256, (5, 4, 6, 3), np.uint8)
    model = make(grey=True, standardize=Standardization((0.4,), (0.2,)))
    expected = (to_grey(colours) / 255 - 0.4) / 0.2
    np.testing.assert_allclose(model.sequences(colours), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.sequences(to_grey(colours)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.sequences(colours / 255), expected, atol=0.02)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (PIXELS[0], r"uint8 \[4, 6\]; this model reads pictures \[N, 4, 6\]\. Give a single one as inputs\[None\]\."),
        (PIXELS[:0], r"uint8 \[0, 4, 6\]; this model reads pictures \[N, 4, 6\]\.$"),
        (PIXELS[:, :3], r"uint8 \[600, 3, 6\]; this model reads"),
        (PIXELS.astype(int), r"int64 \[600, 4, 6\]; they must be uint8 from 0 to 255, or floats from 0 to 1\."),
        (PIXELS > 3, r"bool \[600, 4, 6\]; they must be uint8"),
        (PIXELS.astype(np.float32), r"from 0 to 255; floats must be from 0 to 1: divide them"),
        (PIXELS / -255, r"from -1 to .*; floats must be from 0 to 1"),
        (np.where(PIXELS > 3, np.nan, 0), r"with NaN or infinity; remove them"),
        ([["a"]], r"this model reads"),
    ],
)
def test_wrong_inputs_are_one_sentence(inputs, message):
    with pytest.raises(ValueError, match=f"^inputs are .*{message}"):
        make().predict(inputs)


def test_numbers_have_no_probabilities_and_sequences_may_have_any_values():
    model = dataclasses.replace(make(pictures=False), class_names=())
    with pytest.raises(ValueError, match="no classes, so they have no probabilities; use logits"):
        model.predict(PIXELS / 1.0)
    assert model.logits(PIXELS / 1.0).shape == (600, 3)
    with pytest.raises(ValueError, match=r"they must be floats\.$"):
        model.logits(PIXELS)
