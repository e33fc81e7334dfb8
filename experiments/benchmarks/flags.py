"""The flags that every benchmark has."""

import dataclasses
from pathlib import Path

from rowlstm_jax.config import StartConfig, flag, require_writable
from rowlstm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(StartConfig):
    """The flags that every benchmark has; each adds its own.

    Raises:
      UserError: a value is outside its range, or the result could not be written.
    """

    compilation_cache: Path | None = None
    """Folder where compiled programs are kept from one start to the next; None turns that off."""
    json: Path | None = None
    """File to write the rows to, with the settings and the machine."""

    def __post_init__(self):
        super().__post_init__()
        for name, value in vars(self).items():
            if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value < 2**31:
                raise UserError(f"{flag(name)} is {value}; it must be from 1 to {2**31 - 1}.")
            if isinstance(value, Path) and name in ("json", "plot"):
                require_writable(flag(name), value)
