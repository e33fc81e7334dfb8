"""Round trips, and every damage that a disk, a person or a killed process can do to a checkpoint."""

import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel.mesh import make_mesh, shard
from rowlstm_jax.runs import checkpoint, manifest
from rowlstm_jax.runs.checkpoint import Checkpoints, restore

HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def tree(value: float):
    return {"weights": jnp.full((3, 2), value), "step": jnp.int32(value), "key": jax.random.key(int(value))}


def like(saved, sharding=HERE):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), saved)


def newest(folder: Path, target):
    return restore(folder, lambda _: like(target))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Checkpoints of two steps, 5 and 12."""
    with Checkpoints(tmp_path / "checkpoints", {"note": "kept"}) as checkpoints:
        for step in (5, 12):
            checkpoints.save(step, tree(step))
    return tmp_path / "checkpoints"


def test_round_trip_keeps_every_bit_and_the_typed_key(tmp_path):
    saved = tree(7) | {"odd": jnp.array([np.nan, np.inf, -0.0, 1e-45], jnp.float32), "half": jnp.ones(3, jnp.bfloat16)}
    with Checkpoints(tmp_path / "checkpoints", {"note": "kept"}) as checkpoints:
        checkpoints.save(1, saved)
    found = newest(tmp_path / "checkpoints", saved)
    assert found is not None
    assert (found.step, found.about) == (1, {"note": "kept"})
    assert jax.random.key_data(found.tree.pop("key")).tolist() == jax.random.key_data(saved.pop("key")).tolist()
    for name, leaf in saved.items():
        assert np.asarray(found.tree[name]).tobytes() == np.asarray(leaf).tobytes(), name
        assert found.tree[name].dtype == leaf.dtype


def test_what_is_saved_survives_the_donation_of_its_buffers(tmp_path):
    update = jax.jit(lambda x: x + 1, donate_argnums=0)
    weights = jnp.zeros((512, 512))
    with Checkpoints(tmp_path / "checkpoints", {}) as checkpoints:
        checkpoints.save(1, {"weights": weights})
        for _ in range(20):
            weights = update(weights)
        weights.block_until_ready()
    found = newest(tmp_path / "checkpoints", {"weights": weights})
    assert found is not None
    np.testing.assert_array_equal(found.tree["weights"], 0.0)


def test_what_was_not_written_as_it_is_gets_no_manifest(tmp_path, monkeypatch):
    on_disk = checkpoint.arrays_on_disk
    with Checkpoints(tmp_path / "checkpoints", {}) as checkpoints:
        checkpoints.save(1, tree(1))
        checkpoints.wait()
        for wrong in (lambda found: found["weights"].view(np.uint8).__ixor__(1), lambda found: found.pop("step")):

            def changed(item, wrong=wrong):
                found = on_disk(item)
                wrong(found)
                return found

            monkeypatch.setattr(checkpoint, "arrays_on_disk", changed)
            checkpoints.save(2, tree(2))
            with pytest.raises(
                UserError, match=r"^The checkpoint of step 2 can't be saved in .*; what was saved before"
            ):
                checkpoints.wait()
            monkeypatch.undo()
    assert manifest.steps(tmp_path / "checkpoints") == [1]


def test_a_save_that_is_dropped_in_silence_is_an_error_and_no_sign_of_a_checkpoint(tmp_path, monkeypatch):
    with Checkpoints(tmp_path / "run" / "checkpoints", {}) as checkpoints:
        wait = checkpoints._manager.wait_until_finished

        def drop() -> None:
            wait()
            shutil.rmtree(tmp_path / "run/checkpoints/1")

        checkpoints.save(1, tree(1))
        monkeypatch.setattr(checkpoints._manager, "wait_until_finished", drop)
        with pytest.raises(UserError, match=r"can't be saved in .* \(that of step 1 is not there after its save\)"):
            checkpoints.wait()
        monkeypatch.undo()
    assert not (tmp_path / "run" / ".saved").exists()


def test_a_save_that_fails_while_its_thread_goes_on_leaves_no_checkpoint_without_a_manifest(tmp_path, monkeypatch):
    failed = threading.Event()

    class Slow(Checkpoints):
        def _write_manifest(self) -> None:
            assert failed.wait(60)
            super()._write_manifest()

    def lost(*_: object) -> None:  # called when the thread has begun, as the wait for the other processes is
        raise ValueError("the connection is closed")

    with Slow(tmp_path / "checkpoints", {}) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "_get_old_steps_to_remove", lost)
        with pytest.raises(UserError, match=r"step 1 can't be saved in .* \(the connection is closed\)"):
            checkpoints.save(1, tree(1))
        failed.set()
    found = newest(tmp_path / "checkpoints", tree(1))
    assert found is not None
    assert found.step == 1


def test_a_folder_that_orbax_takes_for_a_pattern_holds_no_checkpoint_that_counts(tmp_path):
    folder = tmp_path / "run[1]" / "checkpoints"
    with pytest.raises(UserError, match=r"step 1 can't be saved"), Checkpoints(folder, {}) as checkpoints:
        checkpoints.save(1, tree(1))
    assert manifest.newest(folder) is None


def test_the_two_latest_are_kept_and_nothing_temporary(tmp_path):
    (tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp").mkdir(parents=True)  # as a killed save leaves it
    with Checkpoints(tmp_path / "checkpoints", {}) as checkpoints:
        assert checkpoints.latest_step is None
        for step in range(1, 7):
            checkpoints.save(step, tree(step))
        assert checkpoints.latest_step == 6
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["5", "6"]


def test_a_folder_without_checkpoints_holds_none(tmp_path):
    assert newest(tmp_path / "absent", tree(0)) is None
    (tmp_path / "7.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "6.damaged-1").mkdir()
    assert newest(tmp_path, tree(0)) is None


@pytest.mark.parametrize(("saved_on", "restored_on"), [(2, 1), (2, 4), (4, 2), (1, 2)])
def test_a_checkpoint_moves_between_numbers_of_devices(tmp_path, saved_on, restored_on):
    everywhere = NamedSharding(make_mesh(4, restored_on), PartitionSpec())
    saved = shard(jax.device_get({"weights": jnp.arange(6.0)}), make_mesh(4, saved_on))
    with Checkpoints(tmp_path / "checkpoints", {}) as checkpoints:
        checkpoints.save(1, saved)
    found = restore(tmp_path / "checkpoints", lambda _: like(saved, everywhere))
    assert found is not None
    assert found.tree["weights"].sharding == everywhere
    np.testing.assert_array_equal(found.tree["weights"], np.arange(6.0))


def arrays(step: Path) -> Path:
    """The largest file of a checkpoint's arrays."""
    return max((path for path in (step / "state").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def sign(step: Path, change: Callable[[dict], object]) -> None:
    """Change a manifest and make its own digest fit."""
    content = json.loads((step / "manifest.json").read_text())
    del content["sha256"]
    change(content)
    sha256 = manifest._digest(content)
    (step / "manifest.json").write_text(json.dumps({"sha256": sha256, **content}))


def keep_only(step: Path, name: str) -> None:
    for path in step.iterdir():
        if path.name != name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def replace_by_file(step: Path) -> None:
    shutil.rmtree(step)
    step.write_text("not a folder")


DAMAGES = {
    "a flipped bit": (lambda step: flip(arrays(step)), r"12/state/.* does not have the bytes that were saved"),
    "a truncated file": (lambda step: arrays(step).write_bytes(b""), r"12/state/.* does not have the bytes"),
    "a missing file": (lambda step: arrays(step).unlink(), r"12/state/.*: is missing"),
    "damaged metadata": (lambda step: (step / "state" / "_METADATA").write_text("{"), "12/state/_METADATA: does not"),
    "a damaged manifest": (lambda step: flip(step / "manifest.json"), r"12/manifest\.json: (is not|can't be read)"),
    "a truncated manifest": (
        lambda step: (step / "manifest.json").write_text('{"sha'),
        r"manifest\.json: can't be read",
    ),
    "a missing manifest": (lambda step: (step / "manifest.json").unlink(), r"12/manifest\.json: is missing"),
    "a manifest that is a list": (lambda step: (step / "manifest.json").write_text("[]"), r"json: can't be read"),
    "a manifest nested too deeply": (lambda s: (s / "manifest.json").write_text("[" * 10**5), r"json: can't be read"),
    "a manifest too large": (
        lambda s: (s / "manifest.json").write_bytes(bytes(10**7 + 1)),
        r"more than 10,000,000",
    ),
    "metadata of another kind": (lambda s: (s / "_CHECKPOINT_METADATA").write_text("[]"), "METADATA: can't be read"),
    "links in a circle": (lambda s: ((p := arrays(s)).unlink(), p.symlink_to(p.name)), r"12/state/.*: can't be read"),
    "a pipe": (lambda s: ((p := arrays(s)).unlink(), os.mkfifo(p)), r"12/state/.*: can't be read \(it is no file"),
    "an empty folder": (lambda step: keep_only(step, "nothing"), r"12/manifest\.json: is missing"),
    "a partial folder": (lambda step: keep_only(step, "manifest.json"), r"12/state/.*: is missing"),
    "a file in its place": (replace_by_file, r"12/manifest\.json: can't be read"),
    "the folder of another step": (
        lambda step: (shutil.rmtree(step), shutil.copytree(step.with_name("5"), step)),
        r"12/manifest\.json: is that of step 5",
    ),
    "a link out of the folder": (
        lambda step: ((path := arrays(step)).rename(step.parent / "there"), path.symlink_to(step.parent / "there")),
        r"12/state/.*: lies outside the checkpoint",
    ),
    "an array that is not what was saved": (
        lambda step: sign(step, lambda content: content["leaves"]["weights"].update(sha256="0" * 64)),
        r"12/state: weights does not have the bytes that were saved",
    ),
    "a name that leads elsewhere": (
        lambda step: sign(step, lambda content: content["leaves"].update({"../../x": content["leaves"]["step"]})),
        r"names an array '../../x'",
    ),
    "a file elsewhere": (
        lambda step: sign(step, lambda content: content["files"].update({"../../x": "0"})),
        "lies outside the checkpoint",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(folder, capsys, damage):
    inject, words = DAMAGES[damage]
    inject(folder / "12")
    found = newest(folder, tree(0))
    assert found is not None
    assert found.step == 5
    np.testing.assert_array_equal(found.tree["weights"], 5.0)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: The checkpoint of step 12 is damaged (")
    assert warning.endswith("and is now 12.damaged-1; that of step 5 is good.")
    assert re.search(words, warning), warning
    assert sorted(path.name for path in folder.iterdir() if path.name != "there") == ["12.damaged-1", "5"]
    with Checkpoints(folder, {}) as checkpoints:  # and its step may be saved again
        checkpoints.save(12, tree(12))
    again = newest(folder, tree(0))
    assert again is not None
    assert again.step == 12


def test_what_is_left_of_a_deletion_that_a_kill_ended_is_no_damage(folder, capsys):
    shutil.copytree(folder / "5" / "state", folder / "3" / "state")
    arrays(folder / "3").unlink()
    found = newest(folder, tree(0))
    assert found is not None
    assert (found.step, capsys.readouterr().err) == (12, "")
    assert (folder / "3").exists()
    with Checkpoints(folder, {}) as checkpoints:
        checkpoints.save(13, tree(13))
    assert sorted(path.name for path in folder.iterdir()) == ["12", "13"]


def test_where_all_are_damaged_each_is_listed_and_nothing_is_touched(folder):
    flip(arrays(folder / "12"))
    (folder / "5" / "manifest.json").unlink()
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match=r"No checkpoint in .*checkpoints is good; put back what was lost") as error:
        newest(folder, tree(0))
    assert [line.partition(":")[0].strip() for line in str(error.value).splitlines()[1:]] == ["step 12", "step 5"]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("where", range(8))
def test_no_flipped_bit_of_an_array_goes_unnoticed(folder, where):
    """At eight places spread over all files of a checkpoint."""
    paths = sorted(path for path in (folder / "12" / "state").rglob("*") if path.is_file() and path.stat().st_size)
    path = paths[where * len(paths) // 8]
    flip(path)
    found = newest(folder, tree(0))
    assert found is not None
    assert found.step == 5


@pytest.mark.parametrize("content", ["[]", "{", "\x00"])
def test_damage_to_an_older_checkpoint_is_named_and_keeps_orbax_from_nothing(folder, capsys, content):
    (folder / "5" / "_CHECKPOINT_METADATA").write_text(content)
    found = newest(folder, tree(0))
    assert found is not None
    assert found.step == 12
    assert "The checkpoint of step 5 is damaged" in capsys.readouterr().err
    with Checkpoints(folder, {}) as checkpoints:
        checkpoints.save(13, tree(13))
    assert sorted(path.name for path in folder.iterdir()) == ["12", "13", "5.damaged-1"]


def test_a_newer_format_is_refused_rather_than_passed_over(folder):
    sign(folder / "12", lambda content: content.update(format=2))
    with pytest.raises(UserError, match="12 has format 2, and this version reads 1; install the version"):
        newest(folder, tree(0))


def test_a_refusal_of_the_caller_is_no_damage(folder):
    def refuse(_: manifest.Manifest) -> None:
        raise UserError("another run")

    with pytest.raises(UserError, match="another run"):
        restore(folder, refuse)
    assert sorted(path.name for path in folder.iterdir()) == ["12", "5"]


@pytest.mark.parametrize(
    ("template", "row"),
    [
        ({"weights": jnp.zeros((2, 2))}, r"changed  weights  int32 \[3, 2\] -> float32 \[2, 2\]"),
        ({"weights": jnp.zeros((3, 2), jnp.bfloat16)}, r"changed  weights  int32 \[3, 2\] -> bfloat16 \[3, 2\]"),
        ({"bias": jnp.zeros(2)}, r"missing  bias  float32 \[2\]"),
    ],
)
def test_a_wrong_template_is_an_error_of_the_caller_and_no_damage(folder, capsys, template, row):
    with pytest.raises(ValueError, match=rf"choose returned arrays that .*12 does not have:\n  {row}"):
        newest(folder, template)
    assert capsys.readouterr().err == ""
    assert sorted(path.name for path in folder.iterdir()) == ["12", "5"]


def test_another_process_checkpoints_are_left_as_they_are(folder, capsys):
    flip(arrays(folder / "12"))
    found = restore(folder, lambda _: like({"weights": tree(0)["weights"]}), rename=False)
    assert found is not None
    assert list(found.tree) == ["weights"], "a part of the arrays will do"
    assert "is damaged" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["12", "5"]


def test_differences_are_told_by_name():
    leaf = manifest.Leaf.of(np.zeros((2, 3), np.float32))
    saved = {"a": leaf, "b": leaf, "c/d": leaf, "same": leaf}
    now = {
        "b": jax.ShapeDtypeStruct((2, 4), np.float32),
        "c/d": jax.ShapeDtypeStruct((2, 3), jnp.bfloat16),
        "e": jax.ShapeDtypeStruct((1,), np.int32),
        "same": jax.ShapeDtypeStruct((2, 3), np.float32),
    }
    assert manifest.differences(saved, now).splitlines() == [
        "  extra    a    float32 [2, 3]",
        "  changed  b    float32 [2, 3] -> float32 [2, 4]",
        "  changed  c/d  float32 [2, 3] -> bfloat16 [2, 3]",
        "  missing  e    int32 [1]",
    ]
    assert manifest.differences({"same": leaf}, {"same": leaf}) == ""
