import math
from pathlib import Path

import pytest

from rowlstm_jax.config import RunConfig, absolute, differences, flag
from rowlstm_jax.errors import UserError

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
    with pytest.raises(UserError, match="~nobody-of-that-name/x names a home folder that is not known here"):
        absolute(Path("~nobody-of-that-name/x"))


def test_a_path_that_cannot_be_used_names_its_flag(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    for field in ("data_dir", "local_files", "compilation_cache"):
        with pytest.raises(UserError, match=f"^{flag(field)} is .*/file, which is no folder; it must name one"):
            RunConfig(**{field: tmp_path / "file"})
    for name, reason in (("file/below", "Not a directory"), ("x" * 300, "File name too long"), ("circle", "[Ll]oop")):
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
        ({"coordinator": "host:1"}, "are given together"),
        ({"distributed": True, "num_processes": 2}, "are given together"),
        ({"coordinator": "host", "num_processes": 2, "process_id": 0}, "--coordinator is host; it must be host:port"),
        (
            {"coordinator": "host:0", "num_processes": 2, "process_id": 0},
            "--coordinator is host:0; it must be host:port",
        ),
        ({"coordinator": "host:65536", "num_processes": 2, "process_id": 0}, "it must be host:port"),
        ({"coordinator": "host:٣", "num_processes": 2, "process_id": 0}, "it must be host:port"),
        ({"coordinator": "host:1", "num_processes": 2**31, "process_id": 2}, "less than their number, which is less"),
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
