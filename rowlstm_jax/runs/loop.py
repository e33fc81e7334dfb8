"""The host loop: the only place where cadence and I/O meet."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import chex
import jax
import numpy as np
from tqdm import tqdm

from rowlstm_jax.config import RunConfig
from rowlstm_jax.data import Examples, Splits, batch_indices
from rowlstm_jax.errors import InterruptedRun, NonFiniteError, UserError
from rowlstm_jax.parallel import (
    CompilationWatch,
    CompiledSteps,
    Evaluation,
    Seeds,
    fetch,
    from_first_process,
    largest_of_all,
    make_mesh,
    watch_compilation,
)
from rowlstm_jax.runs import console
from rowlstm_jax.runs.checkpoint import Checkpoints
from rowlstm_jax.runs.folder import require_there, writing
from rowlstm_jax.runs.records import Record, by_seed, log_line, require_few_skipped, require_finite, training_record
from rowlstm_jax.runs.resume import begin
from rowlstm_jax.runs.run import Run
from rowlstm_jax.runs.signals import stop_signals
from rowlstm_jax.tasks import Preprocessing, order_index, read
from rowlstm_jax.training import Metrics, RunState, SkipState

# A dispatch can't be interrupted, so it is never longer than this, however rarely a run logs.
MAX_STEPS_PER_DISPATCH = 100


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The trained models of all seeds.

    Attributes:
      params: the weights that the protocol selects, [S, ...].
      selected_steps: of which steps they are, [S].
      last_step: the last that was taken.
      steps_taken: by this process; fewer after a resume.
      evaluate: evaluates the models on some examples.
      validation: their evaluation on the validation set; None if it is empty.
    """

    params: chex.ArrayTree
    selected_steps: list[int]
    last_step: int
    steps_taken: int
    evaluate: Callable[[Examples], Evaluation]
    validation: Evaluation | None


def fit(run: Run, data: Splits) -> Fitted:
    """Train a run's recipe as its config says, from the last checkpoint if the run is resumed.

    Args:
      run: an entered run; its files are begun here.
      data: the splits.

    Raises:
      UserError: the batch is larger than the training data, the model larger than the memory, or the run can't go on
        from what its folder holds.
      NonFiniteError: the loss or its gradient stopped being finite; nothing saved is lost.
      InterruptedRun: SIGINT or SIGTERM came; the state after the steps under way has been saved.
    """
    config, recipe, select_best = run.config, run.recipe, run.protocol.selection == "best_validation"
    if config.batch_size > len(data.train):
        raise UserError(
            f"--batch-size is {config.batch_size}, more than the {len(data.train)} training examples; choose less."
        )
    if recipe.patience is not None and not select_best:
        raise ValueError("A recipe with patience needs a protocol that selects the best evaluated step.")
    seeds = Seeds(config.num_seeds, make_mesh(config.batch_size, config.devices, config.num_seeds))
    console.show_devices(seeds.mesh, config.batch_size, config.num_seeds)
    with writing(run.directory), contextlib.ExitStack() as stack:
        received = stack.enter_context(stop_signals())
        with run.phase("compile"):
            programs = _programs(run, data, seeds, select_best)
        with run.phase("checkpoint"):
            first_step, progress, about = begin(run, programs, data)
            checkpoints = stack.enter_context(Checkpoints(run.directory / "checkpoints", about))
            if run.from_checkpoint and not first_step:  # the other run may go on, and its weights change
                checkpoints.save(0, progress, recorded=run.recorded)
                checkpoints.wait()
        with run.phase("compile"):
            programs.compile()
        console.show_parameters(progress.state.params)
        progress.evaluation_params()  # an average of another dtype is converted by what is compiled now
        watch = stack.enter_context(watch_compilation()) if config.strict_compile else None
        step, progress = _Loop(run, programs, checkpoints, data, received, watch).train(first_step, progress)
    params, selected = progress.evaluation_params(), [step] * config.num_seeds
    if progress.scores is not None:
        params, selected = progress.best, jax.device_get(progress.scores.step).tolist()
    evaluate = functools.partial(programs.evaluate, params)
    with run.phase("validation"):
        validation = evaluate(data.validation) if len(data.validation) else None
    return Fitted(params, selected, step, step - first_step, evaluate, validation)


def _programs(run: Run, data: Splits, seeds: Seeds, select_best: bool) -> CompiledSteps:
    config, index = run.config, order_index(run.protocol.order, *data.train.images.shape[1:])
    return CompiledSteps(
        run.recipe,
        Preprocessing(functools.partial(read, index=index), run.protocol.augmentation),
        data.train,
        config.batch_size,
        min(config.log_every, config.steps, MAX_STEPS_PER_DISPATCH),
        seeds,
        select_best=select_best,
        measure_memory=config.memory_health,
    )


@dataclasses.dataclass(frozen=True)
class _Loop:
    """The steps of a run, and what is due between them."""

    run: Run
    programs: CompiledSteps
    checkpoints: Checkpoints
    data: Splits
    signals: list[int]
    watch: CompilationWatch | None

    def train(self, step: int, progress: RunState) -> tuple[int, RunState]:
        """Train to the last step, or until every seed has stopped."""
        run, config, programs = self.run, self.run.config, self.programs
        first_step, trace_wanted, began = step, config.profile, time.perf_counter()
        with (
            jax.transfer_guard("disallow"),
            tqdm(total=config.steps, initial=step, unit="step", disable=None) as bar,
        ):
            while step < config.steps and not programs.all_stopped(progress):
                self._stop_if_asked(step, progress)
                stop = _next_stop(config, step, programs.steps_per_dispatch)
                # The first dispatch is not like the others, so the second is traced, if there is one.
                traced = trace_wanted and (step > first_step or stop == config.steps)
                trace_wanted = trace_wanted and not traced
                with run.phase("train"), run.trace() if traced else contextlib.nullcontext():
                    indices = _batches(config, len(self.data.train), step, stop - step)
                    progress = programs.train(progress, indices)
                    after_update = programs.evaluate_minibatch(progress.state.params, indices[:, -1])  # waits behind
                    sums = jax.device_get(progress.metrics)
                run.seconds["loop"] = time.perf_counter() - began  # from the first step to the last
                with run.phase("minibatch"):
                    after_update = jax.device_get(after_update)
                bar.update(stop - step)
                step = stop
                self._require_finite(step, progress, sums, after_update)
                progress, record = self._record(step, progress, sums, after_update, indices[:, -1])
                if record:
                    run.log(step, record)
                    bar.write(log_line(step, config.steps, record))
                if _due(config, step, config.eval_every) or step % config.checkpoint_every == 0:
                    with run.phase("checkpoint"):
                        from_first_process(lambda: require_there(run.directory))
                        self.checkpoints.save(step, progress, recorded=run.recorded)
                if self.watch is not None:
                    self.watch.forbid()
        return step, progress

    def _record(
        self, step: int, progress: RunState, sums: Metrics, after_update: Metrics, last_batch: np.ndarray
    ) -> tuple[RunState, Record]:
        """What is to be written down at a step, if anything, and the progress after that."""
        record, config = {}, self.run.config
        if _due(config, step, config.log_every):
            record = training_record(step * config.batch_size, sums, after_update)
            record |= self._health(progress, last_batch)
            if config.on_nonfinite == "skip":
                record["skipped_steps"] = by_seed(_skipping(progress).total)
            progress = progress.replace(metrics=self.programs.zero_metrics())
        if _due(config, step, config.eval_every):
            progress, validation = self._validate(step, progress)
            record |= validation
        return progress, record

    def _health(self, progress: RunState, indices: np.ndarray) -> Record:
        if not self.run.config.memory_health:
            return {}
        with self.run.phase("memory_health"):
            health = jax.device_get(self.programs.gradient_diagnostics(progress.state.params, indices))
        return {name: by_seed(values) for name, values in health.items()}

    def _validate(self, step: int, progress: RunState) -> tuple[RunState, Record]:
        if not len(self.data.validation):
            return progress, {}
        with self.run.phase("validation"):
            params = progress.evaluation_params()
            validation = self.programs.evaluate(params, self.data.validation)
            if not np.isfinite(validation.loss).all():
                losses = ", ".join(f"{loss:g}" for loss in validation.loss)
                raise NonFiniteError(
                    f"The validation loss at step {step} is not finite ({losses}); lower --learning-rate."
                )
            progress = self.programs.select(progress, params, step, validation.accuracy)
        return progress, {
            "validation_loss": by_seed(validation.loss),
            "validation_accuracy": by_seed(validation.accuracy),
        }

    def _stop_if_asked(self, step: int, progress: RunState) -> None:
        if signum := largest_of_all(self.signals[0] if self.signals else 0):
            self.checkpoints.save(step, progress, recorded=self.run.recorded)
            self.checkpoints.wait()
            raise InterruptedRun(
                f"Stopped at step {step} of {self.run.config.steps}; its state is saved. "
                f"Continue with the same flags and --resume --run-dir {self.run.directory}",
                signum,
            )

    def _require_finite(self, step: int, progress: RunState, sums: Metrics, after_update: Metrics) -> None:
        saved = self.checkpoints.latest_step
        where = f"The checkpoint of step {saved} is kept in {self.run.directory}."
        kept = "No checkpoint was saved yet." if saved is None else where
        if self.run.config.on_nonfinite == "halt":
            require_finite(self.run.config.seeds, step, sums, after_update, kept)
        else:
            require_few_skipped(self.run.config.seeds, step, np.asarray(_skipping(progress).longest), kept)


def _skipping(progress: RunState) -> SkipState:
    """What `skip_nonfinite` has counted, [S] each, in every process."""
    state: Any = progress.state.opt_state
    return fetch(state.replace(inner=None))


def _batches(config: RunConfig, num_examples: int, step: int, count: int) -> np.ndarray:
    """The batches of some steps, int32 [S, count, B]."""
    return np.stack([batch_indices(seed, num_examples, config.batch_size, step, count) for seed in config.seeds])


def _due(config: RunConfig, step: int, every: int) -> bool:
    return step % every == 0 or step == config.steps


def _next_stop(config: RunConfig, step: int, steps_per_dispatch: int) -> int:
    """The step up to which training may go on without the host."""
    cadences = (config.log_every, config.eval_every, config.checkpoint_every)
    return min(config.steps, step + steps_per_dispatch, *(step - step % every + every for every in cadences))
