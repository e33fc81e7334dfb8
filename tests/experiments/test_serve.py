"""`experiments.serve` as a user runs it, and its page in a browser where somebody draws."""

import base64
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import serve
from rowlstm_jax.errors import UserError
from tests.analysis.written import write_run

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SEVEN = [(75, 60), (120, 60), (165, 60), (205, 60), (180, 110), (155, 160), (135, 205), (120, 240)]
PROBABILITIES = "document.querySelector('#now').textContent"
FILLED = """[...document.querySelector('#heat').getContext('2d').getImageData(0, 0, 28, 10).data]
    .reduce((steps, value, at) => (at % 4 === 3 && value && steps.add((at - 3) / 4 % 28), steps), new Set()).size"""


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", *map(str, words)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def serving(run: Path, *flags: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of the page of a run, and the process."""
    words = command("experiments.serve", run, "--port", 0, *flags)
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=run.parent, env=environment(), **pipes) as process:
        try:
            assert process.stdout
            said = process.stdout.readline()
            found = re.fullmatch(r"Draw at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", said)
            assert found, (said, process.poll() is not None and process.communicate())
            yield found[1], process
        finally:
            process.kill()


class Browser:
    """Headless Chromium, told what to do by the DevTools protocol over a pipe: JSON messages that end in NUL."""

    def __init__(self, folder: Path):
        ends = [(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 5), os.close(end))[0] for end in (*os.pipe(), *os.pipe())]
        theirs, self._to, self._from, answers = ends  # none is 3 or 4, which Chromium reads and writes
        words = [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--hide-scrollbars",
        ]
        words += [f"--user-data-dir={folder}", "about:blank"]
        start = (
            "import os, sys; [os.dup2(int(sys.argv[n]), n + 2) for n in (1, 2)]; os.execv(sys.argv[3], sys.argv[3:])"
        )
        words = [sys.executable, "-c", start, str(theirs), str(answers), *words]
        self.process = subprocess.Popen(words, pass_fds=(theirs, answers), stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(answers)
        self._number, self._read, self.session, self.events = 0, b"", None, []
        (page,) = [of for of in self.tell("Target.getTargets")["targetInfos"] if of["type"] == "page"]
        self.session = self.tell("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for part in ("Page", "Runtime", "Log"):
            self.tell(f"{part}.enable")

    def tell(self, method: str, **values: Any) -> Any:
        """Send a command and return its result; what happens meanwhile goes to `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._read:
                more = os.read(self._from, 2**20)
                assert more, "Chromium has ended"
                self._read += more
            first, _, self._read = self._read.partition(b"\0")
            answer = json.loads(first)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression; a promise is awaited."""
        found = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Until it is true."""
        for _ in range(600):
            if found := self.value(expression):
                return found
            time.sleep(0.05)
        raise AssertionError(f"never true: {expression}; {self.value('document.body.innerText')}")

    def open(self, address: str, width: int) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.tell("Emulation.setDeviceMetricsOverride", **size)
        self.tell("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.protocol === 'http:'")

    def stroke(self, points: list[tuple[int, int]]) -> None:
        """Press the left button on the canvas, move the mouse, release it."""
        left, top = self.value("(box => [box.left, box.top])(document.querySelector('#pad').getBoundingClientRect())")
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*points, points[-1]], strict=True):
            at = {"x": left + 1 + x, "y": top + 1 + y, "button": "left", "buttons": int(kind != "mouseReleased")}
            self.tell("Input.dispatchMouseEvent", type=kind, clickCount=1, **at)

    def picture(self, path: Path) -> None:
        shot = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self.tell("Browser.close") if self.process.poll() is None else None
        self.process.wait(30)
        os.close(self._to)
        os.close(self._from)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    found = Browser(tmp_path / "profile")
    yield found
    found.session = None
    found.close()


@pytest.fixture(scope="module")
def mnist_run(tmp_path_factory: pytest.TempPathFactory, mnist: object) -> Path:
    folder = tmp_path_factory.mktemp("mnist") / "run"
    words = command("experiments.mnist_rows", "--steps", 300, "--run-dir", folder, "--devices", 1, "--no-test")
    subprocess.run(words, cwd=folder.parent, env=environment(), check=True, capture_output=True, timeout=300)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")
@pytest.mark.parametrize("width", [1280, 375])
def test_a_drawn_seven_is_seen_row_by_row(mnist_run, browser, tmp_path, width):
    with serving(mnist_run) as (address, _):
        browser.open(address, width)
        assert browser.value("says.textContent").startswith("Draw a digit")
        # How many steps of the heat map are filled, frame by frame, after the stroke.
        browser.value(f"window.seen = []; (function look() {{ seen.push({FILLED}); requestAnimationFrame(look); }})()")
        browser.stroke(SEVEN)
        browser.value("seen.length = 0")
        browser.wait("seen.includes(1) && seen.at(-1) === 28")
        assert re.fullmatch(r"7 \(\d+\.\d %\) after step 28 of 28", browser.value("says.textContent"))
        seen = browser.value("seen.slice(seen.indexOf(1))")
        assert seen == sorted(seen)  # it only grows
        assert len({*seen}) > 10  # and is watched while it does; a slow machine skips some frames
        assert browser.value("names.textContent") == "\n".join(map(str, range(10)))
        assert browser.value("document.documentElement.scrollWidth") == width
        browser.picture(Path(os.environ.get("SHOTS", tmp_path)) / f"seven-{width}.png")
        browser.value("document.querySelector('button').click()")
        assert browser.value("says.textContent").startswith("Draw a digit")
        assert browser.value(FILLED) == 0
    wrong = [of for of in browser.events if of["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
    assert not wrong


@pytest.mark.slow
def test_ctrl_c_ends_it_and_a_taken_port_is_refused(mnist_run):
    with serving(mnist_run) as (address, process):
        port = address.rstrip("/").rpartition(":")[2]
        words = command("experiments.serve", mnist_run, "--port", port)
        done = subprocess.run(
            words, env=environment(), cwd=mnist_run.parent, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: --port is {port}, which can't be used (")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "Interrupted.\n")


def test_a_run_without_pictures_or_none_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="There is no run folder no"):
        serve.main(serve.Config(run=Path("no")))
    with pytest.raises(UserError, match=r"can't be rebuilt|was not trained to classify pictures"):
        serve.main(serve.Config(run=write_run(tmp_path / "run")))
