"""Where a run begins: at its seeds, at its last good checkpoint, or at the weights of another run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from tqdm import tqdm

from rowlstm_jax.config import absolute
from rowlstm_jax.data import Splits
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import WAYS_TO_COMPUTE
from rowlstm_jax.parallel import CompiledSteps, from_first_process, is_first_process
from rowlstm_jax.runs import checkpoint, console, environment, manifest
from rowlstm_jax.runs.describe import describe
from rowlstm_jax.runs.files import SAVED, require_room
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.identity import comparable, refuse
from rowlstm_jax.runs.manifest import Manifest
from rowlstm_jax.runs.run import Run, require_same_run
from rowlstm_jax.training import RunState

OPTIMIZER = "state/opt_state/"


class Start(NamedTuple):
    """Where a run begins: the steps taken, the state after them, and what each checkpoint says of the run."""

    step: int
    state: RunState
    about: dict[str, Any]


def begin(run: Run, folder: RunFolder, steps: CompiledSteps, data: Splits) -> Start:
    """Find out where a run begins, and begin its files.

    Args:
      run: what is trained.
      folder: where it is written.
      steps: need not be compiled.
      data: what it trains on.

    Raises:
      UserError: the run can't go on from what its folder holds.
      OSError: its folder can't be written to, or has no room.
    """
    about = {
        "identity": run.identity,
        "code": run.code,
        "image_shape": list(data.train.images.shape[1:]),
        "data": {"name": data.name, "version": data.version, "sha256": data.sha256},
        "environment": environment.describe(),
        "layout": _layout(run, steps),
        "optimizer_reset": None,
    }
    arrays = manifest.named(steps.shapes).values()
    size = sum(array.size * array.dtype.itemsize for array in arrays)
    from_first_process(lambda: require_room(folder.path, 3 * size))  # two are kept, and one is being written
    if run.config.resume and (begun := _resume(run, folder, steps, about)):
        return begun
    params = _weights(Path(folder.from_checkpoint), steps) if folder.from_checkpoint else None
    folder.begin(0)
    return Start(0, steps.begin(np.array(run.config.seeds, np.uint32), params), about)


def _resume(run: Run, folder: RunFolder, steps: CompiledSteps, about: dict[str, Any]) -> Start | None:
    """From the newest good checkpoint; None if the run has not come to its first."""
    directory, shapes = folder.path / "checkpoints", steps.shapes
    without = shapes.replace(state=shapes.state.replace(opt_state=None))

    def choose(found: Manifest) -> RunState:
        if not manifest.is_of_a_run(found.about):
            raise manifest.DamagedError(directory / str(found.step) / manifest.NAME, "does not say what run it is of")
        require_same_run(run, directory, dict(found.about) | found.about["environment"], directory)
        if found.about["data"] != about["data"]:
            raise UserError(
                f"The run in {folder.path} has read {_words(found.about['data'])}, and there is "
                f"{_words(about['data'])} now; point --data-dir or --local-files to the same data."
            )
        resets = _resets(run, found.about)
        saved = {name: leaf for name, leaf in found.leaves.items() if not (resets and name.startswith(OPTIMIZER))}
        like = without if resets else shapes
        if table := manifest.differences(saved, manifest.named(like)):
            refuse(directory, [], table, same_but_optimizer=True)
        return like

    restored = checkpoint.restore(directory, choose)
    if restored is None:
        _require_none_lost(folder)
        tqdm.write("The run has no checkpoint yet: it starts from step 0.")
        return None
    step, state, resets = restored.step, restored.tree, _resets(run, restored.about)
    if step > run.config.steps:
        raise UserError(
            f"--steps is {run.config.steps}, but {folder.path} has taken {step} already; ask for at least that."
        )
    if resets:
        fresh = steps.begin(np.array(run.config.seeds, np.uint32), state.state.params)
        state = state.replace(state=state.state.replace(opt_state=fresh.state.opt_state))
    about["optimizer_reset"] = step if resets else restored.about["optimizer_reset"]
    folder.begin(step)
    _say_resumed(run, folder, step, resets, restored.about, about)
    return Start(step, state, about)


def _say_resumed(
    run: Run, folder: RunFolder, step: int, resets: bool, saved: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    if is_first_process() and folder.journal.recorded != saved["recorded"]:
        console.warn(f"Lines of {folder.path}/metrics.jsonl that were there at step {step} are lost or changed.")
    optimizer = ", its optimiser anew" if resets else ""
    if run.config.reset_optimizer and not resets:
        optimizer = f"; its optimiser was reset at step {now['optimizer_reset']}, and is not reset again"
    tqdm.write(f"Resumed from step {step}{optimizer}.{_other_bits(saved, now)}")


def _resets(run: Run, saved: Mapping[str, Any]) -> bool:
    """Whether the optimiser shall be reset; not once more, where a restarted job gives the flag again."""
    before, now = comparable(saved["identity"], run.identity, saved["environment"]["versions"])
    return run.config.reset_optimizer and (saved["optimizer_reset"] is None or before != now)


def _words(values: Mapping[str, Any]) -> str:
    return " ".join(map(str, values.values()))


def _layout(run: Run, steps: CompiledSteps) -> dict[str, Any]:
    """Over what and in which way a run is computed."""
    model = describe(run.recipe.model, "model")
    ways = {name: model.get(f"model.{name}") for name in WAYS_TO_COMPUTE}
    return {"devices": dict(steps.mesh.shape), "processes": jax.process_count(), **ways}


def _require_none_lost(folder: RunFolder) -> None:
    """A run that has none of the checkpoints that it made is no run that has not begun."""
    evidence = (SAVED, "summary.json", "weights.npz", "test_openings.jsonl")
    if from_first_process(lambda: any((folder.path / name).exists() for name in evidence)):
        raise UserError(
            f"The run in {folder.path} has taken steps that were saved, but its "
            "checkpoints are gone; put them back, or start a new run in another --run-dir."
        )


def _other_bits(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What makes the bits from here on differ from those of the run as it began."""
    flat = [flatten_dict({name: about[name] for name in ("environment", "layout")}, sep=".") for about in (saved, now)]
    before, after = ({name.partition(".")[2]: str(value) for name, value in of.items()} for of in flat)
    names = [name for name in before if name != "cores" and before[name] != after.get(name)]
    changed = ", ".join(f"{name.removeprefix('versions.')} {before[name]} (now {after.get(name)})" for name in names)
    return f" It was saved with {changed}: from here on its bits may be others." if changed else ""


def _weights(folder: Path, steps: CompiledSteps) -> Any:
    """The weights of the newest good checkpoint of another run, which may be running."""
    shapes = {"state": {"params": steps.shapes.state.params}}

    def choose(found: Manifest) -> Any:
        saved = {name: leaf for name, leaf in found.leaves.items() if name.startswith("state/params/")}
        if table := manifest.differences(saved, manifest.named(shapes)):
            raise UserError(
                f"--from-checkpoint {folder} has the weights of another model or of another number of seeds; build the "
                f"same one. Arrays, as they are saved and as they are needed:\n{table}"
            )
        return shapes

    restored = checkpoint.restore(absolute(folder) / "checkpoints", choose, set_aside=False)
    if restored is None:
        raise UserError(f"--from-checkpoint {folder} names no folder of a run that has a checkpoint; name one.")
    tqdm.write(f"Weights from step {restored.step} of {folder}.")
    return restored.tree["state"]["params"]
