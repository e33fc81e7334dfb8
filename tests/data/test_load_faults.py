"""Loading after damage on disk, beside another process, after a killed one, and on a full disk."""

import contextlib
import errno
import functools
import importlib
import importlib.util
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowlstm_jax.data import DATASETS, builder, load
from rowlstm_jax.data.dataset import DamagedError
from tests.data.tiny import Tiny, can, flip, grow, logged, replace_by_pipe, run_apart, truncate

loading = importlib.import_module("rowlstm_jax.data.load")  # `data.load` is the function
SPAWN = multiprocessing.get_context("spawn")


DAMAGE_TO_FILE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda path: flip(path, -9),
    "a flipped header": lambda path: flip(path, 20),
    "truncated": truncate,
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "grown": grow,
    "a pipe": replace_by_pipe,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "an object": lambda path: np.save(path, np.array([{}] * 16, object), allow_pickle=True),
}


DAMAGE_TO_DECODED: dict[str, Callable[[Path], object]] = {
    f"{file}: {damage}": functools.partial(lambda act, file, folder: act(folder / file), act, file)
    for file in loading.ARRAYS
    for damage, act in DAMAGE_TO_FILE.items()
}
DAMAGE_TO_DECODED |= {
    "a missing digest": lambda folder: (folder / "digest.txt").unlink(),
    "a pipe for a digest": lambda folder: replace_by_pipe(folder / "digest.txt"),
    "a digest of 5 GB": lambda folder: grow(folder / "digest.txt"),
    "another digest": lambda folder: (folder / "digest.txt").write_text(f"mnist 3.0.1 {'0' * 64}\n"),
}


@pytest.mark.parametrize("name", ["mnist", "kmnist"])  # with and without a known digest
@pytest.mark.parametrize("damage", DAMAGE_TO_DECODED)
def test_damaged_decoded_arrays_are_made_anew(name: str, damage: str, make: Callable[[str], Tiny]) -> None:
    tiny = make(name)
    tiny.load()
    DAMAGE_TO_DECODED[damage](tiny.decoded)
    dataset = tiny.load(local_files=None)
    if not (name == "mnist" and damage == "another digest"):  # the catalogue's digest comes first
        assert logged(tiny, str(tiny.decoded), "damaged")
        assert dataset.source == f"the data set prepared in {tiny.prepared}"
    assert tiny.load().source == f"the decoded arrays in {tiny.decoded}"


def test_every_byte_of_a_decoded_file_counts(tiny: Tiny) -> None:
    tiny.load()
    path = tiny.decoded / "test_labels.npy"
    content = path.read_bytes()
    for position in range(len(content)):
        flip(path, position)
        with contextlib.suppress(DamagedError):  # a blank in the header may turn into another
            dataset = loading.read_decoded(tiny.spec, tiny.decoded)
            assert dataset
            np.testing.assert_array_equal(dataset.test.targets, tiny.arrays[3], strict=True)
        path.write_bytes(content)


DAMAGE_TO_PREPARED: dict[str, Callable[[Path], object]] = {
    "no dataset_info.json": lambda folder: (folder / "dataset_info.json").unlink(),
    "half a dataset_info.json": lambda folder: truncate(folder / "dataset_info.json"),
    "a flipped bit in a shard": lambda folder: flip(next(folder.glob("*train.array_record*")), 5000),
    "a truncated shard": lambda folder: truncate(next(folder.glob("*test.array_record*"))),
    "no shard": lambda folder: next(folder.glob("*test.array_record*")).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE_TO_PREPARED)
def test_a_damaged_prepared_data_set_is_moved_aside(damage: str, tiny: Tiny) -> None:
    tiny.load()
    shutil.rmtree(tiny.decoded)
    DAMAGE_TO_PREPARED[damage](tiny.prepared)
    with pytest.raises(ValueError, match="cannot be had from here"):
        tiny.load(local_files=None)
    assert tiny.prepared.exists()
    assert "the local files" in tiny.load().source
    assert logged(tiny, str(tiny.prepared), "damaged")
    assert logged(tiny, "3.0.1.damaged-1")
    assert (tiny.home / "3.0.1.damaged-1").is_dir()
    shutil.rmtree(tiny.decoded)
    assert "prepared in" in tiny.load(local_files=None).source


def prepare_slowly(tiny: Tiny, reached: Any, gate: Any) -> None:
    """Prepares in a process of its own, and stops among the records until the gate opens."""
    records = builder._InFileOrder._records

    def slow_records(self: Any, examples: Any) -> Iterator[Any]:
        for index, record in enumerate(records(self, examples)):
            if index == 5:
                reached.set()
                gate.wait(60)
            yield record

    builder._InFileOrder._records = slow_records
    DATASETS[tiny.spec.name] = tiny.spec
    load(tiny.spec.name, tiny.data_dir, tiny.local_files)  # `tiny.load` wants no unfinished files: the other has some


def test_two_starts_at_once(tiny: Tiny) -> None:
    reached, gate = SPAWN.Event(), SPAWN.Event()
    other = SPAWN.Process(target=prepare_slowly, args=(tiny, reached, gate))
    other.start()
    assert reached.wait(60)

    def open_the_gate(line: str) -> None:
        if "waiting for another process" in line:
            gate.set()

    assert tiny.load(log=open_the_gate).source == f"the decoded arrays in {tiny.decoded}"
    assert gate.is_set()
    other.join(60)
    assert other.exitcode == 0


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_among_records() -> None:
    records = builder._InFileOrder._records
    builder._InFileOrder._records = lambda self, examples: (  # pyright: ignore[reportAttributeAccessIssue]
        record if record[0] < 5 else die() for record in records(self, examples)
    )


def die_when_all_is_written() -> None:
    write = builder.write
    builder.write = lambda dataset, folder: die(write(dataset, folder))


def die_between_prepared_and_decoded() -> None:
    loading.write_decoded = die


def die_among_the_decoded() -> None:
    save = np.save
    loading.np.save = lambda path, array: die() if "test_images" in path.name else save(path, array)


def die_with_the_old_gone_and_the_new_not_there() -> None:
    rmtree = shutil.rmtree

    def remove(path: Path, **kwargs: Any) -> None:
        rmtree(path, **kwargs)
        if path.name.startswith("decoded"):
            die()

    shutil.rmtree = remove


MOMENTS = [die_among_records, die_when_all_is_written, die_between_prepared_and_decoded, die_among_the_decoded]
MOMENTS += [die_with_the_old_gone_and_the_new_not_there]


def prepare_and_die(tiny: Tiny, arrange: Callable[[], None]) -> None:
    arrange()
    DATASETS[tiny.spec.name] = tiny.spec
    tiny.load()


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_a_start_after_a_killed_one(moment: Callable[[], None], tiny: Tiny) -> None:
    killed = SPAWN.Process(target=prepare_and_die, args=(tiny, moment))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert (tiny.home / ".staging").exists()
    assert not tiny.decoded.exists()
    assert tiny.prepared.exists() == (MOMENTS.index(moment) >= 2)
    if tiny.prepared.exists():
        assert "prepared in" in tiny.load(local_files=None).source
    else:
        assert "the local files" in tiny.load().source
    assert not list(tiny.home.glob("*.damaged-*"))


@pytest.mark.skipif(
    not can("--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"),
    reason="this system does not let users mount a file system",
)
def test_a_disk_that_is_full_and_has_room_later(tiny: Tiny) -> None:
    """The disk fills up in the records of each split and in the decoded arrays, or takes no more files."""
    tiny.data_dir.mkdir()
    said = run_apart(
        tiny,
        ["--user", "--map-root-user", "--mount"],
        """
import subprocess
def mount(*options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)], check=True)
for size in ("size=16k", "size=160k", "size=288k", "nr_inodes=3"):
    mount(size)
    try:
        load("mnist", folder, files, log=lambda _: None)
        print("loaded")
    except ValueError as error:
        print(error)
    print("decoded arrays:", (folder / "mnist" / "decoded-3.0.1").exists())
    mount("remount", "size=8m", "nr_inodes=1000")
    print(load("mnist", folder, files, log=lambda _: None).sha256)
    subprocess.run(["umount", str(folder)], check=True)
""",
    ).splitlines()
    refusals, halves, digests = said[0::3], said[1::3], said[2::3]
    assert len(digests) == 4
    for refusal in refusals:
        assert refusal.startswith(f"data_dir is {tiny.data_dir}, which cannot hold mnist (")
        assert refusal.endswith("); make room there, or choose another.")
    assert "No space left on device" in refusals[0]
    assert set(halves) == {"decoded arrays: False"}
    assert set(digests) == {tiny.spec.sha256}


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_prepared_data_in_a_place_that_can_only_be_read(
    error: int, make: Callable[[str], Tiny], monkeypatch: Any
) -> None:
    tiny = make("mnist")
    tiny.load()
    shutil.rmtree(tiny.decoded)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert tiny.load(local_files=None).source == f"the data set prepared in {tiny.prepared}"
    assert logged(tiny, "each time, since it can't be written to")
    assert not tiny.decoded.exists()
    shutil.rmtree(tiny.prepared)
    with pytest.raises(ValueError, match="cannot hold mnist"):
        tiny.load(local_files=None)
