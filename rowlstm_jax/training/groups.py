"""Groups of parameters by their names: which decay, and which have step sizes of their own. Pure."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

NO_WEIGHTS = frozenset({"bias", "biases", "b", "scale", "scales", "gamma", "beta"})  # words in names of parameters


def decay_mask(params: chex.ArrayTree) -> chex.ArrayTree:
    """Which parameters get weight decay: weight matrices, and no biases, scales or fixed weights of a reservoir.

    Arrays of two or more axes decay, unless a word of their name is bias, scale, gamma, beta or b, or the first word is
    reservoir. The name counts, as a cell may stack the biases of its gates in an array [4, H].

    Example:
      >>> decay_mask({"kernel": jnp.ones((3, 4)), "bias": jnp.ones((4, 4)), "reservoir_kernel": jnp.ones((4, 4))})
      {'bias': False, 'kernel': True, 'reservoir_kernel': False}

    Args:
      params: nested dictionaries of arrays.

    Returns:
      The same tree of bools, for the `mask` of `optax.adamw`.
    """

    def decays(path: tuple[Any, ...], leaf: jax.Array) -> bool:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        words = name.lower().split("_")
        return jnp.ndim(leaf) >= 2 and words[0] != "reservoir" and not NO_WEIGHTS.intersection(words)

    return jax.tree_util.tree_map_with_path(decays, params)


def scale_rates(rates: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiply the updates of the parameters with some names, so that they have step sizes of their own.

    Put it after the optimiser in a chain. A parameter that must not decay is no concern of it; see `decay_mask`.

    Example:
      >>> optimizer = optax.chain(optax.sgd(1.0), scale_rates({"nu_log": 0.25}))
      >>> params = {"nu_log": jnp.ones(1), "kernel": jnp.ones(1)}
      >>> optimizer.update(params, optimizer.init(params))[0]
      {'kernel': Array([-1.], dtype=float32), 'nu_log': Array([-0.25], dtype=float32)}

    Args:
      rates: a factor for each name, which is the last part of a parameter's path; 0 keeps a parameter as it is. A name
        that no parameter has is passed over, so that the same rates serve several layers.

    Raises:
      ValueError: a factor is negative or not finite.
    """
    for name, factor in rates.items():
        if not 0 <= factor < 2.0**128:
            raise ValueError(f"rates has {factor} for {name!r}; a factor must be 0 or more, and finite.")
    rates = dict(rates)

    def scale(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        return update * rates.get(jax.tree_util.keystr(path[-1:], simple=True), 1.0)

    return optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(scale, updates))
