"""What a checkpoint says of itself; damage to real checkpoints stands in test_checkpoint.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import manifest
from rowlstm_jax.runs.manifest import DamagedError, Leaf, Manifest


@pytest.fixture
def written(tmp_path):
    """A checkpoint's folder with a file and a manifest."""
    folder = tmp_path / "7"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "array").write_bytes(b"123")
    Manifest(7, {"state/w": Leaf.of(np.ones(3, np.float32))}, {"recorded": "x"}).write(folder, "state")
    return folder


def test_what_is_written_is_read_again(written):
    content = manifest.read(written)
    assert list(content["files"]) == ["state/array"]
    assert Manifest.of(content) == Manifest(7, {"state/w": Leaf.of(np.ones(3, np.float32))}, {"recorded": "x"})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "state" / "array").write_bytes(b"124"), "does not have the bytes that were saved"),
        (lambda folder: (folder / "state" / "array").unlink(), "is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "can't be read"),
        (lambda folder: folder.rename(folder.with_name("8")), "is that of step 7"),
    ],
)
def test_damage_is_named(written, damage, words):
    damage(written)
    folder = next(written.parent.iterdir())
    with pytest.raises(DamagedError, match=words):
        manifest.read(folder)


def test_a_newer_format_is_not_damage(written, monkeypatch):
    monkeypatch.setattr(manifest, "FORMAT", 0)
    with pytest.raises(UserError, match="has format 1, and this version reads 0; install the version"):
        manifest.read(written)


def test_steps_are_numbers_newest_first(tmp_path):
    for name in ("5", "10", "010", "10.damaged-1", "x"):
        (tmp_path / name).mkdir()
    assert manifest.steps(tmp_path) == [10, 5]
    assert manifest.steps(tmp_path / "nowhere") == []


def test_arrays_have_names_and_keys_are_their_bits():
    named = manifest.named({"key": jax.random.key(3), "w": [jnp.zeros(2)]})
    assert list(named) == ["key", "w/0"]
    assert named["key"].dtype == np.uint32


def test_differences_are_a_table_with_a_line_for_each_array():
    saved = {"a": Leaf("float32", (2,), ""), "b": Leaf("float32", (2,), ""), "same": Leaf("int32", (), "")}
    now = {"b": np.zeros(3, np.float32), "c": np.zeros(1, np.int32), "same": np.int32(0)}
    assert manifest.differences(saved, now).splitlines() == [
        "  extra    a  float32 [2]",
        "  changed  b  float32 [2] -> float32 [3]",
        "  missing  c  int32 [1]",
    ]
