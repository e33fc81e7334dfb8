"""Recurrent networks on images in JAX and Flax: exact, resumable, comparable.

These are the names that a script imports. Each is loaded when it is first used, so `import rowlstm_jax` is fast and
does not import JAX. `experiments/tour.ipynb` explains recurrent networks with them, from the beginning.

    Run             what is trained, on what, and how: a value
    RunConfig       the flags of an experiment; yours inherits from it
    RunFolder       the folder that a run is written to; a context manager
    load_data       the training, validation and sealed test examples of a run
    fit             trains a run, from its last checkpoint if it is resumed
    finish          opens the test set once; writes results, weights and pictures
    open_run        what a run has left, finished or not: results, records, and its trained model
    Callback        follows a run: `fit(run, data, folder, [MyCallback()])`
    Stop            a callback raises it to end the training
    compare         tests whether two finished runs differ

    SequenceClassifier  the network: recurrent layers over time and a linear readout
    cells           the recurrent cells; `cells.CELLS` holds those that `--cell` can name
    layers          layers over whole sequences: LRU, S5, minGRU, minLSTM, RG-LRU, any cell; `layers.make(name, H)`
    lstm_scan       the fast LSTM over time as one function
    diagnostics     what a trained network does over time: probabilities, gates, gradients

    Dataset         pictures or sequences with their targets, of your own or published
    open_dataset    one by its name or path: an .npz file, a folder of pictures, tfds:<name>, mnist
    from_arrays     one from NumPy arrays

    Protocol        data set, split, reading order, augmentation and selection, with a digest
    PROTOCOLS       the ready protocols, by name
    find_protocol   one of them, or one for data of your own
    own_protocol    one for a `Dataset`
    ORDERS          the reading orders, by name
    Affine          random affine maps of the training images
    elastic         elastic maps beside them
    cutout          a blank rectangle after other changes
    Augmentation    any random change of the training images

    Recipe          model, optimiser, loss, metrics and patience
    losses          the ready losses and metrics
    adamw_cosine    AdamW with warm-up, cosine, clipping and averaged weights
    warmup_cosine   its step sizes
    params_ema      an exponential moving average of the weights, in an optax chain
    decay_mask      which parameters weight decay acts on

    start           sets JAX up: a device for every CPU core, the compilation cache, other processes
    naming_flags    turns a ValueError about a value into a UserError about its flag
    cli             `cli.run(main, Config)`: flags in, exit status out
    plots           pictures

    UserError       a mistake of the user: exit status 2
    NonFiniteError  the loss stopped being finite: exit status 1
    InterruptedRun  a signal stopped the run, and its state is saved: exit status 128 + the signal's number
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowlstm_jax import cli
    from rowlstm_jax.analysis import compare, finish, open_run, plots
    from rowlstm_jax.config import RunConfig
    from rowlstm_jax.data import Dataset, from_arrays, open_dataset
    from rowlstm_jax.errors import InterruptedRun, NonFiniteError, UserError, naming_flags
    from rowlstm_jax.models import SequenceClassifier, cells, diagnostics, layers, lstm_scan
    from rowlstm_jax.parallel import start
    from rowlstm_jax.runs import Callback, Run, RunFolder, Stop, fit, load_data
    from rowlstm_jax.tasks import (
        ORDERS,
        PROTOCOLS,
        Affine,
        Augmentation,
        Protocol,
        cutout,
        elastic,
        find_protocol,
        own_protocol,
    )
    from rowlstm_jax.training import Recipe, adamw_cosine, decay_mask, losses, params_ema, warmup_cosine

__all__ = [
    "ORDERS",
    "PROTOCOLS",
    "Affine",
    "Augmentation",
    "Callback",
    "Dataset",
    "InterruptedRun",
    "NonFiniteError",
    "Protocol",
    "Recipe",
    "Run",
    "RunConfig",
    "RunFolder",
    "SequenceClassifier",
    "Stop",
    "UserError",
    "adamw_cosine",
    "cells",
    "cli",
    "compare",
    "cutout",
    "decay_mask",
    "diagnostics",
    "elastic",
    "find_protocol",
    "finish",
    "fit",
    "from_arrays",
    "layers",
    "load_data",
    "losses",
    "lstm_scan",
    "naming_flags",
    "open_dataset",
    "open_run",
    "own_protocol",
    "params_ema",
    "plots",
    "start",
    "warmup_cosine",
]

# The floor that each name comes from.
_FLOORS = {
    "analysis": ("compare", "finish", "open_run", "plots"),
    "config": ("RunConfig",),
    "data": ("Dataset", "from_arrays", "open_dataset"),
    "errors": ("InterruptedRun", "NonFiniteError", "UserError", "naming_flags"),
    "models": ("SequenceClassifier", "cells", "diagnostics", "layers", "lstm_scan"),
    "parallel": ("start",),
    "runs": ("Callback", "Run", "RunFolder", "Stop", "fit", "load_data"),
    "tasks": (
        "ORDERS",
        "PROTOCOLS",
        "Affine",
        "Augmentation",
        "Protocol",
        "cutout",
        "elastic",
        "find_protocol",
        "own_protocol",
    ),
    "training": ("Recipe", "adamw_cosine", "decay_mask", "losses", "params_ema", "warmup_cosine"),
}
_HOMES = {name: floor for floor, names in _FLOORS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "cli":
        return importlib.import_module("rowlstm_jax.cli")
    if name not in _HOMES:
        raise AttributeError(f"module 'rowlstm_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rowlstm_jax.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
