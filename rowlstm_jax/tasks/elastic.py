"""Elastic maps of training images: smooth random displacements beside an affine map. Pure."""

import dataclasses
import math

import jax

from rowlstm_jax.tasks.augmentation import Affine, Augmentation, random_maps, warp


def elastic(affine: Affine, size: float, grid: int = 5) -> Augmentation:
    """Random affine maps of which each point is displaced a little more, smoothly over the image.

    The displacements of a grid x grid of points are uniform within `size`, and enlarged to all pixels by cubic
    interpolation.

    Example:
      >>> import jax.numpy as jnp
      >>> maps = elastic(Affine(shift=2), size=1.2)
      >>> maps.function(jnp.ones((1, 28, 28)), jax.random.key(0)).shape
      (1, 28, 28)

    Args:
      affine: the ranges of the affine maps.
      size: the largest displacement of a point of the grid along rows and along columns, in pixels.
      grid: points along each side.

    Returns:
      A part of a protocol, whose digest holds these values.

    Raises:
      ValueError: `size` is negative or not finite, or `grid` is less than 2.

    Source: Simard et al., "Best practices for convolutional neural networks", ICDAR (2003), for the idea.
    """
    if not (math.isfinite(size) and size >= 0):
        raise ValueError(f"size is {size}; it must be a finite number of pixels, 0 or more.")
    if grid < 2:
        raise ValueError(f"grid is {grid}; it must be 2 or more.")

    def function(images: jax.Array, key: jax.Array) -> jax.Array:
        to_affine, to_points = jax.random.split(key)
        points = jax.random.uniform(to_points, (1, grid, grid, 2), minval=-size, maxval=size)
        displaced = jax.image.resize(points, (1, *images.shape[1:3], 2), "cubic")
        return warp(images, random_maps(to_affine, 1, affine), displaced)

    widths = " ".join(f"{name} {value}" for name, value in dataclasses.asdict(affine).items())
    return Augmentation("elastic", function, digest=f"size {float(size)}, grid {grid}, {widths}; version 1")
