"""Where a run begins: from good, damaged, foreign and missing checkpoints, and from the weights of another run."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.config import RunConfig
from rowlstm_jax.errors import UserError
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.manifest import Leaf
from rowlstm_jax.runs.run import Run
from rowlstm_jax.tasks.protocol import Protocol
from rowlstm_jax.training.recipe import Recipe
from tests.runs.test_checkpoint import arrays, flip, sign
from tests.trials import journal, train

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
MODEL = SequenceClassifier(BasicLSTMCell(2), num_classes=3)
PROTOCOL = Protocol("tiny", "mnist", 13, "rows")


def make(folder: Path, learning_rate: float = 1e-2, model: SequenceClassifier = MODEL, **fields) -> Run:
    config = RunConfig(
        steps=10, batch_size=4, log_every=5, eval_every=5, devices=1, run_dir=folder, strict_compile=True
    )
    config = dataclasses.replace(config, learning_rate=learning_rate, **fields)
    return Run("tiny", config, PROTOCOL, Recipe(model, optax.adam(learning_rate)))


def leaves(folder: Path) -> dict[str, str]:
    """The SHA-256 of all arrays of a run's newest checkpoint."""
    step = max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdecimal())
    manifest = json.loads((folder / "checkpoints" / str(step) / "manifest.json").read_text())
    return {name: leaf["sha256"] for name, leaf in manifest["leaves"].items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_data) -> Path:
    """A run of ten steps, with checkpoints of the steps 5 and 10."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(make(folder), tiny_data)
    return folder


@pytest.fixture
def run_dir(trained, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def about(step: Path, change: Callable[[dict], object]) -> None:
    sign(step, lambda content: change(content["about"]))


def test_a_run_of_an_earlier_version_can_be_resumed(tmp_path, tiny_data, capsys):
    """Made by `train(make(Path("run")), tiny_data)` when checkpoints got their first format; its paths were removed."""
    golden = shutil.copytree(GOLDEN, tmp_path / "run")
    run = make(golden, steps=12, resume=True)
    assert train(run, tiny_data).steps_taken == 2
    assert "Resumed from step 10." in capsys.readouterr().out
    first, second, last = journal(run.config).records()
    assert (first["step"], second["step"]) == (5, 10)
    assert last["validation_loss"] == pytest.approx(1.1257096804105318, rel=1e-4)
    assert last["train_loss"] == pytest.approx(1.0886204242706299, rel=1e-4)


def test_flags_and_parts_of_a_recipe_that_there_were_not_yet_do_no_harm(run_dir, tiny_data):

    def age(about: dict) -> None:
        about["environment"]["versions"]["optax"] = "0.0"
        del about["identity"]["on_nonfinite"]
        for name in [name for name in about["identity"] if name.startswith("recipe.optimizer.init")]:
            del about["identity"][name]

    about(run_dir / "checkpoints" / "10", age)
    assert train(make(run_dir, resume=True), tiny_data).steps_taken == 0
    with pytest.raises(UserError, match="on_nonfinite was absent and is now skip"):
        RunFolder(make(run_dir, resume=True, on_nonfinite="skip")).__enter__()
    run = make(run_dir, resume=True)
    for recipe, words in (
        (Recipe(MODEL, optax.nadam(1e-2)), r"nesterov was False and is now True"),
        (Recipe(MODEL, optax.adam(2e-2)), r"step_size was -0.01 and is now -0.02"),
        (Recipe(MODEL.clone(dtype=jnp.bfloat16), optax.adam(1e-2)), r"recipe.model.dtype was None and is now bfloat16"),
    ):
        with pytest.raises(UserError, match=words):
            RunFolder(Run("tiny", run.config, PROTOCOL, recipe)).__enter__()


def test_a_damaged_checkpoint_costs_steps_and_no_bits(run_dir, trained, tiny_data, capsys):
    flip(arrays(run_dir / "checkpoints" / "10"))
    assert train(make(run_dir, resume=True), tiny_data).steps_taken == 5
    captured = capsys.readouterr()
    assert "warning: The checkpoint of step 10 is damaged (" in captured.err
    assert "Resumed from step 5.\n" in captured.out
    assert leaves(run_dir) == leaves(trained)
    assert (run_dir / "metrics.jsonl").read_bytes() == (trained / "metrics.jsonl").read_bytes()


def test_a_run_whose_checkpoints_are_all_damaged_or_gone_does_not_begin_anew(run_dir, tiny_data):
    metrics = (run_dir / "metrics.jsonl").read_bytes()
    for step in ("5", "10"):
        flip(arrays(run_dir / "checkpoints" / step))
    with pytest.raises(UserError, match=r"No checkpoint in .* is good; put back .*\n  step 10: .*\n  step 5: "):
        train(make(run_dir, resume=True), tiny_data)
    shutil.rmtree(run_dir / "checkpoints")
    with pytest.raises(UserError, match="its checkpoints are gone; put them back"):
        train(make(run_dir, resume=True), tiny_data)
    assert (run_dir / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize("held_out", [13, 0])
def test_lost_checkpoints_are_missed_also_where_nothing_was_evaluated(tmp_path, tiny_data, held_out):
    data = dataclasses.replace(tiny_data, validation=tiny_data.validation[:held_out])
    train(make(tmp_path / "run", checkpoint_every=5, eval_every=1000), data)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(UserError, match="its checkpoints are gone; put them back"):
        train(make(tmp_path / "run", checkpoint_every=5, eval_every=1000, resume=True), data)
    for path in (tmp_path / "run").glob("[a-z]*"):  # somebody clears the folder for a new run
        path.unlink()
    with RunFolder(make(tmp_path / "run")) as folder:
        folder.begin(0)
    assert train(make(tmp_path / "run", resume=True), tiny_data).steps_taken == 10


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text(path.read_text().splitlines(True)[1])])
def test_records_that_no_checkpoint_has_all_of_are_missed(run_dir, tiny_data, capsys, damage):
    damage(run_dir / "metrics.jsonl")
    train(make(run_dir, resume=True, steps=12), tiny_data)
    assert "metrics.jsonl that were there at step 10 are lost or changed." in capsys.readouterr().err


def test_a_run_goes_back_to_the_checkpoint_whose_records_are_all_there(run_dir, tiny_data, capsys):
    """As after a loss of power, where a file system kept the checkpoint and not the end of metrics.jsonl."""
    metrics = run_dir / "metrics.jsonl"
    before = leaves(run_dir), metrics.read_text()
    kept = [line for line in metrics.read_text().splitlines(True) if json.loads(line)["step"] <= 5]
    metrics.write_text("".join(kept) + '{"step": 8, "lo')
    assert train(make(run_dir, resume=True), tiny_data).steps_taken == 5
    said = r"Records of steps up to 10 are lost, and step 5 is the last that has all.*is now 10\.without-records-1\."
    assert re.search(said, capsys.readouterr().err)
    assert (leaves(run_dir), metrics.read_text()) == before


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_text("{}")]
)
def test_a_lost_config_is_made_again_from_a_checkpoint(run_dir, tiny_data, capsys, damage):
    before = json.loads((run_dir / "config.json").read_text())
    damage(run_dir / "config.json")
    assert train(make(run_dir, resume=True, steps=12), tiny_data).steps_taken == 2
    assert "config.json is missing or damaged; the checkpoint of step 10 says what it said." in capsys.readouterr().err
    after = json.loads((run_dir / "config.json").read_text())
    assert {name: after[name] for name in ("identity", "versions", "code")} == {
        name: before[name] for name in ("identity", "versions", "code")
    }


@pytest.mark.parametrize("missing", ["identity", "data", "environment", "image_shape", "layout", "recorded"])
def test_a_manifest_that_does_not_say_what_run_it_is_of_is_damage(run_dir, tiny_data, capsys, missing):
    about(run_dir / "checkpoints" / "10", lambda about: about.pop(missing))
    assert train(make(run_dir, resume=True), tiny_data).steps_taken == 5
    assert "manifest.json: does not say what run it is of) and is now 10.damaged-1" in capsys.readouterr().err


def test_other_ways_to_compute_are_said(run_dir, tiny_data, capsys):
    plain = make(run_dir, resume=True, steps=11, devices=2)
    recipe = dataclasses.replace(plain.recipe, model=MODEL.clone(recurrence="scan"))
    train(Run("tiny", plain.config, PROTOCOL, recipe), tiny_data)
    said = "It was saved with devices.batch 1 (now 2), recurrence auto (now scan): from here on its bits may be others."
    assert said in capsys.readouterr().out


def test_a_checkpoint_of_another_run_or_of_other_data_is_refused(run_dir, tiny_data):
    about(run_dir / "checkpoints" / "10", lambda about: about["identity"].update(seed=7))
    with pytest.raises(UserError, match="can't be resumed with other settings: seed was 7 and is now 0"):
        train(make(run_dir, resume=True), tiny_data)
    about(run_dir / "checkpoints" / "10", lambda about: about["identity"].update(seed=0))
    other = dataclasses.replace(tiny_data, sha256="1" * 64)
    with pytest.raises(UserError, match=r"has read tiny 1.0.0 000.*, and there is tiny 1.0.0 111.* now; point"):
        train(make(run_dir, resume=True), other)
    assert train(make(run_dir, resume=True), tiny_data).steps_taken == 0


def test_other_versions_or_devices_are_said(run_dir, tiny_data, capsys):
    about(run_dir / "checkpoints" / "10", lambda about: about["environment"]["versions"].update(jax="0.1"))
    train(make(run_dir, resume=True), tiny_data)
    assert (
        f"Resumed from step 10. It was saved with jax 0.1 (now {jax.__version__}): from here on its bits may be others."
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (
            MODEL.clone(cell=BasicLSTMCell(3)),
            [r"changed  state/params/layer_0_forward/kernel +float32 \[1, 9, 8\] -> float32 \[1, 10, 12\]"],
        ),
        (
            MODEL.clone(num_layers=2),
            [r"missing  state/params/layer_1_forward/bias +float32 \[1, 8\]", r"missing  state/opt_state/0/mu/layer_1"],
        ),
        (MODEL.clone(param_dtype=jnp.bfloat16), [r"changed  state/params/readout/bias .*bfloat16 \[1, 3\]"]),
    ],
    ids=["shape", "tree", "dtype"],
)
def test_another_model_is_refused_with_a_table_of_its_arrays(run_dir, model, rows):
    with pytest.raises(UserError, match=r"can't be resumed with other settings: recipe\.model") as error:
        RunFolder(make(run_dir, model=model, resume=True)).__enter__()
    for row in rows:
        assert pytest.RaisesExc(UserError, match=row).matches(error.value), str(error.value)
    assert "--from-checkpoint takes the weights" in str(error.value)
    assert "--reset-optimizer" not in str(error.value)


def test_arrays_that_no_setting_tells_apart_are_told_by_name(run_dir, tiny_data):
    sign(
        run_dir / "checkpoints" / "10", lambda content: content["leaves"]["state/params/readout/bias"].update(shape=[1])
    )
    with pytest.raises(
        UserError, match=r"(?s)by this program.*\n  changed  state/params/readout/bias  float32 \[1\] -> "
    ):
        train(make(run_dir, resume=True), tiny_data)


def test_an_optimiser_is_reset_once_and_only_if_asked(run_dir, tiny_data, capsys):
    with pytest.raises(
        UserError, match=r"(?s)learning_rate was 0.01 and is now 0.1\..*add --reset-optimizer, which keeps"
    ):
        RunFolder(make(run_dir, 0.1, resume=True)).__enter__()
    weights = leaves(run_dir)["state/params/readout/bias"]
    train(make(run_dir, 0.1, resume=True, reset_optimizer=True, steps=10), tiny_data)
    assert leaves(run_dir)["state/params/readout/bias"] == weights, "no step was taken"
    first = make(run_dir, 0.1, resume=True, reset_optimizer=True, steps=15)
    train(first, tiny_data)
    assert "Resumed from step 10, its optimiser anew.\n" in capsys.readouterr().out
    assert leaves(run_dir)["state/opt_state/0/count"] == Leaf.of(np.array([5], np.int32)).sha256
    # A job that is started again with the same flags goes on.
    train(make(run_dir, 0.1, resume=True, reset_optimizer=True, steps=20), tiny_data)
    said = "Resumed from step 15; its optimiser was reset at step 10, and is not reset again.\n"
    assert said in capsys.readouterr().out
    train(make(run_dir, 0.1, resume=True, steps=21), tiny_data)
    with pytest.raises(UserError, match="seed was 0 and is now 1"):
        RunFolder(make(run_dir, 0.1, resume=True, reset_optimizer=True, seed=1)).__enter__()


def test_a_run_may_start_from_the_weights_of_another(trained, tmp_path, tiny_data, capsys):
    run = make(tmp_path / "fine", 1e-3, seed=5, from_checkpoint=trained, steps=1)
    train(run, tiny_data)
    assert f"Weights from step 10 of {trained}." in capsys.readouterr().out
    of_step_0 = json.loads((tmp_path / "fine" / "checkpoints" / "0" / "manifest.json").read_text())["leaves"]
    before = leaves(trained)
    for name in before:
        same = of_step_0[name]["sha256"] == before[name]
        assert same == name.startswith("state/params/") or "bias" in name or name.startswith("metrics"), name
    # Killed and resumed, it needs the other run no more.
    resumed = make(tmp_path / "fine", 1e-3, seed=5, from_checkpoint=trained, steps=2, resume=True)
    assert train(resumed, tiny_data).steps_taken == 1


def test_weights_that_are_not_there_or_do_not_fit_are_refused_before_anything_is_written(trained, tmp_path, tiny_data):
    with pytest.raises(UserError, match=r"--from-checkpoint .*nowhere names no folder of a run that has a checkpoint"):
        train(make(tmp_path / "new", from_checkpoint=tmp_path / "nowhere"), tiny_data)
    with pytest.raises(
        UserError, match=r"(?s)another number of seeds.*\n  changed  state/params/readout/bias +float32 \[1, 3"
    ):
        train(make(tmp_path / "new", from_checkpoint=trained, num_seeds=2), tiny_data)
    assert not (tmp_path / "new").exists()
