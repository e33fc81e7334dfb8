"""What runs tell: results, trained models, statistics, comparisons, grids of runs, and `plots`.

`finish` opens the test set once and writes the results of a run. `open_run` reads them, and makes a
`TrainedModel`. `compare` tests whether two
runs differ. This floor uses `runs` and the floors below it. Each name is loaded when it is first used, because a run
needs only `finish`, and `plots` loads matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowlstm_jax.analysis import plots, verify
    from rowlstm_jax.analysis.comparison import Comparison, compare
    from rowlstm_jax.analysis.figures import percent_over_seeds, values_over_seeds
    from rowlstm_jax.analysis.grid import find_task, show_grid, train_grid
    from rowlstm_jax.analysis.insight import draw_insight, eigenvalues_in_training
    from rowlstm_jax.analysis.listing import Found, list_runs, show_runs
    from rowlstm_jax.analysis.online import EVALUATIONS, learn_and_evaluate, planned_megabytes, rows_and_classes
    from rowlstm_jax.analysis.page import report_page
    from rowlstm_jax.analysis.published import hardware, published_table, stored_summaries, training_minutes
    from rowlstm_jax.analysis.report import finish
    from rowlstm_jax.analysis.results import Result, open_run
    from rowlstm_jax.analysis.trained import TrainedModel

_FILES = {
    "comparison": ("Comparison", "compare"),
    "grid": ("find_task", "show_grid", "train_grid"),
    "insight": ("draw_insight", "eigenvalues_in_training"),
    "listing": ("Found", "list_runs", "show_runs"),
    "online": ("EVALUATIONS", "learn_and_evaluate", "planned_megabytes", "rows_and_classes"),
    "page": ("report_page",),
    "published": ("hardware", "published_table", "stored_summaries", "training_minutes"),
    "report": ("finish",),
    "figures": ("percent_over_seeds", "values_over_seeds"),
    "results": ("Result", "open_run"),
    "trained": ("TrainedModel",),
}
_HOMES = {name: file for file, names in _FILES.items() for name in names}

__all__ = [
    "EVALUATIONS",
    "Comparison",
    "Found",
    "Result",
    "TrainedModel",
    "compare",
    "draw_insight",
    "eigenvalues_in_training",
    "find_task",
    "finish",
    "hardware",
    "learn_and_evaluate",
    "list_runs",
    "open_run",
    "percent_over_seeds",
    "planned_megabytes",
    "plots",
    "published_table",
    "report_page",
    "rows_and_classes",
    "show_grid",
    "show_runs",
    "stored_summaries",
    "train_grid",
    "training_minutes",
    "values_over_seeds",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load a name when it is first used."""
    if name in ("plots", "verify"):
        return importlib.import_module(f"rowlstm_jax.analysis.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"rowlstm_jax.analysis.{_HOMES[name]}"), name)
