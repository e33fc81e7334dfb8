"""Figures over seeds, as summary.json has them and as tables show them."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def percent_over_seeds(values: Sequence[float]) -> str:
    """The mean of shares, [S], in percent, with the standard deviation (with S - 1) if there are several.

    Example:
      >>> percent_over_seeds([0.5]), percent_over_seeds([0.5, 0.75])
      ('50.00', '62.50 ± 17.68')
    """
    spread = f" ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.2f}{spread}"


def values_over_seeds(value: Any) -> list[float]:
    """The values over seeds, [S], of a figure in summary.json: a number for one seed, {"values": [...]} for several.

    Example:
      >>> values_over_seeds(0.5), values_over_seeds({"values": [0.5, 0.75], "mean": 0.625})
      ([0.5], [0.5, 0.75])

    Raises:
      ValueError: it is neither.
    """
    values = value.get("values") if isinstance(value, dict) else [value]
    if not (values and isinstance(values, list) and all(type(v) in (int, float) and abs(v) < 1e300 for v in values)):
        raise ValueError(f"{value!r} is neither a number nor values over seeds")
    return [float(value) for value in values]
