"""What one does with a trained run, as a user does it: predict, export, verify, plot, follow."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from rowlstm_jax import open_run
from rowlstm_jax.interop import as_mnist
from rowlstm_jax.runs import environment

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("mnist")


def script(name: str, *words: object, status: int = 0, stdin: bytes | None = None, **environment: str) -> str:
    command = [sys.executable, "-m", f"experiments.{name}", *map(str, words)]
    outcome = subprocess.run(command, cwd=ROOT, input=stdin, env=os.environ | environment, capture_output=True)
    out, err = outcome.stdout.decode(), outcome.stderr.decode()
    assert outcome.returncode == status, out + err
    return out if status in (0, 1) else err


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A short run of mnist_rows, which its records follow as CSV."""
    run = tmp_path_factory.mktemp("after") / "run"
    flags = ("--steps", 600, "--devices", 1, "--checkpoint-every", 200, "--track", "csv", "--progress")
    out = script("mnist_rows", *flags, "--run-dir", run)
    assert "step 10/600" not in out  # --progress shows one line, on standard error
    assert (run / "metrics.csv").read_text().startswith("step,")
    return run


def drawn(digit: np.ndarray, size: tuple[int, int], inverted: bool, shift: tuple[int, int]) -> bytes:
    """A digit on a larger page, as a JPEG."""
    rows, columns = size
    side = int(0.7 * min(size))
    page = np.zeros(size, np.uint8)
    top, left = (rows - side) // 2 + shift[0], (columns - side) // 2 + shift[1]
    enlarged = PIL.Image.fromarray(digit).resize((side, side), PIL.Image.Resampling.BICUBIC)
    page[top : top + side, left : left + side] = np.asarray(enlarged)
    stream = io.BytesIO()
    PIL.Image.fromarray(255 - page if inverted else page).save(stream, "JPEG", quality=60)
    return stream.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(100, 100), (200, 300)])
@pytest.mark.parametrize("inverted", [False, True])
def test_digits_that_were_drawn_anew_are_still_what_they_were(trained, mnist, size, inverted):
    model, rng = open_run(trained).model(), np.random.default_rng(0)
    digits = mnist.test.inputs[:100]
    pages = [drawn(digit, size, inverted, tuple(rng.integers(-12, 13, 2))) for digit in digits]
    prepared = np.stack([as_mnist(np.asarray(PIL.Image.open(io.BytesIO(page)))) for page in pages])
    assert np.sum(model.predict(prepared).argmax(-1) == model.predict(digits).argmax(-1)) >= 95


@pytest.mark.slow
def test_pictures_folders_and_standard_input_are_predicted_and_drawn(trained, mnist, tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    for number in (100, 101):
        (folder / f"{number}.jpg").write_bytes(drawn(mnist.test.inputs[number], (100, 120), True, (3, -5)))
    out = script("predict", trained, folder, "--plot", "--output", tmp_path / "out")
    assert [word for word in ("100.jpg", "101.jpg", "runner-up") if word not in out] == []
    assert (tmp_path / "out/predictions_1.png").stat().st_size > 10_000
    (found,) = json.loads(script("predict", trained, "-", "--json", stdin=(folder / "101.jpg").read_bytes()))
    assert (found["picture"], found["label"]) == ("standard input", "0")
    assert found["probability"] == max(found["probabilities"].values())
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    np.savez(tmp_path / "x.npz")
    for words, message in (
        ((tmp_path / "none.png",), "There is no picture"),
        ((tmp_path / "x.npz",), "is no PNG, JPEG, BMP or TIFF picture"),
        ((folder, "--seed", 5), "--seed is 5; the run has 0."),
        ((folder, "--as-is", "--seed", 0, "--output", "/proc/none", "--plot"), "can't be written to"),
    ):
        assert message in script("predict", trained, *words, status=2)


@pytest.mark.slow
def test_a_run_is_exported(trained, mnist, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = script("export", trained, "--to", "onnx", "--output", tmp_path / "model.onnx")
    assert "at most" in out
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    pictures = mnist.test.inputs[:1000]
    logits = session.run(["logits"], {"inputs": pictures})[0]
    np.testing.assert_allclose(logits, open_run(trained).model().logits(pictures), rtol=1e-3, atol=1e-4)
    described = session.get_modelmeta().custom_metadata_map
    assert json.loads(described["labels"]) == [str(digit) for digit in range(10)]
    assert json.loads(described["protocol"])["fields"]["order"] == "rows"
    script("export", trained, "--to", "safetensors", "--batch", 3, "--output", tmp_path / "model.safetensors")
    assert "--batch is 0; it must be any" in script("export", trained, "--to", "onnx", "--batch", 0, status=2)


@pytest.mark.slow
def test_a_run_is_verified_by_its_folder_and_by_its_summary_alone(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "moved", ignore=shutil.ignore_patterns("checkpoints"))
    assert "Equal in every bit up to step 600: the records up to step 600 and all weights." in script(
        "verify", tmp_path / "moved"
    )
    summary = shutil.copy(trained / "summary.json", tmp_path / "summary.json")
    assert "Equal in every bit up to step 50" in script("verify", summary, "--steps", 50)
    text = json.loads(summary.read_text())
    text["first_records"][1]["loss"] += 1e-6
    summary.write_text(json.dumps(text))
    assert "Different: step 20, loss: " in script("verify", summary, "--steps", 50, status=1)


@pytest.mark.slow
def test_the_curves_are_drawn_while_a_run_goes_on(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "experiments.mnist_rows", "--steps", "1000", "--run-dir", str(run), "--no-test"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size):
            assert process.poll() is None
            time.sleep(0.1)
        assert open_run(run).state == "running"
        out = script("plot", run, "--live", "--every", 0.5)
        process.wait()
    assert out.count("curves_live.png: up to step") >= 2
    assert "up to step 1,000" in out
    assert "The run is finished." in out
    assert "has no record yet" in script("plot", make_empty(tmp_path / "empty"), status=2)


def make_empty(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"config": {}, "identity": {"experiment": "x", "seed": 0, "num_seeds": 1}}')
    return folder


MINE = '''
import dataclasses

import flax.linen as nn
import optax

from rowlstm_jax import (
    PROTOCOLS, Recipe, Run, RunConfig, RunFolder, SequenceClassifier, cells, cli, finish, fit, load_data
)


class Mine(cells.Cell):
    decay: float = 0.5

    @nn.compact
    def __call__(self, carry, inputs):
        h = nn.tanh(self.dense("input")(inputs) + self.decay * carry)
        return h, h


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """An experiment of one's own."""

    decay: float = 0.5
    """Of the cell."""


def main(config):
    recipe = Recipe(SequenceClassifier(Mine(config.hidden, decay=config.decay), 10), optax.adam(1e-3))
    run = Run("mine", config, PROTOCOLS["notebook"], recipe)
    with RunFolder(run) as folder:
        data = load_data(run, folder)
        finish(run, fit(run, data, folder), data, folder)


if __name__ == "__main__":
    cli.run(main, Config)
'''


@pytest.mark.slow
def test_a_run_of_a_script_of_ones_own_is_verified_and_predicts_if_its_code_is_trusted(tmp_path):
    path, run = tmp_path / "mine.py", tmp_path / "run"
    path.write_text(MINE)
    flags = ("--steps", "40", "--hidden", "8", "--decay", "0.25", "--devices", "1", "--run-dir", str(run))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, path, *flags], env=environment, check=True, capture_output=True)
    assert "was trained by mine, which is no experiment here; name --script." in script("verify", run, status=2)
    assert "Equal in every bit up to step 40" in script("verify", run, "--script", path)
    PIL.Image.fromarray(np.eye(30, dtype=np.uint8) * 255).save(tmp_path / "x.png")
    assert "trust_code" in script("predict", run, tmp_path / "x.png", status=2)
    assert "x.png" in script("predict", run, tmp_path / "x.png", "--trust-code")


@pytest.mark.slow
def test_the_committed_result_is_verified_by_its_summary_alone():
    path = ROOT / "experiments/results/mnist_rows.json"
    command = [sys.executable, "-m", "experiments.verify", str(path), "--steps", "200"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    then, now = json.loads(path.read_text())["environment"], environment.describe()
    if (then["processor"], then["versions"]["jaxlib"]) == (now["processor"], now["versions"]["jaxlib"]):
        assert "Equal in every bit up to step 200" in outcome.stdout, outcome.stdout + outcome.stderr
    else:  # other processors and versions may round in another way, and then they are named
        assert re.search(r"Equal in every bit|Between then and now: (processor|versions)", outcome.stdout), (
            outcome.stdout
        )
