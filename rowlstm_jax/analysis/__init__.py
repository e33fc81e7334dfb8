"""What finished runs tell: results, statistics, comparisons, grids of runs, and `plots`.

`finish` opens the test set once and writes the results of a run. `open_run` reads them. `compare` tests whether two
runs differ. This floor uses `runs` and the floors below it.
"""

from rowlstm_jax.analysis.comparison import Comparison, compare, draw_comparison, require_comparable, show_comparison
from rowlstm_jax.analysis.grid import show_grid, train_grid
from rowlstm_jax.analysis.report import finish, load_data
from rowlstm_jax.analysis.results import Result, load_model, load_weights, open_run

__all__ = [
    "Comparison",
    "Result",
    "compare",
    "draw_comparison",
    "finish",
    "load_data",
    "load_model",
    "load_weights",
    "open_run",
    "require_comparable",
    "show_comparison",
    "show_grid",
    "train_grid",
]
