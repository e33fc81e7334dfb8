"""One run on disk: the training loop, its checkpoints, its records and its folder; and resuming it.

A `Run` is a value: what is trained and how. A `RunFolder` is a place: where the run is written. `fit` trains the run.
This floor uses `parallel` and the floors below it. It alone reads and writes the files of runs.
"""

from rowlstm_jax.runs import console, environment
from rowlstm_jax.runs.callbacks import Callback, Stop, following
from rowlstm_jax.runs.checkpoint import arrays_on_disk
from rowlstm_jax.runs.data import load_data, sample_indices
from rowlstm_jax.runs.describe import describe
from rowlstm_jax.runs.files import (
    read_arrays,
    read_json,
    read_lines,
    read_text,
    require_inside,
    write_arrays,
    write_json,
    write_text,
    writing,
)
from rowlstm_jax.runs.folder import RunFolder, choose_directory, name_latest
from rowlstm_jax.runs.loop import Fitted, fit
from rowlstm_jax.runs.manifest import Leaf, is_good_checkpoint
from rowlstm_jax.runs.records import by_seed
from rowlstm_jax.runs.run import Run
from rowlstm_jax.runs.stored import read_stored, selected_weights

__all__ = [
    "Callback",
    "Fitted",
    "Leaf",
    "Run",
    "RunFolder",
    "Stop",
    "arrays_on_disk",
    "by_seed",
    "choose_directory",
    "console",
    "describe",
    "environment",
    "fit",
    "following",
    "is_good_checkpoint",
    "load_data",
    "name_latest",
    "read_arrays",
    "read_json",
    "read_lines",
    "read_stored",
    "read_text",
    "require_inside",
    "sample_indices",
    "selected_weights",
    "write_arrays",
    "write_json",
    "write_text",
    "writing",
]
