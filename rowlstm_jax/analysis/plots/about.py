"""The line below a picture: which run, which seeds, which model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import read_json
from rowlstm_jax.screen import printable

LONGEST = 80  # characters of one name


def about_run(directory: Path, *more: str) -> str:
    """What a run is, from its config.json: "mnist_rows · seeds 0-4 · BasicLSTMCell(128)".

    A picture does not fail because of this line: what the file does not say is left out.

    Args:
      directory: the folder of the run.
      more: further parts, put at the end.
    """
    try:
        identity = read_json(directory / "config.json", "run the experiment again").get("identity")
    except (UserError, OSError):
        identity = None
    known: dict[str, Any] = identity if isinstance(identity, dict) else {}
    seed, number, seeds = known.get("seed"), known.get("num_seeds"), ""
    if isinstance(seed, int) and isinstance(number, int) and 0 < number < 2**31:
        seeds = name_seeds(range(seed, seed + number))
    return " · ".join(filter(None, (_text(known, "experiment"), seeds, name_model(known), *more)))


def name_seeds(seeds: Sequence[int]) -> str:
    """The seeds in a few words.

    Example:
      >>> name_seeds([3]), name_seeds([0, 1, 2]), name_seeds([0, 2])
      ('seed 3', 'seeds 0-2', 'seeds 0, 2')
    """
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) == seeds[-1] - seeds[0] + 1:
        return f"seeds {seeds[0]}-{seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds[:8]))}{', ...' * (len(seeds) > 8)}"


def name_model(identity: Mapping[str, Any]) -> str:
    """The model in a few words, from the description of a run or of its model; empty if that does not say it.

    Example:
      >>> name_model({"recipe.model.cell": "GRUCell", "recipe.model.cell.features": "64"})
      'GRUCell(64)'
      >>> name_model({"recipe.model.cell": "GRUCell", "recipe.model.num_layers": "2"})
      '2 layers of GRUCell'
    """
    part = "recipe.model"
    if not (cell := _text(identity, f"{part}.cell")):
        return _text(identity, part)
    features, layers = _text(identity, f"{part}.cell.features"), _text(identity, f"{part}.num_layers")
    name = f"{cell}({features})" if features else cell
    name = name if layers in ("", "1") else f"{layers} layers of {name}"
    return f"{name}, both directions" if identity.get(f"{part}.bidirectional") == "True" else name


def _text(identity: Mapping[str, Any], name: str) -> str:
    """A text of the description, which comes from a file, so that it can be drawn."""
    value = identity.get(name)
    return printable(value)[:LONGEST].replace("\n", " ") if isinstance(value, str) else ""
