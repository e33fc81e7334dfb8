"""One short script an experiment: model, optimiser, task and defaults in plain sight."""

import importlib.util
import os
import re
import signal
import sys
from types import ModuleType

if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # `python -m` is about to import a script: Ctrl-C ends it without the traceback of an import, until `cli.run`.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
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


def find_experiment(name: str) -> ModuleType | None:
    """The script of an experiment that a run names; None if it is none of ours."""
    from rowlstm_jax import RunConfig

    is_here = re.fullmatch(r"[a-z]\w*", name) and importlib.util.find_spec(f"experiments.{name}")
    script = importlib.import_module(f"experiments.{name}") if is_here else None
    return script if script and issubclass(getattr(script, "Config", object), RunConfig) else None
