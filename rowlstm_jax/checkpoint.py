"""Checkpoints of a run. The only import of Orbax."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

SCORE = "validation_accuracy"


class Checkpoints:
    """The checkpoints in a folder, saved asynchronously; a context manager, which waits for the last save.

    The two latest are kept, and the best by validation accuracy (the later of equals).
    """

    def __init__(self, directory: Path):
        # The second latest is what remains if the latest turns out to be damaged.
        best = BestN(get_metric_fn=lambda scores: scores[SCORE], n=1, keep_checkpoints_without_metrics=False)
        policy = AnyPreservationPolicy([LatestN(n=2), best])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=lambda scores: scores[SCORE],
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
        """The step of the checkpoint with the highest validation accuracy; None where none was evaluated."""
        self._manager.wait_until_finished()
        return self._manager.best_step()

    def save(self, step: int, tree: Any, validation_accuracy: float | None) -> None:
        """Copy the tree to the host and write it in the background; the caller may donate its buffers at once.

        Args:
          step: above the latest step.
          tree: arrays, typed PRNG keys among them.
          validation_accuracy: what `best_step` compares; None for a step that was not evaluated.
        """
        scores = None if validation_accuracy is None else {SCORE: validation_accuracy}
        args = ocp.args.Composite(state=ocp.args.StandardSave(_without_keys(tree)))
        self._manager.save(step, args=args, metrics=scores)

    def restore(self, step: int, like: Any) -> Any:
        """Read a checkpoint onto the first device.

        Args:
          step: one of the kept steps.
          like: a tree of the same structure, shapes and dtypes (arrays or `jax.ShapeDtypeStruct`).

        Returns:
          The tree, its arrays bit for bit as they were saved.
        """
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
            jax.eval_shape(_without_keys, like),
        )
        restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))
        return jax.tree.map(_with_key, like, restored["state"])


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(tree: Any) -> Any:
    """Typed keys as their raw bits: Orbax can hand a typed key back as bare integers."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _with_key(like: Any, restored: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(restored) if _is_key(like) else restored
