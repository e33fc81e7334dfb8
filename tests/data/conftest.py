"""A tiny data set for the tests of this folder, and no network."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rowlstm_jax.data import DATASETS, sources
from rowlstm_jax.data.dataset import UnavailableError
from tests.data.tiny import Tiny, make_tiny


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pip(*_: object) -> Path:
        raise UnavailableError("pip is blocked")

    monkeypatch.setattr(sources, "probe", lambda _: "the network is blocked")
    monkeypatch.setattr(sources, "download_wheel", no_pip)


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
