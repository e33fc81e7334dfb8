"""The folder of compiled programs: one that can only be read, one that is full, and damaged programs."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import pytest

from rowlstm_jax.parallel import cache

PROGRAM = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
from rowlstm_jax.parallel.cache import use_cache
for _ in range(2):  # as the command line and the run's folder do
    use_cache(Path(sys.argv[1]))
@jax.jit
def program(x):
    return (x @ x.T).sum()
print(program(jnp.ones((8, 8))))
"""


def start(folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    command = [*before, sys.executable, "-c", PROGRAM, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("damage", [lambda text: b"", lambda text: text[:100], lambda text: text[:-40] + bytes(40)])
def test_a_damaged_program_is_compiled_anew_and_kept(tmp_path, damage):
    assert start(tmp_path / "cache").stdout == "512.0\n"
    (path,) = (tmp_path / "cache").glob("jit_program-*-cache")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    done = start(tmp_path / "cache")
    assert (done.stdout, done.stderr) == ("512.0\n", "")
    assert len(path.read_bytes()) == len(whole)


def test_a_folder_that_cannot_be_written_to_is_read_after_one_sentence(tmp_path):
    start(tmp_path / "cache")
    (tmp_path / "cache").joinpath("file").touch()
    read_only = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        f'mount --bind -o ro {tmp_path}/cache {tmp_path}/cache && exec "$@"',
        "sh",
    ]
    if subprocess.run([*read_only, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    done = start(tmp_path / "cache", *read_only)
    assert done.stdout == "512.0\n"
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"warning: The compilation cache {tmp_path}/cache can't be written to (Read-only")


def test_a_folder_that_cannot_be_made_is_left_out_after_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    done = start(tmp_path / "file" / "cache")
    assert done.stdout == "512.0\n"
    assert done.stderr.count("\n") == 1
    assert "can't be written to (Not a directory)" in done.stderr


def test_other_warnings_are_shown_as_before(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: shown.append(str(message)))
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        cache.use_cache(tmp_path)
        cache.use_cache(tmp_path)
        (tmp_path / "jit_f-1-cache").touch()
        (tmp_path / "jit_g-1-cache").touch()
        warnings.showwarning("something else", UserWarning, "file", 1)
        warnings.showwarning(
            "Error reading persistent compilation cache entry for 'jit_f': ValueError: x", UserWarning, "file", 1
        )
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert shown == ["something else"]
    assert [path.name for path in tmp_path.iterdir()] == ["jit_g-1-cache"]
