"""What a run is, and whether a run on disk is the same."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rowlstm_jax.config import RunConfig
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import environment, manifest
from rowlstm_jax.runs.identity import changed_code, code_of, identity, own_modules, require_same
from rowlstm_jax.tasks import ORDERS, Augmentation, Protocol
from rowlstm_jax.training import Recipe, initial_state, skip_nonfinite


@dataclasses.dataclass(frozen=True)
class Run:
    """What is trained, on what, and how: all that decides the numbers of a run.

    Attributes:
      experiment: its name; by default the run's folder lies in runs/<experiment>/.
      config: the flags.
      protocol: data set, split, reading order, augmentation and selection.
      recipe: model, optimiser and loss. With `--on-nonfinite skip` the optimiser is wrapped in `skip_nonfinite`.

    Raises:
      ValueError: the recipe has `patience`, and the protocol does not select the best evaluation.
    """

    experiment: str
    config: RunConfig
    protocol: Protocol
    recipe: Recipe

    def __post_init__(self):
        if self.recipe.patience is not None and self.protocol.selection != "best_validation":
            raise ValueError(
                f"patience is {self.recipe.patience}, which needs a protocol with selection='best_validation'; "
                f"the protocol {self.protocol.name} has {self.protocol.selection!r}."
            )
        if self.config.on_nonfinite == "skip":
            optimizer = skip_nonfinite(self.recipe.optimizer)
            object.__setattr__(self, "recipe", dataclasses.replace(self.recipe, optimizer=optimizer))

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """JSON values by name that a resumed run must have in common with this one."""
        return identity(self.experiment, self.config, self.protocol, self.recipe)

    @functools.cached_property
    def code(self) -> dict[str, str]:
        """Digests of the user's code that the run consists of, by name."""
        augmentation = self.protocol.augmentation
        varies = (augmentation.function,) if isinstance(augmentation, Augmentation) else ()
        return code_of(self.recipe, extra=(ORDERS.get(self.protocol.order), *varies))

    def described(self) -> dict[str, Any]:
        """What config.json says of the run besides its flags, as JSON values."""
        modules = own_modules(self.recipe.model)
        return {"identity": self.identity, "protocol": self.protocol.to_json(), "modules": modules, "code": self.code}


def require_same_run(run: Run, where: Path, saved: Mapping[str, Any], checkpoints: Path) -> None:
    """Raise a UserError if a saved run is not this one, or its code has changed without --accept-changed-code.

    Args:
      run: of the present start.
      where: what is resumed, for the message.
      saved: its "identity" and "code", and the "versions" of the packages that it used.
      checkpoints: the folder of its checkpoints.
    """
    same_version = saved["versions"].get("rowlstm_jax") == environment.versions(["rowlstm_jax"])["rowlstm_jax"]
    changed = changed_code(saved.get("code") or {}, run.code, same_version)
    if changed and not run.config.accept_changed_code:
        raise UserError(
            f"The code of the run in {where} has changed since it was saved: {', '.join(changed)}. Undo the change, or "
            "add --accept-changed-code to go on with the new code."
        )
    table = functools.partial(different_arrays, checkpoints, run.protocol, run.recipe, run.config.num_seeds)
    require_same(where, saved, run.identity, table, reset_optimizer=run.config.reset_optimizer)


def different_arrays(checkpoints: Path, protocol: Protocol, recipe: Recipe, num_seeds: int) -> str:
    """A table with a line for each array that differs between the newest checkpoint and a recipe; may be empty."""
    saved = manifest.newest(checkpoints)
    if saved is None:
        return ""
    inputs = jax.ShapeDtypeStruct((1, *protocol.sequence_shape_of(tuple(saved.about["image_shape"]))), np.float32)
    kind = {"select_best": protocol.selection == "best_validation", "classes": "metrics/correct" in saved.leaves}
    begin = functools.partial(initial_state, dataclasses.replace(recipe, metrics=None), inputs, **kind)
    now = jax.eval_shape(begin, np.zeros(num_seeds, np.uint32))
    kept = {name: leaf for name, leaf in saved.leaves.items() if not name.startswith("metrics/more/")}
    return manifest.differences(kept, manifest.named(now))
