"""The host loop: the only place where cadence and I/O meet."""

import contextlib
import dataclasses
import functools
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec
from tqdm import tqdm

from rowlstm_jax import console
from rowlstm_jax.checkpoint import SCORE, Checkpoints
from rowlstm_jax.config import InterruptedRun, NonFiniteError, RunConfig, UserError
from rowlstm_jax.data import Examples, Splits
from rowlstm_jax.data.order import batch_indices
from rowlstm_jax.devices import largest_of_all, make_mesh
from rowlstm_jax.metrics import Metrics
from rowlstm_jax.programs import ZERO_METRICS, Evaluation, Programs, compile_programs
from rowlstm_jax.run import Run
from rowlstm_jax.sequences import ORDERS
from rowlstm_jax.step import TrainState

# A dispatch can't be interrupted, so it is never longer than this, however rarely a run logs.
MAX_STEPS_PER_DISPATCH = 100


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes:
      state: the one that the protocol selects.
      evaluate: evaluates it on some examples.
      validation: its evaluation on the validation set.
      steps_taken: by this process; fewer than the state's step after a resume.
    """

    state: TrainState
    evaluate: Callable[[Examples], Evaluation]
    validation: Evaluation
    steps_taken: int


def fit(run: Run, model: nn.Module, optimizer: optax.GradientTransformation, data: Splits) -> Fitted:
    """Train a model as its run's config says, from the last checkpoint if the run is resumed.

    Args:
      run: an entered run; its files are begun here.
      model: [B, T, F] -> logits [B, C].
      optimizer: an optax chain.
      data: the splits.

    Raises:
      UserError: the batch is larger than the training data, the model larger than the memory, or the run can't go on
        from what its folder holds.
      NonFiniteError: the loss or its gradient stopped being finite; nothing saved is lost.
      InterruptedRun: SIGINT or SIGTERM came; the state after the steps under way has been saved.
    """
    config = run.config
    if config.batch_size > len(data.train):
        raise UserError(
            f"--batch-size is {config.batch_size}, more than the {len(data.train)} training examples; choose less."
        )
    mesh = make_mesh(config.batch_size, config.devices)
    console.show_devices(mesh, config.batch_size)
    with contextlib.ExitStack() as stack:
        received = stack.enter_context(_stop_signals())
        if not config.resume:
            run.claim()
        checkpoints = stack.enter_context(Checkpoints(run.directory / "checkpoints"))
        with run.phase("compile"):
            steps_per_dispatch = min(config.log_every, config.steps, MAX_STEPS_PER_DISPATCH)
            order = ORDERS[run.protocol.order]
            programs = compile_programs(
                model, optimizer, order, data.train, config.batch_size, steps_per_dispatch, mesh
            )
        with run.phase("checkpoint"):
            state, metrics = _first_state(run, programs, checkpoints)
        console.show_parameters(state.params)
        first_step = int(state.step)
        state, validation = _train(run, programs, checkpoints, data, state, metrics, received)
        steps_taken = int(state.step) - first_step
        best_step = checkpoints.best_step
        if run.protocol.selection == "best_validation" and best_step not in (None, int(state.step)):
            state, validation = _restore(checkpoints, best_step, programs)["state"], None
    with run.phase("validation"):
        validation = validation or programs.evaluate(state, data.validation)
    return Fitted(state, functools.partial(programs.evaluate, state), validation, steps_taken)


def _first_state(run: Run, programs: Programs, checkpoints: Checkpoints) -> tuple[TrainState, Metrics]:
    """The state, and the sums since the last log line, as saved or as the seed says; begins the run's files."""
    seed, step = np.uint32(run.config.seed), checkpoints.latest_step
    if (step or 0) > run.config.steps:
        raise UserError(f"--steps is {run.config.steps}, but {run.directory} has taken {step} already; ask for more.")
    if step is not None:
        restored = _restore(checkpoints, step, programs)
        run.begin(step)
        tqdm.write(f"Resumed from step {step}.")
        return restored["state"], restored["metrics"]
    if (run.directory / "summary.json").exists():
        raise UserError(f"The run in {run.directory} was finished, but its checkpoints are gone; start a new one.")
    run.begin(0)
    if run.config.resume:
        tqdm.write("The run has no checkpoint yet: it starts from step 0.")
    return programs.init(seed), programs.zero_metrics()


def _saved(state: TrainState, metrics: Metrics) -> dict[str, TrainState | Metrics]:
    """What a checkpoint holds: with the flags, all that the next step depends on."""
    return {"state": state, "metrics": metrics}


def _restore(checkpoints: Checkpoints, step: int, programs: Programs) -> dict[str, Any]:
    like = _saved(jax.eval_shape(programs.init, np.uint32(0)), ZERO_METRICS)
    return checkpoints.restore(step, like, NamedSharding(programs.mesh, PartitionSpec()))


def _train(
    run: Run,
    programs: Programs,
    checkpoints: Checkpoints,
    data: Splits,
    state: TrainState,
    metrics: Metrics,
    received: list[int],
) -> tuple[TrainState, Evaluation | None]:
    """Train to the last step; returns its state and, if there was a step to take, its validation."""
    config, step, validation = run.config, int(state.step), None
    first_step, trace_wanted, began = step, config.profile, time.perf_counter()
    with (
        jax.transfer_guard("disallow"),
        tqdm(total=config.steps, initial=step, unit="step", disable=None) as bar,
    ):
        while step < config.steps:
            if signum := largest_of_all(received[0] if received else 0):
                checkpoints.save(step, _saved(state, metrics), None)
                raise InterruptedRun(_how_to_go_on(run, step), signum)
            stop = _next_stop(config, step, programs.steps_per_dispatch)
            # The first dispatch is not like the others, so the second is traced, if there is one.
            traced = trace_wanted and (step > first_step or stop == config.steps)
            trace_wanted = trace_wanted and not traced
            with run.phase("train"), run.trace() if traced else contextlib.nullcontext():
                indices = batch_indices(config.seed, len(data.train), config.batch_size, step, stop - step)
                state, metrics = programs.train(state, metrics, indices)
                after_update = programs.evaluate_minibatch(state, indices[-1])  # waits behind the steps
                sums = jax.device_get(metrics)
            run.seconds["loop"] = time.perf_counter() - began  # from the first step to the last
            with run.phase("minibatch"):
                after_update = jax.device_get(after_update)
            bar.update(stop - step)
            step, last = stop, stop == config.steps
            _require_finite(run, step, sums, after_update, checkpoints.latest_step)
            record, validation = {}, None
            if last or step % config.log_every == 0:
                record = _training_record(step * config.batch_size, sums, after_update)
                metrics = programs.zero_metrics()
            if last or step % config.eval_every == 0:
                with run.phase("validation"):
                    validation = programs.evaluate(state, data.validation)
                record |= {"validation_loss": validation.loss, SCORE: validation.accuracy}
            if record:
                run.log(step, record)
                bar.write(_log_line(step, config.steps, record))
            if validation or step % config.checkpoint_every == 0:
                with run.phase("checkpoint"):
                    checkpoints.save(step, _saved(state, metrics), validation and validation.accuracy)
    return state, validation


def _how_to_go_on(run: Run, step: int) -> str:
    return (
        f"Stopped at step {step} of {run.config.steps}; its state is saved. "
        f"Continue with the same flags and --resume --run-dir {run.directory}"
    )


def _next_stop(config: RunConfig, step: int, steps_per_dispatch: int) -> int:
    """The step up to which training may go on without the host."""
    cadences = (config.log_every, config.eval_every, config.checkpoint_every)
    return min(config.steps, step + steps_per_dispatch, *(step - step % every + every for every in cadences))


def _training_record(examples: int, sums: Metrics, after_update: Metrics) -> dict[str, int | float]:
    """What is logged: the last minibatch after its update, as in the notebook, and means since the last line."""
    return {
        "examples": examples,
        "loss": float(after_update.mean_loss),
        "accuracy": float(after_update.accuracy),
        "train_loss": float(sums.mean_loss),
        "train_accuracy": float(sums.accuracy),
        "gradient_norm": float(sums.gradient_norm / sums.steps),
    }


def _log_line(step: int, steps: int, record: dict[str, int | float]) -> str:
    parts = [f"step {step}/{steps}"]
    if "loss" in record:
        parts.append(f"samples {record['examples']:,}")
        parts.append(f"minibatch loss {record['loss']:.6f}, accuracy {record['accuracy']:.5f}")
    if SCORE in record:
        parts.append(f"validation loss {record['validation_loss']:.6f}, accuracy {record[SCORE]:.5f}")
    return "  ".join(parts)


def _require_finite(run: Run, step: int, sums: Metrics, after_update: Metrics, saved: int | None) -> None:
    if sums.nonfinite == 0 and np.isfinite(after_update.loss):
        return
    # Once a weight is not finite no later loss is, so the count tells the last step that was.
    finite = step - int(sums.nonfinite)
    kept = f"The checkpoint of step {saved} is kept in {run.directory}." if saved else "No checkpoint was saved yet."
    raise NonFiniteError(
        f"The loss or its gradient is no longer finite after step {finite} of seed {run.config.seed}; "
        f"lower --learning-rate or clip the gradient. {kept}"
    )


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one of a kind acts at once, as it always did."""
    received: list[int] = []
    previous = {}

    def receive(signum: int, _: object) -> None:
        received.append(signum)
        signal.signal(signum, previous[signum])

    for signum in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(signum) != signal.SIG_IGN:  # a job in the background ignores Ctrl-C
            previous[signum] = signal.signal(signum, receive)
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
