"""The devices of a run, CPU cores, GPUs or TPUs, in one process or many: one mesh, and what processes agree on."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rowlstm_jax.config import RunConfig, StartConfig, absolute
from rowlstm_jax.errors import UserError

T = TypeVar("T")

SEED, BATCH = "seed", "batch"


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(config: StartConfig) -> None:
    """Set JAX up before it starts: where compiled programs are kept, and a device for every CPU core.

    XLA computes the small products of a recurrence no faster on two cores than on one; a device for each core uses all,
    on the code path of several GPUs.
    """
    folder = config.compilation_cache
    jax.config.update("jax_compilation_cache_dir", str(absolute(folder)) if folder else None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # every program, however small
    # XLA splits long sums over its threads: with one a device, and not one a core, the bits do not depend on the cores.
    os.environ["NPROC"] = str(_devices_used(config))
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", config.devices or cores())


def _devices_used(config: StartConfig) -> int:
    """The devices of this process that `make_mesh` will choose on a CPU, as far as that can be known before."""
    available = config.devices or cores()
    if not isinstance(config, RunConfig) or config.distributed:
        return available
    each, _ = _split(range(available, 0, -1), 1, config.batch_size, config.num_seeds) or (available, 1)
    return each


def make_mesh(batch_size: int, devices: int | None = None, num_seeds: int = 1) -> Mesh:
    """A mesh with the axes "seed" and "batch" over the devices of all processes: seeds are split first, then batches.

    Args:
      batch_size: is split evenly along "batch".
      devices: of each process; None takes the most that can be used.
      num_seeds: are split evenly along "seed".

    Raises:
      UserError: there are not so many devices, or seeds and batch can't be split over them.
    """
    processes = jax.process_count()
    available = min(len(jax.local_devices(process)) for process in range(processes))
    if devices is not None and devices > available:
        raise UserError(f"--devices is {devices}, and there are {available} ({jax.default_backend()}); ask for fewer.")
    candidates = range(available, 0, -1) if devices is None else [devices]
    if found := _split(candidates, processes, batch_size, num_seeds):
        each, seeds = found
        chosen = [device for process in range(processes) for device in jax.local_devices(process)[:each]]
        return Mesh(np.array(chosen).reshape(seeds, -1), (SEED, BATCH))
    used = devices or 1
    split = f"{used} device{'s' * (used > 1)}" + f" in each of {processes} processes" * (processes > 1)
    several = f" and {num_seeds} seeds" if num_seeds > 1 else ""
    raise UserError(f"A batch of {batch_size}{several} can't be split over {split}; change --batch-size or --devices.")


def _split(candidates: Iterable[int], processes: int, batch_size: int, num_seeds: int) -> tuple[int, int] | None:
    """The first number of devices a process that seeds and batch can be split over, and the parts of the seeds."""
    for each in candidates:
        total = each * processes
        for seeds in range(min(total, num_seeds), 0, -1):
            if total % seeds == num_seeds % seeds == batch_size % (total // seeds) == 0:
                return each, seeds
    return None


def shard(tree: Any, mesh: Mesh, spec: PartitionSpec = PartitionSpec()) -> Any:  # noqa: B008, it is immutable
    """Put host arrays, which every process holds whole, onto the mesh; each process feeds the parts of its devices."""
    sharding = NamedSharding(mesh, spec)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    with jax.transfer_guard_host_to_device("allow"):  # JAX counts this one as implicit
        return jax.tree.map(lambda x: jax.make_array_from_callback(np.shape(x), sharding, lambda part: x[part]), tree)


def fetch(tree: Any) -> Any:
    """The arrays of a tree as NumPy's, whole in every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    with jax.transfer_guard("allow"):
        return multihost_utils.process_allgather(tree, tiled=True)


def is_first_process() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def from_first_process(function: Callable[[], T]) -> T:
    """Call a function in the first process; its result, a JSON value, or its error comes in all of them."""
    if jax.process_count() == 1:
        return function()
    outcome: dict[str, Any] = {}
    failure = None
    if is_first_process():
        try:
            outcome["result"] = function()
        except Exception as error:  # the others wait: whatever it is, they must hear of it
            failure, outcome["error"] = error, str(error)
    text = np.frombuffer(json.dumps(outcome).encode(), np.uint8)
    with jax.transfer_guard("allow"):
        length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
        text = multihost_utils.broadcast_one_to_all(np.resize(text, length))
    outcome = json.loads(np.asarray(text, np.uint8).tobytes())
    if failure is not None:
        raise failure
    if "error" in outcome:
        raise UserError(outcome["error"])
    return outcome["result"]


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """If the block fails in one process, as where a file is missing on one machine, it does in all."""
    failure = None
    try:
        yield
    except Exception as error:  # the others wait: whatever it is, they must hear of it
        failure = error
    failed = largest_of_all(failure is not None)
    if failure is not None:
        raise failure
    if failed:
        raise UserError("Another process could not go on; its own message says why.")


def largest_of_all(value: int) -> int:
    """The largest value that any process gives."""
    if jax.process_count() == 1:
        return value
    with jax.transfer_guard("allow"):
        return int(np.max(multihost_utils.process_allgather(np.int32(value))))
