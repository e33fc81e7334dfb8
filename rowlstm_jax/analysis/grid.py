"""A grid: networks by task, each pair at its best step size of several, in one folder, with one table."""

import dataclasses
import itertools
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rowlstm_jax.analysis.figures import percent_over_seeds, values_over_seeds
from rowlstm_jax.analysis.report import finish
from rowlstm_jax.config import RunConfig
from rowlstm_jax.errors import InterruptedRun, NonFiniteError, UserError
from rowlstm_jax.models import Layer, forward_flops
from rowlstm_jax.runs import (
    Run,
    RunFolder,
    choose_directory,
    console,
    fit,
    load_data,
    name_latest,
    read_json,
    write_json,
    writing,
)
from rowlstm_jax.tasks import PROTOCOLS, Protocol, order_index

MakeRun = Callable[[RunConfig, str, str], Run]  # flags, cell, task


def find_task(name: str) -> Protocol:
    """The protocol of this name in `PROTOCOLS`; or MNIST in a reading order, with 5,000 validation images.

    Raises:
      ValueError: it is the name of neither.
    """
    protocol = PROTOCOLS.get(name) or Protocol(f"mnist_{name}", "mnist", validation_examples=5_000, order=name)
    try:
        order_index(protocol.order, *protocol.shape)
    except ValueError as error:
        raise ValueError(f"tasks names {name!r}. The {error} Or name a protocol: {', '.join(PROTOCOLS)}.") from error
    return protocol


def train_grid(
    experiment: str,
    config: RunConfig,
    cells: Sequence[str],
    tasks: Sequence[str],
    step_sizes: Sequence[float],
    make_run: MakeRun,
) -> tuple[Path, list[dict[str, Any]]]:
    """Train each network on each task with each step size, and test it with the one that is best in validation.

    Each run has a folder, <cell>-<task>-<step size>/, or <cell>-<task>/ if there is only one step size. Of several, the
    one with the highest mean validation accuracy over seeds is chosen; of equal ones, the smallest. A run whose loss
    did not stay finite is not chosen. Only the chosen run opens its test set.

    Args:
      experiment: its name.
      config: the flags of all runs. Their folders lie in `run_dir`. With `resume`, finished runs stay as they are.
      cells: names of cells and layers, for `make_run`.
      tasks: names of tasks, for `make_run`. For several step sizes, each must hold out validation examples.
      step_sizes: values of `learning_rate`.
      make_run: (flags, cell, task) -> a run.

    Returns:
      The folder, and a row for each pair, with: cell, task; layer, whether it is one; step_size, None if no loss stayed
      finite; validation, the mean accuracies by step size; accuracies [S] of the test set from 0 to 1, none if not
      finite; num_params, flops of one example, timing. After each pair, the rows are written to table.json.

    Raises:
      UserError: there is no grid to resume, or a run can't be started.
      InterruptedRun: a signal stopped it; the message says how to continue.
    """
    if config.no_test:
        raise UserError("The table of a grid holds test accuracies; leave --no-test out.")
    folder = choose_directory(experiment, config)
    if config.resume and not folder.is_dir():
        raise UserError(f"There is no grid to resume in {folder}; name one with --run-dir, or leave --resume out.")
    if (folder / "config.json").exists():
        raise UserError(f"{folder} is the folder of a run, not of a grid; name another with --run-dir.")
    rows = []
    for cell, task in itertools.product(cells, tasks):
        try:
            rows.append(_row(config, folder, cell, task, step_sizes, make_run))
        except (InterruptedRun, KeyboardInterrupt) as stopped:  # the second one comes outside of the training
            message = f"Stopped at {cell} on {task}. Continue with the same flags and --resume --run-dir {folder}"
            raise InterruptedRun(message, getattr(stopped, "signum", signal.SIGINT)) from None
        with writing(folder):
            write_json(folder / "table.json", {"rows": rows, "steps": config.steps, "seeds": list(config.seeds)})
        name_latest(experiment, folder)
    return folder, rows


def _row(
    config: RunConfig, folder: Path, cell: str, task: str, step_sizes: Sequence[float], make_run: MakeRun
) -> dict[str, Any]:
    """The row of a network on a task, as JSON values. What is not finished is trained first."""
    several, name, found = len(step_sizes) > 1, f"{cell} on {task}", {}
    places = {size: folder / (f"{cell}-{task}-{size}" if several else f"{cell}-{task}") for size in step_sizes}
    runs = {size: make_run(_flags(config, at, size, no_test=several), cell, task) for size, at in places.items()}
    for size, run in runs.items():
        if figures := _figures(run, name):
            found[size] = figures
    validation = {size: found[size]["validation"] if size in found else None for size in step_sizes}
    row = {"step_size": None, "accuracies": [], "num_params": None, "timing": {"ms_per_step": None}}
    if found:
        best = min(found, key=lambda size: (-(validation[size] or 0), size))
        if several:
            console.say(f"{name}: step size {best} is chosen, with a validation accuracy of {validation[best]:.4f}.")
        if not found[best]["accuracies"]:
            runs[best] = make_run(_flags(config, places[best], best, again=True), cell, task)
            found[best] = _figures(runs[best], name)
        row |= {"step_size": best} | found[best]
    run = runs[step_sizes[0]]
    model: Any = run.recipe.model  # its FLOPs are counted last: for sizes that no machine has, XLA ends the process
    flops = forward_flops(model.cell, model.num_classes, *run.protocol.sequence_shape)
    row |= {"validation": {str(size): mean for size, mean in validation.items()}, "flops": flops}
    return {"cell": cell, "task": task, "layer": isinstance(model.cell, Layer)} | row


def _flags(config: RunConfig, place: Path, size: float, no_test: bool = False, again: bool = False) -> RunConfig:
    """The flags of one run; `again` if this start has trained it and now tests it."""
    flags = {field.name: getattr(config, field.name) for field in dataclasses.fields(RunConfig)}
    flags |= {"run_dir": place, "learning_rate": size, "no_test": no_test}
    if again:
        flags |= {"resume": True, "reset_optimizer": False}
    elif not (place / "config.json").exists():  # a run that begins has no flags of a resumed one
        flags |= {"resume": False, "reset_optimizer": False, "accept_changed_code": False}
    return RunConfig(**flags)


def _figures(run: Run, name: str) -> dict[str, Any]:
    """What a row says of a run, which is trained first if it is not finished; empty if it did not stay finite."""
    try:
        with RunFolder(run) as folder:
            return _read(_summary(run, folder))
    except NonFiniteError as failure:
        console.say(f"{name}, step size {run.config.learning_rate}: {failure}")
        return {}


def _read(summary: Mapping[str, Any]) -> dict[str, Any]:
    timing, milliseconds = summary["timing"], summary["timing"]["ms_per_step"]
    if not isinstance(milliseconds, float | None):
        raise TypeError(f"ms_per_step is {milliseconds!r}")
    test, validation = summary["test_accuracy"], summary["validation_accuracy"]
    return {
        "accuracies": [] if test is None else values_over_seeds(test),
        "validation": None if validation is None else float(np.mean(values_over_seeds(validation))),
        "num_params": int(summary["num_params"]),
        "timing": timing,
    }


def _summary(run: Run, folder: RunFolder) -> dict[str, Any]:
    """The summary of a run, from its folder if it is finished, and tested if it is to be."""
    path, remedy = folder.path / "summary.json", "remove it, and the run is tested again"
    if path.exists():
        summary = read_json(path, remedy)
        try:
            tested = bool(_read(summary)["accuracies"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{path} is no summary of a finished run ({error!r}); {remedy}.") from error
        if summary.get("steps") == run.config.steps and (tested or run.config.no_test):
            return summary
    data = load_data(run, folder)
    return finish(run, fit(run, data, folder), data, folder)


def show_grid(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows of `train_grid`: mean accuracies over seeds, and what the networks cost."""
    shown = []
    for row in rows:
        found = percent_over_seeds(row["accuracies"]) if row["accuracies"] else "not finite"
        parts = (row["step_size"] or "", found, row["num_params"] or "", f"{row['flops'] / 1e6:.2f}")
        shown.append((row["cell"], row["task"], *parts))
    console.show_table("Networks by task", ("network", "task", "step size", "accuracy, %", "params", "Mflop"), shown)
    console.say("Accuracy: of the test set, over seeds. Mflop: of one example.")
