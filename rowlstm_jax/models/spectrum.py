"""How fast a network forgets: factors and half-lives of linear recurrences, time constants of forget gates. Pure."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from rowlstm_jax.models.lengths import before_end, if_any
from rowlstm_jax.models.weights import variables


def transitions(
    model: nn.Module, params: Mapping[str, Any], inputs: jax.Array, lengths: jax.Array | None = None
) -> dict[str, jax.Array]:
    """The factors a of every `linear_scan` in a model.

    Args:
      model: maps [B, T, F] to logits; dropout is off.
      params: its parameters, or all of its variables.
      inputs: [B, T, F].
      lengths: int [B], the steps of each sequence.

    Returns:
      By the name of a layer, such as `layer_0_forward`: [N], or complex as [2, N], where they are the same at all steps
      (the eigenvalues of an LRU or an S5); else [B, T, N]. Empty if the model has no linear recurrence.
    """
    _, seen = model.apply(variables(params), inputs, mutable="diagnostics", **if_any(lengths))  # pyright: ignore
    sown: Any = flatten_dict(seen.get("diagnostics", {}))
    return {names[0]: values[0] for names, values in sown.items() if names[-1] == "a"}


def eigenvalues(model: nn.Module, params: Mapping[str, Any], inputs: jax.Array) -> dict[str, np.ndarray]:
    """The complex factors of the layers that have the same ones at all steps, such as LRU and S5: complex64 [N].

    The arguments are those of `transitions`, and so are the names.
    """
    found = transitions(model, params, inputs)
    return {name: np.asarray(a[0] + 1j * a[1]) for name, a in found.items() if a.ndim == 2}


def half_lives(a: jax.Array, where: jax.Array | None = None) -> jax.Array:
    r"""The steps in which each channel of a linear recurrence decays to a half.

    .. math::
        n = \log(1 / 2) / \log \overline{|a|}

    Example:
      >>> half_lives(jnp.array([0.5, 0.5**0.1])).round(4).tolist()
      [1.0, 10.0]

    Args:
      a: as `transitions` returns it; :math:`\overline{|a|}` is the mean over batch and time.
      where: bool [B, T], the steps that count; None counts all.

    Returns:
      float32 [N], finite even where |a| is 1.
    """
    size = jnp.abs(a).astype(jnp.float32)
    if a.ndim in (2, 4):
        size = jnp.linalg.norm(size, axis=-2)
    if size.ndim == 3:
        size = size.mean(axis=(0, 1), where=None if where is None else where[..., None])
    return jnp.log(0.5) / jnp.log(jnp.clip(size, jnp.finfo(jnp.float32).tiny, 1 - jnp.finfo(jnp.float32).epsneg))


def time_constants(forget: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """The steps in which each unit's c decays to 1/e, [H], from its forget gates [T, B, H]; finite even if f is 1.

    `where`, bool [T, B, H], says which gates count; None counts all.
    """
    mean = forget.astype(jnp.float32).mean(axis=(0, 1), where=where)
    return -1 / jnp.log(jnp.minimum(mean, 1 - jnp.finfo(jnp.float32).epsneg))


def memory_of_layers(
    model: nn.Module, params: Mapping[str, Any], inputs: jax.Array, lengths: jax.Array | None = None
) -> dict[str, jax.Array]:
    """The 10 %, 50 % and 90 % quantiles over the channels of `half_lives`, [3], by `<layer>/half_lives`."""
    where = None if lengths is None else before_end(lengths, inputs.shape[1])
    return {
        f"{layer}/half_lives": jnp.quantile(half_lives(a, where), jnp.array([0.1, 0.5, 0.9]))
        for layer, a in transitions(model, params, inputs, lengths).items()
    }
