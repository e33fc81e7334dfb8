"""What a run prints besides its log lines: tables and warnings. The only import of rich."""

import logging
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

import chex
import flax.linen as nn
import jax
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tqdm import tqdm

from rowlstm_jax.data import Splits
from rowlstm_jax.models import missing_diagnostics
from rowlstm_jax.parallel import ROWS, why_cores
from rowlstm_jax.screen import printable


def hide_errors_of_saves() -> None:
    """Drop tracebacks that Orbax prints of errors that it raises too, and of writes that it no longer awaits."""
    for logger in ("absl", "concurrent.futures"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    show, show_unraisable = sys.excepthook, sys.unraisablehook  # TensorStore's threads call both
    if getattr(show, "of_checkpoints", False):
        return

    def is_of_a_save(error: BaseException | None) -> bool:
        return type(error) is RuntimeError and str(error) == "Event loop is closed"

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not is_of_a_save(error):
            show(kind, error, traceback)

    def unraisable_hook(unraisable: Any) -> None:
        if not is_of_a_save(unraisable.exc_value):
            show_unraisable(unraisable)

    hook.of_checkpoints = True  # pyright: ignore[reportFunctionMemberAccess]
    sys.excepthook, sys.unraisablehook = hook, unraisable_hook


def say(message: str) -> None:
    """Print a line or more on stdout, above a progress bar."""
    tqdm.write(printable(message))


def warn(message: str) -> None:
    """Print a warning on stderr."""
    tqdm.write(printable(f"warning: {message}"), file=sys.stderr)


def progress_bar(steps: int, done: int, always: bool) -> tqdm:
    """A bar of steps, on a terminal or `always`."""
    return tqdm(total=steps, initial=done, unit="step", disable=False if always else None)


def show_record(bar: tqdm, line: str, one_line: bool) -> None:
    """Print the line of a record above the progress bar, or with `--progress` show it in the bar."""
    if one_line:
        figures = line.partition("minibatch ")[2] or line.partition("validation ")[2]
        bar.set_postfix_str(figures, refresh=False)
    else:
        bar.write(line)


def show_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]], footer: Sequence[str] = ()) -> None:
    """Print a table; all columns but the first are aligned right."""
    table = Table(title=_cell(title), title_justify="left", show_footer=bool(footer))
    for position, name in enumerate(header):
        justify = "right" if position else "left"
        table.add_column(_cell(name), footer[position] if footer else "", justify=justify)
    for row in rows:
        table.add_row(*map(_cell, row))
    Console().print(table)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else escape(printable(str(value)))


def show_devices(mesh: jax.sharding.Mesh, batch_size: int, num_seeds: int, asked: bool = False) -> None:
    """Print in a line how seeds and batches are split over devices, and why; `asked` if `--devices` said so."""
    kind, processes = mesh.devices.flat[0].platform, jax.process_count()
    places = f"{mesh.size} {kind} device{'s' * (mesh.size > 1)}" + f" in {processes} processes" * (processes > 1)
    idle = jax.device_count() - mesh.size
    rule = "as --devices says" if asked else f"since parts are equal, and of {ROWS} or more on a CPU"
    rest = f"; {idle} more stay{'s' * (idle == 1)} idle, {rule}." if idle else "."
    share = f" {why}" if (why := why_cores()) and kind == "cpu" else ""
    seeds, each = f"{num_seeds} seeds, batches" if num_seeds > 1 else "Batches", mesh.shape["batch"]
    split = f", each over {each}" if num_seeds > 1 else ""
    say(f"{seeds} of {batch_size}{split} on {places}, {batch_size // each} rows each{rest}{share}")


def show_splits(data: Splits) -> None:
    """Print the shapes and dtypes of the splits."""
    shape, dtype, target = data.shape, data.train.inputs.dtype, data.train.targets.shape[1:]
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    rows = [(name, (len(part), *shape), (len(part), *target), dtype) for name, part in parts.items()]
    inputs, targets = ("images" if dtype == "uint8" else "sequences"), ("labels" if data.class_names else "targets")
    show_table("Splits", ("split", inputs, targets, "dtype"), rows)
    if (lengths := data.train.lengths) is not None:
        say(f"The sequences have lengths; those of the training part are {lengths.min()} to {lengths.max()} steps.")


def show_parameters(params: chex.ArrayTree) -> None:
    """Print name, shape, dtype and size of every parameter [S, ...] of one seed, and the sum of the sizes."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    rows = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape[1:], leaf.dtype, leaf.size // len(leaf))
        for path, leaf in leaves
    ]
    total = sum(row[-1] for row in rows)
    show_table("Parameters", ("name", "shape", "dtype", "size"), rows, ("total", "", "", f"{total:,}"))


def show_missing_diagnostics(model: nn.Module) -> None:
    """Print which diagnostics of training a model does not have, a sentence each."""
    for name, sentence in missing_diagnostics(model).items():
        if name in ("gates", "carry"):
            say(f"--memory-health: {sentence}")
