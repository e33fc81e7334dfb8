"""Pictures, one PNG for each function. Its first argument is the path of the PNG. Only this folder uses matplotlib."""

# ruff: noqa: E402
import os

# A notebook's processes inherit a backend that may not be installed here. The pictures need none.
_backend = os.environ.pop("MPLBACKEND", None)

from rowlstm_jax.analysis.plots.comparison import GROWING, comparison, grid, scaling
from rowlstm_jax.analysis.plots.insight import gates_over_time, memory, probabilities_over_rows, rows_needed
from rowlstm_jax.analysis.plots.orders import orders
from rowlstm_jax.analysis.plots.runs import confident_errors, confusion_matrix, curves, samples
from rowlstm_jax.analysis.plots.style import load

if _backend is not None:
    os.environ["MPLBACKEND"] = _backend

__all__ = [
    "GROWING",
    "comparison",
    "confident_errors",
    "confusion_matrix",
    "curves",
    "gates_over_time",
    "grid",
    "load",
    "memory",
    "orders",
    "probabilities_over_rows",
    "rows_needed",
    "samples",
    "scaling",
]
