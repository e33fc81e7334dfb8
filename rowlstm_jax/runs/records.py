"""The record of a step: its values, its line on the terminal, and the errors that its values raise.

In all functions `sums` are over the steps since the last record, and `after_update` is the last minibatch after its
update, as in the notebook; both are [S].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from rowlstm_jax.errors import NonFiniteError
from rowlstm_jax.parallel import fetch
from rowlstm_jax.training import Metrics, Recipe, SkipState, parts_of

Record = dict[str, Any]  # by name, a number, or a list with a number for each of several seeds
MAX_SKIPPED = 10  # steps in a row that are not finite


def is_number(value: Any) -> bool:
    """Whether a value can be that of a record: a number, null for one that is not finite, or a list of them."""
    if isinstance(value, list):
        return bool(value) and all(map(is_number, value))
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2.0**128)


def by_seed(values: Any) -> Any:
    """[S, ...] as JSON values: that of a single seed, or a list over seeds; null for a number that is not finite."""
    values = np.asarray(values)
    if not np.isfinite(values).all():  # all steps since the last record were skipped, or a gradient vanished
        values = np.where(np.isfinite(values), values.astype(object), None)
    return values.tolist()[0] if len(values) == 1 else values.tolist()


def training_record(examples: int, sums: Metrics, after_update: Metrics) -> Record:
    """The last minibatch and means since the last record; `examples` is how many each seed has seen."""
    with np.errstate(invalid="ignore"):  # if all steps were skipped
        values = {
            **after_update.means,
            **{f"train_{name}": value for name, value in sums.means.items()},
            "gradient_norm": sums.gradient_norm / sums.steps,
        }
    return {"examples": examples} | {name: by_seed(value) for name, value in values.items()}


def learning_rate(recipe: Recipe, opt_state: Any, step: int, num_seeds: int) -> Any:
    """The step size of the last update: what the recipe says, or what the optimiser's state has; or None.

    A schedule is asked for the number of updates that the optimiser's own schedule has counted, if it has one: with
    `optax.MultiSteps`, skipped steps or a reset, that is not the number of steps.
    """
    said = recipe.learning_rate
    if said is None:
        found = optax.tree_utils.tree_get_all_with_path(opt_state, "learning_rate")
        return by_seed(fetch(found[0][1])) if found else None
    if not callable(said):
        return by_seed(np.full(num_seeds, said, float))
    schedules = parts_of(opt_state, optax.ScaleByScheduleState)
    taken = fetch(schedules[0].count) if schedules else np.full(num_seeds, step)
    with jax.transfer_guard("allow"):  # a schedule computes with Python's numbers
        return by_seed([float(np.asarray(said(max(int(count) - 1, 0)))) for count in taken])


def without_update(opt_state: Any) -> int:
    """The steps at the end whose gradients `optax.MultiSteps` has added up and not used; 0 without it."""
    groups = parts_of(opt_state, optax.MultiStepsState)
    return max((int(fetch(node.mini_step).max()) for node in groups), default=0)


def skipping(opt_state: Any) -> SkipState:
    """The counts of `skip_nonfinite`, [S] each, in every process."""
    return fetch(opt_state.replace(inner=None))


def log_line(step: int, steps: int, record: Mapping[str, Any]) -> str:
    """A record in words, with means over seeds."""

    def mean(name: str) -> float:
        return float(np.mean(np.asarray(record[name], float)))  # NaN where one is null

    def figures(names: Sequence[str]) -> str:
        short = [name.removeprefix("validation_") for name in names]
        digits = {"loss": 6}
        return ", ".join(f"{s} {mean(n):.{digits.get(s, 5)}f}" for s, n in zip(short, names, strict=True))

    parts = [f"step {step}/{steps}"]
    if "loss" in record:
        parts.append(f"samples {record['examples']:,}")
        names = [name.removeprefix("train_") for name in record if name.startswith("train_")]
        parts.append(f"minibatch {figures(names)}")
    if "skipped_steps" in record:
        parts.append(f"steps skipped so far {np.sum(record['skipped_steps'])}")
    if "validation_loss" in record:
        names = [name for name in record if name.startswith("validation_")]
        parts.append(f"validation {figures(names)}")
    if isinstance(record.get("loss", record.get("validation_loss")), list):
        parts.append(f"(means over {np.size(record.get('loss', record.get('validation_loss')))} seeds)")
    return "  ".join(parts)


def require_finite(seeds: range, step: int, sums: Metrics, after_update: Metrics, kept: str) -> None:
    """Raise a NonFiniteError if a loss or gradient since the last record is not finite; `kept` ends its message."""
    bad = np.flatnonzero((sums.nonfinite > 0) | ~np.isfinite(after_update.loss))
    if not len(bad):
        return
    # After a weight is not finite no loss is, so the number of bad steps gives the last good one.
    places = []
    for seed in bad:
        finite = int(sums.steps[seed])
        norm = f", where its norm was {sums.gradient_norm[seed] / finite:.3g} on average" if finite else ""
        places.append(f"step {step - int(sums.nonfinite[seed])} of seed {seeds[seed]}{norm}")
    raise NonFiniteError(
        f"The loss or its gradient is no longer finite after {' and after '.join(places)}; "
        f"lower --learning-rate, clip the gradient, or skip such steps by --on-nonfinite skip. {kept}"
    )


def require_few_skipped(seeds: range, step: int, longest: np.ndarray, kept: str) -> None:
    """Raise a NonFiniteError if the `longest` series of skipped steps of a seed, [S], is over `MAX_SKIPPED`."""
    if not len(bad := np.flatnonzero(longest > MAX_SKIPPED)):
        return
    places = [f"{longest[seed]} steps in a row of seed {seeds[seed]}" for seed in bad]
    raise NonFiniteError(
        f"Up to step {step}, {' and '.join(places)} were not finite and skipped, more than {MAX_SKIPPED}; lower "
        f"--learning-rate or clip the gradient. {kept}"
    )
