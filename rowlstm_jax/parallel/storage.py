"""Where the training examples lie: on every device, or on the host, which then sends the batches."""

from typing import Any, Literal

import jax
import numpy as np
import psutil
from jax.sharding import Mesh

from rowlstm_jax.data import Examples
from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel.mesh import SEED, shard
from rowlstm_jax.training import Stored

MOST_SENT = 2**26  # bytes of the batches that are sent for one call


class Storage:
    """The training examples of a run. The batches are the same wherever they lie.

    Attributes:
      on_host: whether they stay in the memory of the host, or in a memory-mapped file there.
      why: a sentence for why they stay on the host, with the sizes; empty if they do not, or if that was asked for.
    """

    def __init__(self, train: Examples, states: Any, mesh: Mesh, where: Literal["auto", "device", "host"]):
        """Decide where the examples lie, and put them on the devices unless they stay on the host.

        Args:
          train: all of them.
          states: the shapes of the states of all seeds, which the devices hold too.
          mesh: the devices.
          where: "auto" puts them on the devices if they fit there.

        Raises:
          UserError: weights and optimiser state, or these and the data, do not fit into the memory.
        """
        size = sum(array.nbytes for array in train.arrays)
        of_all_seeds = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(states))
        state, (free, copies) = of_all_seeds / mesh.shape[SEED], _free(mesh)
        fits = copies * (state + size) <= free
        self.on_host = where == "host" or (where == "auto" and not fits)
        # On a CPU, waiting for an array that is too large would hang.
        needed, what = copies * (state + size * (not self.on_host)), "" if self.on_host else " and data"
        if needed > free:
            raise UserError(
                f"Weights, optimiser state{what} take {needed / 1e9:,.1f} GB on {copies} devices, and "
                f"{free / 1e9:,.1f} GB of memory are free; choose a smaller model, for example with --hidden, or fewer "
                "--devices."
            )
        self.why = ""
        if self.on_host and where == "auto":
            self.why = (
                f"The training data take {size / 1e9:,.1f} GB for each of {copies} devices, and {free / 1e9:,.1f} GB "
                "of their memory are free: the data stay on the host, which sends each batch."
            )
        self._train, self._mesh = train, mesh
        self._on_devices = None if self.on_host else shard(tuple(train.arrays), mesh)

    def fetch(self, indices: np.ndarray) -> tuple[Stored, np.ndarray]:
        """Examples on the devices, and where those at `indices` are among them, int32 of the same shape."""
        if self._on_devices is not None:
            return self._on_devices, indices
        part = self._train[indices.ravel()]
        return shard(tuple(part.arrays), self._mesh), np.arange(indices.size, dtype=np.int32).reshape(indices.shape)

    def steps_per_dispatch(self, most: int, batch_size: int, num_seeds: int) -> int:
        """At most as many steps in a call as `most`, and as what is sent allows."""
        of_step = sum(array.nbytes // max(1, len(array)) for array in self._train.arrays) * batch_size * num_seeds
        return max(1, min(most, MOST_SENT // of_step)) if self.on_host else most


def _free(mesh: Mesh) -> tuple[float, int]:
    """The free memory in bytes, and how many devices of the mesh share it."""
    devices = mesh.local_devices
    if devices[0].platform == "cpu":
        return psutil.virtual_memory().available, len(devices)
    stats = [device.memory_stats() or {} for device in devices]
    limits = [of["bytes_limit"] - of.get("bytes_in_use", 0) for of in stats if "bytes_limit" in of]
    return (min(limits) if limits else np.inf), 1
