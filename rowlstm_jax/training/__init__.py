"""One training step as a pure function: loss, metrics, optimiser; state in, state out.

`train_step(state, batch) -> (state, metrics)` is one gradient and one optax update. Nothing here is jitted, and nothing
depends on devices, files or flags: `parallel` compiles these functions, and `runs` calls them. This floor uses `tasks`.
`README.md` in this folder shows optimisers, label smoothing, early stopping and what happens in a step.
"""

from rowlstm_jax.training.batch import Batch, gather, read_batch
from rowlstm_jax.training.metrics import Interval, Metrics, wilson_interval
from rowlstm_jax.training.optimizers import (
    SkipState,
    adamw_cosine,
    decay_mask,
    evaluation_params,
    params_ema,
    skip_nonfinite,
)
from rowlstm_jax.training.recipe import Recipe
from rowlstm_jax.training.state import RunState, initial_state, keep_better
from rowlstm_jax.training.step import (
    TrainState,
    eval_step,
    init_state,
    train_step,
    train_steps,
)

__all__ = [
    "Batch",
    "Interval",
    "Metrics",
    "Recipe",
    "RunState",
    "SkipState",
    "TrainState",
    "adamw_cosine",
    "decay_mask",
    "eval_step",
    "evaluation_params",
    "gather",
    "init_state",
    "initial_state",
    "keep_better",
    "params_ema",
    "read_batch",
    "skip_nonfinite",
    "train_step",
    "train_steps",
    "wilson_interval",
]
