"""The page of a report: what is in it, that nothing in it can act, and how it looks in a browser."""

import base64
import html
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rowlstm_jax.analysis.page import MOST_ROWS, POLICY, page, report_page, text
from rowlstm_jax.analysis.page_values import Shown
from rowlstm_jax.errors import UserError
from tests.analysis.written import ATTACKS, poison, write, write_run

TAGS = """html head meta title style body main h1 h2 h3 p span strong section div table thead tbody tr th td
details summary figure figcaption img pre"""
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "tabindex", "scope", "alt", "src", "style"}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")


class Elements(HTMLParser):
    """The elements of a page, its pictures and its visible text. Fails if anything in it could act."""

    def __init__(self, content: str):
        super().__init__()
        self.tags, self.pictures, self.shown = [], [], ""
        self._open = []
        self.feed(content)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS.split(), tag
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        of = dict(attrs)
        assert re.fullmatch(r"min-width: \d+px", of.get("style") or "min-width: 0px")
        if tag not in ("meta", "img"):
            self._open.append(tag)
        if "src" in of:
            kind, data = re.fullmatch(r"data:(image/png|image/svg\+xml);base64,([A-Za-z0-9+/=]+)", of["src"]).groups()
            self.pictures.append((kind, base64.b64decode(data, validate=True)))
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.shown += data if "style" not in self._open else ""

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    unknown_decl = handle_pi = handle_comment


def report(
    *folders: Path, command: Callable = lambda run: f"python -m experiments.{run.experiment}", differ_in=()
) -> str:
    return report_page(folders, command, differ_in)


def test_a_run_has_all_sections_and_its_figures(tmp_path):
    content = report(write_run(tmp_path / "run"))
    found = Elements(content)
    heads = re.findall("<h2>(.*?)</h2>", content)
    assert heads[:5] == ["Results", "Curves", "Confusion", "Errors", "Diagnostics"]
    assert heads[5:] == ["Protocol", "Training", "Environment", "How to repeat it"]
    assert [kind for kind, _ in found.pictures] == ["image/svg+xml", "image/png", "image/png"]
    for said in (
        "95 %: 50.00 to 75.00 % (over 2 seeds)",
        "validation accuracy",
        "87.50",
        "2026-01-02T03:04:05+00:00",
        "python -m experiments.tiny",
        "c" * 40,
        "0" * 64,
        "2 cpu",
        "0.10.1",
        "--learning-rate",
        str(tmp_path / "run"),
    ):
        assert said in found.shown, said
    assert "Comparison" not in heads
    assert f'content="{POLICY}"' in content
    assert content.index("Content-Security-Policy") < content.index("<style>")


def test_several_runs_stand_side_by_side_with_the_tests_against_the_first(tmp_path):
    folders = [write_run(tmp_path / "x", error=0.02), write_run(tmp_path / "y", error=0.3), write_run(tmp_path / "z")]
    shutil.copy(folders[0] / "test.npz", folders[2] / "test.npz")  # the same examples
    shutil.copy(folders[0] / "summary.json", folders[2] / "summary.json")
    content = report(*folders)
    found = Elements(content)
    assert "3 runs" in found.shown
    assert len(found.pictures) == 9
    assert "Not compared. The runs' data differ" in found.shown  # y has other labels
    assert "C against A" in found.shown
    assert "Welch's t-test" in found.shown
    assert "McNemar's test" in found.shown
    assert "Bonferroni" not in found.shown  # one of two could be tested


def test_runs_that_cannot_be_compared_say_why(tmp_path, capsys):
    finished, stopped = write_run(tmp_path / "a"), write_run(tmp_path / "b", finished=False)
    found = Elements(report(finished, stopped, finished))
    assert "is no finished run" in found.shown
    assert "name two different runs" in found.shown
    assert "The run has not finished: stopped at step 20 of 20." in found.shown
    assert "87.50 ± 0.00 % (so far)" in found.shown
    assert "plots/confusion.png is drawn at the end of the run." in found.shown
    assert capsys.readouterr().err.count("warning: ") == 2


def test_what_a_reader_should_know_comes_first(tmp_path):
    git = {"commit": "d" * 40, "dirty": True}
    run = write_run(tmp_path / "run", test_loss=None, test_accuracy=None, test_openings=[{}, {}], git=git)
    shown = Elements(report(run)).shown
    for said in ("its test set is still sealed", "was opened 2 times", "files that differ from its git commit"):
        assert said in shown[: shown.index("Results")]


@pytest.mark.parametrize("seeds", [1, 2])
def test_hostile_texts_change_no_element(tmp_path, seeds):
    """The page of a poisoned run has the same elements as that of one with harmless texts in the same places."""
    tags = []
    for name, texts in (("a", ATTACKS), ("b", [f"harmless{n}" for n in range(len(ATTACKS))])):
        run = write_run(tmp_path / name, seeds)
        poison(run, texts)
        content = report(run, command=lambda run: f"python -m {run.experiment} {' '.join(run.config)}")
        found = Elements(content)
        tags.append(found.tags)
        assert all(ord(character) >= 32 or character == "\n" for character in content)
        assert not set("\u202e\u2066\u200b") & set(content)
        for kind, data in found.pictures:
            if kind == "image/svg+xml":
                assert {of.tag.rpartition("}")[2] for of in ET.fromstring(data).iter()} & {
                    "script",
                    "foreignObject",
                } == set()
    assert tags[0] == tags[1]


def test_the_folder_of_a_run_may_have_a_hostile_name(tmp_path):
    run = write_run(tmp_path / "<script>alert(1)<" / "script>\x1b[2J")
    assert "&lt;script&gt;alert(1)" in report(run)
    Elements(report(run))


@pytest.mark.parametrize("value", [None, [], {}, "x", True, -1, 10**30, 1e300, {"values": [1, None]}, [[1]], [{}, 1]])
def test_any_value_in_the_place_of_another(tmp_path, value):
    run = write_run(tmp_path / "run")
    for name in ("summary.json", "config.json"):
        content = json.loads((run / name).read_text())
        kept = {"identity": content["identity"]} if "identity" in content else {}
        write(run / name, dict.fromkeys(content, value) | kept)
    Elements(report(run))


def test_long_values_and_tables_are_cut(tmp_path):
    settings = {f"setting{n}": "x" * 10_000 for n in range(2 * MOST_ROWS)}
    content = report(write_run(tmp_path / "run", environment={"settings": settings}))
    assert f"The first {MOST_ROWS} of {2 * MOST_ROWS}" in content
    assert len(content) < 1_000_000


def test_the_command_is_not_cut(tmp_path):
    command = "python -m experiments.tiny " + "--flag " * 200 + "'<end>'"
    assert html.escape(command) in report(write_run(tmp_path / "run"), command=lambda run: command)


def test_the_page_is_a_function_of_what_was_read(tmp_path):
    from rowlstm_jax.analysis.page_values import read

    shown = [Shown("A", read(write_run(tmp_path / "run")), {}, "command")]
    assert page(shown, {}, "now") == page(shown, {}, "now")
    assert "Made now by rowlstm_jax." in page(shown, {}, "now")


@pytest.mark.parametrize(("name", "said"), [("no", "There is no run in"), ("empty", "There is no run in")])
def test_what_is_no_run_is_refused(tmp_path, name, said):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=said):
        report(tmp_path / name)


def test_text():
    assert text("\"<&>'") == "&quot;&lt;&amp;&gt;&#x27;"
    assert [text(value) for value in ("", None, True, 1234, 0.5, [1, "a"], {"a": [None]})] == [
        "-",
        "-",
        "yes",
        "1,234",
        "0.5",
        "1, a",
        "{&quot;a&quot;: [null]}",
    ]


def browse(folder: Path, content: str, width: int) -> tuple[str, int, int]:
    """Open a page in a frame in headless Chromium: the title of the outer page, the page's width, its broken images."""
    frame = folder / "frame.html"
    frame.write_text(
        f'<!DOCTYPE html><title>calm</title><iframe style="width: {width}px; height: 900px; border: 0" '
        f'srcdoc="{html.escape(content)}"></iframe><p></p><script>onload = () => setTimeout(() => {{'
        "const page = document.querySelector('iframe').contentDocument;"
        "const broken = [...page.images].filter(image => !image.naturalWidth).length;"
        "document.querySelector('p').textContent = [page.documentElement.scrollWidth, broken]}, 300)</script>"
    )
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000", "--dump-dom", f"file://{frame}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title, measured = (re.search(tag, done.stdout) for tag in ("<title>(.*?)</title>", r"<p>(\d+),(\d+)</p>"))
    assert title, done.stderr
    assert measured, done.stderr
    return title[1], int(measured[1]), int(measured[2])


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("width", [375, 1280])
def test_in_a_browser_nothing_is_wider_than_the_screen_and_nothing_acts(tmp_path, width):
    """Not even without the page's own policy, so that escaping alone is enough."""
    runs = [write_run(tmp_path / name) for name in ("a", "b", "c")]
    poison(runs[1], ATTACKS)
    for folders in (runs[:1], runs[1:2], runs):
        content = report(*folders).replace("<details>", "<details open>")
        assert browse(tmp_path, content, width) == ("calm", width, 0)
        assert browse(tmp_path, content.replace(POLICY, ""), width)[0] == "calm"


@pytest.mark.slow
@needs_chromium
def test_the_browser_shows_an_attack_that_the_policy_stops(tmp_path):
    """The test above could see one; and the policy of the page stops it."""
    content = report(write_run(tmp_path / "run")).replace("<main>", f"<main>{ATTACKS[0]}{ATTACKS[1]}")
    assert browse(tmp_path, content.replace(POLICY, ""), 375)[0] == "owned"
    assert browse(tmp_path, content, 375)[0] == "calm"
