"""Checkpoints of a run. The only import of Orbax."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from rowlstm_jax.config import UserError

SCORE = "validation_accuracy"


class Checkpoints:
    """The checkpoints in a folder, saved asynchronously; a context manager, which waits for the last save.

    The two latest are kept, and the best by validation accuracy (the later of equals).
    """

    def __init__(self, directory: Path):
        # The second latest is what remains if the latest turns out to be damaged.
        policy = AnyPreservationPolicy([LatestN(n=2), BestN(get_metric_fn=_score, n=1)])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=_score,
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(directory, options=options)

    def __enter__(self) -> "Checkpoints":
        """Nothing to do: the folder is open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the save under way and close the folder."""
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None where there is none."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """The step of the checkpoint with the highest validation accuracy; None where there is no checkpoint."""
        self._manager.wait_until_finished()
        return self._manager.best_step()

    def save(self, step: int, tree: Any, validation_accuracy: float | None) -> None:
        """Copy the tree to the host and write it in the background; the caller may donate its buffers at once.

        Args:
          step: not below the latest step; of that one, nothing more is saved.
          tree: arrays, typed PRNG keys among them.
          validation_accuracy: what `best_step` compares; None, for a step that was not evaluated, is below all others.
        """
        if step == self.latest_step:
            return
        scores = {} if validation_accuracy is None else {SCORE: validation_accuracy}
        args = ocp.args.Composite(state=ocp.args.StandardSave(_without_keys(tree)))
        # Orbax copies from the device in a way that JAX counts as implicit.
        with jax.transfer_guard_device_to_host("allow"):
            self._manager.save(step, args=args, metrics=scores)

    def restore(self, step: int, like: Any, sharding: jax.sharding.Sharding) -> Any:
        """Read a checkpoint, whatever devices it was saved from.

        Args:
          step: one of the kept steps.
          like: a tree of the same structure, shapes and dtypes (arrays or `jax.ShapeDtypeStruct`).
          sharding: where its arrays shall lie.

        Returns:
          The tree, its arrays bit for bit as they were saved.

        Raises:
          UserError: its files are damaged, or hold another tree.
        """
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            jax.eval_shape(_without_keys, like),
        )
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))
        except (KeyError, OSError, TypeError, ValueError) as error:
            folder = self._manager.directory / str(step)
            raise UserError(
                f"The checkpoint {folder} can't be read ({str(error).splitlines()[0]}); "
                "move it away to go on from the one before."
            ) from error
        return jax.tree.map(_with_key, like, restored["state"])


def _score(scores: dict[str, float]) -> float:
    return scores.get(SCORE, -1.0)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(tree: Any) -> Any:
    """Typed keys as their raw bits: Orbax can hand a typed key back as bare integers."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _with_key(like: Any, restored: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(restored) if _is_key(like) else restored
