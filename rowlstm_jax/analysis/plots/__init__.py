"""Pictures, one PNG for each function. Its first argument is the path of the PNG. Only this folder uses matplotlib.

Each function also takes `about`, a line that is written below the picture: `about_run` makes it of a run's folder.
"""

# ruff: noqa: E402
import os

# A notebook's processes inherit a backend that may not be installed here. The pictures need none.
_backend = os.environ.pop("MPLBACKEND", None)

from rowlstm_jax.analysis.plots.about import about_run, name_seeds
from rowlstm_jax.analysis.plots.associative import capacity, completions, recalled
from rowlstm_jax.analysis.plots.comparison import GROWING, accuracy_over_minutes, comparison, scaling
from rowlstm_jax.analysis.plots.grid import grid
from rowlstm_jax.analysis.plots.history import chunking, passed_on
from rowlstm_jax.analysis.plots.insight import eigenvalues, gates_over_time, probabilities_over_rows, rows_needed
from rowlstm_jax.analysis.plots.online import online
from rowlstm_jax.analysis.plots.orders import orders
from rowlstm_jax.analysis.plots.prediction import prediction
from rowlstm_jax.analysis.plots.runs import confident_errors, confusion_matrix, predictions, samples, sequences
from rowlstm_jax.analysis.plots.style import load
from rowlstm_jax.analysis.plots.training import curves, memory
from rowlstm_jax.analysis.plots.trees import nodes

if _backend is not None:
    os.environ["MPLBACKEND"] = _backend

__all__ = [
    "GROWING",
    "about_run",
    "accuracy_over_minutes",
    "capacity",
    "chunking",
    "comparison",
    "completions",
    "confident_errors",
    "confusion_matrix",
    "curves",
    "eigenvalues",
    "gates_over_time",
    "grid",
    "load",
    "memory",
    "name_seeds",
    "nodes",
    "online",
    "orders",
    "passed_on",
    "prediction",
    "predictions",
    "probabilities_over_rows",
    "recalled",
    "rows_needed",
    "samples",
    "scaling",
    "sequences",
]
