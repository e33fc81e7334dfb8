"""What all pictures share: how a picture is written, sizes in inches, one style. It uses matplotlib without pyplot."""

import functools
import inspect
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")
# One for each logged step, as in metrics.jsonl. Each has "step"; every other value may be missing.
Records = Sequence[Mapping[str, Any]]

# The colours of Okabe and Ito, which colour-blind readers tell apart, and a lighter blue for what lies behind.
VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY = "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
PALETTE = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY, "#000000")
LIGHT_BLUE = "#8FC1DE"
MARKERS = "osD^vPX"  # in the order of the colours: lines and points differ in shape too
GREY = "0.35"  # of what is said about a picture
STYLE: Any = {
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.dpi": 120,
    "font.size": 9,
    "grid.color": "0.9",
    "legend.frameon": False,
    "savefig.dpi": "figure",
    "svg.hashsalt": "rowlstm_jax",  # or its names would be random
    "text.parse_math": False,
}
NO_BREAK = "\N{NO-BREAK SPACE}"
ABOUT_SIZE, ABOUT_LINE, ABOUT_MARGIN = 7.5, 0.15, 0.1  # of the line below a picture: points, inches, inches


def picture(draw: Callable[Arguments, Figure]) -> Callable[Concatenate[Path, Arguments], None]:
    """Turn a function that returns a figure into one that writes it as a PNG; its first argument is the path.

    Layouts are fixed: a tight or constrained layout would lay every figure out twice.
    """

    @functools.wraps(draw)
    def write(path: Path, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        with matplotlib.rc_context(STYLE):
            draw(*args, **kwargs).savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)

    signature = inspect.signature(draw)
    path = inspect.Parameter("path", inspect.Parameter.POSITIONAL_ONLY, annotation=Path)
    parameters = [path, *signature.parameters.values()]
    write.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    return write


def add_about(figure: Figure, about: str) -> Figure:
    """Add a grey line below a figure that is drawn: run, seeds, model. The figure grows by it; without text, it stays.

    Args:
      figure: with axes at fixed places.
      about: as of `about_run`.
    """
    width, height = map(float, figure.get_size_inches())
    parts = about.replace(" ", NO_BREAK).replace(f"{NO_BREAK}·{NO_BREAK}", " · ")  # a line ends after a part
    lines = textwrap.wrap(parts, round(14.5 * width))  # characters: about 15 an inch
    if not lines:
        return figure
    strip = ABOUT_MARGIN + ABOUT_LINE * len(lines)
    figure.set_size_inches(width, height + strip)
    for axes in figure.axes:
        box = axes.get_position(original=True)
        bottom, tall = (strip + box.y0 * height) / (height + strip), box.height * height / (height + strip)
        axes.set_position((box.x0, bottom, box.width, tall))
    for text in figure.texts:
        text.set_y((strip + text.get_position()[1] * height) / (height + strip))
    place = {"x": 0.1 / width, "y": 0.5 * ABOUT_MARGIN / (height + strip), "va": "bottom"}
    lines = [line.replace(NO_BREAK, " ").strip(" ·") for line in lines]
    figure.text(s="\n".join(lines), color=GREY, fontsize=ABOUT_SIZE, **place)
    return figure


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
