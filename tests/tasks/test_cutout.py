"""Cutout: what is blank is a rectangle, as large and as frequent as it was asked for, and nothing else changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.tasks.augmentation import FLIP_AND_CROP, Affine, augment, keys_of_examples
from rowlstm_jax.tasks.cutout import cutout
from rowlstm_jax.tasks.elastic import elastic
from tests.tasks.parts import augmented_in_parts

changed = functools.partial(jax.jit, static_argnums=2)(augment)
KEY = jax.random.key(0)


def sides(blank: np.ndarray) -> tuple[int, int]:
    """Height and width of a blank rectangle [R, K], which must be full."""
    rows, columns = np.flatnonzero(blank.any(axis=1)), np.flatnonzero(blank.any(axis=0))
    if rows.size == 0:
        return 0, 0
    assert blank[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    return len(rows), len(columns)


def test_rectangles_have_the_sizes_the_places_and_the_share_that_were_asked_for():
    shape, smallest, largest = (40, 60), 4, 9
    blank = np.asarray(changed(jnp.ones((4_000, *shape)), KEY, cutout(Affine(), smallest, largest, 0.3))) == 0
    found = np.array([sides(image) for image in blank])
    cut = found.any(axis=1)
    assert abs(cut.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / len(cut))
    assert found.max() == largest
    inner = blank[:, 10:-10, 10:-10].any(axis=(1, 2)) & ~blank[:, [0, -1]].any(axis=(1, 2))
    inner &= ~blank[:, :, [0, -1]].any(axis=(1, 2))
    assert found[inner].min() >= smallest
    np.testing.assert_allclose(found[inner].mean(axis=0), (smallest + largest) / 2, atol=0.2)
    assert abs(np.corrcoef(found[inner].T)[0, 1]) < 0.1, "height and width are drawn apart"
    # Each pixel is blank as often as any other, but near the border, where fewer centres reach it.
    often = blank.mean(axis=0)[6:-6, 6:-6]
    expected = 0.3 * 6.5**2 / (40 * 60)
    assert abs(often.mean() - expected) < 0.12 * expected
    halves = [often[:14].mean(), often[14:].mean(), often[:, :24].mean(), often[:, 24:].mean()]
    np.testing.assert_allclose(halves, expected, rtol=0.25)


@pytest.mark.parametrize("before", [Affine(shift=2, flip=True), elastic(Affine(rotation=0.2), 1.0), FLIP_AND_CROP])
def test_outside_the_rectangle_an_image_is_what_the_other_change_makes_of_it(before):
    images = np.random.default_rng(0).uniform(0.5, 1.0, (8, 12, 16)).astype(np.float32)

    @jax.jit
    def alone(images):
        keys = jax.vmap(lambda key: jax.random.split(key)[0])(keys_of_examples(KEY, len(images), None))
        return jax.vmap(lambda image, key: augment(image[None], key, before)[0])(images, keys)

    expected = np.asarray(alone(images))
    np.testing.assert_allclose(changed(images, KEY, cutout(before, 3, 6, probability=0)), expected, atol=1e-6)
    found = np.asarray(changed(images, KEY, cutout(before, 3, 6, probability=1)))
    blank = found != expected
    assert (found[blank] == 0).all()
    assert blank.any(axis=(1, 2)).sum() >= 7


def test_all_channels_of_a_pixel_are_blank_together():
    found = np.asarray(changed(jnp.ones((20, 10, 12, 3)), KEY, cutout(Affine(), 3, 5, 1.0)))
    assert found.shape == (20, 10, 12, 3)
    np.testing.assert_array_equal(found, found[..., :1].repeat(3, axis=-1))
    assert (found == 0).any()


def test_the_number_of_devices_does_not_matter():
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    maps = cutout(Affine(shift=2), 3, 6)
    batch = np.random.default_rng(0).random((6, 9, 12), dtype=np.float32)
    np.testing.assert_allclose(augmented_in_parts(batch, KEY, maps, devices=2), changed(batch, KEY, maps), atol=1e-5)


def test_the_digest_depends_on_every_value():
    others = [Affine(shift=1), elastic(Affine(), 1), elastic(Affine(), 2), FLIP_AND_CROP]
    all_maps = [cutout(Affine(), 4, 12), cutout(Affine(), 3, 12), cutout(Affine(), 4, 13), cutout(Affine(), 4, 12, 0.6)]
    all_maps += [cutout(before, 4, 12) for before in others]
    assert len({maps.digest for maps in all_maps}) == len(all_maps) == 8
    assert cutout(Affine(shift=2), 4, 12).digest == cutout(Affine(shift=2.0), 4.0, 12.0, 0.5).digest
    assert [maps.name for maps in all_maps[-2:]] == ["elastic, cutout", "flip_and_crop, cutout"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((-1, 4), r"smallest is -1 and largest is 4; they must be pixels, 0 or more, in order"),
        ((5, 4), "smallest is 5 and largest is 4"),
        ((1, float("inf")), "smallest is 1 and largest is inf"),
        ((1, float("nan")), "smallest is 1 and largest is nan"),
        ((1, 4, 1.1), r"probability is 1\.1; it must be from 0 to 1"),
    ],
)
def test_values_out_of_range_are_refused(values, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        cutout(Affine(), *values)
