"""What a run recorded, beside what training it again records: equal in every bit, or where they part."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict

from rowlstm_jax.analysis.results import open_run
from rowlstm_jax.config import to_json
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import Callback, Leaf, Run, RunFolder, Stop, arrays_on_disk, read_arrays, read_json, read_stored

FIRST_STEPS, MOST_RECORDS = 200, 40  # of the records that summary.json repeats, so that it can be verified alone
AGAIN = "run the experiment again"
Records = list[dict[str, Any]]


def repeatable(run: Run, folder: RunFolder, weights: Any) -> dict[str, Any]:
    """What summary.json keeps so that its run can be verified without the run's folder, as JSON values.

    They are the flags without folders, the records of the first steps, and the digests of the weights.
    """
    paths = {name for name, value in vars(run.config).items() if isinstance(value, Path)}
    flags = {name: value for name, value in to_json(run.config).items() if name not in paths}
    records = folder.journal.records()
    first = [record for record in records if record["step"] <= FIRST_STEPS][:MOST_RECORDS] or records[:1]
    earlier = read_json(folder.path / "config.json", AGAIN).get("earlier_flags", [])
    return {"config": flags, "earlier_flags": earlier, "first_records": first, "weights": digests(weights)}


def digests(weights: Any) -> dict[str, str]:
    """The SHA-256 of each array of the weights [S, ...], by name."""
    return {name: Leaf.of(np.asarray(array)).sha256 for name, array in sorted(flatten_dict(weights, sep="/").items())}


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What a run says of itself.

    Attributes:
      where: its folder, or its summary.json.
      experiment: its name.
      config: its flags.
      records: the lines of metrics.jsonl, or the first of them.
      whole: whether `records` are all of them.
      steps: that it has taken.
      weights: digests by name, if it has finished; else empty.
      protocol: the digest of its protocol.
      data: name, version and digest of its data.
      context: versions, devices, settings, layout, code and commit, by dotted name.
    """

    where: Path
    experiment: str
    config: dict[str, Any]
    records: Records
    whole: bool
    steps: int
    weights: dict[str, str]
    protocol: str
    data: dict[str, Any]
    context: dict[str, str]

    @property
    def num_devices(self) -> int | None:
        """How many devices computed it; None if it does not say."""
        counts = [of for name, of in self.context.items() if name.startswith("layout.devices.")]
        return int(np.prod([int(of) for of in counts])) if counts and all(map(str.isdecimal, counts)) else None


def read_recorded(path: Path) -> Recorded:
    """What the folder of a run, or its summary.json alone, says of it.

    Raises:
      UserError: it can't be read, or does not say enough.
    """
    if path.is_file():
        return _of_summary(path)
    run = open_run(path)
    stored = read_stored(run.directory)
    finished = run.state == "finished"
    summary = read_json(run.directory / "summary.json", AGAIN) if finished else {}
    weights = {}
    if finished:
        arrays = read_arrays(run.directory / "weights.npz", AGAIN)
        weights = {name: Leaf.of(array).sha256 for name, array in sorted(arrays.items())}
    about = summary or stored.about
    if not stored.config:
        raise UserError(f"{run.directory / 'config.json'} is missing or damaged, so the flags are not known; {AGAIN}.")
    steps = run.steps if finished else max([0, *(record["step"] for record in stored.records)])
    config, records = stored.config, stored.records
    of = (run.directory, run.experiment, config, records, True, steps, weights, run.protocol["sha256"], run.data)
    earlier = read_json(run.directory / "config.json", AGAIN).get("earlier_flags", [])
    return _checked(Recorded(*of, _context(about)), earlier)


def _checked(recorded: Recorded, earlier: Any) -> Recorded:
    """The same, if it can be repeated by one start; else a UserError."""
    where = recorded.where
    if not recorded.records:
        raise UserError(f"{where} has no record yet; verify it when it has trained for some steps.")
    if not all(isinstance(record, dict) and type(record.get("step")) is int for record in recorded.records):
        raise UserError(f"{where} has a record without a step; it was changed, and can't be verified.")
    if recorded.config.get("from_checkpoint"):
        raise UserError(f"{where} began with the weights of another run, so it can't be verified by itself.")
    if earlier:
        raise UserError(f"{where} was resumed with other flags ({earlier}), so one start can't repeat its records.")
    return recorded


def _of_summary(path: Path) -> Recorded:
    summary = read_json(path, "name a run's folder or its summary.json")
    kinds = {"experiment": str, "config": dict, "first_records": list, "steps": int, "protocol": dict, "data": dict}
    if missing := [name for name, kind in kinds.items() if not isinstance(summary.get(name), kind)]:
        raise UserError(
            f"{path} has no {missing[0]}: an earlier version wrote it, or it is no summary of a run; name the run's "
            "folder."
        )
    weights, protocol = summary.get("weights") or {}, str(summary["protocol"].get("sha256"))
    of = (path, summary["experiment"], summary["config"], summary["first_records"], False, summary["steps"], weights)
    recorded = Recorded(*of, protocol, summary["data"], _context(summary))
    return _checked(recorded, summary.get("earlier_flags"))


def _context(about: Mapping[str, Any]) -> dict[str, str]:
    """What a run was computed by, as texts by dotted name."""
    parts = {name: about.get(name) or {} for name in ("environment", "layout", "code", "git")}
    flat = flatten_dict({name: part for name, part in parts.items() if isinstance(part, dict)}, sep=".")
    short = {str(name).removeprefix("environment."): str(value) for name, value in flat.items()}
    return {name: value for name, value in short.items() if name != "cores"}


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A phrase for each part of the context that both know and in which they differ."""
    names = [name for name in then if name in now and then[name] != now[name]]
    return [f"{name} was {then[name]} and is now {now[name]}" for name in names]


@dataclasses.dataclass(frozen=True)
class StopAfter(Callback):
    """Ends the training at the first record of this step or a later one."""

    step: int

    def on_record(self, record: dict[str, Any]) -> None:
        """Stop, if it is time."""
        if record["step"] >= self.step:
            raise Stop


def first_difference(then: Records, now: Records) -> str:
    """Where two series of records part, in a phrase; empty if each record of both is the same as far as both go.

    The last record of `now` may have an evaluation more, as a training that is stopped has.
    """
    last = min(then[-1]["step"], now[-1]["step"])
    before, after = _by_step(then, last), _by_step(now, last)
    for step in sorted({*before, *after}):
        if step not in before or step not in after:
            return f"step {step} has a record {'then' if step in before else 'now'} only"
        for name, value in before[step].items():
            if name not in after[step]:
                return f"step {step} has {name} then, and not now"
            if (other := after[step][name]) != value:
                return f"step {step}, {name}: {value} then, {other} now{_apart(value, other)}"
    return ""


def _by_step(records: Records, last: int) -> dict[int, dict[str, Any]]:
    """The records up to a step, by step; a training that was stopped has two of its last step."""
    found: dict[int, dict[str, Any]] = {}
    for record in records:
        if record["step"] <= last:
            found[record["step"]] = found.get(record["step"], {}) | record
    return found


def _apart(value: Any, other: Any) -> str:
    try:
        largest = float(np.abs(np.asarray(other, float) - np.asarray(value, float)).max())
    except (TypeError, ValueError):
        return ""
    return f", {largest:.2g} apart" if np.isfinite(largest) else ""


def weights_apart(run: Path, other: Path, step: int) -> str:
    """How the weights of two folders differ after a step, in a phrase; empty if they are equal, or one lacks them."""
    folders = [folder / "checkpoints" / str(step) / "state" for folder in (run, other)]
    if not all(folder.is_dir() for folder in folders):
        return ""
    then, now = (arrays_on_disk(folder) for folder in folders)
    names = [name for name in then if name.startswith("state.params.") and name in now]
    for name in names:
        if not np.array_equal(then[name], now[name], equal_nan=True):
            return f"the weights {name.removeprefix('state.params.')} after step {step}{_apart(then[name], now[name])}"
    return ""


class Verified(NamedTuple):
    """The outcome: whether all that both have is equal, and what to print."""

    equal: bool
    lines: list[str]


def compare_recorded(then: Recorded, now: Recorded) -> Verified:
    """Compare what a run recorded with what training it again recorded; see `Recorded`.

    Records are compared as far as both go, and the weights where both have those of the same step.
    """
    for name in ("protocol", "data"):
        if (before := getattr(then, name)) != (after := getattr(now, name)) and _digest(before) != _digest(after):
            return Verified(False, [f"The {name} is not the same: {before} then, {after} now."])
    last = min(then.records[-1]["step"], now.records[-1]["step"])
    apart = first_difference(then.records, now.records)
    compared = f"the records up to step {last}"
    if not apart and then.weights and now.weights and then.steps == now.steps:
        compared += " and all weights"
        names = [name for name in {**then.weights, **now.weights} if then.weights.get(name) != now.weights.get(name)]
        apart = f"the selected weights {', '.join(names)}" if names else ""
    elif not apart and (step := min(now.steps, then.steps)) and then.where.is_dir():
        apart = weights_apart(then.where, now.where, step)
    if not apart:
        return Verified(True, [f"Equal in every bit up to step {last}: {compared}."])
    context = differences(then.context, now.context)
    between = [f"Between then and now: {phrase}." for phrase in context]
    return Verified(False, [f"Different: {apart}.", *(between or ["Versions, devices and code are the same."])])


def _digest(value: Any) -> Any:
    return value.get("sha256") if isinstance(value, dict) else value
