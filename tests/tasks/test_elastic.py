"""Elastic maps against SciPy's interpolation at the same positions."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from scipy import ndimage

from rowlstm_jax.tasks.augmentation import Affine, augment, keys_of_examples, random_maps, warp
from rowlstm_jax.tasks.elastic import elastic
from tests.tasks.parts import augmented_in_parts

B, R, K = 6, 9, 12  # not square, one side odd
ALL = Affine(shift=2, rotation=0.3, scale=0.2, shear=0.25, flip=True)
changed = functools.partial(jax.jit, static_argnums=2)(augment)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape or (B, R, K), dtype=np.float32)


def moved(image: np.ndarray, affine_map: np.ndarray, displaced: np.ndarray) -> np.ndarray:
    """The oracle, one image [R, K] at a time."""
    middle = (np.array(image.shape) - 1) / 2
    coordinates = [
        affine_map[:, :2] @ (np.array(pixel) - middle) + affine_map[:, 2] + middle + displaced[pixel]
        for pixel in np.ndindex(*image.shape)
    ]
    values = ndimage.map_coordinates(image, np.transpose(coordinates), order=1, mode="grid-constant")
    return values.reshape(image.shape)


def test_displaced_positions_are_interpolated_as_by_scipy():
    rng = np.random.default_rng(1)
    maps = (np.eye(2, 3) + 0.1 * rng.normal(size=(B, 2, 3))).astype(np.float32)
    displaced = (3 * rng.normal(size=(B, R, K, 2))).astype(np.float32)  # beyond the border too
    expected = [moved(*of) for of in zip(images(), maps.astype(float), displaced.astype(float), strict=True)]
    np.testing.assert_allclose(jax.jit(warp)(images(), maps, displaced), expected, atol=2e-5)
    colours = np.stack([images(), 1 - images()], axis=-1)
    found = jax.jit(warp)(colours, maps, displaced)
    np.testing.assert_allclose(found[..., 0], expected, atol=2e-5)
    assert found.shape == colours.shape
    for wrong in (displaced[:-1], displaced[..., 0], displaced[:, :1]):
        with pytest.raises(ValueError, match=r"displaced .* must be \[B, R, K, 2\]"):
            warp(images(), maps, wrong)


def test_an_image_shows_its_affine_map_and_displacements_of_the_grid_within_the_size():
    """What shows where each pixel comes from: images of the row and of the column."""
    size, grid, affine = 0.8, 3, Affine(shift=0.5, rotation=0.1)
    rows, columns = np.meshgrid(np.arange(40.0), np.arange(36.0), indexing="ij")
    positions = np.stack([rows, columns], axis=-1).astype(np.float32)
    batch = np.broadcast_to(positions, (B, *positions.shape))
    key = jax.random.key(3)
    found = np.asarray(changed(batch, key, elastic(affine, size, grid)))

    @jax.jit
    def drawn(key):
        to_map, to_points = jax.random.split(key)
        points = jax.random.uniform(to_points, (1, grid, grid, 2), minval=-size, maxval=size)
        return random_maps(to_map, 1, affine)[0], points[0]

    for image, own in zip(found[:3], keys_of_examples(key, B, None), strict=False):
        affine_map, points = jax.tree.map(np.asarray, drawn(own))
        middle = np.array([19.5, 17.5])
        displaced = image - ((positions - middle) @ affine_map[:, :2].T + affine_map[:, 2] + middle)
        inner = displaced[6:-6, 6:-6]
        assert 0.3 * size < np.abs(inner).max() < 1.3 * size, "cubic interpolation may go a little beyond its points"
        assert np.abs(np.diff(inner, axis=0)).max() < 0.3 * size, "smooth"
        # The middle of a grid of odd size lies between the middle pixels.
        np.testing.assert_allclose(displaced[19:21, 17:19].mean(axis=(0, 1)), points[1, 1], atol=0.02)


def test_no_displacement_is_the_affine_map_alone():
    @jax.jit
    def alone(images, key):
        draw = lambda key: random_maps(jax.random.split(key)[0], 1, ALL)[0]  # noqa: E731
        return warp(images, jax.vmap(draw)(keys_of_examples(key, B, None)))

    key = jax.random.key(0)
    np.testing.assert_allclose(changed(images(), key, elastic(ALL, size=0)), alone(images(), key), atol=1e-6)


def test_each_image_is_changed_by_its_position_in_the_batch_not_by_the_number_of_devices():
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    maps, key = elastic(ALL, size=1.5), jax.random.key(5)
    batch = np.broadcast_to(images(1, R, K), (B, R, K))
    whole = np.asarray(changed(batch, key, maps))
    assert len(np.unique(whole.reshape(B, -1), axis=0)) == B
    assert not np.isclose(whole, changed(batch, jax.random.key(6), maps)).all(axis=(1, 2)).any()
    np.testing.assert_allclose(augmented_in_parts(batch, key, maps, devices=2), whole, atol=1e-5)


def test_the_digest_depends_on_every_value():
    values = {field.name: 0.5 for field in dataclasses.fields(Affine) if field.name != "flip"} | {"flip": True}
    others = [elastic(Affine(**{name: value}), 1) for name, value in values.items()]
    all_maps = [elastic(Affine(), 1), elastic(Affine(), 1.25), elastic(Affine(), 1, grid=6), *others]
    assert len({maps.digest for maps in all_maps}) == len(all_maps) == 8
    assert elastic(Affine(shift=2), 1).digest == elastic(Affine(shift=2.0), 1.0, grid=5).digest


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": -0.1}, r"size is -0\.1; it must be a finite number of pixels, 0 or more"),
        ({"size": float("inf")}, "size is inf"),
        ({"size": 1.0, "grid": 1}, "grid is 1; it must be 2 or more"),
    ],
)
def test_values_out_of_range_are_refused(values, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        elastic(Affine(), **values)
