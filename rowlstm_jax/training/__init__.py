"""One training step as a pure function: loss, metrics, optimiser, state in, state out.

`train_step(state, batch) -> (state, metrics)` is one gradient and one optax update. Nothing here is jitted, and
nothing knows of devices, files or flags: `parallel` compiles these functions and `runs` calls them. This floor uses
`models` and `tasks`.
"""

from rowlstm_jax.training.metrics import Interval, Metrics, wilson_interval
from rowlstm_jax.training.recipe import Recipe, SkipState, adamw_cosine, params_ema, skip_nonfinite
from rowlstm_jax.training.state import RunState, initial_state, keep_better
from rowlstm_jax.training.step import eval_step, gather, read_batch, train_step, train_steps

__all__ = [
    "Interval",
    "Metrics",
    "Recipe",
    "RunState",
    "SkipState",
    "adamw_cosine",
    "eval_step",
    "gather",
    "initial_state",
    "keep_better",
    "params_ema",
    "read_batch",
    "skip_nonfinite",
    "train_step",
    "train_steps",
    "wilson_interval",
]
