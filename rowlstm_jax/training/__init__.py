"""One training step as a pure function: loss, metrics, optimiser; state in, state out.

`train_step(state, batch) -> (state, metrics)` is one gradient and one optax update. Nothing here is jitted, and nothing
depends on devices, files or flags: `parallel` compiles these functions, and `runs` calls them. This floor uses `tasks`
and `models`.
`README.md` in this folder shows optimisers, label smoothing, early stopping and what happens in a step.
"""

from rowlstm_jax.training import losses, rtrl
from rowlstm_jax.training.batch import Batch, Stored, gather, read_batch
from rowlstm_jax.training.chunking import ChunkingSystem, init_chunking, learn_stream, predict_stream
from rowlstm_jax.training.groups import decay_mask, scale_rates
from rowlstm_jax.training.losses import Loss, Metric, default_loss
from rowlstm_jax.training.metrics import Interval, Metrics, expected_calibration_error, wilson_interval
from rowlstm_jax.training.optimizers import (
    EmaState,
    SkipState,
    adamw_cosine,
    evaluation_params,
    params_ema,
    parts_of,
    skip_nonfinite,
    warmup_cosine,
)
from rowlstm_jax.training.prediction import learn_to_predict, log_odds
from rowlstm_jax.training.recipe import Recipe
from rowlstm_jax.training.state import (
    RunState,
    TrainState,
    init_state,
    initial_state,
    initial_weights,
    keep_better,
)
from rowlstm_jax.training.step import eval_step, train_step, train_steps

__all__ = [
    "Batch",
    "ChunkingSystem",
    "EmaState",
    "Interval",
    "Loss",
    "Metric",
    "Metrics",
    "Recipe",
    "RunState",
    "SkipState",
    "Stored",
    "TrainState",
    "adamw_cosine",
    "decay_mask",
    "default_loss",
    "eval_step",
    "evaluation_params",
    "expected_calibration_error",
    "gather",
    "init_chunking",
    "init_state",
    "initial_state",
    "initial_weights",
    "keep_better",
    "learn_stream",
    "learn_to_predict",
    "log_odds",
    "losses",
    "params_ema",
    "parts_of",
    "predict_stream",
    "read_batch",
    "rtrl",
    "scale_rates",
    "skip_nonfinite",
    "train_step",
    "train_steps",
    "warmup_cosine",
    "wilson_interval",
]
