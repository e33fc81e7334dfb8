"""Sums and means over devices that each have a part of a batch; `axis` names their mesh axis. Pure."""

from typing import Any, TypeVar

import jax
import jax.flatten_util
import jax.numpy as jnp

Tree = TypeVar("Tree")  # any tree of arrays


def total(tree: Tree, axis: str | None) -> Tree:
    """The sum of a tree over the devices, by one all-reduce of one vector. Counts become float32, exact up to 2**24."""
    if axis is None:
        return tree
    vector, unravel = jax.flatten_util.ravel_pytree(tree)
    return unravel(jax.lax.psum(vector, axis))


def synchronized(collections: dict[str, Any], axis: str | None) -> dict[str, Any]:
    """The mean over the devices of each array of numbers, and the largest of counts: the same on all devices.

    To normalise by the statistics of the whole batch, give `nn.BatchNorm` the mesh axis: axis_name="batch".
    """
    if axis is None or not collections:
        return collections

    def over_devices(x: jax.Array) -> jax.Array:
        return (jax.lax.pmean if jnp.issubdtype(x.dtype, jnp.inexact) else jax.lax.pmax)(x, axis)

    return jax.tree.map(over_devices, collections)
