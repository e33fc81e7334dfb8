"""Augmentation by any function: flips, crops and functions of one's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.tasks.augmentation import FLIP_AND_CROP, Augmentation, augment, random_crop, random_flip
from tests.tasks.parts import augmented_in_parts

IMAGES = np.random.default_rng(0).random((64, 6, 5, 3), dtype=np.float32) + 0.1


def brighten(images, key):
    return images * jax.random.uniform(key, minval=0.8, maxval=1.0)


def applied(augmentation, images=IMAGES, key=0):
    return np.asarray(jax.jit(augment, static_argnums=2)(images, jax.random.key(key), augmentation))


@pytest.mark.parametrize("channels", [None, 3])
def test_half_of_the_images_are_mirrored(channels):
    images = IMAGES if channels else IMAGES[..., 0]
    found = applied(Augmentation("flip", random_flip), images)
    mirrored = [np.array_equal(new, old[:, ::-1]) for new, old in zip(found, images, strict=True)]
    kept = [np.array_equal(new, old) for new, old in zip(found, images, strict=True)]
    assert [a ^ b for a, b in zip(mirrored, kept, strict=True)] == [True] * 64
    assert 20 < sum(mirrored) < 44


@pytest.mark.parametrize("channels", [None, 3])
def test_a_crop_is_a_part_of_the_padded_image_of_the_old_size(channels):
    images = IMAGES if channels else IMAGES[..., 0]
    crop = functools.partial(random_crop, padding=2)
    found = applied(Augmentation("crop", crop, digest="2"), images)
    places = []
    for new, old in zip(found, images, strict=True):
        padded = np.pad(old, ((2, 2), (2, 2), (0, 0))[: old.ndim])
        (place,) = [at for at in np.ndindex(5, 5) if np.array_equal(padded[at[0] : at[0] + 6, at[1] : at[1] + 5], new)]
        places.append(place)
    assert {row for row, _ in places} == {column for _, column in places} == set(range(5))


def test_each_image_has_its_own_change_and_it_depends_on_key_and_position_only():
    augmentation = Augmentation("brighten", brighten)
    found = applied(augmentation)
    factors = (found / IMAGES).mean(axis=(1, 2, 3))
    assert len(np.unique(factors)) == 64
    np.testing.assert_array_equal(applied(augmentation, IMAGES[:5]), found[:5])
    assert (applied(augmentation, key=1) != found).all()


def test_the_number_of_devices_does_not_matter():
    found = augmented_in_parts(IMAGES, jax.random.key(0), FLIP_AND_CROP, devices=4)
    np.testing.assert_array_equal(found, applied(FLIP_AND_CROP))


def test_name_and_digest_stand_in_a_protocol():
    assert Augmentation("mine", brighten).fields() == Augmentation("mine", brighten).fields()
    digest = Augmentation("mine", brighten).fields()["sha256"]
    assert len(digest) == 64
    assert Augmentation("mine", random_flip).digest != digest
    assert Augmentation("mine", brighten, digest="1").fields() == {"name": "mine", "sha256": "1"}


def test_what_the_source_does_not_show_needs_a_digest():
    def make(strength):
        return lambda images, key: images * jnp.float32(strength)

    for function in (functools.partial(random_crop, padding=2), make(0.5)):
        with pytest.raises(ValueError, match=r"^augmentation mine (has|is no) .*; give a digest that identifies it"):
            Augmentation("mine", function)
        Augmentation("mine", function, digest="half")
