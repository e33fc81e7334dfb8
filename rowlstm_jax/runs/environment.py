"""What a result was computed on: processor, devices, versions, the script and its git commit, as JSON values."""

import functools
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from rowlstm_jax.parallel import cores, settings
from rowlstm_jax.runs.source import is_installed

GIT_SECONDS = 2.0
PACKAGES = ("rowlstm_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def describe(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Processor, cores, devices, processes, versions (null: not installed), and the settings that change numbers."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "versions": {"python": platform.python_version(), **versions(packages)},
        "settings": settings(),
    }


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """The version of each package; null for one that is not installed."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def script_file() -> Path | None:
    """The file that Python was started with; None in a notebook, and under an installed program such as pytest."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return Path(file) if file and not is_installed(file) and Path(file).is_file() else None


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """The "commit" that is checked out, and "dirty"; None if git has no answer.

    It is dirty if a tracked file has changed, or if git does not track the script. The folder is by default that of the
    script, or in a notebook the working directory.
    """
    script = script_file()
    folder = folder or (script.resolve().parent if script else Path.cwd())
    run = functools.partial(subprocess.run, cwd=folder, capture_output=True, text=True, timeout=GIT_SECONDS)
    status = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    known = ["git", "ls-files", "--error-unmatch", str(script)]  # fails for a script that git does not track
    try:
        lines = run(status, check=True).stdout.splitlines()
        untracked = script is not None and run(known, check=False).returncode != 0
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    commits = [line.split()[-1] for line in lines if line.startswith("# branch.oid ") and "(" not in line]
    changed = not all(line.startswith("#") for line in lines)
    return {"commit": commits[0], "dirty": changed or untracked} if commits else None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
