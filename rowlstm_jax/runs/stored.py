"""What a run's folder says of the run, finished or not; nothing is changed there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import unflatten_dict
from optax.contrib import ScheduleFreeState

from rowlstm_jax.errors import UserError
from rowlstm_jax.models import weights
from rowlstm_jax.runs import manifest
from rowlstm_jax.runs.checkpoint import ITEM, arrays_on_disk
from rowlstm_jax.runs.files import read_json, read_lines
from rowlstm_jax.runs.lock import running_on
from rowlstm_jax.runs.manifest import DamagedError, Leaf, Manifest
from rowlstm_jax.training import EmaState, evaluation_params

AGAIN = "run the experiment again"
PARAMS, COLLECTIONS, OPTIMIZER, BEST = "state/params/", "state/collections/", "state/opt_state/", "best/"


class Stored(NamedTuple):
    """What the files of a run say of it, except its results."""

    config: dict[str, Any]  # the flags
    identity: dict[str, Any]  # see `Run.identity`
    about: dict[str, Any]  # see `Manifest.about` of its newest checkpoint, empty if there is none
    modules: dict[str, Any]  # see `identity.own_modules`
    records: list[dict[str, Any]]  # the lines of metrics.jsonl
    checkpoints: list[int]  # the steps that have one, newest first
    num_params: int  # of the network of one seed; 0 without a checkpoint
    running: str  # the process that is training it, such as "process 12 on cluster3"; "" if there is none


def read_stored(directory: Path) -> Stored:
    """Read what the folder of a run says of it.

    Raises:
      UserError: it is no run, or its files are damaged.
    """
    found = manifest.newest(directory / "checkpoints")
    missing = f"{directory} is no run: it has no config.json; name the folder of a run."
    try:
        saved = read_json(directory / "config.json", AGAIN, missing)
    except UserError:
        if found is None:
            raise
        saved = {}  # a loss of power may have emptied it
    about: dict[str, Any] = dict(found.about) if found else {}
    kept = (about.get("identity"), saved.get("identity"))
    identity = next((of for of in kept if isinstance(of, dict)), None)
    if identity is None:
        raise UserError(f"{directory / 'config.json'} does not say what the run's model is; {AGAIN}.")
    config, modules = (of if isinstance(of := saved.get(name), dict) else {} for name in ("config", "modules"))
    modules = {part: where for part, where in modules.items() if _is_place(where)}
    leaves = found.leaves.items() if found else ()
    sizes = [int(np.prod(leaf.shape[1:])) for name, leaf in leaves if name.startswith(PARAMS)]
    records = read_lines(directory / "metrics.jsonl", AGAIN)
    checkpoints = manifest.steps(directory / "checkpoints")
    return Stored(config, identity, about, modules, records, checkpoints, sum(sizes), running_on(directory))


def _is_place(where: Any) -> bool:
    """Whether a value is what `own_modules` writes of a class."""
    known = isinstance(where, dict) and {*where} == {"module", "name", "file"}
    return known and all(isinstance(of, str) for of in where.values())


def selected_weights(directory: Path) -> tuple[int, dict[str, Any]]:
    """The weights that a run would test if it ended now: those of its newest good checkpoint.

    They are those of the best evaluation if the protocol selects it, else the average that the optimiser keeps, if any.

    Returns:
      The step of the checkpoint, and the weights [S, ...]; see `models.variables`.

    Raises:
      UserError: no checkpoint is good.
    """
    for step in manifest.steps(directory / "checkpoints"):
        folder = directory / "checkpoints" / str(step)
        try:
            return step, _weights(_verified(folder))
        except (DamagedError, OSError, ValueError, KeyError):  # or a run that goes on has just removed it
            continue
    raise UserError(f"The run in {directory} has no good checkpoint, and so no weights; train it first.")


def _verified(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name."""
    leaves = Manifest.of(manifest.read(folder)).leaves
    stored = arrays_on_disk(folder / ITEM)
    arrays = {name: stored[name.replace("/", ".")] for name in leaves}
    for name, leaf in leaves.items():
        if Leaf.of(arrays[name]) != leaf:
            raise DamagedError(folder / ITEM, f"{name} does not have the bytes that were saved")
    return arrays


def _weights(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    def below(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

    if best := below(BEST):
        return unflatten_dict(best, sep="/")
    params = below(PARAMS)
    selected = evaluation_params(unflatten_dict(params, sep="/"), _averages(params, below(OPTIMIZER)))
    return weights(selected, unflatten_dict(below(COLLECTIONS), sep="/"))


def _averages(params: Mapping[str, Any], optimizer: Mapping[str, Any]) -> list[Any]:
    """The states of an optimiser, by the names of their arrays, that `evaluation_params` reads, in their order."""
    states, seen = [], set()
    for name in optimizer:
        parts = name.split("/")
        for n, part in enumerate(parts):
            prefix = "/".join([*parts[:n], part]) + "/"
            if part not in ("average", "z") or prefix in seen:
                continue
            seen.add(prefix)
            tree = {of: optimizer.get(prefix + of, optax.MaskedNode()) for of in params}
            if all(isinstance(leaf, optax.MaskedNode) for leaf in tree.values()):
                continue  # something else of the same name
            nested = unflatten_dict(tree, sep="/")
            b1: Any = optimizer.get("/".join([*parts[:n], "b1"]))
            if part == "average" and "/".join([*parts[:n], "count"]) in optimizer:
                states.append(EmaState(count=jnp.zeros(()), average=nested))
            elif b1 is not None:
                none: Any = None
                states.append(ScheduleFreeState(b1, none, none, none, none, nested))
    return states
