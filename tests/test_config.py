import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rowlstm_jax.config import (
    RunConfig,
    absolute,
    agreed_by_processes,
    differences,
    flag,
    free_on_resume,
    of_the_optimizer,
    require_writable,
)
from rowlstm_jax.errors import UserError, naming_flags

RANGES = {
    "seed": (-1, 2**32),
    "steps": (0, -3, 2**31),
    "batch_size": (0, -1),
    "hidden": (0,),
    "log_every": (0,),
    "eval_every": (-1,),
    "checkpoint_every": (0,),
    "peer_timeout": (0,),
    "devices": (0, -1, 1025),
    "learning_rate": (0.0, -1e-3, math.nan, math.inf, 1e39, 1e-39),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in RANGES.items() for value in values])
def test_values_out_of_range_name_their_flag(field, value):
    with pytest.raises(UserError, match=f"^{flag(field)} is .*; it must be"):
        RunConfig(**{field: value})


def test_paths_are_made_absolute(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert absolute(Path("~/a b")) == absolute(Path("a b")) == tmp_path / "a b"
    with pytest.raises(UserError, match=r"~nobody-of-that-name/x, which can't be used \(its home folder"):
        absolute(Path("~nobody-of-that-name/x"))


def test_a_path_that_cannot_be_used_names_its_flag(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    for field in ("data_dir", "local_files", "compilation_cache"):
        with pytest.raises(UserError, match=f"^{flag(field)} is .*/file, which is no folder; it must name one"):
            RunConfig(**{field: tmp_path / "file"})
    for name, reason in (
        ("file/below", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("circle", "[Ll]oop|levels of symbolic"),
    ):
        with pytest.raises(UserError, match=rf"^--run-dir.*can't be used.*{reason}.*; choose another"):
            RunConfig(run_dir=tmp_path / name)


def test_local_files_and_compilation_cache_default_to_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ROWLSTM_LOCAL_FILES", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    config = RunConfig()
    assert (config.local_files, config.compilation_cache) == (tmp_path, tmp_path / "cache")
    monkeypatch.delenv("ROWLSTM_LOCAL_FILES")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert RunConfig().local_files is None
    assert RunConfig().compilation_cache == tmp_path / "rowlstm_jax" / "compilation"


def test_differences_show_both_values_and_what_is_absent():
    assert differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5}) == [
        "b was 2 and is now 4",
        "c was 3 and is now absent",
        "d was absent and is now 5",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"coordinator": "host:1"}, "need each other and --distributed"),
        ({"distributed": True, "num_processes": 2}, "need each other and --distributed"),
        ({"coordinator": "host", "num_processes": 2, "process_id": 0}, "--coordinator is host; it must be host:port"),
        (
            {"coordinator": "host:0", "num_processes": 2, "process_id": 0},
            "--coordinator is host:0; it must be host:port",
        ),
        ({"coordinator": "host:65536", "num_processes": 2, "process_id": 0}, "it must be host:port"),
        ({"coordinator": "host:٣", "num_processes": 2, "process_id": 0}, "it must be host:port"),
        (
            {"coordinator": "host:1", "num_processes": 2**31, "process_id": 2},
            "their number, which must be less than",
        ),
        ({"coordinator": "host:1", "num_processes": 2, "process_id": 2}, "--process-id is 2 of --num-processes 2"),
        ({"coordinator": "host:1", "num_processes": 2, "process_id": -1}, "--process-id is -1 of --num-processes 2"),
    ],
)
def test_flags_of_several_processes_are_checked_together(flags, message):
    with pytest.raises(UserError, match=message):
        RunConfig(**{"distributed": "coordinator" in flags and len(flags) > 1} | flags)


def test_processes_may_find_each_other_or_be_named():
    RunConfig(distributed=True)
    RunConfig(distributed=True, coordinator="10.0.0.1:1234", num_processes=2, process_id=1)


AGREED = {
    "steps",
    "log_every",
    "checkpoint_every",
    "devices",
    "data_on",
    "resume",
    "reset_optimizer",
    "accept_changed_code",
}
AGREED |= {"accept_changed_code", "strict_compile", "profile", "recurrence", "memory_health", "no_test", "track"}
FREE = AGREED | {"data_dir", "local_files", "compilation_cache", "run_dir", "from_checkpoint"}
FREE |= {"distributed", "coordinator", "num_processes", "process_id", "peer_timeout", "progress"}


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """An experiment's: it redefines fields, which loses their metadata, and adds one."""

    steps: int = 999
    learning_rate: float = 0.5
    warmup: int = 3
    """Steps of the warm-up."""


def test_what_a_resumed_run_may_change():
    names = [field.name for field in dataclasses.fields(Config)]
    assert {name for name in names if free_on_resume(name)} == FREE
    assert {name for name in names if of_the_optimizer(name)} == {"learning_rate", "on_nonfinite"}
    agreed = agreed_by_processes(Config(log_every=7))
    assert agreed.keys() == AGREED
    assert (agreed["steps"], agreed["log_every"]) == (999, 7)
    assert json.loads(json.dumps(agreed)) == agreed  # it travels between processes


@pytest.mark.parametrize("name", ["reset_optimizer", "accept_changed_code"])
def test_flags_of_resuming_need_resume(name):
    RunConfig(**{name: True}, resume=True)
    with pytest.raises(UserError, match=f"^{flag(name)} is given without --resume"):
        RunConfig(**{name: True})


def test_examples_between_log_lines_are_counted_in_32_bits():
    RunConfig(log_every=2**31 - 1, steps=2**15, batch_size=2**16 - 1)
    RunConfig(log_every=2**15, steps=2**31 - 1, batch_size=2**16 - 1)
    for fields in ({"log_every": 2**15}, {"steps": 2**15, "log_every": 2**31 - 1}):
        with pytest.raises(UserError, match=r"^--log-every is .* and --batch-size is 65536; .* fewer than 2147483648"):
            RunConfig(**{"steps": 2**31 - 1, "batch_size": 2**16} | fields)


def test_a_message_about_an_argument_names_its_flag():
    for message, named in (
        ("steps is 0; it must be 1 or more, not steps.", "--steps is 0; it must be 1 or more, not steps."),
        ("seed is 'batch_size'; it is in /a/ data_dir x/.", "--seed is 'batch_size'; it is in /a/ data_dir x/."),
        ("data_dir holds 3; pass local_files=DIR.", "--data-dir holds 3; pass --local-files=DIR."),
    ):
        with pytest.raises(UserError) as error, naming_flags(Config()):
            raise ValueError(message)
        assert str(error.value) == named


@pytest.mark.parametrize("message", ["my_steps is 0.", "hidden layer 3 is wrong", "invalid literal for int()"])
def test_a_mistake_in_the_code_stays_one_unless_all_are_meant(message):
    with pytest.raises(ValueError, match=re.escape(message)), naming_flags(Config()):
        raise ValueError(message)
    with pytest.raises(UserError, match=re.escape(message)), naming_flags(Config(), always=True):
        raise ValueError(message)


def test_files_that_cannot_be_written_are_refused(tmp_path):
    require_writable("--output", tmp_path / "a.png", ".png")
    for path in (tmp_path / "a.pdf", tmp_path, tmp_path / "missing" / "a.png"):
        with pytest.raises(UserError, match=r"^--output is .*; it must name a .png in a folder"):
            require_writable("--output", path, ".png")


def test_help_shows_each_flag_with_its_text_and_its_default():
    """tyro reads the docstrings of fields from the source, also of those that have metadata."""
    code = "from tests.test_config import Config\nimport tyro\ntyro.cli(Config, args=['--help'])"
    command, root = [sys.executable, "-c", code], Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env={"COLUMNS": "300"}, capture_output=True, text=True, check=False)
    shown = " ".join(done.stdout.split())
    for field in dataclasses.fields(RunConfig):
        assert flag(field.name) in shown
    for words in (
        "Training steps in all. A resumed run may ask for more",
        "Steps of the warm-up. (default: 3)",
        "(default: 999)",
        "the source of the model, the optimiser or the script has changed. (default: False)",
        "Devices of this process",
    ):
        assert words in shown, done.stdout


def test_in_python_a_path_may_be_text():
    config = RunConfig(run_dir="runs/x", from_checkpoint="runs/y", data_dir="data")  # pyright: ignore[reportArgumentType]
    assert (config.run_dir, config.from_checkpoint, config.data_dir) == (Path("runs/x"), Path("runs/y"), Path("data"))
