"""Where a run begins: with new weights, at its last good checkpoint, or with the weights of another run."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from rowlstm_jax.config import absolute
from rowlstm_jax.data import Splits
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import WAYS_TO_COMPUTE, weights
from rowlstm_jax.parallel import CompiledSteps, from_first_process, is_first_process
from rowlstm_jax.runs import checkpoint, console, environment, manifest
from rowlstm_jax.runs.describe import describe
from rowlstm_jax.runs.files import SAVED, lines_digest, require_room
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.identity import comparable, refuse
from rowlstm_jax.runs.manifest import Leaf, Manifest
from rowlstm_jax.runs.run import Run, require_same_run
from rowlstm_jax.training import RunState

OPTIMIZER = "state/opt_state/"
MORE = "metrics/more/"
WEIGHTS = ("state/params/", "state/collections/")


class Start(NamedTuple):
    """Where a run begins."""

    step: int  # the number of steps that were taken
    state: RunState
    about: dict[str, Any]  # for the `Manifest.about` of every checkpoint


def begin(
    run: Run, folder: RunFolder, steps: CompiledSteps, data: Splits, reading: dict[str, Any] | None = None
) -> Start:
    """Find out where a run begins, and open its files; `steps` need not be compiled. `reading` is noted.

    Raises:
      UserError: the run can't go on from what its folder contains.
      OSError: its folder can't be written to, or has no room.
    """
    about = {
        "identity": run.identity,
        "code": run.code,
        "image_shape": list(data.train.inputs.shape[1:]),
        "reading": reading,
        "data": {"name": data.name, "version": data.version, "sha256": data.sha256},
        "environment": environment.describe(),
        "layout": _layout(run.recipe.model, steps.mesh),
        "optimizer_reset": None,
        "from_checkpoint": folder.from_checkpoint,
    }
    size = sum(array.size * array.dtype.itemsize for array in manifest.named(steps.shapes).values())
    from_first_process(lambda: require_room(folder.path, 3 * size))  # two are kept while one is being written
    if run.config.resume and (begun := _resume(run, folder, steps, about)):
        return begun
    params = _weights(Path(folder.from_checkpoint), steps.shapes) if folder.from_checkpoint else None
    folder.begin(0)
    return Start(0, steps.begin(np.array(run.config.seeds, np.uint32), params), about)


def _resume(run: Run, folder: RunFolder, steps: CompiledSteps, about: dict[str, Any]) -> Start | None:
    """The start at the newest good checkpoint; None if the run has not saved any."""
    choose = functools.partial(_choose, run, folder.path, steps.shapes, about["data"])
    from_first_process(lambda: _set_aside_without_records(folder))
    restored = checkpoint.restore(folder.path / "checkpoints", choose)
    if restored is None:
        _require_none_lost(folder.path)
        console.say("The run has no checkpoint yet: it starts from step 0.")
        return None
    step, state, saved = restored
    more = {**steps.zero_metrics().more, **state.metrics.more}  # a metric that is new begins here
    state = state.replace(metrics=state.metrics.replace(more=more))
    if step > run.config.steps:
        raise UserError(
            f"--steps is {run.config.steps}, but {folder.path} has taken {step} already; ask for at least that."
        )
    optimizer = ""
    about["optimizer_reset"] = saved["optimizer_reset"]
    if _resets(run, saved):
        optimizer, about["optimizer_reset"] = ", its optimiser anew", step
        fresh = steps.begin(np.array(run.config.seeds, np.uint32), state.weights)
        state = state.replace(state=state.state.replace(opt_state=fresh.state.opt_state))
    elif run.config.reset_optimizer:
        optimizer = f"; its optimiser was reset at step {about['optimizer_reset']}, and is not reset again"
    folder.begin(step)
    if is_first_process() and folder.journal.recorded != saved["recorded"]:
        console.warn(f"Lines of {folder.path}/metrics.jsonl that were there at step {step} are lost or changed.")
    console.say(f"Resumed from step {step}{optimizer}.{_other_bits(saved, about)}")
    return Start(step, state, about)


def _set_aside_without_records(folder: RunFolder) -> None:
    """Rename checkpoints that count records which are lost, if there is an older good one whose records are all there.

    A loss of power may do that to a file system. The steps between are taken again, and their records written again.
    """
    directory, records, later = folder.path / "checkpoints", folder.journal.records(), []
    for step in manifest.steps(directory):
        try:
            about = manifest.read(directory / str(step), verify=False)["about"]
        except manifest.DamagedError:
            continue
        if not manifest.is_of_a_run(about):
            continue
        whole = about["recorded"] == lines_digest(record for record in records if record["step"] <= step)
        if whole and not later:
            return  # as always, but after a loss: `restore` verifies the files
        if not manifest.is_good_checkpoint(directory / str(step)):
            continue
        if whole:
            break
        later.append(step)
    else:
        return
    for lost in later:
        aside = manifest.set_aside(directory / str(lost), "without-records")
        console.warn(
            f"Records of steps up to {lost} are lost, and step {step} is the last that has all: goes on there; "
            f"the checkpoint of step {lost} is now {aside}."
        )


def _choose(run: Run, folder: Path, shapes: RunState, data: Mapping[str, Any], found: Manifest) -> RunState:
    """What to read from a checkpoint, after a check that it is of the same run."""
    directory = folder / "checkpoints"
    if not manifest.is_of_a_run(found.about):
        raise manifest.DamagedError(directory / str(found.step) / manifest.NAME, "does not say what run it is of")
    require_same_run(run, directory, dict(found.about) | found.about["environment"], directory)
    if found.about["data"] != data:
        before, now = (" ".join(map(str, values.values())) for values in (found.about["data"], data))
        raise UserError(
            f"The run in {folder} has read {before}, and there is {now} now; point --data-dir or --local-files to the "
            "same data."
        )
    saved = dict(found.leaves)
    if _resets(run, found.about):
        shapes = shapes.replace(state=shapes.state.replace(opt_state=None))
        saved = {name: leaf for name, leaf in saved.items() if not name.startswith(OPTIMIZER)}
    shapes, saved = _without_new_metrics(shapes, saved)
    if table := manifest.differences(saved, manifest.named(shapes)):
        refuse(directory, [], table, same_but_optimizer=True)
    return shapes


def _without_new_metrics(shapes: RunState, saved: dict[str, Leaf]) -> tuple[RunState, dict[str, Leaf]]:
    """Without the sums of further metrics that only the run, or only the checkpoint, has."""
    kept = {name: sums for name, sums in shapes.metrics.more.items() if f"{MORE}{name}/0" in saved}
    both = {name: leaf for name, leaf in saved.items() if not name.startswith(MORE) or name.split("/")[2] in kept}
    return shapes.replace(metrics=shapes.metrics.replace(more=kept)), both


def _resets(run: Run, saved: Mapping[str, Any]) -> bool:
    """Whether the optimiser is reset: only once if a job is restarted with the same flags."""
    before, now = comparable(saved["identity"], run.identity, saved["environment"]["versions"])
    return run.config.reset_optimizer and (saved["optimizer_reset"] is None or before != now)


def _layout(model: nn.Module, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """How a run is computed, and on how many devices."""
    parts = describe(model, "model")
    ways = {name: parts.get(f"model.{name}") for name in WAYS_TO_COMPUTE}
    return {"devices": dict(mesh.shape), "processes": jax.process_count(), **ways}


def _require_none_lost(folder: Path) -> None:
    """Refuse a run that has saved checkpoints and has none left."""
    evidence = (SAVED, "summary.json", "weights.npz", "test_openings.jsonl")
    if from_first_process(lambda: any((folder / name).exists() for name in evidence)):
        raise UserError(
            f"The run in {folder} has taken steps that were saved, but its checkpoints are gone; put them back, or "
            "start a new run in another --run-dir."
        )


def _other_bits(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """A sentence that names what may make the bits from here on differ from those of an undisturbed run."""
    flat = [flatten_dict({name: about[name] for name in ("environment", "layout")}, sep=".") for about in (saved, now)]
    before, after = ({name.partition(".")[2]: str(value) for name, value in of.items()} for of in flat)
    names = [name for name in before if name != "cores" and before[name] != after.get(name, before[name])]
    labels = {name: name.removeprefix("versions.").removeprefix("settings.") for name in names}
    changed = ", ".join(f"{labels[name]} {before[name]} (now {after[name]})" for name in names)
    return f" It was saved with {changed}: from here on its bits may be others." if changed else ""


def _weights(folder: Path, shapes: RunState) -> Any:
    """The weights of the newest good checkpoint of another run, which may be running; see `models.variables`."""
    collections = {"collections": shapes.state.collections} if shapes.state.collections else {}
    wanted = {"state": {"params": shapes.state.params, **collections}}

    def choose(found: Manifest) -> Any:
        saved = {name: leaf for name, leaf in found.leaves.items() if name.startswith(WEIGHTS)}
        if table := manifest.differences(saved, manifest.named(wanted)):
            raise UserError(
                f"--from-checkpoint {folder} has the weights of another model or of another number of seeds; build the "
                f"same one. Arrays, as they are saved and as they are needed:\n{table}"
            )
        return wanted

    restored = checkpoint.restore(absolute(folder) / "checkpoints", choose, rename=False)
    if restored is None:
        raise UserError(f"--from-checkpoint {folder} names no folder of a run that has a checkpoint; name one.")
    console.say(f"Weights from step {restored.step} of {folder}.")
    return weights(restored.tree["state"]["params"], restored.tree["state"].get("collections", {}))
