"""What all pictures have in common: matplotlib's object interface, so no pyplot state, and one style."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# One a logged step, as in metrics.jsonl: each has "step", and none need have the rest.
Records = Sequence[Mapping[str, Any]]

LIGHT_BLUE, VERMILION = "#8FC1DE", "#D55E00"  # after Okabe and Ito: colour-blind readers tell them apart
SYSTEMS = (VERMILION, "#0072B2", "#009E73", "#CC79A7")  # theirs too

styled = matplotlib.rc_context(  # layouts are fixed: a tight or a constrained one would lay every figure out twice
    {
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 9,
        "grid.color": "0.9",
        "legend.frameon": False,
        "savefig.dpi": 120,
    }
)


def load() -> None:
    """Load fonts and renderers, which takes a fifth of a second once, by drawing a picture that is thrown away."""
    figure = Figure()
    figure.subplots().set(xlabel="0", title="0")
    figure.savefig(io.BytesIO())
