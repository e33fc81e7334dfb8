"""The inputs of `fuzz`: what is drawn, and how."""

import random
import shlex
import signal
from typing import NamedTuple

EXPERIMENTS = ("mnist_rows", "mnist_rows", "mnist_rows", "fashion_rows", "mnist_pixels")
SMALL = {"hidden": "4", "batch-size": "10", "steps": "9", "log-every": "3", "eval-every": "6", "checkpoint-every": "3"}
WHOLE = ("0", "-1", "1", "2", "3", "7", "20", "2147483647", "2147483648", "1e3", "x", "")
VALUES = {
    "seed": ("0", "1", "4294967295", "4294967296", "-1", "x"),
    "num-seeds": ("1", "2", "3", "0", "-1"),
    "steps": ("1", "5", "12", "0", "-3", "1e3"),
    "batch-size": ("1", "2", "10", "30", "55001", *WHOLE[:2]),
    "hidden": ("1", "4", "5", *WHOLE[:2], "x"),
    "learning-rate": ("1e-3", "1", "1e30", "0", "-1", "nan", "inf", "1e-40", "x"),
    "log-every": WHOLE,
    "eval-every": WHOLE,
    "checkpoint-every": WHOLE,
    "devices": ("1", "2", "3", "0", "1024", "1025", "None"),
    "recurrence": ("auto", "scan", "fused", "x"),
    "cell": ("lstm", "gru", "elman", "layer_norm_lstm", "mgu", "x"),
    "on-nonfinite": ("halt", "skip", "x"),
    "protocol": ("notebook", "mnist_rows", "mnist_columns", "x"),
    "compilation-cache": ("None", "odd cache", "cache[1]", "/proc/1/cache", "/dev/null"),
    "peer-timeout": ("1", "0"),
    "from-checkpoint": ("nowhere", "."),
    "coordinator": ("localhost:1", "x"),
    "data-dir": ("gs://bucket/data", "data[1]"),
    "local-files": ("nowhere",),
}
SWITCHES = (
    "memory-health",
    "no-memory-health",
    "strict-compile",
    "profile",
    "resume",
    "reset-optimizer",
    "distributed",
)
FOLDERS = (
    "run",
    "a b",
    "a%20b",
    "ü",
    "run[1]",
    "x*",
    "q?",
    "a{b}",
    "back\\slash",
    "gs:",
    "gs://x/y",
    "-run",
    "a#b",
    "a:b",
)
FOLDERS += (
    "a'b",
    'a"b',
    "$HOME",
    "~",
    "~nobody/x",
    "new\nline",
    "\x1b[31mred",
    "\u202eevil",
    "x" * 256,
    "",
    ".",
    "a/../b",
    "a;b",
)
ENVIRONMENTS = {
    "JAX_ENABLE_X64": ("1", "0", "x"),
    "JAX_DISABLE_JIT": ("1", "0"),
    "JAX_PLATFORMS": ("cpu", "cuda", "nonsense", ""),
    "JAX_DEFAULT_PRNG_IMPL": ("rbg", "x"),
    "JAX_THREEFRY_PARTITIONABLE": ("0",),
    "JAX_DEBUG_NANS": ("1",),
    "JAX_LOG_COMPILES": ("1",),
    "JAX_TRACEBACK_FILTERING": ("off", "x"),
    "JAX_NUMPY_RANK_PROMOTION": ("raise", "x"),
    "JAX_DEFAULT_MATMUL_PRECISION": ("highest", "x"),
    "JAX_COMPILATION_CACHE_DIR": ("cache", "cache[1]", ""),
    "JAX_NUM_CPU_DEVICES": ("3", "0", "x"),
    "JAX_TRANSFER_GUARD": ("disallow",),
    "XLA_FLAGS": (
        "--xla_cpu_enable_fast_math=true",
        "--nonsense",
        "nonsense",
        "--xla_force_host_platform_device_count=3",
    ),
    "MPLBACKEND": ("nonsense", "module://nowhere"),
    "PYTHONIOENCODING": ("ascii", "latin-1"),
    "PYTHONWARNINGS": ("error", "ignore"),
    "PYTHONOPTIMIZE": ("2",),
    "COLUMNS": ("1", "x", "0"),
    "TERM": ("dumb", ""),
    "LANG": ("C", "tr_TR.UTF-8"),
    "HOME": ("", "/dev/null"),
    "XDG_CACHE_HOME": ("", "relative", "/dev/null"),
    "SLURM_CPUS_PER_TASK": ("1", "x"),
    "OMPI_COMM_WORLD_LOCAL_SIZE": ("2",),
    "NPROC": ("1", "x"),
    "TMPDIR": ("/nonexistent",),
}
SCREENS = ("", "", "", "", "| head -3", "> /dev/full", "2>&-", ">&- 2>&-", "2>&1 | true")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU, signal.SIGKILL)


class Input(NamedTuple):
    """One start: words of the command line, the environment, the screen and a signal after some seconds."""

    words: list[str]
    environment: dict[str, str]
    screen: str = ""
    signum: int = 0
    after: float = 0.0


def draw_input(draw: random.Random) -> Input:
    """An input, mostly a small run that works."""
    flags = dict(SMALL)
    for name in draw.sample(list(VALUES), draw.choice((0, 0, 1, 1, 2, 3))):
        flags[name] = draw.choice(VALUES[name])
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    words += [f"--{name}" for name in draw.sample(SWITCHES, draw.choice((0, 0, 0, 1, 2)))]
    if draw.random() < 0.9:
        words += ["--run-dir", draw.choice(FOLDERS) if draw.random() < 0.5 else "run"]
    environment = {
        name: draw.choice(ENVIRONMENTS[name]) for name in draw.sample(list(ENVIRONMENTS), draw.choice((0, 0, 1, 1, 2)))
    }
    screen, signum = draw.choice(SCREENS), draw.choice(SIGNALS) if draw.random() < 0.25 else 0
    if signum:
        words += ["--steps", "100000"]
        screen = "" if "|" in screen else screen  # a signal is for one process
    experiment = "mnist_rows" if signum else draw.choice(EXPERIMENTS)  # it has no schedule over --steps
    return Input([experiment, *words], environment, screen, signum, draw.uniform(0, 4))


def describe(given: Input) -> str:
    """An input as a command line."""
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in given.environment.items())
    signum = f" ({signal.Signals(given.signum).name} after {given.after:.1f} s)" if given.signum else ""
    return f"{settings} python -m experiments.{shlex.join(given.words)} {given.screen}{signum}"
