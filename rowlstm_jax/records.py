"""What a run writes down at a step: metrics.jsonl, and the line on the terminal."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rowlstm_jax.config import NonFiniteError
from rowlstm_jax.metrics import Metrics

# A value of one seed, or a list of the values of several.
Record = dict[str, Any]


def by_seed(values: Any) -> Any:
    """[S, ...] as JSON values: those of the only seed, or a list over the seeds."""
    return np.asarray(values).tolist()[0] if len(values) == 1 else np.asarray(values).tolist()


def training_record(examples: int, sums: Metrics, after_update: Metrics) -> Record:
    """The last minibatch after its update, as in the notebook, and means since the last record.

    Args:
      examples: that each seed has seen.
      sums: over the steps since the last record, [S].
      after_update: of the last minibatch, [S].
    """
    values = {
        "loss": after_update.mean_loss,
        "accuracy": after_update.accuracy,
        "train_loss": sums.mean_loss,
        "train_accuracy": sums.accuracy,
        "gradient_norm": sums.gradient_norm / sums.steps,
    }
    return {"examples": examples} | {name: by_seed(value) for name, value in values.items()}


def log_line(step: int, steps: int, record: Mapping[str, Any]) -> str:
    """A record in words; of several seeds, the means."""
    parts = [f"step {step}/{steps}"]
    if "loss" in record:
        parts.append(f"samples {record['examples']:,}")
        parts.append(f"minibatch loss {np.mean(record['loss']):.6f}, accuracy {np.mean(record['accuracy']):.5f}")
    if "validation_loss" in record:
        loss, accuracy = record["validation_loss"], record["validation_accuracy"]
        parts.append(f"validation loss {np.mean(loss):.6f}, accuracy {np.mean(accuracy):.5f}")
    if isinstance(record.get("loss", record.get("validation_loss")), list):
        parts.append(f"(means over {np.size(record.get('loss', record.get('validation_loss')))} seeds)")
    return "  ".join(parts)


def require_finite(seeds: range, step: int, sums: Metrics, after_update: Metrics, kept: str) -> None:
    """Check the steps since the last record.

    Args:
      seeds: S of them.
      step: that has been taken.
      sums: over the steps since the last record, [S].
      after_update: of the last minibatch, [S].
      kept: a sentence on what is not lost.

    Raises:
      NonFiniteError: a loss or the norm of a gradient is not finite.
    """
    bad = np.flatnonzero((sums.nonfinite > 0) | ~np.isfinite(after_update.loss))
    if not len(bad):
        return
    # Once a weight is not finite no later loss is, so the count tells the last step that was.
    places = [f"step {step - int(sums.nonfinite[seed])} of seed {seeds[seed]}" for seed in bad]
    raise NonFiniteError(
        f"The loss or its gradient is no longer finite after {' and after '.join(places)}; "
        f"lower --learning-rate or clip the gradient. {kept}"
    )
