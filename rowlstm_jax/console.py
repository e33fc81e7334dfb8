"""What a run prints besides its log lines: tables. The only import of rich."""

from collections.abc import Iterable, Sequence

import chex
import jax
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tqdm import tqdm

from rowlstm_jax.data import Examples


def show_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]], footer: Sequence[str] = ()) -> None:
    """Print a table; all columns but the first are aligned right."""
    table = Table(title=title, title_justify="left", show_footer=bool(footer))
    for position, name in enumerate(header):
        justify = "right" if position else "left"
        table.add_column(name, footer[position] if footer else "", justify=justify)
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else escape(str(cell)) for cell in row))
    Console().print(table)


def show_devices(mesh: jax.sharding.Mesh, batch_size: int) -> None:
    """Say in a line how a batch is split."""
    kind, processes = mesh.devices.flat[0].platform, jax.process_count()
    places = f"{mesh.size} {kind} device{'s' * (mesh.size > 1)}" + f" in {processes} processes" * (processes > 1)
    idle = jax.device_count() - mesh.size
    rest = f"; {idle} more stay{'s' * (idle == 1)} idle." if idle else "."
    tqdm.write(f"Batches of {batch_size} on {places}{rest}")


def show_splits(splits: dict[str, Examples]) -> None:
    """Print the shapes and dtypes of the splits, by name."""
    rows = [(name, part.images.shape, part.labels.shape, part.images.dtype) for name, part in splits.items()]
    show_table("Splits", ("split", "images", "labels", "dtype"), rows)


def show_parameters(params: chex.ArrayTree) -> None:
    """Print every parameter's name, shape, dtype and size, and the number of them all."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    rows = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape, leaf.dtype, leaf.size)
        for path, leaf in leaves
    ]
    total = sum(leaf.size for _, leaf in leaves)
    show_table("Parameters", ("name", "shape", "dtype", "size"), rows, ("total", "", "", f"{total:,}"))
