"""One short script an experiment: model, optimiser, task and defaults in plain sight."""

import importlib.util
import os
import sys

if importlib.util.find_spec("flax") is None:
    sys.exit(
        "error: This Python has no flax, so it is not the project's environment; run `source .venv/bin/activate` "
        "first, or install as the README says."
    )
if any(name.startswith("JAX_") for name in os.environ):
    try:
        import jax  # noqa: F401
    except ValueError as error:  # JAX reads its settings when it is imported
        print(f"error: JAX can't use a setting of the environment ({error}); correct it, or unset it.", file=sys.stderr)
        sys.exit(2)
