"""Whatever stands on the command line of any script: a run that can be, or one sentence and nothing done."""

import contextlib
import dataclasses
import io
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from experiments import (
    adding,
    cells_by_order,
    compare,
    compressed_pixels,
    export,
    fashion_pixels,
    fashion_rows,
    history_compressor,
    hopfield,
    insight,
    mnist_permuted_record,
    mnist_pixels,
    mnist_pixels_record,
    mnist_rows,
    mnist_rows_record,
    orders,
    own_data,
    plot,
    predict,
    published,
    recursive,
    report,
    results_table,
    rtrl,
    serve,
    verify,
)
from experiments import list as list_runs
from experiments import test as open_test
from experiments.benchmarks import integrity, kill_resume, scaling, seeds, startup, train_step
from rowlstm_jax import cli
from rowlstm_jax.config import RunConfig, absolute, flag
from rowlstm_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("ctrl_c_stays")

SCRIPTS = [mnist_rows, mnist_rows_record, fashion_rows, mnist_pixels, cells_by_order, compare, insight, orders]
SCRIPTS += [
    export,
    plot,
    predict,
    serve,
    verify,
    report,
    list_runs,
    own_data,
    adding,
    hopfield,
    recursive,
    rtrl,
    mnist_pixels_record,
    mnist_permuted_record,
    fashion_pixels,
    open_test,
    results_table,
    history_compressor,
    compressed_pixels,
    published,
    integrity,
    kill_resume,
    scaling,
    seeds,
    startup,
    train_step,
]
POSITIONAL = {"runs": 2, "run": 1, "below": 1, "pictures": 1}

SHARED = {field.name for field in dataclasses.fields(RunConfig)}
FIELDS = [(mnist_rows, field.name) for field in dataclasses.fields(mnist_rows.Config)] + [
    (script, field.name)
    for script in SCRIPTS[1:]
    for field in dataclasses.fields(script.Config)
    if field.name not in SHARED
]

settings = hypothesis.settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=7,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],  # no example changes the folder
)
# No process can be given a NUL; bytes that are no UTF-8 reach Python as the surrogates DC80 to DCFF.
characters = st.one_of(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    st.characters(categories=["Cs"], min_codepoint=0xDC80, max_codepoint=0xDCFF),
)
values = st.one_of(
    st.integers().map(str),
    st.sampled_from(["0", "-1", "1", "4", str(2**31), str(2**32), str(10**30), f"-{10**30}", "9" * 5_000]),
    st.floats().map(str),
    st.sampled_from(["1e400", "-0.0", "1e39", "1e-320", "nan", "-inf", "0x10", "1_0", "٣", "True", "None"]),
    st.text(characters, max_size=20),
    st.sampled_from(["", " ", "-", "--", "---", "--seed", "[red]{x}[/]", "a\nb", "\x1b[2J", "x" * 10_000, "é" * 200]),
    st.sampled_from(["file", "file/below", "folder", "folder/new", "circle", "~nobody-of-that-name", ".", "/"]),
    st.sampled_from(["a:1", "a:0", "a:99999", "[::1]:22", ":1", "rows", "lstm", "gru,torch", "scan", "fused", "a.png"]),
)


class Outcome(NamedTuple):
    status: int | None  # None: the run would have started
    config: object
    err: str


Start = Callable[..., Outcome]


class Started(Exception):
    """In the place of a run."""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a script with some words in this process, up to where it would read data, measure, train or write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ROWLSTM_LOCAL_FILES", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("XLA_FLAGS", ""), ("NPROC", "1")):  # a start sets them; they are as they were after the test
        monkeypatch.setenv(name, value)
    Path("file").touch()
    Path("folder").mkdir()
    Path("folder/kept").touch()
    Path("circle").symlink_to("circle")

    def started(*_: object, **__: object) -> NoReturn:
        raise Started

    for script in SCRIPTS:
        for name in ("load_data", "load", "open_dataset", "adding_problem", "train_grid", "list_runs", "train"):
            if hasattr(script, name):
                monkeypatch.setattr(script, name, started)
    for script in SCRIPTS[-6:]:
        monkeypatch.setattr(script, "main", started)
    for script in (results_table, published):
        monkeypatch.setattr(script, "write_text", started)
    monkeypatch.setattr("jax.distributed.initialize", started)
    monkeypatch.setattr("rowlstm_jax.parallel.processes._say_on_abort", lambda _: None)
    # It would leave the process.
    monkeypatch.setattr("rowlstm_jax.runs.folder.ending_together", contextlib.nullcontext)
    monkeypatch.setattr("jax.config.update", lambda *_: None)
    monkeypatch.setattr("gc.freeze", lambda: None)

    def run(script: Any, *words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["script", *words])
        configs = []

        def main(config: object) -> None:
            configs.append(config)
            script.main(config)

        # The outputs of a process: stderr takes any text.
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))
        status = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(Started):
            try:
                cli.run(main, script.Config)
            except SystemExit as stopped:
                status = stopped.code
        err.seek(0)
        return Outcome(status, configs[0] if configs else None, err.read())

    return run


def squashed(text: str) -> str:
    """Without what breaks and frames the lines of a message."""
    text = text.encode(errors="backslashreplace").decode()
    return re.sub(r"[\s│╭╮╰╯─]", "", text)


def require_usable(config: object) -> None:
    """What a program can do with numbers and paths."""
    for name, value in vars(config).items():
        if isinstance(value, float):
            assert np.isfinite(np.float32(value)), name
            assert value >= 0, name
        elif isinstance(value, int) and name != "image":  # which is held against the data
            assert 0 <= value < (2**32 if name == "seed" else 2**31 if name != "num_seeds" else 2**32 + 1), name
        elif isinstance(value, Path):
            str(absolute(value)).encode()
    assert 1 <= (getattr(config, "devices", None) or 1) <= 1024


def check(start: Start, script: Any, *flags: tuple[str, list[str]]) -> None:
    before = sorted(Path().rglob("*"))
    words = [word for name, given in flags for word in (given if name in POSITIONAL else [flag(name), *given])]
    status, config, err = start(script, *words)
    if status is None:
        if config is not None:
            require_usable(config)
        for path in sorted(set(Path().rglob("*")) - set(before), reverse=True):
            path.rmdir()  # the folders above that of the run, which is gone
    else:
        assert (status, "Traceback" in err) == (2, False)
        said, named = squashed(err), [*words, *map(repr, words), *(name for name, _ in flags)]
        assert not words or any(squashed(word) in said for word in named), err
    assert sorted(Path().rglob("*")) == before, "something was left"


def required(script: Any) -> list[tuple[str, list[str]]]:
    """What must be given before a flag is looked at."""
    names = [field.name for field in dataclasses.fields(script.Config) if field.name in POSITIONAL]
    data = [("data", ["digits.npz"])] if script is own_data else []
    return [(name, POSITIONAL[name] * ["folder"]) for name in names] + data


@pytest.mark.parametrize(("script", "name"), FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_a_flag_with_any_value(start, script, name):
    @settings
    @hypothesis.given(st.lists(values, max_size=2))
    @hypothesis.example(["-1"])
    @hypothesis.example(["nan"])
    @hypothesis.example(["1e39"])
    @hypothesis.example([str(10**30)])
    @hypothesis.example(["file/below"])
    @hypothesis.example(["x" * 10_000])
    def any_value(given: list[str]) -> None:
        check(start, script, *(pair for pair in required(script) if pair[0] != name), (name, given))

    any_value()


def test_flags_given_together_and_twice(start):
    @hypothesis.settings(settings, max_examples=100)
    @hypothesis.given(st.data())
    def any_values(data: st.DataObject) -> None:
        script = data.draw(st.sampled_from(SCRIPTS))
        names = st.sampled_from([field.name for field in dataclasses.fields(script.Config)])
        flags = data.draw(st.lists(st.tuples(names, st.lists(values, max_size=2)), max_size=5))
        flags += data.draw(st.sampled_from([[], flags[:1]]))
        check(start, script, *required(script), *flags)

    any_values()


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have(path):
    with pytest.raises(UserError, match=r"--run-dir is '.*', which can't be used \(.*; choose another\."):
        RunConfig(run_dir=Path(path))


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UserError, match="--run-dir is 'run', which can't be used"):
        RunConfig(run_dir=Path("run"), compilation_cache=None)


def test_help_in_a_terminal_of_one_column(start, monkeypatch):
    """tyro alone would not come back."""
    monkeypatch.setenv("COLUMNS", "1")
    assert start(mnist_rows, "--help").status == 0
    assert start(mnist_rows, "--steps", "x").status == 2


def test_sizes_that_the_memory_does_not_hold(start):
    def main(_: object) -> None:
        np.empty(2**62, np.uint8)

    assert start(types.SimpleNamespace(main=main, Config=startup.Config)).err.startswith("error: The memory does not")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--devices", 10**30], "--devices is 1000000000000000000000000000000; it must be from 1 to 1024."),
        (["--run-dir", b"\xff"], r"\udcff', which can't be used ('utf-8' codec can't encode"),
        (["--run-dir", "x" * 5_000], "xxx, which can't be used (File name too long); choose another."),
        (["--steps", "9" * 5_000], "Exceeds the limit (4300 digits)"),
        (["--compilation-cache", __file__], "test_flags.py, which is no folder; it must name one."),
        (["--distributed", "--coordinator", "a:0", "--num-processes", 1, "--process-id", 0], "must be host:port"),
    ],
)
def test_as_a_process(words, message, tmp_path):
    command = [sys.executable, "-m", "experiments.mnist_rows", *(w if isinstance(w, bytes) else str(w) for w in words)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert squashed(message) in squashed(done.stderr)
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
