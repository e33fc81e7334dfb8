"""How an image is read: uint8 images [B, R, K] to float32 sequences [B, T, F]. Pure."""

import jax
import jax.numpy as jnp


def scale(images: jax.Array) -> jax.Array:
    """Bring pixels to [0, 1] as the notebook's loader does: float32 multiplication by 1/255.

    Args:
      images: uint8, any shape.

    Returns:
      float32 of the same shape; 0 and 255 become exactly 0.0 and 1.0.
    """
    return images.astype(jnp.float32) * jnp.float32(1 / 255)


def rows(images: jax.Array) -> jax.Array:
    """Read an image row by row, from the top: T = R time steps of F = K pixels.

    Example:
      >>> rows(jnp.zeros((2, 28, 28))).shape
      (2, 28, 28)

    Args:
      images: [B, R, K], any dtype.

    Returns:
      [B, R, K]: the rows are the time steps.
    """
    return images


# What a protocol may name as its order.
ORDERS = {"rows": rows}
