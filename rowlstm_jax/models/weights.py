"""The weights of a model: its parameters, and other collections such as "batch_stats" if it has any. Pure."""

from collections.abc import Mapping
from typing import Any


def variables(weights: Any) -> dict[str, Any]:
    """The variables of a model, by collection, from its weights.

    The weights of a model are its parameters. If it has other collections too, they are all of its variables.
    """
    return dict(weights) if "params" in weights else {"params": weights}


def weights(params: Any, collections: Mapping[str, Any]) -> Any:
    """The weights, of which `variables` makes the variables."""
    return {"params": params, **collections} if collections else params


PASSING = frozenset({"intermediates", "perturbations", "diagnostics"})  # collections that no step hands on


def lasting(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The collections besides the parameters that a step hands on to the next one."""
    return {name: tree for name, tree in variables.items() if name not in {"params", *PASSING}}
