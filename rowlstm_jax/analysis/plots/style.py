"""What all pictures share: how a picture is written, sizes in inches, one style. It uses matplotlib without pyplot."""

import functools
import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")
# One for each logged step, as in metrics.jsonl. Each has "step"; every other value may be missing.
Records = Sequence[Mapping[str, Any]]

# The colours of Okabe and Ito, which colour-blind readers tell apart; the first is a lighter blue.
LIGHT_BLUE, VERMILION = "#8FC1DE", "#D55E00"
SYSTEMS = (VERMILION, "#0072B2", "#009E73", "#CC79A7")
STYLE: Any = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 120,
    "font.size": 9,
    "grid.color": "0.9",
    "legend.frameon": False,
    "savefig.dpi": "figure",
}


def picture(draw: Callable[Arguments, Figure]) -> Callable[Concatenate[Path, Arguments], None]:
    """Turn a function that returns a figure into one that writes it as a PNG; its first argument is the path.

    Layouts are fixed: a tight or constrained layout would lay every figure out twice.
    """

    @functools.wraps(draw)
    def write(path: Path, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        with matplotlib.rc_context(STYLE):
            draw(*args, **kwargs).savefig(path)

    signature = inspect.signature(draw)
    path = inspect.Parameter("path", inspect.Parameter.POSITIONAL_ONLY, annotation=Path)
    parameters = [path, *signature.parameters.values()]
    write.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    return write


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes to a figure, sizes in inches, from its upper left corner."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, (down - top - height) / down, width / across, height / down))


def add_canvas(figure: Figure, width: float, height: float) -> Axes:
    """Add axes without frame over the whole figure, (0, 0) in its upper left corner: faster than many axes."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    return axes


def load() -> None:
    """Load fonts and renderers by drawing a picture that is thrown away; the first picture is then faster by 0.2 s."""
    figure = Figure()
    figure.subplots().set(xlabel="0", title="0")
    figure.savefig(io.BytesIO())
