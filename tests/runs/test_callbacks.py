"""What follows a run: when it is called, what its errors cost, and that it can end the training."""

import json

import chex
import jax.numpy as jnp
import pytest

from rowlstm_jax.analysis import finish
from rowlstm_jax.runs import Callback, RunFolder, Stop, fit, following
from rowlstm_jax.runs.stored import read_stored
from rowlstm_jax.tasks.protocol import Protocol
from tests.trials import train

pytestmark = pytest.mark.usefixtures("no_pictures")

LAST = Protocol("tiny", "mnist", 13, "rows")
BEST = Protocol("tiny", "mnist", 13, "rows", selection="best_validation")


class Notes(Callback):
    def __init__(self, **stop):
        self.seen, self.stop = [], stop

    def on_begin(self, directory, config, records):
        self.seen.append(("begin", directory.name, config["batch_size"], len(records)))

    def on_record(self, record):
        self.seen.append(("record", record["step"]))
        float(jnp.ones(3).sum())  # moves data between host and device
        if record["step"] == self.stop.get("at"):
            raise Stop

    def on_evaluation(self, record):
        assert "validation_loss" in record
        self.seen.append(("evaluation", record["step"]))

    def on_end(self, summary):
        self.seen.append(("end", summary["steps"]))

    def close(self):
        self.seen.append(("close",))


def run_to_the_end(run, data, *callbacks):
    with RunFolder(run) as folder:
        return finish(run, fit(run, data, folder, callbacks), data, folder)


def test_records_evaluations_and_the_end_are_told_in_order(make_run, tiny_data):
    notes = Notes()
    run_to_the_end(make_run(steps=7), tiny_data, notes)
    assert notes.seen == [
        ("begin", "run", 4, 0),
        ("record", 3),
        ("evaluation", 5),
        ("record", 6),
        ("record", 7),
        ("evaluation", 7),
        ("end", 7),
        ("close",),
    ]


def test_an_object_with_one_method_will_do_and_a_script_is_followed_from_outside(make_run, tiny_data):
    class Few:
        steps = ()

        def on_record(self, record):
            self.steps += (record["step"],)

    few = Few()
    with following(few):
        run_to_the_end(make_run("a", steps=6), tiny_data)
    run_to_the_end(make_run("b", steps=6), tiny_data)
    assert few.steps == (3, 6)


def test_an_error_is_one_warning_and_changes_no_bit(make_run, tiny_data, capsys):
    class Broken(Callback):
        def on_record(self, record):
            raise KeyError("a\nb")

        def __eq__(self, other):
            return True

        __hash__ = None  # pyright: ignore[reportAssignmentType]

    notes = Notes()
    run, plain = make_run("run", steps=6), make_run("plain", steps=6)
    run_to_the_end(run, tiny_data, notes, Broken())
    run_to_the_end(plain, tiny_data)
    err = capsys.readouterr().err
    assert err.count("Broken.on_record failed (KeyError: 'a\\nb'); it is not called again.") == 1
    assert ("end", 6) in notes.seen
    for name in ("metrics.jsonl", "weights.npz"):
        assert (run.config.run_dir / name).read_bytes() == (plain.config.run_dir / name).read_bytes()


@pytest.mark.parametrize("protocol", [pytest.param(LAST, marks=pytest.mark.slow), BEST])
@pytest.mark.parametrize("every", [3, pytest.param(500, marks=pytest.mark.slow)])
def test_stop_ends_the_training_and_the_run_can_go_on(make_run, tiny_data, protocol, every, capsys):
    whole, notes = make_run("whole", protocol=protocol), Notes(at=6)
    expected = run_to_the_end(whole, tiny_data)
    run = make_run("run", protocol=protocol, checkpoint_every=every)
    summary = run_to_the_end(run, tiny_data, notes)
    assert (summary["steps"], summary["test_loss"] is None) == (6, False)
    assert notes.seen[-4:] == [("record", 6), ("evaluation", 6), ("end", 6), ("close",)]
    assert read_stored(run.config.run_dir).checkpoints[0] == 6
    capsys.readouterr()
    again = run_to_the_end(make_run("run", protocol=protocol, resume=True), tiny_data)
    shown = capsys.readouterr()
    assert "Resumed from step 6." in shown.out
    assert "lost" not in shown.err
    assert again["steps"] == 12
    chex.assert_trees_all_equal(
        again["validation_loss"] if protocol.selection == "last" else 0,
        expected["validation_loss"] if protocol.selection == "last" else 0,
    )
    records = [json.loads(line) for line in (run.config.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "loss" in record] == [3, 6, 9, 12]


def test_a_resumed_run_tells_what_it_has_recorded(make_run, tiny_data):
    train(make_run(steps=7), tiny_data)
    notes = Notes()
    run = make_run(steps=9, resume=True)
    run_to_the_end(run, tiny_data, notes)
    assert notes.seen[:2] == [("begin", "run", 4, 4), ("record", 9)]
