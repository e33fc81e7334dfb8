"""What finished runs tell: results, statistics, comparisons, grids of runs, and `plots`.

`finish` opens the test set once and writes the results of a run. `open_run` reads them. `compare` tests whether two
runs differ. This floor uses `runs` and the floors below it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from rowlstm_jax.analysis.comparison import Comparison, compare
from rowlstm_jax.analysis.grid import show_grid, train_grid
from rowlstm_jax.analysis.report import finish
from rowlstm_jax.analysis.results import Result, load_model, load_weights, open_run

if TYPE_CHECKING:
    from rowlstm_jax.analysis import plots

__all__ = [
    "Comparison",
    "Result",
    "compare",
    "finish",
    "load_model",
    "load_weights",
    "open_run",
    "plots",
    "show_grid",
    "train_grid",
]


def __getattr__(name: str) -> Any:
    """Import `plots`, and with it matplotlib, when it is first used."""
    if name == "plots":
        return importlib.import_module("rowlstm_jax.analysis.plots")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
