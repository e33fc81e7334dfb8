"""What a run shows of itself: the data before training; results, pictures and summary.json after it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from tqdm import tqdm

from rowlstm_jax.analysis.statistics import summarize
from rowlstm_jax.data import Examples, Splits, load, split
from rowlstm_jax.errors import NonFiniteError
from rowlstm_jax.parallel import Evaluation, fetch, from_first_process, is_first_process
from rowlstm_jax.runs import Fitted, Run, by_seed, console, environment, write_arrays, write_json, writing

PLOTS = "plots"
FIRST = 128  # the notebook tests on so many images
SAMPLES = (100, 101, 102)  # the test images that the notebook shows: a 6, a 0 and a 5 in MNIST


def load_data(run: Run) -> Splits:
    """Load and split the data that a run's protocol names; print their shapes and some samples with label vectors.

    Args:
      run: an entered run.

    Raises:
      UserError: the data can't be had.
    """
    with run.phase("data"):
        dataset = load(run.protocol.dataset, run.config.data_dir, run.config.local_files)
        data = split(dataset, run.protocol.validation_examples)
    console.show_splits(data)
    for index, label in zip(SAMPLES, data.test.sample(SAMPLES).labels.tolist(), strict=True):
        vector = (np.arange(len(data.class_names)) == label).astype(int).tolist()
        tqdm.write(f"test sample {index}: class {data.class_names[label]}, label vector {vector}")
    return data


def finish(run: Run, fitted: Fitted, data: Splits, reference: str = "") -> dict[str, Any]:
    """Evaluate on the test set, once: print the results, draw the pictures, write weights, predictions and summary.

    A finished run that was resumed, and took no step, keeps its summary.

    Args:
      run: a begun run.
      fitted: what `fit` returned.
      data: the splits.
      reference: a published result to stand beside ours, with its source.

    Returns:
      The summary, in every process.

    Raises:
      UserError: the folder can't be written to.
      NonFiniteError: the weights are not finite; the test set stays sealed.
    """
    weights = fetch(fitted.params)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights)):
        raise NonFiniteError(f"The last weights of the run in {run.directory} are not finite; nothing is tested.")
    if not fitted.steps_taken and (summary := from_first_process(run.summary)):
        tqdm.write(f"The run was finished, and its test set is not opened again. Run folder: {run.directory}")
        return summary
    with writing(run.directory):
        return _finish(run, fitted, data, weights, reference)


def _finish(run: Run, fitted: Fitted, data: Splits, weights: Any, reference: str) -> dict[str, Any]:
    from_first_process(lambda: (run.directory / PLOTS).mkdir(exist_ok=True))
    examples = data.test.open(lambda: run.open_test(fitted.selected_steps))
    if not is_first_process():  # all processes compute, one reports
        return _summary(run, fitted, data, examples, fitted.evaluate(examples))
    with run.phase("test"), ThreadPoolExecutor(max_workers=1) as background:
        # Evaluation leaves Python idle, long enough for matplotlib's import and the first pictures.
        pictures = background.submit(_draw_training, run, data)
        test = fitted.evaluate(examples)
        pictures.result()
    summary = _summary(run, fitted, data, examples, test)
    _show(run, summary, test, reference)
    with run.phase("plots"):
        _draw_test(run, test, examples, data.class_names)
    summary["timing"]["seconds"] = _rounded(run.seconds)
    predictions = test.logits.argmax(axis=-1).astype(np.uint8)
    write_arrays(run.directory / "test.npz", {"predictions": predictions, "labels": examples.labels})
    write_arrays(run.directory / "weights.npz", flatten_dict(weights, sep="/"))
    write_json(run.directory / "summary.json", summary)
    tqdm.write(f"Run folder: {run.directory}")
    return summary


def _show(run: Run, summary: dict[str, Any], test: Evaluation, reference: str) -> None:
    rows = [
        (f"seed {seed}", f"{loss:.5f}", f"{accuracy:.5f}", f"{interval.low:.4f} to {interval.high:.4f}")
        for seed, loss, accuracy, interval in zip(
            run.config.seeds, test.loss, test.accuracy, test.intervals, strict=True
        )
    ]
    footer = ()
    if len(rows) > 1:
        loss, accuracy = summary["test_loss"], summary["test_accuracy"]
        low, high = accuracy["interval_95"]
        footer = ("mean", f"{loss['mean']:.5f}", f"{accuracy['mean']:.5f}", f"{low:.4f} to {high:.4f}")
    images = f"Test set, all {test.logits.shape[1]:,} images"
    console.show_table(images, ("", "loss", "accuracy", "95 % interval"), rows, footer)
    if len(rows) > 1:
        tqdm.write(
            f"Standard deviation of the accuracy over {len(rows)} seeds: {summary['test_accuracy']['std']:.5f}. "
            "A seed's interval is over images, that of the mean over seeds."
        )
    first = summary["test_accuracy_first_128"]
    first = first if isinstance(first, float) else first["mean"]
    tqdm.write(f"On the first {FIRST} images, as in the notebook: {first:.5f}.")
    if reference:
        tqdm.write(f"For comparison: {reference}.")
    if len(openings := summary["test_openings"]) > 1:
        tqdm.write(f"The test set of this run has been opened {len(openings)} times; summary.json says when.")


def _draw_training(run: Run, data: Splits) -> None:
    from rowlstm_jax.analysis import plots  # here, for flags and their mistakes need not wait for matplotlib

    shown, records = data.test.sample(SAMPLES), run.records()
    plots.samples(_picture(run, "samples"), shown.images, shown.labels, SAMPLES, data.class_names)
    plots.curves(_picture(run, "curves"), records)
    if any("/gradient_norm_" in name for record in records for name in record):
        plots.memory(_picture(run, "memory"), records)


def _draw_test(run: Run, test: Evaluation, examples: Examples, class_names: tuple[str, ...]) -> None:
    """Of several seeds, the first one's confusions and errors."""
    from rowlstm_jax.analysis import plots

    logits = test.logits[0]
    plots.confusion_matrix(_picture(run, "confusion"), examples.labels, logits.argmax(axis=-1), class_names)
    probabilities = np.asarray(jax.nn.softmax(logits, axis=-1))
    plots.confident_errors(_picture(run, "errors"), examples.images, examples.labels, probabilities, class_names)


def _picture(run: Run, name: str) -> Path:
    return run.directory / PLOTS / f"{name}.png"


def _summary(run: Run, fitted: Fitted, data: Splits, examples: Examples, test: Evaluation) -> dict[str, Any]:
    """The figures of a run as JSON values."""
    trained, validation = run.seconds.get("train", 0.0), fitted.validation
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
        "test_openings": run.test_openings(),
        "protocol": {"name": run.protocol.name, "sha256": run.protocol.sha256(), "fields": run.protocol.fields()},
        "data": {"name": data.name, "version": data.version, "sha256": data.sha256},
        "timing": {
            "seconds": _rounded(run.seconds),
            "ms_per_step": round(1000 * trained / fitted.steps_taken, 3) if fitted.steps_taken else None,
            "share_of_loop_in_steps": round(trained / run.seconds["loop"], 4) if fitted.steps_taken else None,
        },
        "environment": environment.describe(),
    }


def _over_seeds(values: np.ndarray) -> Any:
    """The value of the only seed, or those of all with what they have in common."""
    return float(values[0]) if len(values) == 1 else summarize([float(value) for value in values])


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}
