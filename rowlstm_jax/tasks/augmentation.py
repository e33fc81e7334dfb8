"""Random affine maps of training images, inside jit. Pure."""

import dataclasses
import math

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


def augment(images: jax.Array, key: jax.Array, affine: Affine, axis: str | None = None) -> jax.Array:
    """Warp each image by a random affine map of its own.

    Example:
      >>> images = jnp.ones((100, 28, 28))
      >>> jax.jit(augment, static_argnums=2)(images, jax.random.key(0), Affine(shift=2, rotation=0.2)).shape
      (100, 28, 28)

    Args:
      images: float [B, R, K].
      key: decides the maps; a new one for each step.
      affine: the ranges of the maps; static under jit.
      axis: under `jax.shard_map`, the mesh axis over which a larger batch is split; this device has B images of it. An
        image's map depends on its position in the whole batch, not on the number of devices.

    Returns:
      Float [B, R, K], the images themselves if `affine` is `Affine()`.
    """
    if affine == Affine():
        return images
    if axis is None:
        return warp(images, random_maps(key, len(images), affine))
    maps = random_maps(key, len(images) * jax.lax.axis_size(axis), affine)
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


def warp(images: jax.Array, maps: jax.Array) -> jax.Array:
    """Transform each image by an affine map, with linear interpolation and zeros outside the image.

    The result at offset p = (row, column) from its centre is the image at offset A p + t from its centre. This is
    `scipy.ndimage.affine_transform` of order 1 and mode "grid-constant", except that offsets count from the centre.

    Example:
      >>> image = jnp.arange(6.0).reshape(1, 2, 3)
      >>> jax.jit(warp)(image, jnp.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]]))  # one column to the left
      Array([[[1., 2., 0.],
              [4., 5., 0.]]], dtype=float32)

    Args:
      images: float [B, R, K].
      maps: float [B, 2, 3], A and t as the last column.

    Returns:
      [B, R, K], in the dtype of the images.

    Raises:
      ValueError: the shapes do not fit together.
    """
    if images.ndim != 3 or maps.shape != (len(images), 2, 3):
        raise ValueError(f"images {images.shape} and maps {maps.shape} must be [B, R, K] and [B, 2, 3].")
    return jax.vmap(_warp)(images, maps)  # image by image: on a CPU this gather is faster than one from all images


def _warp(image: jax.Array, affine_map: jax.Array) -> jax.Array:
    """`warp` of one image [R, K] by one map [2, 3]."""
    height, width = image.shape
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    row, column = jnp.arange(height)[:, None] - middle_row, jnp.arange(width)[None] - middle_column
    shown_row = affine_map[0, 0] * row + affine_map[0, 1] * column + (affine_map[0, 2] + middle_row)
    shown_column = affine_map[1, 0] * row + affine_map[1, 1] * column + (affine_map[1, 2] + middle_column)
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
