"""Processor, versions, the git commit: what a result was computed on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from rowlstm_jax.runs import environment
from rowlstm_jax.runs.environment import git_state


def test_what_a_result_was_computed_on_is_json_and_names_what_is_missing():
    found = environment.describe((*environment.PACKAGES, "no-such-package"))
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["no-such-package"] is None
    assert found["devices"] == [device.device_kind for device in jax.devices()]
    assert found["cores"] >= 1
    assert found["processor"]


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A git repository with one commit, of one file."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "train.py").write_text("rate = 0.1")
    named = ["-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "train.py"], [*named, "commit", "-q", "-m", "First"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_the_commit_and_whether_tracked_files_have_changed(repository, monkeypatch):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    clean = {"commit": head.stdout.strip(), "dirty": False}
    (repository / "runs").mkdir()
    (repository / "runs" / "config.json").write_text("{}")
    assert git_state(repository) == git_state(repository / "runs") == clean
    monkeypatch.chdir(repository)
    assert git_state() == clean
    (repository / "train.py").write_text("rate = 0.2")
    assert git_state() == {**clean, "dirty": True}
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(repository / "train.py"), raising=False)
    monkeypatch.chdir("/")
    assert git_state() == {**clean, "dirty": True}


def test_a_script_that_git_does_not_track_is_a_change(repository, monkeypatch):
    (repository / "mine.py").touch()
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(repository / "train.py"), raising=False)
    assert (git_state() or {})["dirty"] is False
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(repository / "mine.py"))
    assert (git_state() or {})["dirty"] is True


def test_without_git_there_is_no_state(repository, tmp_path_factory, monkeypatch):
    assert git_state(tmp_path_factory.mktemp("no_repository")) is None
    assert git_state(repository / "missing") is None
    empty = tmp_path_factory.mktemp("empty")
    subprocess.run(["git", "init", "-q"], cwd=empty, check=True)
    assert git_state(empty) is None
    with monkeypatch.context() as patch:
        patch.setattr(environment, "GIT_SECONDS", 0.0)
        assert git_state(repository) is None
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) is None
