"""Events for TensorBoard. The only import of tensorboardX."""

import sys
from pathlib import Path
from typing import Any


def summary_writer(directory: Path) -> Any:
    """A tensorboardX `SummaryWriter` to a folder."""
    # Imported here: it costs 0.15 s that a mistake in the flags should not wait for. Where torch is installed it would
    # import that too, 1.5 s for nothing that is used here, unless torch seems absent.
    torch = sys.modules.get("torch")
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
    try:
        from tensorboardX import SummaryWriter
    finally:
        del sys.modules["torch"]
        if torch is not None:
            sys.modules["torch"] = torch
    return SummaryWriter(str(directory))
