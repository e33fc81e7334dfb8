"""The pictures of a report: curves, drawn anew from the records of a run, and the pictures in its folder `plots`."""

import re
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rowlstm_jax.analysis.listing import Found

MOST_RECORDS = 1500  # that are drawn
MOST_METRICS = 8  # that are drawn besides loss and accuracy
MOST_PICTURES = 40
LARGEST_PICTURE = 20_000_000  # bytes
PNG = b"\x89PNG\r\n\x1a\n"


class Picture(NamedTuple):
    """A picture, as a browser takes it."""

    kind: str  # its media type
    data: bytes
    width: float  # in pixels


def pictures(run: Found) -> dict[str, Picture | str]:
    """Curves and memory, drawn anew, and the pictures in the run's folder `plots`; a text says why one is missing."""
    from rowlstm_jax.analysis import plots  # here, because a user's mistake is told before matplotlib is loaded

    records, found = _for_drawing(run.records), {}
    found["curves"] = _drawn(plots.curves, records) if records else "There are no records yet."
    if any("/gradient_norm" in name for record in records for name in record):
        found["memory"] = _drawn(plots.memory, records)
    try:
        files = sorted((run.directory / "plots").glob("*.png"))[:MOST_PICTURES]
    except OSError:
        files = []
    found |= {path.stem: _read(path) for path in files if path.stem not in found}
    if "predictions" not in found:  # the targets are classes
        when = "is missing" if run.summary else "is drawn at the end of the run"
        found |= {name: f"plots/{name}.png {when}." for name in ("confusion", "errors") if name not in found}
    return found


def _drawn(draw: Callable[..., None], records: Sequence[Mapping[str, Any]]) -> Picture | str:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name may hold characters that no font has
        try:
            draw(Path(folder, "picture.svg"), records)
            data = Path(folder, "picture.svg").read_bytes()
            points = re.search(rb' width="([0-9.]+)pt"', data)
            return Picture("image/svg+xml", data, float(points[1]) * 4 / 3 if points else 0.0)
        except Exception as error:  # a changed file can lead to any
            return f"It could not be drawn ({type(error).__name__}: {str(error)[:200]})."


def _read(path: Path) -> Picture | str:
    try:
        if not path.is_file() or path.is_symlink() or path.stat().st_size > LARGEST_PICTURE:
            return f"plots/{path.name} is no file of at most {LARGEST_PICTURE / 1e6:.0f} MB."
        data = path.read_bytes()
    except OSError as error:
        return f"plots/{path.name} can't be read ({error.strerror})."
    if not data.startswith(PNG):
        return f"plots/{path.name} is no PNG."
    return Picture("image/png", data, int.from_bytes(data[16:20]))  # the header of a PNG holds its width


def _for_drawing(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records of numbers: all evaluations, and of the others as many as can be seen; the first metrics only."""
    every = max(1, len(records) // MOST_RECORDS)
    chosen = [of for n, of in enumerate(records) if n % every == 0 or "validation_loss" in of or n == len(records) - 1]
    numbers = [{name: value for name, value in of.items() if is_number(value)} for of in chosen]
    named = {key.partition("_")[2]: 0 for of in numbers for key in of if key.startswith(("train_", "validation_"))}
    left_out = [name for name in named if name not in ("loss", "accuracy")][MOST_METRICS:]
    hidden = {prefix + name for name in left_out for prefix in ("", "train_", "validation_")}
    return [{k: v for k, v in of.items() if k not in hidden} for of in numbers if type(of.get("step")) is int]


def is_number(value: Any) -> bool:
    """Whether a value can be that of a record: a number, null for one that is not finite, or a list of them."""
    if isinstance(value, list):
        return bool(value) and all(map(is_number, value))
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2.0**128)
