"""What finished runs tell: results, statistics, comparisons, grids of runs, and `plots`.

`finish` opens the test set once and writes the results of a run. `open_run` reads them. `compare` tests whether two
runs differ. This floor uses `runs` and the floors below it. Each name is loaded when it is first used, because a run
needs only `finish`, and `plots` loads matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowlstm_jax.analysis import plots
    from rowlstm_jax.analysis.comparison import Comparison, compare
    from rowlstm_jax.analysis.grid import show_grid, train_grid
    from rowlstm_jax.analysis.report import finish
    from rowlstm_jax.analysis.results import Result, open_run, percent_over_seeds, values_over_seeds

_FILES = {
    "comparison": ("Comparison", "compare"),
    "grid": ("show_grid", "train_grid"),
    "report": ("finish",),
    "results": ("Result", "open_run", "percent_over_seeds", "values_over_seeds"),
}
_HOMES = {name: file for file, names in _FILES.items() for name in names}

__all__ = [
    "Comparison",
    "Result",
    "compare",
    "finish",
    "open_run",
    "percent_over_seeds",
    "plots",
    "show_grid",
    "train_grid",
    "values_over_seeds",
]


def __getattr__(name: str) -> Any:
    """Load a name when it is first used."""
    if name == "plots":
        return importlib.import_module("rowlstm_jax.analysis.plots")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"rowlstm_jax.analysis.{_HOMES[name]}"), name)
