"""What a result was computed on: processor, devices and versions, as JSON values."""

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from rowlstm_jax.parallel import cores

PACKAGES = ("rowlstm_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def describe(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Processor, cores, devices, processes and versions; null for a package that is not installed."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "versions": {"python": platform.python_version(), **versions(packages)},
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


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
