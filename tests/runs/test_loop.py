import os
import shutil
import signal

import chex
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from rowlstm_jax.errors import InterruptedRun, NonFiniteError, UserError
from rowlstm_jax.models.cells import BasicLSTMCell, ElmanCell
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.journal import Journal
from rowlstm_jax.runs.loop import fit
from rowlstm_jax.tasks.protocol import Protocol
from rowlstm_jax.training.optimizers import params_ema
from rowlstm_jax.training.recipe import Recipe
from tests import trials
from tests.trials import at_steps, journal


def interrupt(at, signum=signal.SIGINT):
    """This process receives a signal when its run logs a step, as if somebody had pressed Ctrl-C then."""
    return at_steps(at, action=lambda: os.kill(os.getpid(), signum))


def weights(run) -> dict[str, bytes]:
    """All that the last checkpoint of a run holds."""
    folder = run.config.run_dir / "checkpoints"
    step = max(int(path.name) for path in folder.iterdir())
    leaves = jax.tree_util.tree_leaves_with_path(ocp.StandardCheckpointer().restore(folder / str(step) / "state"))
    return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


def accuracy_of(fitted) -> float:
    """Of the only seed, on the validation set."""
    assert fitted.validation is not None
    return fitted.validation.accuracy[0]


def train(run, data):
    fitted = trials.train(run, data)
    return weights(run), (run.config.run_dir / "metrics.jsonl").read_text(), fitted


def test_a_run_learns_and_logs_what_it_does(make_run, tiny_data):
    run = make_run(steps=150, log_every=10, eval_every=75)
    with RunFolder(run) as folder:
        fitted = fit(run, tiny_data, folder)
    records = {record["step"]: record for record in folder.journal.records()}
    assert sorted(records) == sorted({*range(10, 151, 10), 75})
    assert set(records[75]) == {"step", "validation_loss", "validation_accuracy"}
    assert records[10]["examples"] == 40
    assert records[150]["validation_accuracy"] == accuracy_of(fitted)
    assert fitted.evaluate(tiny_data.test.open(lambda: None)).accuracy > 0.9, "bright rows are easy to tell apart"
    assert records[150]["train_loss"] < 0.5 * records[10]["train_loss"]
    assert fitted.steps_taken == 150
    assert {"compile", "train", "validation", "checkpoint"} <= set(folder.clock.seconds)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(make_run, tiny_data):
    first = train(make_run("first"), tiny_data)
    again = train(make_run("again"), tiny_data)
    other = train(make_run("other", seed=1), tiny_data)
    assert first[:2] == again[:2]
    assert first[0] != other[0]


@pytest.mark.slow
def test_how_many_steps_a_dispatch_takes_changes_no_weight(make_run, tiny_data):
    one_by_one = train(make_run("one", log_every=1), tiny_data)
    at_once = train(make_run("all", log_every=12, eval_every=12), tiny_data)
    assert one_by_one[0] == at_once[0]


@pytest.mark.parametrize(
    ("at", "signum"),
    [
        (10, signal.SIGINT),
        *(pytest.param(*of, marks=pytest.mark.slow) for of in ((3, signal.SIGINT), (5, signal.SIGTERM))),
        pytest.param(12, signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_and_resumed_run_ends_in_the_same_bytes(make_run, tiny_data, at, signum):
    undisturbed = train(make_run("undisturbed"), tiny_data)
    handler = signal.getsignal(signum)
    stopping = pytest.raises(InterruptedRun, match=f"Stopped at step {at} of 12")
    with stopping as stopped, interrupt(at, signum):  # 5 and 10 are evaluated and not log steps, 3 is the opposite
        train(make_run("interrupted"), tiny_data)
    assert stopped.value.signum == signum
    assert signal.getsignal(signum) is handler
    resumed = train(make_run("interrupted", resume=True), tiny_data)
    assert resumed[:2] == undisturbed[:2]
    assert resumed[2].steps_taken == 12 - at


@pytest.mark.slow
def test_several_seeds_with_early_stopping_end_in_the_same_bytes_after_an_interruption(make_run, tiny_data, tiny_model):
    """Accumulated gradients, averaged weights, the best of each seed: all of it is in the checkpoint."""
    # From the 30th update on, which is step 60, the models are wrecked, so that patience has an end.
    schedule = optax.join_schedules([optax.constant_schedule(2e-2), optax.constant_schedule(30.0)], [30])
    chain = optax.chain(optax.adam(schedule), params_ema(0.5))
    recipe = Recipe(tiny_model, optax.MultiSteps(chain, 2).gradient_transformation(), label_smoothing=0.1, patience=3)
    protocol = Protocol("tiny", "mnist", 13, "rows", selection="best_validation")
    fields = {"recipe": recipe, "protocol": protocol, "num_seeds": 2, "eval_every": 5, "steps": 400}
    undisturbed = train(make_run("undisturbed", **fields), tiny_data)
    fitted = undisturbed[2]
    assert fitted.last_step < 400, "patience ended before the steps"
    last_evaluation = max(fitted.selected_steps) + 3 * 5
    assert fitted.last_step == last_evaluation
    with pytest.raises(InterruptedRun), interrupt(63):
        train(make_run("interrupted", **fields), tiny_data)
    resumed = train(make_run("interrupted", resume=True, **fields), tiny_data)
    assert resumed[:2] == undisturbed[:2]
    assert resumed[2].selected_steps == fitted.selected_steps
    chex.assert_trees_all_equal(jax.device_get(resumed[2].params), jax.device_get(fitted.params))


def test_a_run_stopped_before_its_first_checkpoint_starts_over(make_run, tiny_data, capsys):
    with RunFolder(make_run()) as folder:
        folder.begin(0)
        folder.journal.log(3, {"loss": 1.0})
    resumed = train(make_run(resume=True), tiny_data)
    assert "The run has no checkpoint yet: it starts from step 0." in capsys.readouterr().out
    assert resumed[:2] == train(make_run("other"), tiny_data)[:2]


def test_a_finished_run_may_be_trained_further(make_run, tiny_data):
    train(make_run(), tiny_data)
    extended = train(make_run(resume=True, steps=20), tiny_data)
    assert extended[2].steps_taken == 8
    assert extended[0] == train(make_run("at once", steps=20), tiny_data)[0]


@pytest.mark.slow
def test_a_run_may_go_on_with_the_other_recurrence_and_other_devices(make_run, tiny_model, tiny_data):
    undisturbed = train(make_run("undisturbed"), tiny_data)[2].params
    train(make_run(steps=5), tiny_data)
    fused = tiny_model.clone(recurrence="fused", segment=2)
    run = make_run(resume=True, recurrence="fused", recipe=Recipe(fused, optax.adam(1e-2)))
    resumed = train(run, tiny_data)[2]
    assert resumed.steps_taken == 7
    chex.assert_trees_all_close(resumed.params, undisturbed, rtol=1e-4, atol=1e-5)
    one_device = train(make_run(resume=True, devices=1, steps=13), tiny_data)[2]
    assert one_device.steps_taken == 1


def test_resuming_a_finished_run_only_evaluates_it(make_run, tiny_data):
    finished = train(make_run(), tiny_data)
    again = train(make_run(resume=True), tiny_data)
    assert again[:2] == finished[:2]
    assert again[2].steps_taken == 0
    assert accuracy_of(again[2]) == accuracy_of(finished[2])


def test_a_run_that_has_gone_further_than_asked_for_is_left_alone(make_run, tiny_data):
    _, metrics, _ = train(make_run(), tiny_data)
    run = make_run(resume=True, steps=11)
    (run.config.run_dir / "summary.json").touch()
    config = (run.config.run_dir / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"--steps is 11, but .* has taken 12 already"):
        train(run, tiny_data)
    assert (run.config.run_dir / "metrics.jsonl").read_text() == metrics
    assert (run.config.run_dir / "summary.json").exists()
    assert (run.config.run_dir / "config.json").read_bytes() == config


def test_a_finished_run_without_its_checkpoints_is_left_alone(make_run, tiny_data):
    _, metrics, _ = train(make_run(), tiny_data)
    run = make_run(resume=True)
    (run.config.run_dir / "summary.json").touch()
    shutil.rmtree(run.config.run_dir / "checkpoints")
    with pytest.raises(UserError, match="its checkpoints are gone; put them back"):
        train(run, tiny_data)
    assert (run.config.run_dir / "metrics.jsonl").read_text() == metrics


def test_a_model_larger_than_the_memory_is_refused(make_run, tiny_model, tiny_data):
    huge = Recipe(tiny_model.clone(cell=BasicLSTMCell(10**7)), optax.adam(1e-2))
    with (
        pytest.raises(UserError, match=r"take [\d,.]+ GB on 2 devices, and [\d,.]+ GB of memory are free; choose"),
    ):
        train(make_run(recipe=huge), tiny_data)


def test_the_best_evaluated_step_is_selected_where_the_protocol_says_so(make_run, tiny_model, tiny_data):
    protocol = Protocol("tiny", "mnist", 13, "rows", selection="best_validation")
    # A step size that wrecks the model after a few good steps makes the best checkpoint differ from the last.
    schedule = optax.join_schedules([optax.constant_schedule(1e-2), optax.constant_schedule(3.0)], [150])
    run = make_run(protocol=protocol, recipe=Recipe(tiny_model, optax.adam(schedule)), steps=155, eval_every=50)
    _, _, fitted = train(run, tiny_data)
    accuracy = {
        r["step"]: r["validation_accuracy"] for r in journal(run.config).records() if "validation_accuracy" in r
    }
    best = max(accuracy, key=lambda step: (accuracy[step], step))
    assert best < 155
    assert fitted.selected_steps == [best]
    assert accuracy_of(fitted) == accuracy[best]


@pytest.mark.parametrize("log_every", [1, 5])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    make_run, tiny_model, tiny_data, log_every
):
    # From the eighth update on the step size overflows.
    schedule = optax.join_schedules([optax.constant_schedule(1e-2), optax.constant_schedule(np.inf)], [7])
    recipe = Recipe(tiny_model, optax.adam(schedule))
    run = make_run(recipe=recipe, log_every=log_every, eval_every=5, steps=20)
    with pytest.raises(NonFiniteError, match=r"after step 8 of seed 0.*The checkpoint of step 5 is kept") as error:
        train(run, tiny_data)
    assert error.value.status == 1
    assert max(record["step"] for record in journal(run.config).records()) < 8
    assert sorted(p.name for p in (run.config.run_dir / "checkpoints").iterdir() if p.name.isdigit()) == ["5"]


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_written(make_run, tiny_data):
    run = make_run(batch_size=42)
    with pytest.raises(UserError, match="--batch-size is 42, more than the 41 training examples"):
        train(run, tiny_data)
    assert not run.config.run_dir.exists()


@pytest.mark.slow
def test_diagnostics_that_a_model_does_not_have_are_named_once(make_run, tiny_model, tiny_data, capsys):
    other = Recipe(tiny_model.clone(cell=ElmanCell(4)), optax.adam(1e-2))
    train(make_run(recipe=other, memory_health=True), tiny_data)
    sentence = "--memory-health: model has the cell ElmanCell; only the gates of a BasicLSTMCell are known.\n"
    assert capsys.readouterr().out.count(sentence) == 1
    train(make_run("lstm", memory_health=True), tiny_data)
    train(make_run("off", recipe=other), tiny_data)
    assert "--memory-health" not in capsys.readouterr().out


def test_training_compiles_nothing_after_its_first_step(make_run, tiny_data, monkeypatch, compilations):
    counts = []
    log = Journal.log
    monkeypatch.setattr(Journal, "log", lambda *args: (counts.append(len(compilations)), log(*args)))
    train(make_run(), tiny_data)
    assert counts[0] > 0
    assert counts[-1] == counts[0]


@pytest.mark.parametrize("classes", [2, 20])
def test_a_model_without_an_output_for_each_class_is_refused_before_anything_is_written(
    make_run, tiny_data, tiny_model, classes
):
    recipe = Recipe(tiny_model.clone(num_classes=classes), optax.adam(1e-2))
    said = (
        rf"The model returns \[1, {classes}\] for one sequence \[5, 7\], and tiny has 3 classes; the last .* \[B, 3\]\."
    )
    run = make_run(recipe=recipe)
    with pytest.raises(UserError, match=said), RunFolder(run) as folder:
        fit(run, tiny_data, folder)
    assert not folder.path.exists()
