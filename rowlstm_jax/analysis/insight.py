"""What a trained network does: pictures of classes, gates and gradients over rows; eigenvalues before and after."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.analysis import plots
from rowlstm_jax.analysis.results import Result
from rowlstm_jax.data import Examples
from rowlstm_jax.models import (
    eigenvalues,
    gates_over_time,
    gradient_diagnostics,
    missing_diagnostics,
    probabilities_over_time,
    rows_needed,
)
from rowlstm_jax.runs import console
from rowlstm_jax.tasks import order_index, read, scale
from rowlstm_jax.training import initial_weights


def draw_insight(
    folder: Path, model: nn.Module, params: Any, examples: Examples, names: tuple[str, ...], about: str = ""
) -> None:
    """Draw into a folder what a model that reads rows offers, and print what it does not; params are of one seed."""
    images, labels, missing = examples.inputs, examples.targets.astype(int), missing_diagnostics(model)
    index = order_index("rows", *images.shape[1:])
    for sentence in missing.values():
        console.say(f"The {sentence}")
    if "probabilities" not in missing:
        over_time = jax.jit(lambda x: probabilities_over_time(model, params, read(scale(x), index)))
        probabilities = np.concatenate([over_time(images[n : n + 500]) for n in range(0, len(images), 500)])
        needed, rows = np.asarray(rows_needed(jnp.asarray(probabilities))), images.shape[1]
        some = images[:8], probabilities[:8], names, needed[:8]
        plots.probabilities_over_rows(folder / "probabilities_over_rows.png", *some, about=about)
        plots.rows_needed(folder / "rows_needed.png", needed, labels, names, rows, about=about)
        groups = {"all": needed} | {name: needed[labels == n] for n, name in enumerate(names) if (labels == n).any()}
        table = [(name, f"{np.median(of):g}", f"{np.mean(of > rows):.1%}") for name, of in groups.items()]
        console.show_table("Rows until above 99 %", ("class", "median", "never"), table)
    if "gates" not in missing:
        layers = gates_over_time(model, params, read(scale(jnp.asarray(images[:1])), index))
        for layer, gates in layers.items():
            picture = folder / ("gates_over_time.png" if len(layers) == 1 else f"gates_over_time_{layer}.png")
            plots.gates_over_time(picture, images[0], {k: v[:, 0] for k, v in gates.items()}, layer, about)
    batch = read(scale(jnp.asarray(images[:500])), index), jnp.asarray(labels[:500])
    found = jax.jit(lambda params: gradient_diagnostics(model, params, *batch))(params)
    plots.memory(folder / "gradients_over_rows.png", [{k: v for k, v in found.items() if "/gradient_norm" in k}], about)


def eigenvalues_in_training(run: Result, model: nn.Module) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The eigenvalues of a run's layers before and after training, of its first seed; see `models.eigenvalues`.

    Those before training are of the weights that the seed gives the model; there are none if the run began with the
    weights of another run. A model without a linear recurrence that is the same at all steps has none at all.
    """
    inputs, trained = run.example_inputs(), jax.tree.map(lambda leaf: leaf[0], run.params(model))
    after = eigenvalues(model, trained, inputs)
    if not after or run.config.get("from_checkpoint"):
        return {}, after
    first = jax.jit(initial_weights, static_argnums=0)(model, inputs, run.seeds[0])
    return eigenvalues(model, first, inputs), after
