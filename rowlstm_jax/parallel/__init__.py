"""A training step for S seeds on D devices in P processes, compiled once.

`start` sets JAX up, `make_mesh` arranges the devices and `Seeds` lays the seeds over them. `CompiledSteps` holds every
compiled function of a run: jit, donation and sharding are put on here and nowhere else. This floor uses `training` and
the floors below it, and `config` for the flags that say how to compute.
"""

from rowlstm_jax.parallel.compiled import CompiledSteps
from rowlstm_jax.parallel.evaluate import Evaluation
from rowlstm_jax.parallel.mesh import BATCH, ROWS, best_count, cores, make_mesh, shard, why_cores
from rowlstm_jax.parallel.processes import (
    all_or_none,
    ending_together,
    fetch,
    from_first_process,
    is_first_process,
    largest_of_all,
)
from rowlstm_jax.parallel.recompilation import CompilationWatch, watch_compilation
from rowlstm_jax.parallel.seeds import Seeds
from rowlstm_jax.parallel.start import start
from rowlstm_jax.parallel.toolchain import settings

__all__ = [
    "BATCH",
    "ROWS",
    "CompilationWatch",
    "CompiledSteps",
    "Evaluation",
    "Seeds",
    "all_or_none",
    "best_count",
    "cores",
    "ending_together",
    "fetch",
    "from_first_process",
    "is_first_process",
    "largest_of_all",
    "make_mesh",
    "settings",
    "shard",
    "start",
    "watch_compilation",
    "why_cores",
]
