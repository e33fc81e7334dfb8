"""Random changes of training images, inside jit: affine maps, flips, crops, or a function. Pure."""

import dataclasses
import hashlib
import inspect
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Affine:
    """The ranges of the random maps of `augment`. By default all are zero, and images stay as they are.

    Each parameter of a map is drawn uniformly from a range around its value in the identity.

    Attributes:
      shift: half-width of the translations along rows and along columns, in pixels.
      rotation: half-width of the angle, in radians.
      scale: half-width of the magnifications along rows and along columns, around 1; less than 1.
      shear: half-width of the shift of each row against the row above it, in columns.
      flip: whether each image is mirrored left to right with probability 1/2.

    Raises:
      ValueError: a half-width is negative or not finite, or `scale` is not less than 1.
    """

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    flip: bool = False

    def __post_init__(self):
        for name in ("shift", "rotation", "scale", "shear"):
            value = float(getattr(self, name))
            object.__setattr__(self, name, value)  # so that 2 and 2.0 give the same protocol
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; it must be a finite number, 0 or more.")
        if self.scale >= 1:
            raise ValueError(f"scale is {self.scale}; it must be less than 1, or images shrink to nothing.")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Any random change of training images, as part of a protocol.

    Example:
      >>> def brighten(images, key):
      ...     return images * jax.random.uniform(key, minval=0.8, maxval=1.0)
      >>> augmentation = Augmentation("brighten", brighten)

    Attributes:
      name: in the protocol.
      function: (images, key) -> images, float32 [B, R, K] or [B, R, K, channels] from 0 to 1, traced by JAX. It is
        called with one image at a time, B = 1, and a key of its own, so that the number of devices does not matter.
      digest: identifies what the function does. By default the SHA-256 of its source; where Python has no source, as
        with `python -c`, that of its compiled code, which depends on the version of Python.

    Raises:
      ValueError: no `digest` is given, and it is no Python function, or it uses values of a function around it.
    """

    name: str
    function: Callable[[jax.Array, jax.Array], jax.Array]
    digest: str = ""

    def __post_init__(self):
        if self.digest:
            return
        try:
            code = inspect.getsource(self.function)
        except OSError:
            compiled = self.function.__code__
            code = f"{compiled.co_code.hex()} {compiled.co_consts} {compiled.co_names}"
        except TypeError as error:
            raise ValueError(
                f"augmentation {self.name} is no Python function; give a digest that identifies it."
            ) from error
        if getattr(self.function, "__closure__", None):
            raise ValueError(
                f"augmentation {self.name} has values of the function around it; give a digest that identifies it."
            )
        object.__setattr__(self, "digest", hashlib.sha256(code.encode()).hexdigest())

    def fields(self) -> dict[str, str]:
        """Name and digest, for the protocol."""
        return {"name": self.name, "sha256": self.digest}


def random_flip(images: jax.Array, key: jax.Array) -> jax.Array:
    """Mirror left to right with probability 1/2: [1, R, K] or [1, R, K, channels]."""
    return jnp.where(jax.random.bernoulli(key), jnp.flip(images, axis=2), images)


def random_crop(images: jax.Array, key: jax.Array, padding: int = 4) -> jax.Array:
    """Pad with zeros on all sides and cut out a part of the old size at random: [1, R, K] or [1, R, K, channels].

    Source: Lee et al., arXiv:1409.5185, section 4.1; He et al., arXiv:1512.03385, section 4.2, for CIFAR-10.
    """
    rest = ((0, 0),) * (images.ndim - 3)
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), *rest))
    row, column = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    return jax.lax.dynamic_slice(padded, (0, row, column, *(0,) * len(rest)), images.shape)


def _flip_and_crop(images: jax.Array, key: jax.Array) -> jax.Array:
    first, second = jax.random.split(key)
    return random_crop(random_flip(images, first), second)


# The usual one for CIFAR-10; the digest changes if what it does changes.
FLIP_AND_CROP = Augmentation("flip_and_crop", _flip_and_crop, digest="flip with 1/2, crop with padding 4; version 1")


def keys_of_examples(key: jax.Array, count: int, axis: str | None) -> jax.Array:
    """A key for each of a device's `count` examples, by its position in the whole batch; see `augment` for `axis`."""
    first = 0 if axis is None else jax.lax.axis_index(axis) * count
    return jax.vmap(lambda position: jax.random.fold_in(key, position))(first + jnp.arange(count))


def augment(
    images: jax.Array, key: jax.Array, augmentation: Affine | Augmentation, axis: str | None = None
) -> jax.Array:
    """Change each image at random: by an affine map of its own, or by a function.

    Example:
      >>> images = jnp.ones((100, 28, 28))
      >>> jax.jit(augment, static_argnums=2)(images, jax.random.key(0), Affine(shift=2, rotation=0.2)).shape
      (100, 28, 28)

    Args:
      images: float [B, R, K] or [B, R, K, channels].
      key: decides the changes; a new one for each step.
      augmentation: the ranges of the maps, or a function; static under jit.
      axis: under `jax.shard_map`, the mesh axis over which a larger batch is split; this device has B images of it. An
        image's change depends on its position in the whole batch, not on the number of devices.

    Returns:
      Float, of the shape of `images`; the images themselves if it is `Affine()`.
    """
    if isinstance(augmentation, Augmentation):
        keys = keys_of_examples(key, len(images), axis)
        return jax.vmap(lambda image, key: augmentation.function(image[None], key)[0])(images, keys)
    if augmentation == Affine():
        return images
    if axis is None:
        return warp(images, random_maps(key, len(images), augmentation))
    maps = random_maps(key, len(images) * jax.lax.axis_size(axis), augmentation)
    first = jax.lax.axis_index(axis) * len(images)
    return warp(images, jax.lax.dynamic_slice_in_dim(maps, first, len(images)))


def random_maps(key: jax.Array, count: int, affine: Affine) -> jax.Array:
    r"""Draw affine maps for `warp`.

    .. math::
        A = \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix}
            \begin{pmatrix} 1 & 0 \\ s & 1 \end{pmatrix}
            \begin{pmatrix} 1 + a & 0 \\ 0 & \pm (1 + b) \end{pmatrix}

    with :math:`\theta, s, a, b` and both components of the translation uniform in the half-widths of `affine`.

    Args:
      key: decides the maps.
      count: B.
      affine: the half-widths.

    Returns:
      float32 [B, 2, 3]: A, and the translation as the last column.
    """
    widths = [affine.rotation, affine.shear, affine.scale, affine.scale, affine.shift, affine.shift, 1.0]
    drawn = jax.random.uniform(key, (7, count), minval=-1.0, maxval=1.0) * jnp.array(widths)[:, None]
    angle, shear, row_scale, column_scale, row_shift, column_shift, side = drawn
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    rows, columns = 1 + row_scale, 1 + column_scale
    if affine.flip:
        columns = jnp.where(side < 0, -columns, columns)
    first = [(cos - shear * sin) * rows, -sin * columns, row_shift]
    second = [(sin + shear * cos) * rows, cos * columns, column_shift]
    return jnp.stack(first + second, axis=-1).reshape(count, 2, 3)


def warp(images: jax.Array, maps: jax.Array, displaced: jax.Array | None = None) -> jax.Array:
    """Transform each image by an affine map, with linear interpolation and zeros outside the image.

    The result at offset p = (row, column) from its centre is the image at offset A p + t from its centre. This is
    `scipy.ndimage.affine_transform` of order 1 and mode "grid-constant", except that offsets count from the centre.

    Example:
      >>> image = jnp.arange(6.0).reshape(1, 2, 3)
      >>> jax.jit(warp)(image, jnp.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]]))  # one column to the left
      Array([[[1., 2., 0.],
              [4., 5., 0.]]], dtype=float32)

    Args:
      images: float [B, R, K] or [B, R, K, channels].
      maps: float [B, 2, 3], A and t as the last column.
      displaced: float [B, R, K, 2], added to the position (row, column) that each pixel shows; None adds nothing.

    Returns:
      The warped images, in the shape and dtype of the images.

    Raises:
      ValueError: the shapes do not fit together.
    """
    if images.ndim not in (3, 4) or maps.shape != (len(images), 2, 3):
        raise ValueError(f"images {images.shape} and maps {maps.shape} must be [B, R, K] and [B, 2, 3].")
    if displaced is not None and displaced.shape != (*images.shape[:3], 2):
        raise ValueError(f"displaced {displaced.shape} must be [B, R, K, 2], with the sizes of images {images.shape}.")
    if images.ndim == 4:
        return jax.vmap(warp, in_axes=(3, None, None), out_axes=3)(images, maps, displaced)
    # Image by image: on a CPU this gather is faster than one from all images.
    return jax.vmap(_warp)(images, maps, displaced)


def _warp(image: jax.Array, affine_map: jax.Array, displaced: jax.Array | None) -> jax.Array:
    """`warp` of one image [R, K] by one map [2, 3] and displacements [R, K, 2]."""
    height, width = image.shape
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    row, column = jnp.arange(height)[:, None] - middle_row, jnp.arange(width)[None] - middle_column
    shown_row = affine_map[0, 0] * row + affine_map[0, 1] * column + (affine_map[0, 2] + middle_row)
    shown_column = affine_map[1, 0] * row + affine_map[1, 1] * column + (affine_map[1, 2] + middle_column)
    if displaced is not None:
        shown_row, shown_column = shown_row + displaced[..., 0], shown_column + displaced[..., 1]
    rows, row_weights = _cell(shown_row, height)
    columns, column_weights = _cell(shown_column, width)
    # Positions outside the image are clipped to a border of zeros, so no mask is needed.
    pixels, stride = jnp.pad(image, (1, 2)).reshape(-1), width + 3
    corner = rows * stride + columns

    steps = (0, 1, stride, stride + 1)
    a, b, c, d = (pixels.at[corner + step].get(mode="promise_in_bounds") for step in steps)
    upper, lower = a + (b - a) * column_weights, c + (d - c) * column_weights
    return (upper + (lower - upper) * row_weights).astype(image.dtype)


def _cell(position: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The index of the pixel before a position, in the axis with its border, and the weight of the pixel after it."""
    position = jnp.clip(position, -1, size) + 1
    before = jnp.floor(position)
    return before.astype(jnp.int32), position - before
