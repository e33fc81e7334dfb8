"""Pictures, one PNG a function. The only package that imports matplotlib."""

from rowlstm_jax.analysis.plots.benchmarks import GROWING, scaling
from rowlstm_jax.analysis.plots.comparison import comparison
from rowlstm_jax.analysis.plots.grid import grid
from rowlstm_jax.analysis.plots.insight import gates_over_time, memory, probabilities_over_rows, rows_needed
from rowlstm_jax.analysis.plots.orders import orders
from rowlstm_jax.analysis.plots.runs import (
    accuracy_range,
    confident_errors,
    confusion_counts,
    confusion_matrix,
    curves,
    rank_errors,
    samples,
)
from rowlstm_jax.analysis.plots.style import load

__all__ = [
    "GROWING",
    "accuracy_range",
    "comparison",
    "confident_errors",
    "confusion_counts",
    "confusion_matrix",
    "curves",
    "gates_over_time",
    "grid",
    "load",
    "memory",
    "orders",
    "probabilities_over_rows",
    "rank_errors",
    "rows_needed",
    "samples",
    "scaling",
]
