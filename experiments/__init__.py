"""One short script an experiment: model, optimiser, task and defaults in plain sight."""

import importlib.util
import sys

if importlib.util.find_spec("flax") is None:
    sys.exit(
        "error: This Python has no flax, so it is not the project's environment; run `source .venv/bin/activate` "
        "first, or install as the README says."
    )
