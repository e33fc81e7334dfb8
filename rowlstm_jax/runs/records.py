"""The record of a step: its values, its line on the terminal, and the errors that its values raise.

In all functions `sums` are over the steps since the last record, and `after_update` is the last minibatch after its
update, as in the notebook; both are [S].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rowlstm_jax.errors import NonFiniteError
from rowlstm_jax.training import Metrics

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
            "loss": after_update.mean_loss,
            "accuracy": after_update.accuracy,
            "train_loss": sums.mean_loss,
            "train_accuracy": sums.accuracy,
            "gradient_norm": sums.gradient_norm / sums.steps,
        }
    return {"examples": examples} | {name: by_seed(value) for name, value in values.items()}


def log_line(step: int, steps: int, record: Mapping[str, Any]) -> str:
    """A record in words, with means over seeds."""

    def mean(name: str) -> float:
        return float(np.mean(np.asarray(record[name], float)))  # NaN where one is null

    parts = [f"step {step}/{steps}"]
    if "loss" in record:
        parts.append(f"samples {record['examples']:,}")
        parts.append(f"minibatch loss {mean('loss'):.6f}, accuracy {mean('accuracy'):.5f}")
    if "skipped_steps" in record:
        parts.append(f"steps skipped so far {np.sum(record['skipped_steps'])}")
    if "validation_loss" in record:
        parts.append(f"validation loss {mean('validation_loss'):.6f}, accuracy {mean('validation_accuracy'):.5f}")
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
