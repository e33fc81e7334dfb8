"""A run is compared with the same training again: what is equal, and what is named if something is not."""

import dataclasses
import json
import re
import shutil

import pytest

from rowlstm_jax.analysis import finish, verify
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import RunFolder, fit, following
from tests.trials import train

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def again(make_run_in, tiny_data, tmp_path_factory):
    """Trains, finishes, and reads what is recorded then."""

    def run(stop: int | None = None, **fields) -> verify.Recorded:
        of = make_run_in(tmp_path_factory.mktemp("runs") / "run", num_seeds=2, steps=9, no_test=True, **fields)
        with following(*([verify.StopAfter(stop)] if stop else [])), RunFolder(of) as folder:
            finish(of, fit(of, tiny_data, folder), tiny_data, folder)
        return verify.read_recorded(folder.path)

    return run


@pytest.fixture(scope="module")
def twice(again) -> tuple[verify.Recorded, verify.Recorded]:
    return again(), again()


@pytest.fixture
def then_and_now(twice, tmp_path) -> tuple[verify.Recorded, verify.Recorded]:
    """Two equal runs; the folder of the first is a copy."""
    then, now = twice
    return verify.read_recorded(shutil.copytree(then.where, tmp_path / "then")), now


def test_a_repeated_run_is_equal_in_every_bit(then_and_now):
    then, now = then_and_now
    found = verify.compare_recorded(then, now)
    assert found == (True, ["Equal in every bit up to step 9: the records up to step 9 and all weights."])
    assert then.num_devices == 2
    shutil.rmtree(then.where / "checkpoints")
    assert verify.compare_recorded(verify.read_recorded(then.where), now).equal
    alone = shutil.copy(then.where / "summary.json", then.where.parent / "result.json")
    found = verify.compare_recorded(verify.read_recorded(alone), now)
    assert found == (True, ["Equal in every bit up to step 9: the records up to step 9 and all weights."])


def test_the_first_steps_are_compared_alone(again):
    then = again(checkpoint_every=3)
    found = verify.compare_recorded(then, again(stop=4))
    assert found == (True, ["Equal in every bit up to step 6: the records up to step 6."])


def test_the_first_step_and_value_that_differ_are_named(then_and_now):
    then, now = then_and_now
    path = then.where / "metrics.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[2])
    assert record["step"] == 6
    record["train_loss"][1] += 0.25
    path.write_text("\n".join([*lines[:2], json.dumps(record), *lines[3:]]) + "\n")
    summary = json.loads((then.where / "summary.json").read_text())
    summary["environment"]["versions"]["jax"] = "0.1"
    (then.where / "summary.json").write_text(json.dumps(summary))
    equal, lines = verify.compare_recorded(verify.read_recorded(then.where), now)
    assert not equal
    assert lines[0].startswith("Different: step 6, train_loss: [")
    assert lines[0].endswith("now, 0.25 apart.")
    assert lines[1].startswith("Between then and now: versions.jax was 0.1 and is now ")


@pytest.mark.parametrize(
    ("fields", "message"), [({"learning_rate": 0.02}, "^Equal"), ({"seed": 1}, "^Different: step 3, loss: ")]
)
def test_another_seed_differs_at_once(again, twice, fields, message):
    # The learning rate is that of the recipe here, so the flag alone changes nothing.
    (line, *_) = verify.compare_recorded(twice[0], again(**fields)).lines
    assert re.search(message, line)


def a(step: int, **values) -> dict:
    return {"step": step, **values}


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        ([a(10, loss=1)], [a(10, loss=1), a(20, loss=2)], ""),
        ([a(10, loss=1), a(20, loss=2)], [a(20, loss=2)], "step 10 has a record then only"),
        ([a(20, loss=2)], [a(10, loss=1), a(20, loss=2)], "step 10 has a record now only"),
        ([a(5, loss=1), a(5, v=2)], [a(5, loss=1, v=3)], "step 5, v: 2 then, 3 now, 1 apart"),
        ([a(5, loss=1)], [a(5, loss=1), a(5, v=2)], ""),
        ([a(5, loss=1, v=2)], [a(5, loss=1)], "step 5 has v then, and not now"),
        ([a(5, loss=None)], [a(5, loss=1)], "step 5, loss: None then, 1 now"),
    ],
)
def test_where_records_part(then, now, message):
    assert verify.first_difference(then, now) == message


def test_a_run_that_was_resumed_with_other_flags_is_not_verified(make_run, tiny_data):
    train(make_run(steps=5), tiny_data)
    run = make_run(steps=9, resume=True)
    with RunFolder(run) as folder:
        finish(run, fit(run, tiny_data, folder), tiny_data, folder)
    for path in (folder.path, folder.path / "summary.json"):
        with pytest.raises(UserError, match=r"was resumed with other flags \(\[\{'until': 5, 'steps': 5\}\]\), so one"):
            verify.read_recorded(path)


def test_changed_weights_and_other_data_are_named(twice):
    then, now = twice
    changed = {**then.weights, "readout/bias": "0"}
    replaced = dataclasses.replace(then, weights=changed)
    assert verify.compare_recorded(replaced, now).lines[0] == "Different: the selected weights readout/bias."
    fewer = {name: of for name, of in then.weights.items() if name != "readout/bias"}
    replaced = dataclasses.replace(then, weights=fewer)
    assert verify.compare_recorded(replaced, now).lines[0] == "Different: the selected weights readout/bias."
    replaced = dataclasses.replace(then, protocol="0")
    assert verify.compare_recorded(replaced, now).lines == [
        f"The protocol is not the same: 0 then, {now.protocol} now."
    ]


def test_weights_of_a_checkpoint_are_compared_where_both_have_it(make_run, tiny_data):
    unfinished, other = make_run("a", num_seeds=2, steps=6), make_run("b", num_seeds=2, steps=6, seed=1)
    train(unfinished, tiny_data)
    train(other, tiny_data)
    folders = [run.config.run_dir for run in (unfinished, other)]
    assert verify.weights_apart(folders[0], folders[0], 6) == ""
    assert verify.weights_apart(*folders, 6).startswith("the weights layer_0_forward.bias after step 6, ")
    assert verify.weights_apart(*folders, 7) == ""


def test_what_cannot_be_verified_says_why(make_run, tiny_data, tmp_path):
    run = make_run("run", steps=2, log_every=2)
    train(run, tiny_data)
    config = json.loads((run.config.run_dir / "config.json").read_text())
    config["config"]["from_checkpoint"] = "elsewhere"
    (run.config.run_dir / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="began with the weights of another run"):
        verify.read_recorded(run.config.run_dir)
    (run.config.run_dir / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="has no record yet"):
        verify.read_recorded(run.config.run_dir)
    summary = {"experiment": "x", "config": {}, "steps": 3, "protocol": {}, "data": {}}
    for records, message in (([], "has no record yet"), ([1], "has a record without a step")):
        (tmp_path / "changed.json").write_text(json.dumps({**summary, "first_records": records}))
        with pytest.raises(UserError, match=message):
            verify.read_recorded(tmp_path / "changed.json")
    (tmp_path / "old.json").write_text('{"experiment": "x"}')
    with pytest.raises(UserError, match=r"old\.json has no config: an earlier version wrote it"):
        verify.read_recorded(tmp_path / "old.json")
