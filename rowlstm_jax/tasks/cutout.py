"""Cutout: a random rectangle of each training image is blank, after other changes. Pure."""

import jax
import jax.numpy as jnp

from rowlstm_jax.tasks.augmentation import Affine, Augmentation, augment


def cutout(before: Affine | Augmentation, smallest: float, largest: float, probability: float = 0.5) -> Augmentation:
    """Change an image in another way; then, with a probability, set a rectangle of it to zero.

    Its centre is uniform over the image, and its height and width are uniform from `smallest` to `largest`. A part may
    lie outside.

    Example:
      >>> maps = cutout(Affine(shift=2), smallest=4, largest=12)
      >>> maps.function(jnp.ones((1, 28, 28)), jax.random.key(0)).shape
      (1, 28, 28)

    Args:
      before: what changes the image first; `Affine()` changes nothing.
      smallest: of each side, in pixels.
      largest: of each side, in pixels.
      probability: that an image gets a rectangle.

    Returns:
      A part of a protocol, whose digest holds these values.

    Raises:
      ValueError: the sizes are not in order, or `probability` is not from 0 to 1.

    Source: DeVries & Taylor, arXiv:1708.04552; sides and probability at random as in Zhong et al., arXiv:1708.04896.
    """
    if not 0 <= smallest <= largest < float("inf"):
        raise ValueError(f"smallest is {smallest} and largest is {largest}; they must be pixels, 0 or more, in order.")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability is {probability}; it must be from 0 to 1.")

    def function(images: jax.Array, key: jax.Array) -> jax.Array:
        to_before, to_rectangle = jax.random.split(key)
        chance, *centre, height, width = jax.random.uniform(to_rectangle, (5,))
        sides = [smallest + share * (largest - smallest) for share in (height, width)]
        row, column = (
            jnp.abs(jnp.arange(size) + 0.5 - at * size) < side / 2
            for at, size, side in zip(centre, images.shape[1:3], sides, strict=True)
        )
        blank = row[:, None] & column[None] & (chance < probability)
        blank = blank.reshape(1, *blank.shape, *(1,) * (images.ndim - 3))
        return jnp.where(blank, 0, augment(images, to_before, before))

    inner, values = ("affine", before) if isinstance(before, Affine) else (before.name, before.digest)
    digest = f"{float(smallest)} to {float(largest)} pixels with {float(probability)}, after {values}; version 1"
    return Augmentation(f"{inner}, cutout", function, digest=digest)
