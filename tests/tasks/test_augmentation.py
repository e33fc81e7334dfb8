import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from rowlstm_jax.tasks import augmentation as module
from rowlstm_jax.tasks.augmentation import Affine
from tests.tasks.parts import augmented_in_parts

augment = jax.jit(module.augment, static_argnums=2)
random_maps = jax.jit(module.random_maps, static_argnums=(1, 2))
warp = jax.jit(module.warp)

B, R, K = 6, 9, 12  # not square, one side odd
ALL = Affine(shift=2, rotation=0.3, scale=0.2, shear=0.25)
IDENTITY = np.broadcast_to(np.eye(2, 3, dtype=np.float32), (B, 2, 3))


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape or (B, R, K), dtype=np.float32)


def moved(image: np.ndarray, affine_map: np.ndarray) -> np.ndarray:
    """The oracle, one image [R, K] at a time: SciPy's interpolation at coordinates worked out by hand."""
    middle = (np.array(image.shape) - 1) / 2
    coordinates = [
        affine_map[:, :2].astype(float) @ (np.array(pixel) - middle) + affine_map[:, 2] + middle
        for pixel in np.ndindex(*image.shape)
    ]
    # SciPy's "constant" does not interpolate towards the zeros outside; "grid-constant" does.
    values = ndimage.map_coordinates(image, np.transpose(coordinates), order=1, mode="grid-constant")
    return values.reshape(image.shape)


@pytest.mark.parametrize(("spread", "jit"), [(0.1, True), (1.0, True), (1.0, False)])
def test_warp_agrees_with_scipy(spread, jit):
    # A spread of 1 throws parts of the images far outside.
    drawn = np.random.default_rng(1).normal(size=(B, 2, 3)) * spread * np.array([1, 1, 5])
    maps = (IDENTITY + drawn).astype(np.float32)
    found = (warp if jit else module.warp)(images(), maps)
    chex.assert_shape(found, (B, R, K))
    expected = [moved(image, affine_map) for image, affine_map in zip(images(), maps, strict=True)]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_identity_returns_the_same_bits():
    np.testing.assert_array_equal(warp(images(), IDENTITY), images())


@pytest.mark.parametrize(("down", "right"), [(0, 1), (2, -3), (-1, 0), (9, 0), (100, -100)])
def test_a_shift_by_whole_pixels_moves_bits_and_leaves_zeros(down, right):
    maps = IDENTITY.copy()
    maps[:, :, 2] = -down, -right  # a map says where a pixel comes from
    expected = np.zeros_like(images())
    for row, column in np.ndindex(R, K):
        if 0 <= row - down < R and 0 <= column - right < K:
            expected[:, row, column] = images()[:, row - down, column - right]
    np.testing.assert_array_equal(warp(images(), maps), expected)


def test_warp_keeps_the_dtype_and_rejects_other_shapes():
    assert warp(jnp.asarray(images(), jnp.bfloat16), IDENTITY).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match=r"\[B, R, K\] and \[B, 2, 3\]"):
        warp(images(), IDENTITY[:-1])
    with pytest.raises(ValueError, match=r"\[B, R, K\]"):
        warp(images(B, R, K, 3, 2), IDENTITY)


def shapes(maps: jax.Array) -> dict[str, np.ndarray]:
    """What drew each map: A = rotation @ [[1, 0], [shear, 1]] @ diag(rows, columns), taken apart again."""
    a = np.asarray(maps, float)
    angle = np.arctan2(-a[:, 0, 1], a[:, 1, 1])
    angle += np.where(np.abs(angle) > np.pi / 2, -np.sign(angle) * np.pi, 0)  # mirrored
    cos, sin = np.cos(angle), np.sin(angle)
    columns = -sin * a[:, 0, 1] + cos * a[:, 1, 1]
    rows, slant = cos * a[:, 0, 0] + sin * a[:, 1, 0], -sin * a[:, 0, 0] + cos * a[:, 1, 0]
    return {"rotation": angle, "shear": slant / rows, "rows": rows, "columns": columns, "shift": a[:, :, 2]}


def test_maps_fill_their_bounds_and_stay_within():
    parts = shapes(random_maps(jax.random.key(0), 4000, ALL))
    ranges = {"rotation": (0, 0.3), "shear": (0, 0.25), "rows": (1, 0.2), "columns": (1, 0.2), "shift": (0, 2)}
    for name, (centre, width) in ranges.items():
        deviation = (parts[name] - centre) / width
        assert np.abs(deviation).max() <= 1 + 1e-5, name
        assert deviation.min() < -0.99 < 0.99 < deviation.max(), name
        np.testing.assert_allclose(deviation.var(), 1 / 3, atol=0.02, err_msg=f"{name} is not uniform")
    drawn = np.column_stack(list(parts.values()))
    assert np.abs(np.corrcoef(drawn.T) - np.eye(6)).max() < 0.06, "not independent"


@pytest.mark.parametrize("name", ["shift", "scale"])
def test_each_half_width_moves_its_own_parameter_only(name):
    parts = shapes(random_maps(jax.random.key(0), 50, Affine(**{name: 0.5})))
    varied = {part for part, values in parts.items() if np.ptp(values) > 1e-6}
    assert varied == ({"rows", "columns"} if name == "scale" else {name})


def test_flip_mirrors_half_of_the_images_left_to_right():
    batch = images(400, R, K)
    result = np.asarray(augment(batch, jax.random.key(0), Affine(flip=True)))
    mirrored = (result == batch[:, :, ::-1]).all(axis=(1, 2))
    np.testing.assert_array_equal(result[~mirrored], batch[~mirrored])
    assert 150 < mirrored.sum() < 250


def test_augment_is_a_function_of_the_key_and_each_image_has_its_own_map():
    batch = np.broadcast_to(images(1, R, K), (B, R, K))
    first = np.asarray(augment(batch, jax.random.key(0), ALL))
    np.testing.assert_array_equal(augment(batch, jax.random.key(0), ALL), first)
    assert len(np.unique(first.reshape(B, -1), axis=0)) == B
    assert not np.isclose(first, augment(batch, jax.random.key(1), ALL)).all(axis=(1, 2)).any()
    maps = random_maps(jax.random.key(0), B, ALL)
    np.testing.assert_array_equal(first, warp(batch, maps))


def test_no_augmentation_returns_the_images():
    given = images()
    assert module.augment(given, jax.random.key(0), Affine()) is given


def test_vmap_over_seeds_equals_a_loop():
    keys, batches = jax.random.split(jax.random.key(0), 3), images(3, B, R, K)
    together = jax.jit(jax.vmap(lambda batch, key: module.augment(batch, key, ALL)))(batches, keys)
    alone = [augment(batch, key, ALL) for batch, key in zip(batches, keys, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_batch_split_over_devices_is_augmented_as_a_whole(devices):
    if len(jax.devices()) < devices:
        pytest.skip("needs two devices")
    key = jax.random.key(0)
    np.testing.assert_allclose(augmented_in_parts(images(), key, ALL, devices), augment(images(), key, ALL), atol=1e-5)


def test_images_of_zeros_to_one_stay_within():
    result = augment(np.ones((B, R, K), np.float32), jax.random.key(0), ALL)
    assert 0 <= result.min() < result.max() <= 1 + 1e-6


def test_affine_is_hashable_and_names_what_is_wrong():
    assert hash(Affine(shift=2)) == hash(Affine(shift=2.0))
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rotation is"):
            Affine(rotation=wrong)
    with pytest.raises(ValueError, match="less than 1"):
        Affine(scale=1.0)
