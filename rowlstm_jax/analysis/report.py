"""The end of a run: results on the test set, summary.json and pictures."""

import contextlib
import importlib
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from rowlstm_jax.analysis.results import values_over_seeds
from rowlstm_jax.data import Examples, Splits
from rowlstm_jax.errors import NonFiniteError, UserError
from rowlstm_jax.parallel import Evaluation, fetch, from_first_process, is_first_process
from rowlstm_jax.runs import (
    Fitted,
    Run,
    RunFolder,
    by_seed,
    console,
    environment,
    read_arrays,
    sample_indices,
    write_arrays,
    write_json,
    writing,
)
from rowlstm_jax.tasks import PROTOCOLS

FIRST = 128  # images on which the notebook tests


def finish(run: Run, fitted: Fitted, data: Splits, folder: RunFolder, reference: str = "") -> dict[str, Any]:
    """Evaluate on the test set once; write predictions, weights and summary, print the results, draw the pictures.

    A finished run that is resumed and takes no step keeps its summary. A picture that can't be drawn is a warning.

    Args:
      run: what was trained.
      fitted: what `fit` returned.
      data: the splits.
      folder: where the run is written.
      reference: a published result to print beside ours, with its source.

    Returns:
      The summary, in every process.

    Raises:
      UserError: the folder can't be written to.
      NonFiniteError: the weights are not finite, and the test set stays sealed; or the test loss is not finite.
    """
    weights = fetch(fitted.params)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights)):
        raise NonFiniteError(f"The last weights of the run in {folder.path} are not finite; nothing is tested.")
    if not fitted.steps_taken and (summary := from_first_process(folder.summary)):
        from_first_process(lambda: _require_arrays(folder.path, weights))
        console.say(f"The run was finished, and its test set is not opened again. Run folder: {folder.path}")
        return summary
    with writing(folder.path):
        return _finish(run, fitted, data, folder, weights, reference)


def _finish(run: Run, fitted: Fitted, data: Splits, folder: RunFolder, weights: Any, reference: str) -> dict[str, Any]:
    examples = data.test.open(lambda: folder.journal.open_test(fitted.selected_steps))
    if not is_first_process():  # all processes compute, one reports
        return _summary(run, fitted, data, folder, examples, fitted.evaluate(examples))
    # Python waits for the evaluation, long enough to load matplotlib. If that fails, `_draw_all` says so; if it hangs,
    # nothing waits for it before the results are written.
    loading = threading.Thread(target=_load_plots, daemon=True)
    loading.start()
    with folder.clock.phase("test"):
        test = fitted.evaluate(examples)
    predictions = test.logits.argmax(axis=-1).astype(np.uint8)
    write_arrays(folder.path / "test.npz", {"predictions": predictions, "labels": examples.labels})
    write_arrays(folder.path / "weights.npz", flatten_dict(weights, sep="/"))
    summary = _summary(run, fitted, data, folder, examples, test)
    write_json(folder.path / "summary.json", summary)
    _show(run, summary, test, reference)
    with folder.clock.phase("plots"):
        loading.join(60)
        _draw_all(folder, data, examples, test)
    summary["timing"]["seconds"] = _rounded(folder.clock.seconds)
    write_json(folder.path / "summary.json", summary)
    console.say(f"Run folder: {folder.path}")
    return summary


def _require_arrays(directory: Path, weights: Any) -> None:
    """See that the arrays of a finished run are there. A loss of power may take those that an earlier version wrote."""
    path, again = directory / "weights.npz", f"remove {directory / 'summary.json'} and resume again, to test once more"
    try:
        read_arrays(path, again)
    except UserError:
        write_arrays(path, flatten_dict(weights, sep="/"))
        console.warn(f"{path} was missing or damaged; it is written again from the checkpoint.")
    read_arrays(directory / "test.npz", f"{again}: that opening of the test set is recorded too")


def _load_plots() -> None:
    with contextlib.suppress(Exception):
        importlib.import_module("rowlstm_jax.analysis.plots").load()


def _show(run: Run, summary: dict[str, Any], test: Evaluation, reference: str) -> None:
    found = zip(run.config.seeds, test.loss, test.accuracy, test.intervals, strict=True)
    rows = [
        (f"seed {seed}", f"{loss:.5f}", f"{accuracy:.5f}", f"{interval.low:.4f} to {interval.high:.4f}")
        for seed, loss, accuracy, interval in found
    ]
    footer = ()
    if len(rows) > 1:
        loss, accuracy = summary["test_loss"], summary["test_accuracy"]
        low, high = accuracy["interval_95"]
        footer = ("mean", f"{loss['mean']:.5f}", f"{accuracy['mean']:.5f}", f"{low:.4f} to {high:.4f}")
    images = f"Test set, all {test.logits.shape[1]:,} images"
    console.show_table(images, ("", "loss", "accuracy", "95 % interval"), rows, footer)
    if len(rows) > 1:
        console.say(
            f"Standard deviation of the accuracy over {len(rows)} seeds: {summary['test_accuracy']['std']:.5f}. "
            "The interval of a seed is over images, that of the mean over seeds."
        )
    if run.protocol.sha256() == PROTOCOLS["notebook"].sha256():
        first = np.mean(values_over_seeds(summary["test_accuracy_first_128"]))
        console.say(f"On the first {FIRST} images, as in the notebook: {first:.5f}.")
    if reference:
        console.say(f"For comparison: {reference}.")
    if len(openings := summary["test_openings"]) > 1:
        console.say(f"The test set of this run has been opened {len(openings)} times; summary.json says when.")


def _draw_all(folder: RunFolder, data: Splits, examples: Examples, test: Evaluation) -> None:
    """Draw the pictures of a run; for several seeds, the confusions and errors of the first.

    The results are written before, so a picture that fails is only a warning.
    """
    names, indices, labels, logits = data.class_names, sample_indices(len(examples)), examples.labels, test.logits[0]
    probabilities = np.asarray(jax.nn.softmax(logits, axis=-1))
    try:
        plots, records = importlib.import_module("rowlstm_jax.analysis.plots"), folder.journal.records()
        (folder.path / "plots").mkdir(exist_ok=True)
    except Exception as error:
        console.warn(f"The pictures could not be drawn ({_in_words(error)}).")
        return
    pictures = {
        "samples": (plots.samples, examples.images[indices], labels[indices], indices, names),
        "curves": (plots.curves, records),
        "memory": (plots.memory, records),
        "confusion": (plots.confusion_matrix, labels, logits.argmax(axis=-1), names),
        "errors": (plots.confident_errors, examples.images, labels, probabilities, names),
    }
    if not any("/gradient_norm" in name for record in records for name in record):
        del pictures["memory"]
    for name, (draw, *values) in pictures.items():
        path = folder.path / "plots" / f"{name}.png"
        try:
            draw(path, *values)
        except Exception as error:
            console.warn(f"{path} could not be drawn ({_in_words(error)}).")


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")


def _summary(
    run: Run, fitted: Fitted, data: Splits, folder: RunFolder, examples: Examples, test: Evaluation
) -> dict[str, Any]:
    """The content of summary.json."""
    if not np.isfinite(test.loss).all():
        raise NonFiniteError(f"The test loss is not finite; weights.npz and test.npz are in {folder.path}.")
    seconds, validation = folder.clock.seconds, fitted.validation
    trained = seconds.get("train", 0.0)
    first = (test.logits.argmax(axis=-1) == examples.labels[None])[:, :FIRST].mean(axis=-1)
    return {
        "experiment": run.experiment,
        "seeds": list(run.config.seeds),
        "steps": fitted.last_step,
        "selected_step": by_seed(np.array(fitted.selected_steps)),
        "num_params": sum(leaf.size // len(leaf) for leaf in jax.tree.leaves(fitted.params)),
        "train_examples": len(data.train),
        "test_accuracy": _over_seeds(test.accuracy),
        "test_accuracy_interval_95": by_seed(np.array(test.intervals)),
        "test_accuracy_first_128": _over_seeds(first),
        "test_loss": _over_seeds(test.loss),
        "validation_accuracy": validation and _over_seeds(validation.accuracy),
        "validation_loss": validation and _over_seeds(validation.loss),
        "test_openings": folder.journal.test_openings(),
        "test_examples_shown": data.test.shown,
        "protocol": {"name": run.protocol.name, "sha256": run.protocol.sha256(), "fields": run.protocol.fields()},
        "data": {"name": data.name, "version": data.version, "sha256": data.sha256},
        "timing": {
            "seconds": _rounded(seconds),
            "ms_per_step": round(1000 * trained / fitted.steps_taken, 3) if fitted.steps_taken else None,
            "share_of_loop_in_steps": round(trained / seconds["loop"], 4) if fitted.steps_taken else None,
        },
        "environment": environment.describe(),
        "code": run.code,
        "git": folder.git,
    }


def _over_seeds(values: np.ndarray) -> Any:
    """The value of a single seed, or the values of several with their mean; `values_over_seeds` reads it."""
    if len(values) == 1:
        return float(values[0])
    from rowlstm_jax.analysis.statistics import summarize  # it imports scipy, which runs of one seed need not wait for

    return summarize([float(value) for value in values])


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}
