"""A grid: a run of every cell on every reading order, in one folder, with one table."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rowlstm_jax.analysis.figures import percent_over_seeds, values_over_seeds
from rowlstm_jax.analysis.report import finish
from rowlstm_jax.config import RunConfig
from rowlstm_jax.errors import InterruptedRun, NonFiniteError, UserError
from rowlstm_jax.models import forward_flops
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


def train_grid(
    experiment: str,
    config: RunConfig,
    cells: Sequence[str],
    orders: Sequence[str],
    make_run: Callable[[RunConfig, str, str], Run],
) -> tuple[Path, list[dict[str, Any]]]:
    """Train and test each cell on each order, each pair in a folder of its own, <cell>-<order>/.

    Args:
      experiment: its name.
      config: the flags of all runs. Their folders lie in `run_dir`. With `resume`, finished runs stay as they are.
      cells: names of cells, for `make_run`.
      orders: names of orders, for `make_run`.
      make_run: (flags, cell, order) -> the run of a pair.

    Returns:
      The folder, and a row for each pair: cell, order, accuracies [S] from 0 to 1 (none if the loss did not stay
      finite), num_params, flops of one image, and timing. After each pair, the rows are written to table.json.

    Raises:
      UserError: there is no grid to resume, or a run can't be started.
      InterruptedRun: a signal stopped it; the message says how to continue.
    """
    if config.no_test:
        raise UserError("The table of a grid holds test accuracies; leave --no-test out.")
    folder = choose_directory(experiment, config)
    if config.resume and not folder.is_dir():
        raise UserError(f"There is no grid to resume in {folder}; name one with --run-dir, or leave --resume out.")
    flags, rows = {field.name: getattr(config, field.name) for field in dataclasses.fields(RunConfig)}, []
    for cell in cells:
        for order in orders:
            there = folder / f"{cell}-{order}"
            own: dict[str, Any] = {"run_dir": there}
            if not (there / "config.json").exists():  # a run that begins has no flags of a resumed one
                own |= {"resume": False, "reset_optimizer": False, "accept_changed_code": False}
            run = make_run(RunConfig(**flags | own), cell, order)
            try:
                rows.append({"cell": cell, "order": order} | _result(run, cell))
            except InterruptedRun as stopped:
                message = f"Stopped at {cell} on {order}. Continue with the same flags and --resume --run-dir {folder}"
                raise InterruptedRun(message, stopped.signum) from None
            with writing(folder):
                write_json(folder / "table.json", {"rows": rows, "steps": config.steps, "seeds": list(config.seeds)})
            name_latest(experiment, folder)
    return folder, rows


def _result(run: Run, cell: str) -> dict[str, Any]:
    """The row of a run without its names, as JSON values; it is trained first if it is not finished."""
    try:
        with RunFolder(run) as folder:
            row = _row(_summary(run, folder))
    except NonFiniteError as failure:
        console.say(f"{cell}: {failure}")
        row = {"accuracies": [], "num_params": None, "timing": {"ms_per_step": None}}
    model: Any = run.recipe.model  # its FLOPs are counted last: for sizes that no machine has, XLA ends the process
    flops = forward_flops(model.cell, model.num_classes, *run.protocol.sequence_shape)
    return row | {"flops": flops}


def _row(summary: Mapping[str, Any]) -> dict[str, Any]:
    timing, milliseconds = summary["timing"], summary["timing"]["ms_per_step"]
    if not isinstance(milliseconds, float | None):
        raise TypeError(f"ms_per_step is {milliseconds!r}")
    accuracies = values_over_seeds(summary["test_accuracy"])
    return {"accuracies": accuracies, "num_params": int(summary["num_params"]), "timing": timing}


def _summary(run: Run, folder: RunFolder) -> dict[str, Any]:
    """The summary of a run, from its folder if it is finished."""
    path, remedy = folder.path / "summary.json", "remove it, and the run is tested again"
    if path.exists():
        summary = read_json(path, remedy)
        try:
            _row(summary)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{path} is no summary of a finished run ({error!r}); {remedy}.") from error
        if summary.get("steps") == run.config.steps:
            return summary
    data = load_data(run, folder)
    return finish(run, fit(run, data, folder), data, folder)


def show_grid(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows of `train_grid`: mean accuracies over seeds, and what the cells cost."""
    shown = []
    for row in rows:
        accuracies, milliseconds = row["accuracies"], row["timing"]["ms_per_step"]
        found = percent_over_seeds(accuracies) if accuracies else "not finite"
        milliseconds = f"{milliseconds / len(accuracies):.1f}" if milliseconds else ""
        parts = (found, row["num_params"] or "", f"{row['flops'] / 1e6:.2f}", milliseconds)
        shown.append((row["cell"], row["order"], *parts))
    header = ("cell", "order", "accuracy, %", "parameters", "Mflop", "ms")
    console.show_table("Cells by reading order", header, shown)
    console.say("Accuracy: of the test set, over seeds. Mflop: of one image. ms: of a training step of one seed.")
