"""How JAX is set up: devices, threads, the compilation cache; once, or again, or too late."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from rowlstm_jax.config import RunConfig
from rowlstm_jax.parallel import cores, start

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("flags", "expected"), [({}, cores()), ({"devices": 2}, 2)])
def test_every_core_becomes_a_device_unless_a_number_is_given(monkeypatch, flags, expected):
    settings, before = {}, jax.config.jax_num_cpu_devices
    monkeypatch.setattr("jax.config.update", lambda name, value: settings.update({name: value}))
    monkeypatch.setenv("NPROC", "7")
    start(RunConfig(batch_size=20 * cores(), **flags))
    assert settings["jax_num_cpu_devices"] == expected
    assert os.environ["NPROC"] == str(expected), "a thread each"
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    start(RunConfig(batch_size=20 * cores(), **flags))
    assert settings["jax_num_cpu_devices"] == before, "who sets XLA's own flag knows better"


def test_a_jax_that_has_started_keeps_its_devices_and_other_threads_are_said(monkeypatch, capsys):
    devices = jax.devices()
    monkeypatch.setenv("NPROC", "4")
    start(RunConfig(devices=4))
    assert capsys.readouterr().err == ""
    start(RunConfig(devices=2))
    assert "with 4 devices and 4 threads, and this run would use 2 of each" in capsys.readouterr().err
    assert jax.devices() == devices
    assert os.environ["NPROC"] == "4"


def test_a_trace_names_operations(monkeypatch):
    monkeypatch.setattr("jax.config.update", lambda *_: None)
    monkeypatch.setenv("NPROC", "2")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    start(RunConfig(profile=True))
    start(RunConfig(profile=True))
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=x --xla_cpu_enable_xprof_traceme=true"


def test_a_script_that_starts_twice_has_the_devices_of_the_first_start():
    program = (
        "import jax; from rowlstm_jax import RunConfig, start; start(RunConfig(devices=2)); print(len(jax.devices())); "
        "start(RunConfig(devices=2)); print(len(jax.devices()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["2", "2"], "")
