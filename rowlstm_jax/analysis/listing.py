"""The runs below a folder: what each is, how far it came and what it reached. A damaged run says what is wrong."""

import contextlib
import dataclasses
import datetime
import fnmatch
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rowlstm_jax.analysis.figures import percent_over_seeds, values_over_seeds
from rowlstm_jax.config import absolute
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import console, read_json, read_lines, read_stored, require_inside
from rowlstm_jax.screen import printable

AGAIN = "run the experiment again"
WRITTEN = ("summary.json", "metrics.jsonl", "config.json")  # the first that is there says when a run was last written
OF_A_RUN = {"checkpoints", "plots", "profile"}  # folders in a run's folder, which hold no runs
LONGEST = 300  # characters of a cell
COLUMNS = ("experiment", "state", "seeds", "validation", "test", "when", "run")


@dataclasses.dataclass(frozen=True)
class Found:
    """What the files in a run's folder say; nothing in them is trusted."""

    directory: Path  # links resolved
    problem: str = ""  # why its files can't be used; empty if they can
    saved: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # config.json
    summary: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # summary.json, empty before the end
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # see `Run.identity`
    records: Sequence[Mapping[str, Any]] = ()  # the lines of metrics.jsonl
    checkpoints: Sequence[int] = ()  # the steps that have one, newest first
    opened: Sequence[Any] = ()  # a value for each time that the test set was opened
    running: str = ""  # the process that is training it; empty if there is none
    when: str = ""  # it was last written to, in UTC

    @property
    def experiment(self) -> str:
        """Its name; empty if the files do not say it."""
        names = (self.summary.get("experiment"), self.identity.get("experiment"))
        return next((name for name in names if isinstance(name, str)), "")

    @property
    def config(self) -> dict[str, Any]:
        """The flags."""
        return as_dict(self.saved.get("config"))

    @property
    def seeds(self) -> list[int]:
        """The seeds of its networks, [S]; none if the files do not say it."""
        if isinstance(seeds := self.summary.get("seeds"), list) and all(type(seed) is int for seed in seeds):
            return seeds
        first, count = (as_int(self.config.get(name)) for name in ("seed", "num_seeds"))
        return list(range(first, first + min(count, 10**6)))

    @property
    def state(self) -> str:
        """One of finished, running, stopped and damaged."""
        if self.problem:
            return "damaged"
        return "running" if self.running else "finished" if self.summary else "stopped"

    @property
    def step(self) -> int:
        """The last step that was logged or saved."""
        logged = [record.get("step") for record in self.records[-1:]]
        return max(map(as_int, (0, *logged, *self.checkpoints[:1], self.summary.get("steps"))))

    @property
    def state_in_words(self) -> str:
        """The state, with the step of a run that has not finished and the process of one that is running."""
        where = f"at step {self.step:,} of {as_int(self.config.get('steps')):,}"
        return {"running": f"running ({self.running}) {where}", "stopped": f"stopped {where}"}.get(
            self.state, self.state
        )

    def figure(self, part: str) -> tuple[str, list[float]] | None:
        """What the run reached on a part of the data, "test" or "validation": the measure, and its values over seeds.

        The measure is accuracy, or loss if the targets are no classes. Before the end of a run, it is that of the last
        evaluation. None if there is none.
        """
        for source in [self.summary] if self.summary else reversed(self.records):
            for measure in ("accuracy", "loss"):
                value = source.get(f"{part}_{measure}")
                with contextlib.suppress(ValueError):
                    return measure, values_over_seeds({"values": value} if isinstance(value, list) else value)
        return None

    def to_json(self) -> dict[str, Any]:
        """A row of the list, as JSON values."""
        figures = {part: self.figure(part) for part in ("validation", "test")}
        named = {part: of and {"measure": of[0], "values": of[1]} for part, of in figures.items()}
        row = {"run": str(self.directory), "experiment": self.experiment, "state": self.state, "problem": self.problem}
        row |= {"process": self.running, "step": self.step, "steps": self.config.get("steps"), "seeds": self.seeds}
        row |= named | {"test_openings": len(self.opened), "when": self.when, "config": self.config}
        return json.loads(json.dumps(row), parse_constant=str)  # a number like 1e999 is read as infinity


def read_run(directory: Path, *, records: bool = True) -> Found:
    """Read a run's folder, links resolved; if its files can't be used, `problem` says why.

    Args:
      directory: it has a config.json or a summary.json.
      records: whether to read metrics.jsonl of a finished run too, which may be long.
    """
    read: dict[str, Any] = {"when": _last_written(directory)}
    try:
        require_inside(directory)
        summary, config = (os.path.lexists(directory / name) for name in ("summary.json", "config.json"))
        if summary:
            read["summary"] = read_json(directory / "summary.json", AGAIN)
            read["opened"] = as_list(read["summary"].get("test_openings"))
        if config:
            with contextlib.suppress(UserError):  # `read_stored` may find in a checkpoint what it said, or raises
                read["saved"] = read_json(directory / "config.json", AGAIN)
                read["identity"] = as_dict(read["saved"].get("identity"))
        if (config and (records or not read.get("identity"))) or not summary:
            stored = read_stored(directory)
            read |= {"identity": stored.identity, "records": stored.records, "checkpoints": stored.checkpoints}
            read["running"] = stored.running
        if not summary:
            read["opened"] = read_lines(directory / "test_openings.jsonl", AGAIN)
    except (UserError, OSError) as error:
        read["problem"] = str(error)
    return Found(directory, **read)


def list_runs(folder: Path, where: Sequence[str] = (), order: str = "when", *, reverse: bool = False) -> list[Found]:
    """The runs below a folder, which may be one itself: the folders with a config.json. Links are not followed.

    Args:
      folder: a folder below it that can't be read is a warning.
      where: conditions NAME=PATTERN of a column or a flag, such as state=finished or cell=*lstm*; all must be met.
      order: a column or a flag to sort by; runs that do not have it come last.
      reverse: whether the largest value comes first.

    Raises:
      UserError: there is no such folder, or no run has what is named.
    """
    top, found = absolute(folder), []
    if not top.is_dir():
        raise UserError(f"There is no folder {folder}; name one that holds runs.")
    cant_be_read = "{0.filename} can't be read ({0.strerror}); runs in it are not listed."
    for path, folders, files in os.walk(top, onerror=lambda error: console.warn(cant_be_read.format(error))):
        folders.sort()
        if "config.json" in files:
            found.append(read_run(Path(path), records=False))
            folders[:] = [name for name in folders if name not in OF_A_RUN]
    return _sorted(_chosen(found, where), order, reverse=reverse)


def show_runs(runs: Sequence[Found], folder: Path) -> None:
    """Print a line for each run, with the `COLUMNS` and no text cut or broken; and why damaged runs are so."""
    top, rows = absolute(folder), [tuple[str, ...](COLUMNS)]
    for run in runs:
        validation, test = (figure_in_words(run.figure(part)) for part in ("validation", "test"))
        again = f" (opened {len(run.opened)} times)" if len(run.opened) > 1 else ""
        seeds, where = seeds_in_words(run.seeds), os.path.relpath(run.directory, top)
        rows.append((run.experiment, run.state_in_words, seeds, validation, test + again, run.when, where))
    cells = [[printable(text[:LONGEST]).replace("\n", "\\n") for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    console.say("\n".join(lines) if runs else f"There are no such runs below {folder}.")
    for run in runs:
        if run.problem:
            console.warn(run.problem)


def _chosen(runs: Sequence[Found], conditions: Sequence[str]) -> Sequence[Found]:
    names = _names(runs)
    for condition in conditions:
        name, equals, pattern = condition.partition("=")
        if not equals or (runs and name not in names):
            raise UserError(f"--where is {condition}; it must be NAME=PATTERN, with a name of {', '.join(names)}.")
        runs = [run for run in runs if fnmatch.fnmatchcase(str(_value(run, name)), pattern)]
    return runs


def _sorted(runs: Sequence[Found], name: str, *, reverse: bool) -> list[Found]:
    if runs and name not in (names := _names(runs)):
        raise UserError(f"--sort is {name}; it must be one of {', '.join(names)}.")
    keys = [(run, _value(run, name)) for run in runs]
    there = [pair for pair in keys if pair[1] not in (None, "")]
    numbers = [pair for pair in there if isinstance(pair[1], int | float)]
    texts = [(run, str(value)) for run, value in there if not isinstance(value, int | float)]
    ordered = [pair for kind in (numbers, texts) for pair in sorted(kind, key=lambda pair: pair[1])]
    return [run for run, _ in ordered[:: -1 if reverse else 1]] + [run for run, value in keys if value in (None, "")]


def figure_in_words(figure: tuple[str, list[float]] | None) -> str:
    """An accuracy in percent or a loss, with the standard deviation over seeds; empty for None.

    Example:
      >>> figure_in_words(("loss", [0.5, 0.75]))
      'loss 0.625 ± 0.1768'
    """
    measure, values = figure or ("", [])
    if not values or measure == "accuracy":
        return f"{percent_over_seeds(values)} %" if values else ""
    return f"loss {np.mean(values):.4g}" + (f" ± {np.std(values, ddof=1):.4g}" if len(values) > 1 else "")


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Such as "3-5" for [3, 4, 5]."""
    return "-".join(map(str, sorted({seeds[0], seeds[-1]}))) if seeds else ""


def as_dict(value: Any) -> dict[str, Any]:
    """The value, if it is a dictionary; else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """The value, if it is a list; else an empty one."""
    return value if isinstance(value, list) else []


def as_int(value: Any) -> int:
    """The value, if it is a whole number; else 0."""
    return value if type(value) is int else 0


def _value(run: Found, name: str) -> Any:
    if figure := name in ("validation", "test") and run.figure(name):
        return float(np.mean(figure[1]))
    own = {"run": str(run.directory), "seeds": seeds_in_words(run.seeds)}
    return own.get(name, getattr(run, name) if name in (*COLUMNS[:2], "when") else run.config.get(name))


def _names(runs: Sequence[Found]) -> list[str]:
    """What runs can be chosen and sorted by: columns and flags."""
    return [*COLUMNS, *sorted({key for run in runs for key in run.config} - set(COLUMNS))]


def _last_written(directory: Path) -> str:
    for name in WRITTEN:
        with contextlib.suppress(OSError, ValueError, OverflowError):
            written = datetime.datetime.fromtimestamp((directory / name).stat().st_mtime, datetime.UTC)
            return f"{written:%Y-%m-%d %H:%M}"
    return ""
