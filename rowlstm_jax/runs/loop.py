"""Training a run: the loop over its steps, and what is due between them."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from rowlstm_jax import parallel
from rowlstm_jax.config import RunConfig
from rowlstm_jax.data import Examples, Splits, batches
from rowlstm_jax.errors import InterruptedRun, NonFiniteError, UserError
from rowlstm_jax.parallel import CompilationWatch, CompiledSteps, Evaluation, Seeds, all_or_none
from rowlstm_jax.runs import console
from rowlstm_jax.runs.checkpoint import Checkpoints
from rowlstm_jax.runs.files import require_there, writing
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.prepare import make_steps, reading, require_fit
from rowlstm_jax.runs.records import (
    Record,
    by_seed,
    learning_rate,
    log_line,
    require_few_skipped,
    require_finite,
    skipping,
    training_record,
    without_update,
)
from rowlstm_jax.runs.resume import begin
from rowlstm_jax.runs.run import Run
from rowlstm_jax.runs.signals import stop_signals
from rowlstm_jax.training import Metrics, RunState

NOTED = ("reading", "layout")


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The trained models of all seeds."""

    params: Any  # the weights that the protocol selects, [S, ...]
    selected_steps: list[int]  # the steps that they are from, [S]
    last_step: int
    steps_taken: int  # by this process; fewer after a resume
    evaluate: Callable[[Examples], Evaluation]  # of these weights
    validation: Evaluation | None  # None if there are no validation examples
    noted: dict[str, Any]  # the parts `NOTED` of what its checkpoints say, see `resume.begin`


def fit(run: Run, data: Splits, folder: RunFolder, callbacks: Sequence[Any] = ()) -> Fitted:
    """Train a run, from its last checkpoint if it is resumed.

    The first process calls the `callbacks`, see `Callback`, besides those of `--track`.

    Raises:
      UserError: the batch is larger than the training data, the model does not have an output for each class or is
        larger than the memory, or the run can't go on from what its folder contains.
      NonFiniteError: a loss or gradient is not finite; nothing saved is lost.
      InterruptedRun: a signal came, see `stop_signals`; the state after the steps under way has been saved.
    """
    config, clock = run.config, folder.clock
    folder.require(run)
    folder.callbacks.add(callbacks)
    if config.batch_size > len(data.train):
        raise UserError(
            f"--batch-size is {config.batch_size}, more than the {len(data.train)} training examples; choose less."
        )
    preprocessing = run.protocol.preprocessing(data.train)
    require_fit(run, data, preprocessing)
    seeds = Seeds(config.num_seeds, parallel.make_mesh(config.batch_size, config.devices, config.num_seeds))
    console.show_devices(seeds.mesh, config.batch_size, config.num_seeds, config.devices is not None)
    if config.memory_health:
        console.show_missing_diagnostics(run.recipe.model)
    with writing(folder.path), contextlib.ExitStack() as stack:
        signals = stack.enter_context(stop_signals())
        with clock.phase("compile"), all_or_none():
            compiled = make_steps(run, data, seeds, preprocessing)
        with clock.phase("checkpoint"), all_or_none():
            first_step, state, about = begin(run, folder, compiled, data, reading(data, preprocessing))
            checkpoints = stack.enter_context(Checkpoints(folder.path / "checkpoints", about))
            if folder.from_checkpoint and not first_step:  # that run may go on and change its weights
                checkpoints.save(0, state, recorded=folder.journal.recorded)
                checkpoints.wait()
        with clock.phase("compile"), all_or_none():
            compiled.compile()
        console.show_parameters(state.state.params)
        state.evaluation_params()  # compiles the conversion of an average of another dtype
        watch = stack.enter_context(parallel.watch_compilation()) if config.strict_compile else None
        step, state = _Loop(run, folder, compiled, checkpoints, data, signals, watch).train(first_step, state)
    if rest := without_update(state.state.opt_state):
        console.say(
            f"The last {rest} steps did not fill a group of optax.MultiSteps: their gradients have changed no weights."
        )
    params, selected = state.evaluation_params(), [step] * config.num_seeds
    if state.scores is not None:
        params, selected = state.best, jax.device_get(state.scores.step).tolist()
    with clock.phase("validation"):
        validation = compiled.evaluate(params, data.validation) if len(data.validation) else None
    evaluate = functools.partial(compiled.evaluate, params)
    return Fitted(params, selected, step, step - first_step, evaluate, validation, {k: about[k] for k in NOTED})


@dataclasses.dataclass(frozen=True)
class _Loop:
    """The steps of a run, and what is due between them: records, validation, checkpoints, and the end."""

    run: Run
    folder: RunFolder
    compiled: CompiledSteps
    checkpoints: Checkpoints
    data: Splits
    signals: list[int]
    watch: CompilationWatch | None

    @property
    def config(self) -> RunConfig:
        return self.run.config

    def train(self, step: int, state: RunState) -> tuple[int, RunState]:
        """Train to the last step, or until every seed has stopped."""
        config, compiled, clock = self.config, self.compiled, self.folder.clock
        first_step, began = step, time.perf_counter()
        trace_wanted = config.profile and parallel.is_first_process()
        with jax.transfer_guard("disallow"), console.progress_bar(config.steps, step, config.progress) as bar:
            while step < config.steps and not compiled.all_stopped(state):
                self._stop_if_asked(step, state)
                stop = _next_stop(config, step, compiled.steps_per_dispatch)
                # The first dispatch is slower than the others, so the second is traced, if there is one.
                traced = trace_wanted and (step > first_step or stop == config.steps)
                trace_wanted = trace_wanted and not traced
                profile = jax.profiler.trace(self.folder.path / "profile") if traced else contextlib.nullcontext()
                with clock.phase("train"), profile:
                    indices = batches(config.seeds, len(self.data.train), config.batch_size, step, stop - step)
                    state = compiled.train(state, indices)
                    after_update = compiled.evaluate_minibatch(state.weights, indices[:, -1])  # in the background
                    sums = jax.device_get(state.metrics)
                clock.seconds["loop"] = time.perf_counter() - began  # from the first step to the last
                with clock.phase("minibatch"):
                    after_update = jax.device_get(after_update)
                bar.update(stop - step)
                step = stop
                self._require_finite(step, state, sums, after_update)
                state, record = self._record(step, state, sums, after_update, indices[:, -1])
                if ends := bool(record) and self._log(step, record, bar):
                    state = self._evaluate_now(step, state)
                self._save_if_due(step, state, ends)
                if self.watch is not None:
                    self.watch.forbid()
                if ends:
                    break
            self._stop_if_asked(step, state)  # a signal may have come during the last steps
        return step, state

    def _record(
        self, step: int, state: RunState, sums: Metrics, after_update: Metrics, last_batch: np.ndarray
    ) -> tuple[RunState, Record]:
        """The state after a step's validation, and the record of the step; empty if none is due."""
        record, config = {}, self.config
        if _due(config, step, config.log_every):
            record = training_record(step * config.batch_size, sums, after_update)
            if (rate := learning_rate(self.run.recipe, state.state.opt_state, step, config.num_seeds)) is not None:
                record["learning_rate"] = rate
            if config.memory_health:
                with self.folder.clock.phase("memory_health"):
                    health = jax.device_get(self.compiled.gradient_diagnostics(state.weights, last_batch))
                record |= {name: by_seed(values) for name, values in health.items()}
            if config.on_nonfinite == "skip":
                record["skipped_steps"] = by_seed(skipping(state.state.opt_state).total)
            state = state.replace(metrics=self.compiled.zero_metrics())
        if _due(config, step, config.eval_every) and len(self.data.validation):
            state, validation = self._validate(step, state)
            record |= validation
        return state, record

    def _validate(self, step: int, state: RunState) -> tuple[RunState, Record]:
        with self.folder.clock.phase("validation"):
            weights = state.evaluation_params()
            validation = self.compiled.evaluate(weights, self.data.validation)
            if not np.isfinite(validation.loss).all():
                losses = ", ".join(f"{loss:g}" for loss in validation.loss)
                raise NonFiniteError(
                    f"The validation loss at step {step} is not finite ({losses}); lower --learning-rate."
                )
            way, _, name = self.run.protocol.select_by.partition(" ")
            if state.scores is not None:
                score = validation.means[name] if way == "max" else -validation.means[name]
                state = self.compiled.select(state, weights, step, score)
        return state, {f"validation_{name}": by_seed(values) for name, values in validation.means.items()}

    def _save_if_due(self, step: int, state: RunState, always: bool) -> None:
        if always or _due(self.config, step, self.config.eval_every) or step % self.config.checkpoint_every == 0:
            with self.folder.clock.phase("checkpoint"), all_or_none():
                parallel.from_first_process(lambda: require_there(self.folder.path))
                self._save(step, state)

    def _save(self, step: int, state: RunState) -> None:
        parallel.from_first_process(self.folder.journal.sync)  # the records before the checkpoint that counts them
        self.checkpoints.save(step, state, recorded=self.folder.journal.recorded)

    def _stop_if_asked(self, step: int, state: RunState) -> None:
        if signum := parallel.largest_of_all(self.signals[0] if self.signals else 0):
            self._save(step, state)
            self.checkpoints.wait()
            raise InterruptedRun(
                f"Stopped at step {step} of {self.config.steps}; its state is saved. "
                f"Continue with the same flags and --resume --run-dir {self.folder.path}",
                signum,
            )

    def _evaluate_now(self, step: int, state: RunState) -> RunState:
        """A callback ends the training: evaluate, as after the last step."""
        if not _due(self.config, step, self.config.eval_every) and len(self.data.validation):
            state, record = self._validate(step, state)
            self._log(step, record)
        return state

    def _log(self, step: int, record: Record, bar: tqdm | None = None) -> bool:
        """Write a record down and show it. Returns whether a callback asks for the end of the training."""
        self.folder.journal.log(step, record)
        self.folder.callbacks.log(step, record)
        if bar is not None:
            console.show_record(bar, log_line(step, self.config.steps, record), self.config.progress)
        return bool(parallel.largest_of_all(self.folder.callbacks.stopped))

    def _require_finite(self, step: int, state: RunState, sums: Metrics, after_update: Metrics) -> None:
        saved, folder = self.checkpoints.latest_step, self.folder.path
        kept = (
            "No checkpoint was saved yet." if saved is None else f"The checkpoint of step {saved} is kept in {folder}."
        )
        if self.config.on_nonfinite == "halt":
            require_finite(self.config.seeds, step, sums, after_update, kept)
        else:
            require_few_skipped(self.config.seeds, step, np.asarray(skipping(state.state.opt_state).longest), kept)


def _due(config: RunConfig, step: int, every: int) -> bool:
    return step % every == 0 or step == config.steps


def _next_stop(config: RunConfig, step: int, steps_per_dispatch: int) -> int:
    """The next step at which something is due, or a dispatch ends."""
    cadences = (config.log_every, config.eval_every, config.checkpoint_every)
    return min(config.steps, step + steps_per_dispatch, *(step - step % every + every for every in cadences))
