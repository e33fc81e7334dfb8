"""Where a run begins: at its seeds, at its last good checkpoint, or at the weights of another run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rowlstm_jax import checkpoint, environment, manifest
from rowlstm_jax.config import UserError, absolute
from rowlstm_jax.data import Splits
from rowlstm_jax.devices import from_first_process
from rowlstm_jax.folder import require_room
from rowlstm_jax.identity import refuse
from rowlstm_jax.manifest import Manifest
from rowlstm_jax.programs import Programs
from rowlstm_jax.progress import Progress
from rowlstm_jax.run import Run

OPTIMIZER = "state/opt_state/"


def begin(run: Run, programs: Programs, data: Splits) -> tuple[int, Progress, dict[str, Any]]:
    """Find out where a run begins; its files are begun too.

    Args:
      run: an entered run.
      programs: need not be compiled.
      data: what it trains on.

    Returns:
      The steps that have been taken, the progress, and what each checkpoint shall say of the run.

    Raises:
      UserError: the run can't go on from what its folder holds, or its folder can't be written to.
    """
    about = {
        "identity": run.identity(),
        "image_shape": list(data.train.images.shape[1:]),
        "data": {"name": data.name, "version": data.version, "sha256": data.sha256},
        "environment": environment.describe(),
        "optimizer_reset": None,
    }
    arrays = manifest.named(programs.shapes).values()
    size = sum(array.size * array.dtype.itemsize for array in arrays)
    from_first_process(lambda: require_room(run.directory, 3 * size))  # two are kept, and one is being written
    if run.config.resume and (begun := _resume(run, programs, about)):
        return begun
    params = _weights(run.config.from_checkpoint, programs) if run.config.from_checkpoint else None
    run.begin(0)
    return 0, programs.begin(np.array(run.config.seeds, np.uint32), params), about


def _resume(run: Run, programs: Programs, about: dict[str, Any]) -> tuple[int, Progress, dict[str, Any]] | None:
    """From the newest good checkpoint; None if the run has not come to its first."""
    directory, shapes = run.directory / "checkpoints", programs.shapes
    without = shapes.replace(state=shapes.state.replace(opt_state=None))

    def choose(found: Manifest) -> Progress:
        run.require_same(directory, dict(found.about) | found.about["environment"])
        if found.about["data"] != about["data"]:
            raise UserError(
                f"The run in {run.directory} has read {_data(found.about)}, and there is {_data(about)} now; point "
                "--data-dir or --local-files to the same data."
            )
        resets = _resets(run, found.about)
        saved = {name: leaf for name, leaf in found.leaves.items() if not (resets and name.startswith(OPTIMIZER))}
        like = without if resets else shapes
        if table := manifest.differences(saved, manifest.named(like)):
            refuse(directory, [], table, same_but_optimizer=True)
        return like

    restored = checkpoint.restore(directory, choose)
    if restored is None:
        _require_none_lost(run)
        tqdm.write("The run has no checkpoint yet: it starts from step 0.")
        return None
    step, progress = restored.step, restored.tree
    if step > run.config.steps:
        raise UserError(f"--steps is {run.config.steps}, but {run.directory} has taken {step} already; ask for more.")
    about["optimizer_reset"] = restored.about["optimizer_reset"]
    if _resets(run, restored.about):
        fresh = programs.begin(np.array(run.config.seeds, np.uint32), progress.state.params)
        progress = progress.replace(state=progress.state.replace(opt_state=fresh.state.opt_state))
        about["optimizer_reset"] = step
    run.begin(step)
    anew = ", its optimiser anew" if _resets(run, restored.about) else ""
    tqdm.write(f"Resumed from step {step}{anew}.{_other_bits(restored.about, about)}")
    return step, progress, about


def _resets(run: Run, saved: Mapping[str, Any]) -> bool:
    """Whether the optimiser shall be reset; not once more, where a restarted job gives the flag again."""
    done = saved["optimizer_reset"] is not None and saved["identity"] == run.identity()
    return run.config.reset_optimizer and not done


def _require_none_lost(run: Run) -> None:
    """A run that has none of the checkpoints that it must have made is no run that has not begun.

    The first of them may have been under way when the process was killed; the second waited for the first.
    """
    saved = [record for record in run.records() if "validation_loss" in record]  # an evaluated step always is
    if len(saved) > 1 or (run.directory / "summary.json").exists():
        raise UserError(
            f"The run in {run.directory} has taken steps that were saved, but its "
            "checkpoints are gone; put them back, or start a new run in another --run-dir."
        )


def _other_bits(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What makes the bits from here on differ from those of the run as it began."""
    before, after = saved["environment"], now["environment"]
    changed = [
        f"{name} {version} (now {after['versions'].get(name)})"
        for name, version in before["versions"].items()
        if after["versions"].get(name) != version
    ]
    if before["devices"] != after["devices"] or before["processor"] != after["processor"]:
        changed.append(f"{len(before['devices'])} devices of {before['processor']}")
    return f" It was saved with {', '.join(changed)}: from here on its bits may be others." if changed else ""


def _weights(folder: Path, programs: Programs) -> Any:
    """The weights of the newest good checkpoint of another run, which may be running."""
    shapes = {"state": {"params": programs.shapes.state.params}}

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


def _data(about: Mapping[str, Any]) -> str:
    return f"{about['data']['name']} with SHA-256 {about['data']['sha256']}"
