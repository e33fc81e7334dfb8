"""The end of a run: results on the test set, or on validation only; summary.json and pictures."""

import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from rowlstm_jax.analysis.draw import draw_all, load_plots
from rowlstm_jax.analysis.figures import values_over_seeds
from rowlstm_jax.analysis.tested import of_test
from rowlstm_jax.analysis.verify import repeatable
from rowlstm_jax.data import Examples, Splits
from rowlstm_jax.errors import NonFiniteError, UserError
from rowlstm_jax.models import variables
from rowlstm_jax.parallel import Evaluation, fetch, from_first_process, is_first_process
from rowlstm_jax.runs import (
    Fitted,
    Run,
    RunFolder,
    by_seed,
    console,
    environment,
    read_arrays,
    write_arrays,
    write_json,
    writing,
)
from rowlstm_jax.tasks import PROTOCOLS
from rowlstm_jax.training import expected_calibration_error

FIRST = 128  # images on which the notebook tests


def finish(run: Run, fitted: Fitted, data: Splits, folder: RunFolder, reference: str = "") -> dict[str, Any]:
    """Evaluate on the test set once; write predictions, weights and summary, print the results, draw the pictures.

    With `--no-test` the test set stays sealed: the results are those of validation, and the summary has null in the
    place of each test result. A finished run that is resumed and takes no step keeps its summary, unless it is still to
    be tested. A picture that can't be drawn is a warning.

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
    summary = {} if fitted.steps_taken else from_first_process(folder.summary)
    tested = summary.get("test_loss") is not None
    if summary and (tested or run.config.no_test):
        from_first_process(lambda: _require_arrays(folder.path, weights, tested))
        from_first_process(lambda: write_json(folder.path / "summary.json", summary))  # `begin` may have removed it
        again = " again" if tested else ""
        console.say(f"The run was finished, and its test set is not opened{again}. Run folder: {folder.path}")
        return summary
    with writing(folder.path):
        return _finish(run, fitted, data, folder, weights, reference, summary)


def _finish(
    run: Run,
    fitted: Fitted,
    data: Splits,
    folder: RunFolder,
    weights: Any,
    reference: str,
    untested: dict[str, Any],  # the summary of a run that was finished without a test; else empty
) -> dict[str, Any]:
    examples = None if run.config.no_test else data.test.open(lambda: folder.journal.open_test(fitted.selected_steps))
    if not is_first_process():  # all processes compute, one reports
        return _summary(run, fitted, data, folder, examples, None if examples is None else fitted.evaluate(examples))
    # Python waits for the evaluation, long enough to load matplotlib. If that fails, `draw_all` says so; if it hangs,
    # nothing waits for it before the results are written.
    loading = threading.Thread(target=load_plots, daemon=True)
    loading.start()
    if examples is None:
        test, shown, evaluation = None, data.validation, fitted.validation
        if fitted.steps_taken:
            (folder.path / "test.npz").unlink(missing_ok=True)  # of the weights after fewer steps
    else:
        with folder.clock.phase("test"):
            test = fitted.evaluate(examples)
        shown, evaluation = examples, test
        write_arrays(folder.path / "test.npz", of_test(run, examples, test))
    write_arrays(folder.path / "weights.npz", flatten_dict(weights, sep="/"))
    summary = _summary(run, fitted, data, folder, examples, test)
    summary |= repeatable(run, folder, weights)
    summary |= {name: untested[name] for name in ("timing", "environment", "git") if name in untested}
    write_json(folder.path / "summary.json", summary)
    if evaluation is not None:
        _show(run, summary, evaluation, "validation" if test is None else "test")
    if test is None:
        console.say(
            "These weights were not tested. To open the test set for them, once: "
            f"python -m experiments.test {folder.path}, or this script again with --resume and without --no-test."
        )
    else:
        _show_test(run, summary, reference)
    with folder.clock.phase("plots"):
        loading.join(60)
        draw_all(folder, data.class_names, shown, evaluation)
    if not untested:
        summary["timing"]["seconds"] = _rounded(folder.clock.seconds)
    write_json(folder.path / "summary.json", summary)
    folder.callbacks.end(summary)
    console.say(f"Run folder: {folder.path}")
    return summary


def _require_arrays(directory: Path, weights: Any, tested: bool) -> None:
    """See that the arrays of a finished run are there. A loss of power may take those that an earlier version wrote."""
    path, again = directory / "weights.npz", f"remove {directory / 'summary.json'} and resume again, to test once more"
    try:
        read_arrays(path, again)
    except UserError:
        write_arrays(path, flatten_dict(weights, sep="/"))
        console.warn(f"{path} was missing or damaged; it is written again from the checkpoint.")
    if tested:
        read_arrays(directory / "test.npz", f"{again}: that opening of the test set is recorded too")


def _show(run: Run, summary: dict[str, Any], found: Evaluation, part: str) -> None:
    """Print the results on a part of the data, test or validation."""
    names = list(found.means)
    columns = [[f"{value:.5f}" for value in found.means[name]] for name in names]
    if found.intervals:
        names.append("95 % interval")
        columns.append([f"{interval.low:.4f} to {interval.high:.4f}" for interval in found.intervals])
    rows = list(zip((f"seed {seed}" for seed in run.config.seeds), *columns, strict=True))
    accuracy, footer = summary[f"{part}_accuracy"], ()
    if len(rows) > 1:
        footer = ("mean", *(f"{np.mean(values):.5f}" for values in found.means.values()))
        if accuracy:
            low, high = accuracy["interval_95"]
            footer += (f"{low:.4f} to {high:.4f}",)
    images = f"{part.capitalize()} set, all {found.outputs.shape[1]:,} {'images' if accuracy else 'examples'}"
    console.show_table(images, ("", *names), rows, footer)
    if len(rows) > 1 and accuracy:
        console.say(
            f"Standard deviation of the accuracy over {len(rows)} seeds: {accuracy['std']:.5f}. "
            "The interval of a seed is over images, that of the mean over seeds."
        )


def _show_test(run: Run, summary: dict[str, Any], reference: str) -> None:
    if run.protocol.sha256() == PROTOCOLS["notebook"].sha256():
        first = np.mean(values_over_seeds(summary["test_accuracy_first_128"]))
        console.say(f"On the first {FIRST} images, as in the notebook: {first:.5f}.")
    if reference:
        console.say(f"For comparison: {reference}.")
    if len(openings := summary["test_openings"]) > 1:
        console.say(f"The test set of this run has been opened {len(openings)} times; summary.json says when.")


def _summary(
    run: Run, fitted: Fitted, data: Splits, folder: RunFolder, examples: Examples | None, test: Evaluation | None
) -> dict[str, Any]:
    """The content of summary.json; the examples and evaluation of the test set are None if it was not opened."""
    if test and not np.isfinite(test.loss).all():
        raise NonFiniteError(f"The test loss is not finite; weights.npz and test.npz are in {folder.path}.")
    seconds, validation = folder.clock.seconds, fitted.validation
    trained, first = seconds.get("train", 0.0), None
    if test and examples is not None and data.class_names:
        first = _over_seeds((test.outputs.argmax(axis=-1) == examples.targets[None])[:, :FIRST].mean(axis=-1))
    results = {f"{part}_{name}": None for part in ("test", "validation") for name in ("accuracy", "loss")}
    for part, found in (("test", test), ("validation", validation)):
        for name, values in (found.means if found else {}).items():
            results[f"{part}_{name}"] = _over_seeds(values)
    return {
        "experiment": run.experiment,
        "seeds": list(run.config.seeds),
        "steps": fitted.last_step,
        "selected_step": by_seed(np.array(fitted.selected_steps)),
        "num_params": sum(leaf.size // len(leaf) for leaf in jax.tree.leaves(variables(fitted.params)["params"])),
        "train_examples": len(data.train),
        **results,
        "test_accuracy_interval_95": by_seed(np.array(test.intervals)) if test and test.intervals else None,
        "test_accuracy_first_128": first,
        **_calibration(data, examples, test),
        "test_openings": folder.journal.test_openings(),
        "test_examples_shown": data.test.shown,
        "protocol": run.protocol.to_json(),
        "data": {"name": data.name, "version": data.version, "sha256": data.sha256, "input_shape": list(data.shape)},
        **fitted.noted,
        "sequence_shape": list(run.protocol.sequence_shape_of(data.shape)),
        "timing": {
            "seconds": _rounded(seconds),
            "ms_per_step": round(1000 * trained / fitted.steps_taken, 3) if fitted.steps_taken else None,
            "share_of_loop_in_steps": round(trained / seconds["loop"], 4) if fitted.steps_taken else None,
        },
        "environment": environment.describe(),
        "code": run.code,
        "git": folder.git,
    }


def _calibration(data: Splits, examples: Examples | None, test: Evaluation | None) -> dict[str, Any]:
    """The expected calibration error on the test set, if that was opened and the targets are classes."""
    if test is None or examples is None or not data.class_names:
        return {}
    errors = [expected_calibration_error(outputs, examples.targets) for outputs in test.outputs]
    return {"test_calibration_error": _over_seeds(np.array(errors))}


def _over_seeds(values: np.ndarray) -> Any:
    """The value of a single seed, or the values of several with their mean; `values_over_seeds` reads it."""
    if not np.isfinite(values).all():
        return None  # a metric that no example counts for
    if len(values) == 1:
        return float(values[0])
    from rowlstm_jax.analysis.statistics import summarize  # it imports scipy, which runs of one seed need not wait for

    return summarize([float(value) for value in values])


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}
