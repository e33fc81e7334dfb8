"""Checkpoints of a run, each verified by the manifest beside it. The only import of Orbax."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from flax.traverse_util import flatten_dict, unflatten_dict
from orbax.checkpoint.checkpoint_managers import LatestN

from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import fetch, from_first_process, is_first_process, largest_of_all
from rowlstm_jax.runs import console
from rowlstm_jax.runs.files import SAVED, require_room, sync_folder, sync_tree
from rowlstm_jax.runs.manifest import DamagedError, Leaf, Manifest, differences, named, read, set_aside, steps

KEPT = 2  # checkpoints
ITEM = "state"  # the folder of a checkpoint that holds its arrays


class Checkpoints:
    """Saves checkpoints into a folder in the background; a context manager, which waits for the last save.

    It keeps the two latest, in case the latest is damaged. Orbax writes each into a temporary folder; the next start
    removes what a killed process left.
    """

    def __init__(self, directory: Path, about: Mapping[str, Any]):
        """Open the folder, or make it; `about` is part of every `Manifest.about`. Raises a UserError if it can't."""
        console.hide_errors_of_saves()
        self._directory, self._about, self._awaited = directory, about, None
        options = ocp.CheckpointManagerOptions(
            preservation_policy=LatestN(n=KEPT),
            cleanup_tmp_directories=True,
            async_options=ocp.options.AsyncOptions(
                post_finalization_callback=self._write_manifest,
                create_directories_asynchronously=False,  # on a read-only disk, that waits for 20 minutes
            ),
        )
        with self._failing_clearly():
            self._manager = ocp.CheckpointManager(directory, options=options)

    def __enter__(self) -> "Checkpoints":
        """The folder is open."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the save under way and close the folder; if the block failed, a failure here is a warning."""
        try:
            self.wait()
            with self._failing_clearly():
                self._manager.close()
        except UserError as error:
            if kind is None:
                raise
            console.warn(str(error))

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None where there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: Any, **about: Any) -> None:
        """Copy a tree of arrays and PRNG keys to the host and write it in the background, unless `step` is the latest.

        The caller may donate its buffers at once. `about` is added to `Manifest.about`.

        Raises:
          UserError: this checkpoint, or the one before it, can't be written.
          RuntimeError: there is a later one.
        """
        if step == self.latest_step:
            return
        self.wait()
        # From several devices Orbax would save slices, and compile a program for each.
        arrays = {name: np.array(array) for name, array in fetch(named(tree)).items()}
        leaves = {name: Leaf.of(array) for name, array in arrays.items()}
        self._manifest = self._awaited = Manifest(step, leaves, {**self._about, **about})
        args = ocp.args.Composite(**{ITEM: ocp.args.StandardSave(unflatten_dict(arrays, sep="/"))})
        with self._failing_clearly():
            # On a full disk Orbax and TensorStore fail with long messages, so ask first.
            from_first_process(lambda: require_room(self._directory, sum(array.nbytes for array in arrays.values())))
            if not self._manager.save(step, args=args):
                raise RuntimeError(f"{self._directory} holds a later step than {step}")

    def wait(self) -> None:
        """Wait for the save under way, until it is on the disk. Raises a UserError if it failed."""
        with self._failing_clearly():
            self._manager.wait_until_finished()
            manifest, self._awaited = self._awaited, None
            if manifest is None or not is_first_process():
                return
            saved = self._directory / str(manifest.step)
            if self._directory.is_dir() and not saved.is_dir():  # Orbax drops a save when another process is lost
                raise FileNotFoundError(f"that of step {manifest.step} is not there after its save")
            with contextlib.suppress(FileNotFoundError):  # the run's folder is gone, as the next record will say
                sync_tree(saved)  # Orbax adds a file after the manifest
                sync_folder(self._directory)
        with contextlib.suppress(OSError):
            (self._directory.parent / SAVED).touch()  # a later start that finds no checkpoint looks for it

    def _write_manifest(self) -> None:
        """Called by Orbax's thread before the folder gets its name, even if the save has failed in the main thread.

        A manifest certifies a checkpoint, so what was written is read first.
        """
        if is_first_process():
            (folder,) = self._directory.glob(f"{self._manifest.step}.*tmp*")
            sync_tree(folder)
            arrays = arrays_on_disk(folder / ITEM)
            for name, leaf in self._manifest.leaves.items():
                if Leaf.of(arrays[name.replace("/", ".")]) != leaf:
                    raise OSError(f"{name} was not written as it is")
            self._manifest.write(folder, ITEM)

    @contextlib.contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, OSError, ValueError) as error:  # TensorStore's errors of the file system are ValueErrors
            step = f" of step {self._awaited.step}" if self._awaited is not None else "s"
            self._awaited = None
            raise UserError(
                f"The checkpoint{step} can't be saved in {self._directory} ({_first_line(error)}); what was saved "
                "before is untouched: put that right, and continue with --resume."
            ) from error


class Restored(NamedTuple):
    """A restored checkpoint: its step, its arrays, and its `Manifest.about`."""

    step: int
    tree: Any
    about: Mapping[str, Any]


def restore(directory: Path, choose: Callable[[Manifest], Any], *, rename: bool = True) -> Restored | None:
    """Read the newest good checkpoint of a folder, whatever devices it was saved from.

    Damaged checkpoints are skipped with a warning and renamed; nothing is deleted.

    Args:
      directory: of checkpoints.
      choose: gets the manifest and returns what to read: a tree of arrays or `jax.ShapeDtypeStruct` with shardings, all
        of it saved with the same shapes and dtypes. It may raise a UserError to refuse the checkpoint.
      rename: whether damaged checkpoints are renamed.

    Returns:
      The checkpoint with every bit as it was saved; None if the folder has none.

    Raises:
      UserError: all checkpoints are damaged, one is of a newer version, or `choose` raised it.
      ValueError: `choose` returned arrays that were not saved, or have other shapes or dtypes.
    """
    damaged: dict[int, DamagedError] = {}
    good: dict[int, Manifest] = {}
    for step in from_first_process(lambda: steps(directory)):
        try:
            good[step] = _examine(directory / str(step))
        except DamagedError as error:
            damaged[step] = error
    for step, manifest in good.items():
        try:
            tree = _read(directory / str(step), manifest, choose(manifest))
        except DamagedError as error:
            damaged[step] = error
            continue
        for bad in sorted(damaged, reverse=True):
            if sum(other > bad for other in good if other not in damaged) >= KEPT:
                continue  # a kill came while Orbax deleted it; Orbax will delete it again
            move = functools.partial(set_aside, directory / str(bad), "damaged")
            moved = f" and is now {from_first_process(move)}" if rename else ""
            console.warn(
                f"The checkpoint of step {bad} is damaged ({damaged[bad]}){moved}; that of step {step} is good."
            )
        return Restored(step, tree, manifest.about)
    if damaged:
        listed = "\n".join(f"  step {step}: {damaged[step]}" for step in sorted(damaged, reverse=True))
        raise UserError(
            f"No checkpoint in {directory} is good; put back what was lost, or start a new run in another --run-dir.\n"
            f"{listed}"
        ) from list(damaged.values())[-1]
    return None


def _examine(folder: Path) -> Manifest:
    """Read and verify a manifest in the first process, for all processes."""

    def examine() -> dict[str, Any]:
        try:
            return {"content": read(folder)}
        except DamagedError as error:
            return {"damage": str(error)}

    outcome = from_first_process(examine)
    if "damage" in outcome:
        raise DamagedError(outcome["damage"])
    return Manifest.of(outcome["content"])


def _read(folder: Path, manifest: Manifest, like: Any) -> Any:
    """The arrays of a checkpoint in a tree like this one, each verified by its SHA-256."""
    wanted = named(like)
    if table := differences({name: leaf for name, leaf in manifest.leaves.items() if name in wanted}, wanted):
        raise ValueError(f"choose returned arrays that {folder} does not have:\n{table}")
    arrays, failure = {}, None
    try:
        arrays = _load(folder / ITEM, wanted)
    except (KeyError, OSError, TypeError, ValueError) as error:
        failure = error
    if largest_of_all(failure is not None):  # or the other processes would wait in `fetch` for this one
        reason = _first_line(failure) if failure else "by another process"
        raise DamagedError(folder / ITEM, f"can't be read ({reason})") from failure
    for name, array in fetch(arrays).items():
        if Leaf.of(array) != manifest.leaves[name]:
            raise DamagedError(folder / ITEM, f"{name} does not have the bytes that were saved")
    leaves = [
        jax.random.wrap_key_data(arrays[name]) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else arrays[name]
        for name, leaf in zip(wanted, jax.tree.leaves(like), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _load(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The arrays of these names, shapes, dtypes and shardings."""
    item = unflatten_dict(wanted, sep="/")
    how = jax.tree.map(lambda x: ocp.ArrayRestoreArgs(sharding=x.sharding, global_shape=x.shape, dtype=x.dtype), item)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        args = ocp.args.PyTreeRestore(item=item, restore_args=how, partial_restore=True)
        arrays: Any = flatten_dict(checkpointer.restore(folder, args=args), sep="/")
    return arrays


def arrays_on_disk(item: Path) -> dict[str, np.ndarray]:
    """The arrays that the files of a checkpoint hold, by name with dots for slashes, whatever devices saved them."""
    files = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{item}/"}}
    keys = [key.decode() for key in tensorstore.KvStore.open(files).result().list().result()]
    names = [key.removesuffix("/.zarray") for key in keys if key.endswith("/.zarray")]
    specs = {name: {"driver": "zarr", "kvstore": {**files, "path": f"{name}/"}} for name in names}
    return {name: tensorstore.open(spec).result().read().result() for name, spec in specs.items()}


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
