"""What stands before the first step of a run: its parts fit together, and its functions are known."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.data import Splits
from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import CompiledSteps, Seeds
from rowlstm_jax.runs import console
from rowlstm_jax.runs.run import Run
from rowlstm_jax.tasks import Preprocessing
from rowlstm_jax.training import Recipe

MAX_STEPS_PER_DISPATCH = 100  # a dispatch can't be interrupted, so it stays short however rarely a run logs


def require_fit(run: Run, data: Splits, preprocessing: Preprocessing) -> None:
    """Raise a UserError unless model, targets and selection fit together; nothing is computed."""
    model, one = run.recipe.model, data.train[:1]
    sequence = jax.eval_shape(preprocessing.evaluation, jax.ShapeDtypeStruct(one.inputs.shape, one.inputs.dtype))
    lengths: dict[str, Any] = {} if one.lengths is None else {"lengths": jnp.ones(1, jnp.int32)}
    inputs = jnp.zeros(sequence.shape)
    outputs = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), inputs, **lengths)[0])
    needed = [len(data.class_names)] if data.class_names else [*one.targets.shape[1:]]
    found = getattr(outputs, "shape", None)
    if found is None or (math.prod(found) != math.prod(needed) if not data.class_names else found != (1, *needed)):
        returned = list(found) if found is not None else f"a {type(outputs).__name__}"
        what = f"has {needed[0]} classes" if data.class_names else f"has targets [N{''.join(f', {n}' for n in needed)}]"
        raise UserError(
            f"The model returns {returned} for one sequence {list(sequence.shape[1:])}, and {data.name} {what}; "
            f"the last layer must return {['B', *(needed or [1])]}.".replace("'", "")
        )
    _require_functions(run.recipe, outputs, one.targets)
    names = {"loss", *(["accuracy"] if data.class_names else []), *(run.recipe.metrics or {})}
    wanted = run.protocol.select_by.partition(" ")[2]
    if run.protocol.selection == "best_validation" and wanted not in names:
        raise UserError(
            f"The protocol selects by {run.protocol.select_by!r}, and this run has the metrics "
            f"{', '.join(sorted(names))}; choose one of them."
        )


def reading(data: Splits, preprocessing: Preprocessing) -> dict[str, Any]:
    """What it takes to read an input as a run does, besides its protocol, as JSON values."""
    measured: Any = preprocessing.standardize
    of = {"mean": list(measured.mean), "deviation": list(measured.deviation)} if measured else None
    inputs, classes = data.train.inputs, list(data.class_names)
    return {"inputs": str(inputs.dtype), "shape": list(data.shape), "class_names": classes, "standardization": of}


def _require_functions(recipe: Recipe, outputs: Any, targets: np.ndarray) -> None:
    """Raise a UserError unless loss and metrics take outputs and targets, and return a number for each example."""
    classes = np.issubdtype(targets.dtype, np.integer)
    if recipe.label_smoothing and not classes:
        raise UserError(f"label_smoothing is {recipe.label_smoothing}, and the targets are no classes; leave it at 0.")
    dtype = np.int32 if classes else targets.dtype
    several = [
        jax.ShapeDtypeStruct((3, *of.shape[1:]), of_dtype)
        for of, of_dtype in ((outputs, outputs.dtype), (targets, dtype))
    ]
    functions = {"loss": recipe.loss} if recipe.loss else {}
    functions |= {f"metrics[{name!r}]": metric for name, metric in (recipe.metrics or {}).items()}
    for name, function in functions.items():
        try:
            found: Any = jax.eval_shape(function, *several)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{name} can't take outputs {_text(several[0])} and targets {_text(several[1])}: {reason}"
            ) from error
        parts = list(found) if isinstance(found, tuple) and name != "loss" else [found]
        if len(parts) not in (1, 2) or any(getattr(of, "shape", None) != (3,) for of in parts):
            returned = ", ".join(map(_text, parts))
            raise UserError(
                f"{name} returns {returned} for 3 examples; it must return a number for each, [3]"
                f"{'' if name == 'loss' else ', or a sum and a count for each'}."
            )


def _text(array: Any) -> str:
    """The dtype and shape of an array."""
    return f"{array.dtype}{list(array.shape)}" if hasattr(array, "shape") else f"a {type(array).__name__}"


def make_steps(run: Run, data: Splits, seeds: Seeds, preprocessing: Preprocessing) -> CompiledSteps:
    """The functions of a run, with the data where the config says; nothing is compiled yet."""
    config = run.config
    compiled = CompiledSteps(
        run.recipe,
        preprocessing,
        data.train,
        config.batch_size,
        min(config.log_every, config.steps, MAX_STEPS_PER_DISPATCH),
        seeds,
        select_best=run.protocol.selection == "best_validation",
        measure_memory=config.memory_health,
        data_on=config.data_on,
    )
    if compiled.storage.why:
        console.say(compiled.storage.why)
    return compiled
