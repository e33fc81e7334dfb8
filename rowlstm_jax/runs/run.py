"""What a run is: a value, made before anything is read, computed or written."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rowlstm_jax.config import RunConfig
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import environment
from rowlstm_jax.runs.code import changed_code, code_of
from rowlstm_jax.runs.identity import different_arrays, identity, require_same
from rowlstm_jax.tasks import ORDERS, Protocol
from rowlstm_jax.training import Recipe, skip_nonfinite


@dataclasses.dataclass(frozen=True)
class Run:
    """What is trained, on what, and how: all that decides the numbers of a run.

    Attributes:
      experiment: the name of the experiment; by default the run's folder lies in runs/<experiment>/.
      config: the flags.
      protocol: what is measured: data set, split, reading order, augmentation and selection.
      recipe: model, optimiser and loss. With `--on-nonfinite skip` the optimiser is wrapped in `skip_nonfinite`.
    """

    experiment: str
    config: RunConfig
    protocol: Protocol
    recipe: Recipe

    def __post_init__(self):
        if self.config.on_nonfinite == "skip":
            optimizer = skip_nonfinite(self.recipe.optimizer)
            object.__setattr__(self, "recipe", dataclasses.replace(self.recipe, optimizer=optimizer))

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with this one, as JSON values by name."""
        return identity(self.experiment, self.config, self.protocol, self.recipe)

    @functools.cached_property
    def code(self) -> dict[str, str]:
        """SHA-256 of the source of what the run is made of outside installed packages, by name."""
        return code_of(self.recipe, extra=(ORDERS.get(self.protocol.order),))


def require_same_run(run: Run, where: Path, saved: Mapping[str, Any], checkpoints: Path) -> None:
    """Refuse to resume a run as another one.

    Args:
      run: of the present start.
      where: what is resumed, for the message.
      saved: its "identity", "code", and the "versions" that it was saved with.
      checkpoints: the folder of its checkpoints.

    Raises:
      UserError: it is another run, or its code has changed without --accept-changed-code.
    """

    def table() -> str:
        return different_arrays(checkpoints, run.protocol, run.recipe, run.config.num_seeds)

    same_version = saved["versions"].get("rowlstm_jax") == environment.versions(["rowlstm_jax"])["rowlstm_jax"]
    changed = changed_code(saved.get("code") or {}, run.code, same_version)
    if changed and not run.config.accept_changed_code:
        raise UserError(
            f"The code of the run in {where} has changed since it was saved: {', '.join(changed)}. Undo the change, or "
            "add --accept-changed-code to go on with the new code."
        )
    require_same(where, saved, run.identity, table, reset_optimizer=run.config.reset_optimizer)
