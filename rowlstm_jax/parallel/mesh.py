"""The devices of a run, CPU cores, GPUs or TPUs, of one process or many, as one mesh."""

import os
import re
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rowlstm_jax.errors import UserError

SEED, BATCH = "seed", "batch"
ROWS = 10  # of a batch, the fewest for a CPU device


def cores() -> int:
    """The CPU cores that this process may use: those that it is bound to, or else its share of the node."""
    return _cores()[0]


def why_cores() -> str:
    """A sentence for why there are fewer cores than the node has, if a cluster says so; else empty."""
    return _cores()[1]


def _cores() -> tuple[int, str]:
    node = os.cpu_count() or 1
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else node
    if bound < node:
        return bound, ""
    shares = (  # of a cluster that binds no process to cores
        ("SLURM_CPUS_PER_TASK", _number("SLURM_CPUS_PER_TASK")),
        ("SLURM_CPUS_ON_NODE", _number("SLURM_CPUS_ON_NODE") // max(1, _number("SLURM_STEP_TASKS_PER_NODE"))),
        ("OMPI_COMM_WORLD_LOCAL_SIZE", node // max(1, _number("OMPI_COMM_WORLD_LOCAL_SIZE"))),
    )
    for name, share in shares:
        if name in os.environ and 0 < share < node:
            return share, f"This process has {share} of the node's {node} cores, as {name} says."
    return node, ""


def _number(name: str) -> int:
    """The first number of an environment variable: SLURM writes 2(x3),1 for four nodes; 0 without one."""
    found = re.match("[0-9]{1,6}", os.environ.get(name, ""))
    return int(found[0]) if found else 0


def make_mesh(batch_size: int, devices: int | None = None, num_seeds: int = 1) -> Mesh:
    """A mesh with the axes "seed" and "batch" over the devices of all processes. Seeds are split first, then batches.

    Args:
      batch_size: examples, split evenly along "batch".
      devices: number of devices of each process; None takes what `best_count` chooses.
      num_seeds: seeds, split evenly along "seed".

    Raises:
      UserError: there are fewer devices, or seeds and batch can't be split evenly over them.
    """
    processes = jax.process_count()
    available = min(len(jax.local_devices(process)) for process in range(processes))
    if devices is not None and devices > available:
        raise UserError(f"--devices is {devices}, and there are {available} ({jax.default_backend()}); ask for fewer.")
    if devices is None:
        devices = best_count(available, processes, batch_size, num_seeds, jax.default_backend())
    if found := choose_split([devices], processes, batch_size, num_seeds):
        each, seeds = found
        chosen = [device for process in range(processes) for device in jax.local_devices(process)[:each]]
        return Mesh(np.array(chosen).reshape(seeds, -1), (SEED, BATCH))
    split = f"{devices} device{'s' * (devices > 1)}" + f" in each of {processes} processes" * (processes > 1)
    several = f" and {num_seeds} seeds" if num_seeds > 1 else ""
    raise UserError(f"A batch of {batch_size}{several} can't be split over {split}; change --batch-size or --devices.")


def best_count(available: int, processes: int, batch_size: int, num_seeds: int, platform: str = "cpu") -> int:
    """The number of devices of each process that a run takes: the most that divide seeds and batch.

    On a CPU each must have `ROWS` rows of a batch or more. With fewer, a step is little work, and adding up the
    gradients of more devices costs more than it saves: `experiments.benchmarks.devices` measures it.

    Args:
      available: devices of a process.
      processes: number of processes.
      batch_size: see `make_mesh`.
      num_seeds: see `make_mesh`.
      platform: of the devices.
    """
    for each in range(available, 0, -1):
        if found := choose_split([each], processes, batch_size, num_seeds):
            rows = batch_size * found[1] // (each * processes)
            if rows >= ROWS or platform != "cpu":
                return each
    return 1


def choose_split(candidates: Iterable[int], processes: int, batch_size: int, num_seeds: int) -> tuple[int, int] | None:
    """The first candidate over which seeds and batch can be split, and the number of parts of the seeds; or None.

    Args:
      candidates: numbers of devices of each process.
      processes: number of processes.
      batch_size: see `make_mesh`.
      num_seeds: see `make_mesh`.
    """
    for each in candidates:
        total = each * processes
        for seeds in range(min(total, num_seeds), 0, -1):
            if total % seeds == num_seeds % seeds == batch_size % (total // seeds) == 0:
                return each, seeds
    return None


def shard(tree: Any, mesh: Mesh, spec: PartitionSpec = PartitionSpec()) -> Any:  # noqa: B008, it is immutable
    """Put host arrays onto the mesh. Every process has the whole arrays, and places the parts of its own devices."""
    sharding = NamedSharding(mesh, spec)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    with jax.transfer_guard_host_to_device("allow"):  # JAX counts this one as implicit
        return jax.tree.map(lambda x: jax.make_array_from_callback(np.shape(x), sharding, lambda part: x[part]), tree)
