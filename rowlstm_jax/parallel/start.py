"""How a command, a script or a notebook sets JAX up, once, before JAX starts."""

import os
import sys

import jax

from rowlstm_jax.config import RunConfig, StartConfig, absolute
from rowlstm_jax.parallel.cache import use_cache
from rowlstm_jax.parallel.mesh import best_count, cores, make_mesh
from rowlstm_jax.parallel.processes import all_or_none, join
from rowlstm_jax.parallel.toolchain import devices, require_right_numbers, require_settings


def start(config: StartConfig) -> None:
    """Set JAX up: where compiled programs are kept, a device for every CPU core, and the other processes.

    XLA computes the small products of a recurrence no faster on two cores than on one. A device for each core uses all
    of them, on the code path of several GPUs.

    The command line and `RunFolder` call it. Call it yourself where JAX computes something before. When JAX has
    started already, its devices stay as they are.

    Raises:
      UserError: the other processes can't be found, the batch can't be split over the devices, a setting of JAX can't
        be used, or this release of jaxlib is known to compute wrong numbers.
    """
    require_right_numbers(_has_started())
    require_settings(_has_started())
    use_cache(config.compilation_cache and absolute(config.compilation_cache))
    _make_devices(config)
    if isinstance(config, RunConfig) and config.distributed and not jax.distributed.is_initialized():
        join(config)
    devices()
    if isinstance(config, RunConfig):
        with all_or_none():  # a batch that can't be split is refused before the data are read
            make_mesh(config.batch_size, config.devices, config.num_seeds)


def _make_devices(config: StartConfig) -> None:
    # XLA splits long sums over its threads. With one thread a device, not one a core, bits do not depend on the cores.
    threads, flags = _devices_used(config), os.environ.get("XLA_FLAGS", "")
    if _has_started():
        now, devices = int(os.environ.get("NPROC", cores())), len(jax.local_devices())
        if jax.default_backend() == "cpu" and (threads != now or threads > devices):
            print(
                f"warning: JAX has started in this process before, with {devices} devices and {now} threads, and this "
                f"run would use {threads} of each. It goes on, and its bits may differ from those of a run in a "
                "process of its own; call rowlstm_jax.start(config) before anything else uses JAX.",
                file=sys.stderr,
            )
        return
    os.environ["NPROC"] = str(threads)
    if isinstance(config, RunConfig) and config.profile and "xprof_traceme" not in flags:
        # Without this, a trace on a CPU names no operations.
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_enable_xprof_traceme=true"
    if "xla_force_host_platform_device_count" not in flags:
        jax.config.update("jax_num_cpu_devices", config.devices or cores())


def _has_started() -> bool:
    """Whether JAX has its devices; then it refuses to change their number."""
    number: int = jax.config.jax_num_cpu_devices  # pyright: ignore[reportAttributeAccessIssue]
    try:
        jax.config.update("jax_num_cpu_devices", number + 1)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", number)
    return False


def _devices_used(config: StartConfig) -> int:
    """The devices of this process that `make_mesh` will choose on a CPU, as far as that can be known before."""
    available = config.devices or cores()
    if not isinstance(config, RunConfig) or config.distributed:
        return available
    return config.devices or best_count(available, 1, config.batch_size, config.num_seeds)
