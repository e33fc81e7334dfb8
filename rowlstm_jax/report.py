"""What a run shows of itself: the data before training; results, pictures and summary.json after it."""

import importlib.metadata
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from rowlstm_jax import console
from rowlstm_jax.data import Splits
from rowlstm_jax.devices import is_first_process
from rowlstm_jax.programs import Evaluation
from rowlstm_jax.run import Run, write_json
from rowlstm_jax.train import Fitted

FIRST = 128  # the notebook tests on so many images
SAMPLES = (100, 101, 102)  # the test images that the notebook shows: a 6, a 0 and a 5 in MNIST


def show_data(data: Splits) -> None:
    """Print the shapes of the splits and some test samples with their label vectors."""
    console.show_splits({"train": data.train, "validation": data.validation, "test": data.test})
    for index in SAMPLES:
        label = int(data.test.labels[index])
        vector = (np.arange(len(data.class_names)) == label).astype(int).tolist()
        tqdm.write(f"test sample {index}: class {data.class_names[label]}, label vector {vector}")


def finish(run: Run, fitted: Fitted, data: Splits, reference: str = "") -> None:
    """Evaluate on the test set, once: print the results, draw the pictures and write summary.json.

    Args:
      run: a begun run.
      fitted: what `fit` returned.
      data: the splits.
      reference: a published result to stand beside ours, with its source.
    """
    if not is_first_process():
        _evaluate(fitted, data)  # all processes compute, one reports
        return
    with run.phase("test"), ThreadPoolExecutor(max_workers=1) as background:
        # Evaluation leaves Python idle, long enough for matplotlib's import and the first pictures.
        pictures = background.submit(_draw_training, run, data)
        test, first = _evaluate(fitted, data)
        pictures.result()
    rows = [_row(f"all {len(data.test):,}", test), _row(f"first {FIRST}", first)]
    console.show_table("Test set", ("images", "loss", "accuracy", "95 % interval"), rows)
    if reference:
        tqdm.write(f"For comparison: {reference}.")
    with run.phase("plots"):
        _draw_test(run, test, data)
    summary = _summary(run, fitted, data, test, first)
    write_json(run.directory / "summary.json", summary)
    tqdm.write(f"Run folder: {run.directory}")


def _evaluate(fitted: Fitted, data: Splits) -> tuple[Evaluation, Evaluation]:
    return fitted.evaluate(data.test), fitted.evaluate(data.test[:FIRST])


def _row(name: str, result: Evaluation) -> tuple[str, ...]:
    interval = f"{result.interval.low:.4f} to {result.interval.high:.4f}"
    return name, f"{result.loss:.5f}", f"{result.accuracy:.5f}", interval


def _draw_training(run: Run, data: Splits) -> None:
    from rowlstm_jax import plots  # here, for flags and their mistakes need not wait for matplotlib

    images, labels = data.test.images, data.test.labels
    plots.samples(_picture(run, "samples"), images, labels, SAMPLES, data.class_names)
    plots.curves(_picture(run, "curves"), run.records())


def _draw_test(run: Run, test: Evaluation, data: Splits) -> None:
    from rowlstm_jax import plots

    images, labels, names = data.test.images, data.test.labels, data.class_names
    plots.confusion_matrix(_picture(run, "confusion"), labels, test.logits.argmax(axis=-1), names)
    probabilities = np.asarray(jax.nn.softmax(test.logits, axis=-1))
    plots.confident_errors(_picture(run, "errors"), images, labels, probabilities, names)


def _picture(run: Run, name: str) -> Path:
    folder = run.directory / "plots"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.png"


def _summary(run: Run, fitted: Fitted, data: Splits, test: Evaluation, first: Evaluation) -> dict:
    """The figures of a run of one seed, as JSON values."""
    trained = run.seconds.get("train", 0.0)
    steps_taken = fitted.steps_taken
    return {
        "experiment": run.experiment,
        "seeds": [run.config.seed],
        "steps": run.config.steps,
        "selected_step": int(fitted.state.step),
        "num_params": sum(leaf.size for leaf in jax.tree.leaves(fitted.state.params)),
        "train_examples": len(data.train),
        "test_accuracy": test.accuracy,
        "test_accuracy_interval_95": test.interval,
        "test_accuracy_first_128": first.accuracy,
        "test_loss": test.loss,
        "validation_accuracy": fitted.validation.accuracy,
        "validation_loss": fitted.validation.loss,
        "protocol": {"name": run.protocol.name, "sha256": run.protocol.sha256()},
        "data": {"name": data.name, "version": data.version, "sha256": data.sha256},
        "timing": {
            "seconds": {name: round(seconds, 3) for name, seconds in run.seconds.items()},
            "ms_per_step": round(1000 * trained / steps_taken, 3) if steps_taken else None,
            "share_of_loop_in_steps": round(trained / run.seconds["loop"], 4) if steps_taken else None,
        },
        "environment": {
            "versions": {"python": platform.python_version(), **_versions()},
            "backend": jax.default_backend(),
            "devices": [device.device_kind for device in jax.devices()],
            "processes": jax.process_count(),
        },
    }


def _versions() -> dict[str, str]:
    packages = ("rowlstm_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
    return {name: importlib.metadata.version(name) for name in packages}
