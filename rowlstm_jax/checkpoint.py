"""Checkpoints of a run. The only import of Orbax."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import LatestN

from rowlstm_jax.config import UserError


class Checkpoints:
    """The checkpoints in a folder, saved asynchronously; a context manager, which waits for the last save.

    The two latest are kept: the second latest is what remains if the latest turns out to be damaged.
    """

    def __init__(self, directory: Path):
        options = ocp.CheckpointManagerOptions(preservation_policy=LatestN(n=2), cleanup_tmp_directories=True)
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

    def save(self, step: int, tree: Any) -> None:
        """Copy the tree to the host and write it in the background; the caller may donate its buffers at once.

        Args:
          step: not below the latest step; of that one, nothing more is saved.
          tree: arrays, typed PRNG keys among them.
        """
        if step == self.latest_step:
            return
        args = ocp.args.Composite(state=ocp.args.StandardSave(_without_keys(tree)))
        # Orbax copies from the device in a way that JAX counts as implicit.
        with jax.transfer_guard_device_to_host("allow"):
            self._manager.save(step, args=args)

    def restore(self, step: int, like: Any) -> Any:
        """Read a checkpoint, whatever devices it was saved from.

        Args:
          step: one of the kept steps.
          like: a tree of the same structure, shapes and dtypes, arrays or `jax.ShapeDtypeStruct`, whose shardings say
            where the arrays shall lie.

        Returns:
          The tree, its arrays bit for bit as they were saved.

        Raises:
          UserError: its files are damaged, or hold another tree.
        """
        target = jax.tree.map(
            lambda leaf, bits: jax.ShapeDtypeStruct(bits.shape, bits.dtype, sharding=leaf.sharding),
            like,
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


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(tree: Any) -> Any:
    """Typed keys as their raw bits: Orbax can hand a typed key back as bare integers."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _with_key(like: Any, restored: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(restored) if _is_key(like) else restored
