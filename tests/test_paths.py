"""Folders that a library would not take for one are refused, wherever they come from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rowlstm_jax.config import RunConfig
from rowlstm_jax.data import load
from rowlstm_jax.errors import UserError
from rowlstm_jax.paths import require_plain, resolved
from rowlstm_jax.runs import choose_directory

PATTERNS = ["x/run[1]", "run*", "what?", "a{b}", "back\\slash", "x[1]/run"]
URLS = ["gs://bucket/run", "s3:/bucket", "gs:", "x/gs:/run", "file:///tmp/run"]


@pytest.mark.parametrize("path", ["a b", "a%20b", "a#b", "a:b", "ä", "-x", "a;b", "$HOME", "a'b", "a&b", "x~", "x,y"])
def test_odd_names_that_do_no_harm_are_taken(path):
    require_plain(Path(path))


@pytest.mark.parametrize("path", PATTERNS + URLS)
@pytest.mark.parametrize("field", ["run_dir", "from_checkpoint", "data_dir", "local_files", "compilation_cache"])
def test_patterns_and_urls_are_refused_with_the_flag(field, path):
    kind = "taken for a pattern; choose another folder" if path in PATTERNS else "takes for a URL; name a folder of"
    with pytest.raises(UserError, match=f"^--{field.replace('_', '-')} is .*{kind}"):
        RunConfig(**{field: Path(path)})


def test_they_are_refused_in_the_working_directory_and_behind_a_link(tmp_path, monkeypatch):
    odd = tmp_path / "study [2]"
    odd.mkdir()
    (tmp_path / "link").symlink_to(odd)
    with pytest.raises(UserError, match=r"^--run-dir is .*link.*\[ in the name"):
        RunConfig(run_dir=tmp_path / "link" / "run")
    monkeypatch.chdir(odd)
    with pytest.raises(UserError, match=r"^The run folder would be .*study.* Name one with --run-dir"):
        choose_directory("mnist_rows", RunConfig())
    with pytest.raises(UserError, match=r"^--run-dir is run, and \[ in the name"):
        RunConfig(run_dir=Path("run"))
    with pytest.raises(ValueError, match=r"^data_dir is .*taken for a pattern"):
        load("mnist", Path("data"))


def test_nothing_is_made_of_a_refused_folder(tmp_path):
    command = [sys.executable, "-m", "experiments.mnist_rows", "--run-dir", "gs://bucket/run"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert done.stderr.startswith("error: --run-dir is gs:/bucket/run, which a library takes for a URL")


def test_a_path_that_cannot_be_resolved_is_a_phrase(tmp_path):
    assert resolved(tmp_path / "x" / ".." / "y") == tmp_path / "y"
    with pytest.raises(ValueError, match=r"^~nobody-here/x, which can't be used \(its home folder"):
        resolved(Path("~nobody-here/x"))
    with pytest.raises(ValueError, match=r"which can't be used \("):
        resolved(Path("\0"))
