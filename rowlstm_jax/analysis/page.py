"""A report as one HTML page without scripts and links.

Every text goes through `text`, which escapes it. The page's own policy also forbids scripts and the network.
"""

import base64
import datetime
import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rowlstm_jax.analysis import page_values as values
from rowlstm_jax.analysis.comparison import Comparison, format_p
from rowlstm_jax.analysis.listing import Found
from rowlstm_jax.analysis.page_pictures import Picture, pictures
from rowlstm_jax.analysis.page_values import NAMES, Shown
from rowlstm_jax.screen import printable

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
LONGEST = 600  # characters of a value
MOST_ROWS = 400  # of a table
NARROWEST = 560  # pixels: on a narrower screen a picture scrolls, or its text would be too small
OWN_SECTION = {"curves": "Curves", "confusion": "Confusion", "errors": "Errors", "predictions": "Predictions"}
STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1a1a1a; font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 1180px; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem; padding-bottom: 0.2rem; border-bottom: 2px solid #0072b2; }
h3 { font-size: 1rem; margin: 1rem 0 0.4rem; }
p, li { max-width: 75ch; }
.note { border-left: 4px solid #d55e00; background: #fff6ee; padding: 0.4rem 0.8rem; margin: 0.5rem 0; }
.quiet { color: #555; font-size: 0.9rem; margin: 0.4rem 0 0; }
.box { overflow-x: auto; margin: 0.4rem 0 0.6rem; }
.runs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 1rem; }
.runs > * { min-width: 0; margin: 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.9rem 0.3rem 0.3rem; border-bottom: 1px solid #ddd;
  white-space: pre-line; unicode-bidi: isolate; min-width: 8.5rem; }
th { min-width: 7rem; font-weight: 500; }
thead th { border-bottom: 2px solid #999; font-weight: 700; }
tr.differs { background: #fff6ee; }
img { display: block; max-width: 100%; height: auto; }
pre { overflow-x: auto; background: #f4f4f4; padding: 0.7rem; font-size: 0.85rem; }
summary { cursor: pointer; padding: 0.4rem 0; }
"""


def report_page(paths: Sequence[Path], command: Callable[[Found], str], differ_in: Sequence[str] = ()) -> str:
    """Read runs and make the page of their report.

    Args:
      paths: of run folders, links to them or their summary.json.
      command: says how a run is trained again.
      differ_in: see `compare`.

    Raises:
      UserError: a path is no run, or its files are damaged.
    """
    runs = [values.read(path) for path in paths]
    shown = [Shown(name, run, pictures(run), command(run)) for name, run in zip(NAMES, runs, strict=False)]
    compared = {of.name: values.compared(runs[0], of.run, differ_in) for of in shown[1:]}
    return page(shown, compared, f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC")


def text(value: Any, longest: int = LONGEST) -> str:
    r"""Any JSON value as text that is safe in HTML, also in a quoted attribute; control characters are escaped too.

    Example:
      >>> text("<b>"), text("\x1b[2J"), text(None), text(1000)
      ('&lt;b&gt;', '\\x1b[2J', '-', '1,000')
    """
    if value is None or value == "":
        value = "-"
    elif isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, int) and abs(value) < 10**15:
        value = f"{value:,}"
    elif isinstance(value, float):
        value = f"{value:.6g}"
    elif isinstance(value, list) and all(isinstance(of, str | int) for of in value):
        value = ", ".join(map(str, value))
    elif isinstance(value, dict | list):
        value = json.dumps(value)
    value = str(value)
    return html.escape(printable(value if len(value) <= longest else f"{value[:longest]}..."), quote=True)


def page(shown: Sequence[Shown], comparisons: Mapping[str, Comparison | str], made: str) -> str:
    """The page, from what was read: runs, the comparisons of the first with each other one, when it is made. Pure."""
    first = shown[0].run.experiment
    title = text(first or "A run") if len(shown) == 1 else f"{len(shown)} runs"
    names = [name for of in shown for name in of.pictures]
    sections = {
        "Results": _fields("± is the standard deviation over seeds.", shown, values.results) + _each_seed(shown),
        "Comparison": _comparisons(comparisons),
        **{head: _pictures(shown, name) for name, head in OWN_SECTION.items() if name in names},
        "Diagnostics": _fields("", shown, values.diagnostics)
        + "".join(_pictures(shown, name) for name in dict.fromkeys(names) if name not in OWN_SECTION),
        "Protocol": _fields("Results are comparable if protocol and data are the same.", shown, values.protocol, True),
        "Training": _fold("Flags, model and optimiser", _fields("", shown, values.training, True)),
        "Environment": _fields("", shown, values.environment, True)
        + _fold("Settings of JAX", _fields("", shown, values.settings, True)),
        "How to repeat it": _commands(shown),
    }
    body = "".join(f"<section><h2>{head}</h2>{inner}</section>\n" for head, inner in sections.items() if inner)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}: report</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{_runs(shown)}{body}"
        f'<p class="quiet">Made {text(made)} by rowlstm_jax.</p>\n</main>\n</body>\n</html>\n'
    )


def _runs(shown: Sequence[Shown]) -> str:
    """Which runs these are, and what a reader should know of each."""
    found = []
    for of in shown:
        name = f"<strong>{text(of.name)}</strong>: {text(of.run.experiment)}, " if len(shown) > 1 else ""
        found.append(f'<p>{name}<span class="quiet">{text(str(of.run.directory))}</span></p>')
        found += [f'<p class="note">{text(note)}</p>' for note in values.notes(of.run)]
    return "\n".join(found) + "\n"


def _fold(title: str, inner: str) -> str:
    return f"<details><summary>{title}</summary>{inner}</details>" if inner else ""


def _fields(caption: str, shown: Sequence[Shown], read: Callable[[Found], values.Values], mark: bool = False) -> str:
    """A table of what `read` says of each run: a row for each name, a column for each run; or nothing."""
    columns = [read(of.run) for of in shown]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    if len(shown) == 1:
        return _table(caption, (), rows) if rows else ""
    caption = f"{caption}{' Rows that differ are marked.' * mark}".strip()
    return _table(caption, ["", *(of.name for of in shown)], rows, mark) if rows else ""


def _table(caption: str, header: Sequence[Any], rows: Iterable[Sequence[Any]], mark: bool = False) -> str:
    """A table in a box of its own that scrolls; the first cell of a row names it."""
    rows, lines = list(rows), []
    for name, *cells in rows[:MOST_ROWS]:
        differs = mark and any(cell != cells[0] for cell in cells)
        inner = "".join(f"<td>{text(cell)}</td>" for cell in cells)
        lines.append(f'<tr{" class=differs" * differs}><th scope="row">{text(name)}</th>{inner}</tr>')
    if len(rows) > MOST_ROWS:
        caption = f"{caption} The first {MOST_ROWS} of {len(rows):,} rows."
    head = "".join(f'<th scope="col">{text(name) if name else ""}</th>' for name in header)
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    top = f'<p class="quiet">{text(caption)}</p>' if caption else ""
    return f'{top}<div class="box" tabindex="0"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>\n'


def _each_seed(shown: Sequence[Shown]) -> str:
    tables = []
    for of in shown:
        if found := values.of_each_seed(of.run):
            rows = [
                (str(seed), *row) for seed, row in zip(of.run.seeds, zip(*found.values(), strict=True), strict=True)
            ]
            tables.append(_table(f"Run {of.name}" * (len(shown) > 1), ("seed", *found), rows))
    return _fold("Each seed", "".join(tables))


def _pictures(shown: Sequence[Shown], name: str) -> str:
    """The pictures of a name, side by side."""
    found = []
    for of in shown:
        picture = of.pictures.get(name, "There is no such picture.")
        caption = f"{name}, run {of.name}" if len(shown) > 1 else name
        if isinstance(picture, Picture):
            data = f"data:{picture.kind};base64,{base64.b64encode(picture.data).decode()}"
            narrowest = min(NARROWEST, 0.8 * picture.width)
            image = f'<img style="min-width: {narrowest:.0f}px" alt="{text(caption)}" src="{data}">'
            inner = f'<div class="box" tabindex="0">{image}</div>'
        else:
            inner = f"<p>{text(picture)}</p>"
        said = f'<figcaption class="quiet">{text(caption)}</figcaption>'
        found.append(f"<figure>{inner}{said * (len(shown) > 1 or name not in OWN_SECTION)}</figure>")
    return f'<div class="runs">{"".join(found)}</div>\n'


def _comparisons(comparisons: Mapping[str, Comparison | str]) -> str:
    parts = [f"<h3>{text(f'{name} against A')}</h3>{_comparison(of)}" for name, of in comparisons.items()]
    tested = sum(not isinstance(of, str) for of in comparisons.values())
    if tested:
        parts.append(
            "<p>Over seeds: what new seeds would give, with the same training and test examples; it needs two seeds or "
            "more of both runs. Over test examples: what new examples would give, with these trained weights. Two "
            "seeds of one model often differ here too, so this test alone does not show that one model is better.</p>"
        )
    if tested > 1:
        parts.append(
            f"<p>{tested} runs are tested against A, and the p-values are not corrected for that. By Bonferroni's "
            f"rule, a difference counts at the level of 5 % if its p-value is below {0.05 / tested:.2g}.</p>"
        )
    return "".join(parts)


def _comparison(found: Comparison | str) -> str:
    """The tests of a difference and what they say, or why there are none."""
    if isinstance(found, str):
        return f"<p>{text(f'Not compared. {found}')}</p>"
    unit, digits, of = 1.0, "+.4g", "loss"
    if found.first.measure == "accuracy":
        unit, digits, of = 100.0, "+.2f", "accuracy, in percentage points"

    def points(difference: float, interval: tuple[float, float]) -> list[str]:
        return [f"{unit * difference:{digits}}", " to ".join(f"{unit * end:{digits}}" for end in interval)]

    rows, seeds, examples = [], found.over_seeds, found.over_examples
    if seeds:
        rows.append(["over seeds: Welch's t-test", *points(*seeds[:2]), format_p(seeds.welch_p)])
        smallest = f"{format_p(seeds.permutation_p)} (it can't be below {format_p(seeds.smallest_p)})"
        rows.append(["over seeds: permutation test", "", "", smallest])
    rows.append(["over test examples: sign flips", *points(*examples[:2]), format_p(examples.p)])
    caption = f"The difference in test {of}: this run minus A."
    if found.differing:
        caption += f" As asked, the protocols differ in {', '.join(found.differing)}."
    pairs = [
        (f"A {a}, this {b}", pair.both, pair.only_first, pair.only_second, pair.neither, format_p(pair.p))
        for a, b, pair in zip(found.first.seeds, found.second.seeds, found.pairs, strict=False)
    ]
    header = ("seeds", "both right", "only A", "only this run", "neither", "p")
    mcnemar = _table("Each p-value is about its two networks only.", header, pairs) if pairs else ""
    tests = _table(caption, ("test", "difference", "95 % interval", "p"), rows)
    return tests + _fold("McNemar's test of each pair of networks", mcnemar)


def _commands(shown: Sequence[Shown]) -> str:
    parts = []
    for of in shown:
        told, environment = values.protocol(of.run), values.environment(of.run)
        rows = [(name, environment.get(name)) for name in ("git commit", "python", "jax", "processor", "devices")]
        rows += [("digest of the protocol", told.get("digest of the protocol"))]
        rows += [("digest of the data", told.get("data: sha256") or told.get("dataset sha256"))]
        head = f"<h3>{text(f'Run {of.name}')}</h3>" if len(shown) > 1 else ""
        parts.append(f'{head}<pre tabindex="0">{text(of.command, 10_000)}</pre>{_table("", (), rows)}')
    return "".join(parts) + (
        "<p>The same versions, kind of processor and number of devices give the same weights to the bit. "
        "Other ones give results that are close, not equal. With other data or another protocol, the results "
        "are not comparable.</p>\n"
    )
