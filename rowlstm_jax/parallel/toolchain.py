"""Which releases of XLA compute wrong numbers, and the settings of JAX and XLA that change numbers."""

import enum
import os
import subprocess
import sys
from typing import Any

import jax
import jaxlib.utils
import jaxlib.version

from rowlstm_jax.errors import UserError

# They fuse reductions into YNNPACK wrongly on a CPU: wrong sums, crashes and hangs (jax-ml/jax 39103, 39257, 40412).
KNOWN_BAD = ("0.10.2", "0.11.0")
ALLOW = "ROWLSTM_ALLOW_BAD_JAXLIB"
FUSION = "--xla_cpu_experimental_ynn_fusion_type"

ENVIRONMENT = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
UNRELATED_FLAGS = ("--xla_cpu_enable_xprof_traceme", "--xla_force_host_platform_device_count", "--xla_dump")
# Values of jax.config that change a program, its rounding or its random numbers, in any release from 0.8 on.
SETTINGS = (
    "eager_constant_folding",
    "jax_accurate_erf_inv",
    "jax_allow_f16_reductions",
    "jax_compiler_enable_remat_pass",
    "jax_custom_jvp3",
    "jax_custom_vjp3",
    "jax_default_dtype_bits",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_enable_custom_prng",
    "jax_enable_x64",
    "jax_exec_time_optimization_effort",
    "jax_explicit_x64_dtypes",
    "jax_high_dynamic_range_gumbel",
    "jax_memory_fitting_effort",
    "jax_memory_fitting_level",
    "jax_numpy_dtype_promotion",
    "jax_optimization_level",
    "jax_random_seed_offset",
    "jax_remat3",
    "jax_scan3",
    "jax_softmax_custom_jvp",
    "jax_threefry_gpu_kernel_lowering",
    "jax_threefry_partitionable",
    "jax_use_direct_linearize",
    "jax_use_hlo_logistic_lowering",
    "jax_use_shardy_partitioner",
)


# Settings with which nothing here works, and why.
UNUSABLE = {
    "jax_enable_x64": "this project computes in float32",
    "jax_disable_jit": "a run is compiled",
    "jax_no_execution": "a run computes",
    "jax_no_tracing": "a run is compiled",
    "jax_scan3": "this release of JAX can't compile a run with it",
    "jax_compilation_cache_check_contents": "compiled programs are kept",
    "jax_debug_leaked_clients_on_clear_backends": "it ends a finished process with an error",
    "jax_transfer_guard": "a run moves its data to the devices",
    "jax_transfer_guard_host_to_device": "a run moves its data to the devices",
    "jax_transfer_guard_device_to_host": "a run fetches its results",
    "jax_transfer_guard_device_to_device": "a run moves arrays between devices",
}


def require_right_numbers(has_started: bool) -> None:
    """Refuse a release of jaxlib that computes wrong numbers, or take what is wrong out of it.

    With `ROWLSTM_ALLOW_BAD_JAXLIB=1` in the environment, such a release goes on with reductions taken out of YNNPACK.

    Args:
      has_started: whether JAX has started in this process; XLA has then read its flags.

    Raises:
      UserError: the release is known to be wrong.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.version.__version__ not in KNOWN_BAD or (FUSION in flags and os.environ.get(ALLOW)):
        return
    wrong = f"jaxlib {jaxlib.version.__version__} computes wrong sums on CPUs (jax-ml/jax issues 39103 and 39257)"
    if not os.environ.get(ALLOW):
        raise UserError(
            f"{wrong}; install another release, for example with: pip install 'jax!={',!='.join(KNOWN_BAD)}'. To go on "
            f"with this one, its reductions computed another way, set {ALLOW}=1."
        )
    if has_started:
        raise UserError(
            f"{wrong}, and JAX has started without the flag that mends it; set XLA_FLAGS={FUSION}=-reduce before."
        )
    os.environ["XLA_FLAGS"] = f"{flags} {FUSION}=-reduce".strip()


def require_settings(has_started: bool) -> None:
    """Refuse settings with which nothing here works, and fix those on which random numbers depend.

    Args:
      has_started: whether JAX has started in this process; XLA has then read its flags.

    Raises:
      UserError: JAX is told to compute in float64 or without jit, or XLA does not know one of its flags.
    """
    for name, why in UNUSABLE.items():
        if str(jax.config.values.get(name)).startswith(("True", "disallow")):
            raise UserError(f"{name.upper()} is {jax.config.values[name]}, but {why}; unset it.")
    jax.config.update("jax_default_prng_impl", "threefry2x32")
    jax.config.update("jax_threefry_partitionable", True)
    if not has_started and (flags := os.environ.get("XLA_FLAGS")):
        # XLA ends the process at a flag that it does not know, so another one tries.
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", "import jax; jax.devices()"]
        tried = subprocess.run(command, env=environment, capture_output=True, text=True)
        if tried.returncode:
            reason = (tried.stderr.strip().splitlines() or ["it said nothing"])[-1].rpartition("] ")[2]
            raise UserError(f"XLA does not start with XLA_FLAGS={flags} ({reason}); correct the flags, or unset them.")


def devices() -> list[Any]:
    """The devices of JAX, which starts if it has not.

    Raises:
      UserError: there is no such platform as the environment asks for.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        chosen = next((n for n in ("jax_platforms", "jax_platform_name") if jax.config.values.get(n)), "jax_platforms")
        reason = (str(error) or "there is no such device here").splitlines()[0].rstrip(".")
        raise UserError(
            f"JAX can't start with {chosen.upper()}={jax.config.values[chosen]} ({reason}); correct it, or unset it."
        ) from error


def hide_false_errors() -> None:
    """Keep messages that are no errors off the terminal: some releases write two for every program from the cache.

    jaxlib 0.8.2 to 0.10.1 compile for a made-up feature, "prefer-no-gather", and then miss it on the machine.
    `TF_CPP_MIN_LOG_LEVEL`, where it is set to something else than JAX's own 1, decides.
    """
    if (0, 8, 2) <= jaxlib.version.__version_info__ <= (0, 10, 1) and os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "1":
        jaxlib.utils.absl_set_min_log_level(3)


def settings() -> dict[str, Any]:
    """The environment variables and the values of jax.config that can change numbers, as JSON values."""
    found = {name: os.environ.get(name) for name in ENVIRONMENT}
    flags = (found["XLA_FLAGS"] or "").split()
    found["XLA_FLAGS"] = " ".join(flag for flag in flags if not flag.startswith(UNRELATED_FLAGS)) or None
    values = {name: jax.config.values[name] for name in SETTINGS if name in jax.config.values}
    return found | {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    value = value.value if isinstance(value, enum.Enum) else value
    return value if isinstance(value, str | int | float | bool | None) else str(value)
