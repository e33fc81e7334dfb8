"""Drawing the pictures of a run at its end."""

import contextlib
import importlib
from typing import Any

import jax
import numpy as np

from rowlstm_jax.data import Examples
from rowlstm_jax.parallel import Evaluation
from rowlstm_jax.runs import RunFolder, console, sample_indices


def load_plots() -> None:
    """Load matplotlib; `draw_all` says if that fails."""
    with contextlib.suppress(Exception):
        importlib.import_module("rowlstm_jax.analysis.plots").load()


def draw_all(folder: RunFolder, names: tuple[str, ...], examples: Examples, found: Evaluation | None) -> None:
    """Draw the pictures of a run; for several seeds, the confusions and errors of the first.

    Each picture names the run, its seeds and its model, from config.json. The results are written before, so a
    picture that fails is only a warning.
    """
    try:
        plots, records = importlib.import_module("rowlstm_jax.analysis.plots"), folder.journal.records()
        (folder.path / "plots").mkdir(exist_ok=True)
    except Exception as error:
        console.warn(f"The pictures could not be drawn ({_in_words(error)}).")
        return
    about = of_one = plots.about_run(folder.path)
    pictures: dict[str, tuple[Any, ...]] = {}
    if found is not None:
        inputs, targets, outputs = examples.inputs, examples.targets, found.outputs[0]
        if len(found.outputs) > 1:
            of_one = plots.about_run(folder.path, "predictions of the first seed")
        indices = sample_indices(len(examples))
        few = inputs[indices], targets[indices], indices, names
        pictures["samples"] = (plots.samples if inputs.dtype == np.uint8 else plots.sequences, about, *few)
        if names:
            probabilities = np.asarray(jax.nn.softmax(outputs, axis=-1))
            pictures["confusion"] = plots.confusion_matrix, of_one, targets, outputs.argmax(axis=-1), names
            pictures["errors"] = plots.confident_errors, of_one, inputs, targets, probabilities, names
        else:
            pictures["predictions"] = plots.predictions, of_one, targets, outputs
    pictures["curves"] = plots.curves, about, records
    if any("/gradient_norm" in name for record in records for name in record):
        pictures["memory"] = plots.memory, about, records
    for name, (draw, line, *values) in pictures.items():
        path = folder.path / "plots" / f"{name}.png"
        try:
            draw(path, *values, about=line)
        except Exception as error:
            console.warn(f"{path} could not be drawn ({_in_words(error)}).")


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")
