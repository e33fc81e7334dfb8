"""Pictures, one PNG a function. The only package that imports matplotlib."""

from rowlstm_jax.plots.benchmarks import GROWING, scaling
from rowlstm_jax.plots.runs import (
    accuracy_range,
    confident_errors,
    confusion_counts,
    confusion_matrix,
    curves,
    rank_errors,
    samples,
)

__all__ = [
    "GROWING",
    "accuracy_range",
    "confident_errors",
    "confusion_counts",
    "confusion_matrix",
    "curves",
    "rank_errors",
    "samples",
    "scaling",
]
