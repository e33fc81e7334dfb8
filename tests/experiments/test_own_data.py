"""Data of one's own as a user brings them: trained, killed, resumed to the same bits, tested, drawn and compared."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from experiments.benchmarks import same_bits
from tests.data.test_tfds import make

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
SMALL = ["--hidden", "8", "--batch-size", "10", "--steps", "60", "--log-every", "10", "--eval-every", "30"]
SMALL += ["--checkpoint-every", "10"]
RNG = np.random.default_rng(0)


def pictures(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of three classes, which differ in their brightness."""
    labels = np.arange(shape[0]) % 3
    noise = RNG.integers(0, 80, shape, np.uint8)
    return noise + (80 * labels).astype(np.uint8).reshape(-1, *(1,) * (len(shape) - 1)), labels


def save(path: Path, inputs: np.ndarray, targets: np.ndarray, **more: np.ndarray) -> str:
    half = len(inputs) * 3 // 4
    np.savez(path, x_train=inputs[:half], y_train=targets[:half], x_test=inputs[half:], y_test=targets[half:], **more)
    return path.name


def digits(folder: Path) -> list[str]:
    return ["own_data", "--data", save(folder / "digits.npz", *pictures(120, 8, 8))]


def colours(folder: Path) -> list[str]:
    """PNGs of two sizes, in folders of classes, one of them with a name that is not ASCII."""
    for number in range(60):
        home = folder / "fotos" / ("Äpfel", "Birnen")[number % 2]
        home.mkdir(parents=True, exist_ok=True)
        size = (6, 5, 3) if number % 3 else (9, 7, 3)
        image = RNG.integers(0, 100, size, np.uint8) + np.uint8(100 * (number % 2))
        PIL.Image.fromarray(image).save(home / f"{number}.png")
    return ["own_data", "--data", "fotos", "--image-size", "8", "8", "--order", "patches"]


def prepared(folder: Path) -> list[str]:
    make(folder / "tfds")
    flags = ["--data-dir", "tfds", "--validation-examples", "3", "--batch-size", "4"]
    return ["own_data", "--data", "tfds:colours", *flags]


def keras(folder: Path) -> list[str]:
    return ["mnist_rows", "--protocol", save(folder / "mnist.npz", *pictures(120, 28, 28))]


def sequences(folder: Path) -> list[str]:
    labels, lengths = np.arange(120) % 2, RNG.integers(1, 10, 120)
    inputs = RNG.normal(size=(120, 9, 2)) + labels[:, None, None]
    more = {"lengths_train": lengths[:90], "lengths_test": lengths[90:], "class_names": np.array(["low", "high"])}
    return ["own_data", "--data", save(folder / "sequences.npz", inputs, labels, **more)]


def adding(folder: Path) -> list[str]:
    return ["adding", "--length", "12", "--examples", "200"]


def run(arguments: list[str], folder: Path, status: int = 0) -> str:
    command = [sys.executable, "-m", f"experiments.{arguments[0]}", *arguments[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=ENV)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stderr


def kill(arguments: list[str], folder: Path, directory: str) -> None:
    """Start a run, and kill it once it has saved a checkpoint."""
    command = [sys.executable, "-m", f"experiments.{arguments[0]}", *arguments[1:]]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env=ENV)
    while process.poll() is None and not (folder / directory / "checkpoints" / "10").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had finished before"


KINDS = [digits, colours, prepared, keras, sequences, adding]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_killed_and_resumed_to_the_same_bits_tested_drawn_and_compared(tmp_path, kind: Callable[[Path], list[str]]):
    name, *own = kind(tmp_path)
    arguments = [name, *SMALL, *own]
    whole = [*arguments, "--run-dir", "whole"]
    run(whole, tmp_path)
    killed = [*arguments, "--run-dir", "killed"]
    kill(killed, tmp_path, "killed")
    assert "Resumed from step" in run([*killed, "--resume"], tmp_path)
    assert same_bits.require(tmp_path / "whole", tmp_path / "killed") > 5
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert summary["test_loss"] > 0
    pictures = {path.stem for path in (tmp_path / "whole" / "plots").iterdir()}
    assert pictures == {"samples", "curves", *(["predictions"] if kind is adding else ["confusion", "errors"])}
    if kind is not adding:
        return
    run([*arguments, "--run-dir", "other", "--num-seeds", "2", "--seed", "5", "--no-test"], tmp_path)
    run(["test", "other"], tmp_path)
    run(["compare", "whole", "other"], tmp_path)
    run([*arguments, "--run-dir", "host", "--data-on", "host"], tmp_path)
    assert same_bits.contents(tmp_path / "host") == same_bits.contents(tmp_path / "whole")


def test_an_npz_file_is_trained_and_tested(tmp_path):
    shown = run([*digits(tmp_path), *SMALL, "--learning-rate", "0.03", "--run-dir", "run"], tmp_path)
    assert "(81, 8, 8)" in shown
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["data"]["name"], summary["data"]["input_shape"]) == ("digits", [8, 8])
    assert summary["test_accuracy"] > 0.5
    assert summary["protocol"]["fields"]["validation_seed"] == 0


def unreadable(folder: Path) -> list[str]:
    colours(folder)
    next((folder / "fotos").rglob("*.png")).write_bytes(b"no picture")
    return ["own_data", "--data", "fotos", "--image-size", "8", "8"]


def of_two_sizes(folder: Path) -> list[str]:
    return colours(folder)[:3]


def pickled(folder: Path) -> list[str]:
    x, y = pictures(40, 4, 4)
    return ["own_data", "--data", save(folder / "bad.npz", x, y.astype(object))]


def with_nan(folder: Path) -> list[str]:
    x, y = pictures(40, 4, 4)
    return ["mnist_pixels", "--protocol", save(folder / "bad.npz", np.where(x > 100, np.nan, x), y)]


def of_one_class(folder: Path) -> list[str]:
    x, _ = pictures(40, 4, 4)
    return ["own_data", "--data", save(folder / "bad.npz", x, np.zeros(40, int))]


def with_duplicates(folder: Path) -> list[str]:
    x, y = pictures(40, 4, 4)
    x[35] = x[3]
    return ["mnist_rows", "--protocol", save(folder / "bad.npz", x, y)]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (unreadable, "png"),
        (of_two_sizes, "--image-size|image_size"),
        (pickled, "bad.npz"),
        (with_nan, "bad.npz.*(NaN|finite)"),
        (of_one_class, "bad.npz.*class"),
        (with_duplicates, "bad.npz.*test"),
        (lambda folder: ["own_data", "--data", "nowhere.npz"], "nowhere.npz"),
        (lambda folder: [*digits(folder), "--order", "patches_3"], "3 x 3 pixels do not tile"),
        (lambda folder: [*sequences(folder), "--order", "pixels"], "have lengths"),
        (lambda folder: [*digits(folder), "--validation-examples", "90"], "--validation-examples is 90"),
        (lambda folder: [*digits(folder), "--batch-size", "100"], "--batch-size is 100, more than the 81"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_run(tmp_path, bad, words):
    error = run([*bad(tmp_path), "--run-dir", "run"], tmp_path, status=2)
    assert error.startswith("error: "), error
    assert re.search(words, error), error
    assert error.count("\n") <= 2
    assert not (tmp_path / "run").exists()
