"""What the model reads of stored inputs: standardized, made grey, followed by noise."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from PIL import Image

from rowlstm_jax.data import Examples
from rowlstm_jax.tasks.augmentation import Affine
from rowlstm_jax.tasks.preprocessing import Preprocessing, Standardization, to_grey

RNG = np.random.default_rng(0)
NOISY = Preprocessing(lambda images: images, noise_to=9)


def examples(inputs, lengths=None) -> Examples:
    return Examples(inputs, np.zeros(len(inputs), np.uint8), lengths)


def test_colour_pictures_are_standardized_channel_by_channel():
    pictures = RNG.integers(0, 256, (1234, 3, 2, 3), dtype=np.uint8)  # more than a block
    pictures[..., 2] = 7
    measured = Standardization.of(examples(pictures))
    values = pictures.reshape(-1, 3) / 255
    np.testing.assert_allclose(measured.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(measured.deviation, [*values.std(0)[:2], 1.0], rtol=1e-12)
    found = Preprocessing(lambda images: images, standardize=measured).evaluation(pictures)
    expected = (values - values.mean(0)) / np.array(measured.deviation)
    np.testing.assert_allclose(found, expected.reshape(pictures.shape), rtol=1e-4, atol=1e-5)


def test_grey_pictures_have_one_mean():
    pictures = RNG.integers(0, 256, (20, 3, 2), dtype=np.uint8)
    measured = Standardization.of(examples(pictures))
    np.testing.assert_allclose([*measured.mean, *measured.deviation], [(pictures / 255).mean(), (pictures / 255).std()])
    np.testing.assert_allclose(measured(pictures.astype(np.float32) / 255).std(), 1, rtol=1e-4)


@pytest.mark.parametrize("with_lengths", [False, True])
def test_sequences_are_standardized_without_their_padding(with_lengths):
    inputs = RNG.normal(3, 2, (1100, 5, 2)).astype(np.float32)
    lengths = RNG.integers(1, 6, 1100).astype(np.int32) if with_lengths else None
    inside = np.arange(5) < (np.full(1100, 5) if lengths is None else lengths)[:, None]
    if with_lengths:
        inputs[~inside] = 1e6
    measured = Standardization.of(examples(inputs, lengths))
    np.testing.assert_allclose(measured.mean, inputs[inside].astype(float).mean(0), rtol=1e-6)
    np.testing.assert_allclose(measured.deviation, inputs[inside].astype(float).std(0), rtol=1e-6)


def test_a_feature_that_varies_by_rounding_only_is_divided_by_one():
    inputs = np.full((1001, 3, 1), 0.1, np.float32)
    assert Standardization.of(examples(inputs)).deviation == (1.0,)


def test_pictures_are_augmented_before_they_are_standardized():
    """So that the zeros around a shifted picture are black."""
    pictures = np.full((4, 3, 3), 255, np.uint8)
    standardize = Standardization((0.5,), (0.25,))
    both = Preprocessing(lambda images: images, Affine(shift=3), standardize)
    found = np.asarray(both.training(pictures, jax.random.key(0)))
    assert found.min() == pytest.approx(-2.0)
    assert found.max() <= 2.0 + 1e-6


def test_noise_follows_and_is_the_same_in_every_evaluation():
    pictures = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    found = np.asarray(jax.jit(NOISY.evaluation)(pictures))
    assert found.shape == (5, 9, 3)
    np.testing.assert_allclose(found[:, :4], pictures / 255, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 4:], np.broadcast_to(found[:1, 4:], (5, 5, 3)))
    np.testing.assert_array_equal(NOISY.evaluation(pictures[:1])[0, 4:], found[0, 4:])


def test_noise_of_training_is_normal_and_of_key_and_position_only():
    pictures = np.zeros((400, 2, 3), np.uint8)
    reading = Preprocessing(lambda images: images, noise_to=12)
    assert reading.varies
    first, again, other = (np.asarray(reading.training(pictures, jax.random.key(n)))[:, 2:] for n in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    assert len(np.unique(first)) > 0.99 * first.size
    np.testing.assert_allclose([first.mean(), first.std()], [0, 1], atol=0.03)
    np.testing.assert_array_equal(reading.training(pictures[:7], jax.random.key(0))[:, 2:], first[:7])


@pytest.mark.parametrize("devices", [2, 4])
def test_noise_does_not_depend_on_the_number_of_devices(devices):
    pictures, key = np.zeros((8, 4, 3), np.uint8), jax.random.key(0)
    mesh = jax.make_mesh((devices,), ("batch",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    split = jax.shard_map(
        lambda part, key: NOISY.training(part, key, "batch"),
        mesh=mesh,
        in_specs=(P("batch"), P()),
        out_specs=P("batch"),
    )
    np.testing.assert_array_equal(jax.jit(split)(pictures, key), NOISY.training(pictures, key))


def test_grey_is_what_pillow_makes():
    pictures = RNG.integers(0, 256, (1002, 3, 4, 3), dtype=np.uint8)
    pictures[0], pictures[1] = 0, 255
    found = to_grey(pictures)
    assert found.dtype == np.uint8
    for n in (0, 1, 2, 999, 1000, 1001):
        np.testing.assert_array_equal(found[n], np.asarray(Image.fromarray(pictures[n]).convert("L")))
