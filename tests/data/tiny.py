"""A small data set in place of a real one, and ways to damage its files."""

import dataclasses
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowlstm_jax.data import DATASETS, Dataset, DatasetSpec, catalogue, load, originals, sources

REAL_FILES = Path(os.environ.get("ROWLSTM_LOCAL_FILES") or Path(__file__).parents[3] / "shared" / "data")


def needs_real(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (REAL_FILES / name).is_dir(),
        reason=f"the original files of {name} are not here; ROWLSTM_LOCAL_FILES names the folder that holds {name}/",
    )


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A data set of random images in place of a real one, with its original files."""

    spec: DatasetSpec
    arrays: tuple[np.ndarray, ...]
    data_dir: Path
    local_files: Path
    log: list[str] = dataclasses.field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.data_dir / self.spec.name

    @property
    def prepared(self) -> Path:
        return self.home / self.spec.version

    @property
    def decoded(self) -> Path:
        return self.home / f"decoded-{self.spec.version}"

    def load(self, **kwargs: Any) -> Dataset:
        """Load it, and check its pixels and labels and that no unfinished files are left."""
        self.log.clear()
        kwargs = {"data_dir": self.data_dir, "local_files": self.local_files, "log": self.log.append} | kwargs
        dataset = load(self.spec.name, **kwargs)
        for got, expected in zip(dataset.arrays, self.arrays, strict=True):
            np.testing.assert_array_equal(got, expected, strict=True)
        assert not (self.home / ".staging").exists()
        return dataset


def make_tiny(name: str, root: Path) -> Tiny:
    rng = np.random.default_rng(len(name))
    folder = root / "originals" / name
    folder.mkdir(parents=True)
    spec = dataclasses.replace(DATASETS[name], train_size=32, test_size=16, wheel=None)
    arrays = tuple(rng.integers(0, 256 if len(shape) > 1 else 10, shape, np.uint8) for shape in spec.shapes)
    files = []
    for file, content in zip(spec.files, contents(spec, arrays), strict=True):
        (folder / file.name).write_bytes(data := gzip.compress(content, mtime=0))
        idx_sha256 = file.idx_sha256 and hashlib.sha256(content).hexdigest()
        files.append(catalogue.FileSpec(file.name, len(data), hashlib.sha256(data).hexdigest(), idx_sha256))
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    spec = dataclasses.replace(spec, files=tuple(files), sha256=spec.sha256 and digest)
    return Tiny(spec, arrays, root / "data", root / "originals")


def contents(spec: DatasetSpec, arrays: Sequence[np.ndarray]) -> list[bytes]:
    """What the original files hold, uncompressed."""
    if spec.form == "idx":
        return [originals.idx_header(array.shape) + array.tobytes() for array in arrays]
    train, test = (
        np.concatenate([labels[:, None], np.moveaxis(images, -1, 1).reshape(len(images), -1)], axis=1)
        for images, labels in (arrays[:2], arrays[2:])
    )
    names = (*originals.CIFAR_TRAIN, *originals.CIFAR_TEST)
    return [tar_of(dict(zip(names, [*np.array_split(train, 5), test], strict=True)))]


def tar_of(members: Mapping[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, records in {"cifar-10-batches-bin/readme.html": np.zeros(3, np.uint8), **members}.items():
            member = tarfile.TarInfo(name)
            member.size = records.nbytes
            tar.addfile(member, io.BytesIO(records.tobytes()))
    return stream.getvalue()


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def logged(tiny: Tiny, *words: str) -> bool:
    return any(all(word in line for word in words) for line in tiny.log)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def grow(path: Path) -> None:
    """To 5 GB, as a sparse file."""
    with path.open("r+b") as file:
        file.truncate(5 * 10**9)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def can(*command: str) -> bool:
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run(["unshare", *command], capture_output=True, check=False).returncode
    )


def run_apart(tiny: Tiny, command: list[str], code: str) -> str:
    """Run Python code in a process with other file systems or without a network; returns what it prints."""
    program = f"""
import sys
from pathlib import Path
from rowlstm_jax.data import DATASETS, load
from rowlstm_jax.data.catalogue import *
DATASETS["mnist"] = {tiny.spec!r}
folder, files = Path({str(tiny.data_dir)!r}), Path({str(tiny.local_files)!r})
{code}
"""
    words = ["unshare", *command, "--", sys.executable, "-c", program]
    root = str(Path(sources.__file__).parents[2])
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
