"""What the tables and sentences of a report say of a run, as values by name. What is read is not trusted."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rowlstm_jax.analysis.comparison import Comparison, compare
from rowlstm_jax.analysis.figures import percent_over_seeds, values_over_seeds
from rowlstm_jax.analysis.listing import Found, as_dict, as_list, read_run, seeds_in_words
from rowlstm_jax.analysis.page_pictures import Picture, is_number
from rowlstm_jax.config import absolute
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import console
from rowlstm_jax.tasks import protocol_digest

Values = dict[str, Any]
NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # of the runs of a report


@dataclasses.dataclass(frozen=True)
class Shown:
    """A run of a report."""

    name: str  # one of `NAMES`
    run: Found
    pictures: Mapping[str, Picture | str]  # see `pictures`
    command: str  # that trains it again


def read(path: Path) -> Found:
    """Read a run, finished or not; `path` is its folder, a link to it or its summary.json.

    Raises:
      UserError: there is no run, or its files are damaged.
    """
    directory = absolute(path.parent if path.name == "summary.json" else path)
    if not any(os.path.lexists(directory / name) for name in ("summary.json", "config.json", "checkpoints")):
        raise UserError(f"There is no run in {path}; name a run's folder, such as runs/mnist_rows/latest.")
    if (run := read_run(directory)).problem:
        raise UserError(run.problem)
    return run


def compared(first: Found, second: Found, differ_in: Sequence[str] = ()) -> Comparison | str:
    """The tests whether two runs differ; or why they can't be made."""
    try:
        return compare(first.directory, second.directory, differ_in)
    except UserError as error:
        console.warn(str(error))
        return str(error)


def results(run: Found) -> Values:
    """What the run is and what it reached, with 95 % intervals."""
    summary, shown = run.summary, {"state": run.state_in_words, "seeds": seeds_in_words(run.seeds)}
    for name in ("num_params", "train_examples", "steps", "selected_step"):
        if name in summary:
            shown[_plain(name.replace("num_params", "parameters"))] = summary[name]
    names = [name for name in summary if isinstance(name, str) and name.startswith(("test_", "validation_"))]
    for name in sorted(names, key=lambda name: not name.endswith(("_accuracy", "_loss"))):
        with contextlib.suppress(ValueError):
            values = values_over_seeds(summary[name])
            shown[_plain(name)] = _in_words(name, values) + _interval(name, values, summary)
    if not summary and (figure := run.figure("validation")):
        shown[f"validation {figure[0]}"] = f"{_in_words(*figure)} (so far)"
    times = [as_dict(opening).get("time") for opening in run.opened]
    return shown | {"test set opened": ", ".join(map(str, times)) if times else "never", "last written": run.when}


def of_each_seed(run: Found) -> dict[str, list[str]]:
    """Each figure of the summary that has a value for each seed, [S]; none for a run of one seed."""
    found, count = {}, len(run.seeds)
    for name, value in run.summary.items():
        with contextlib.suppress(ValueError):
            values = values_over_seeds(value) if name.startswith(("test_", "validation_")) else []
            if len(values) == count > 1:
                found[_plain(name)] = [_in_words(name, [value]) for value in values]
    return found


def notes(run: Found) -> list[str]:
    """Sentences that a reader should know before the figures."""
    found, summary = [], run.summary
    if not summary:
        found.append(f"The run has not finished: {run.state_in_words}. Its figures are those of its last evaluation.")
    elif summary.get("test_loss") is None:
        found.append("The run was not tested, so its test set is still sealed.")
    if len(run.opened) > 1:
        found.append(f"The test set was opened {len(run.opened)} times, so the test results may be selected.")
    if _git(run).get("dirty"):
        found.append("The run was trained with files that differ from its git commit.")
    return found


def protocol(run: Found) -> Values:
    """What the result depends on besides model and training, with the digests of protocol and data."""
    told = as_dict(run.summary.get("protocol") or run.saved.get("protocol"))
    fields = as_dict(told.get("fields"))
    if not told:  # of a run that has not finished, of an earlier version
        fields = {name.partition(".")[2]: of for name, of in run.identity.items() if name.startswith("protocol.")}
        told = {"name": run.identity.get("protocol"), "sha256": protocol_digest(fields) if fields else None}
    shown = {"protocol": told.get("name"), "digest of the protocol": told.get("sha256")}
    shown |= {_plain(name): value for name, value in fields.items()}
    for name, value in as_dict(run.summary.get("data")).items():
        shown[f"data: {_plain(name)}"] = value
    return shown


def training(run: Found) -> Values:
    """Flags, model and optimiser."""
    recipe = {name: of for name, of in run.identity.items() if name.startswith("recipe")}
    return {f"--{name.replace('_', '-')}": value for name, value in run.config.items()} | recipe


def environment(run: Found) -> Values:
    """What the result was computed on."""
    told = as_dict(run.summary.get("environment"))
    shown = {name: told[name] for name in ("processor", "cores", "backend", "devices", "processes") if name in told}
    if devices := as_list(told.get("devices")):
        shown["devices"] = ", ".join(f"{devices.count(kind)} {kind}" for kind in sorted(set(map(str, devices))))
    shown |= as_dict(told.get("versions") or run.saved.get("versions"))
    git = _git(run)
    return shown | {"git commit": git.get("commit"), "files differ from the commit": git.get("dirty")}


def settings(run: Found) -> Values:
    """The settings of JAX that change numbers."""
    return as_dict(as_dict(run.summary.get("environment")).get("settings"))


def diagnostics(run: Found) -> Values:
    """How the training went: the gradient, the steps that were skipped, the time."""
    shown: Values = {}
    norms = [_mean(record.get("gradient_norm")) for record in run.records]
    if norms := [norm for norm in norms if norm is not None]:
        shown |= {
            "gradient norm, first": norms[0],
            "gradient norm, largest": max(norms),
            "gradient norm, last": norms[-1],
        }
    skipped = [record["skipped_steps"] for record in run.records if "skipped_steps" in record]
    shown |= {"steps skipped": skipped[-1]} if skipped else {}
    timing = as_dict(run.summary.get("timing"))
    shown |= {_plain(name): value for name, value in timing.items() if name != "seconds"}
    return shown | {f"seconds: {_plain(name)}": value for name, value in as_dict(timing.get("seconds")).items()}


def _mean(value: Any) -> float | None:
    """The mean over seeds of a record's value; None if it has none."""
    flat = [of for of in as_list(value) or [value] if is_number(of) and isinstance(of, int | float)]
    return float(np.mean(flat)) if flat else None


def _in_words(name: str, values: list[float]) -> str:
    if "accuracy" in name:
        return f"{percent_over_seeds(values)} %"
    return f"{np.mean(values):.5g}" + (f" ± {np.std(values, ddof=1):.3g}" if len(values) > 1 else "")


def _interval(name: str, values: list[float], summary: Mapping[str, Any]) -> str:
    """The 95 % interval that the summary holds, on a line of its own; empty if it has none."""
    several = isinstance(summary[name], dict)
    ends = summary[name].get("interval_95") if several else summary.get(f"{name}_interval_95")
    if not (isinstance(ends, list) and len(ends) == 2 and all(is_number(end) and end is not None for end in ends)):
        return ""
    unit, digits = (100, "2f") if "accuracy" in name else (1, "4g")
    low, high = (f"{unit * end:.{digits}}" for end in ends)
    over = f"over {len(values)} seeds" if several else "over test examples"
    return f"\n95 %: {low} to {high}{' %' * (unit > 1)} ({over})"


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _git(run: Found) -> dict[str, Any]:
    return as_dict(run.summary.get("git") or run.saved.get("git"))
