"""The benchmarks compare like with like, and say what they could not compare. No test depends on a time."""

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental import rnn
from PIL import Image

from experiments.benchmarks import (
    accelerator,
    devices,
    integrity,
    kill_resume,
    linear_scan,
    peers,
    processes,
    scaling,
    seeds,
    startup,
    train_step,
    whole_run,
)
from experiments.benchmarks.harness import BenchmarkConfig, alternate
from experiments.benchmarks.peers import jax_libraries, ours, torch_script
from experiments.benchmarks.problem import System, UnavailableError, losses, make_problem, reference
from rowlstm_jax.config import flag
from rowlstm_jax.errors import UserError

ROOT = Path(__file__).parents[2]
SIZES = {"batch_size": 4, "time_steps": 3, "features": 5, "hidden": 6}

LIBRARY = {"torch": "torch", "torch-compile": "torch", "haiku": "haiku", "equinox": "equinox", "keras": "keras"}


SHAPES = [(3,), (2, 4, 3), (2, 4, 3), (2, 4, 3)]  # a [N], b, dh, and a direction


@pytest.fixture(autouse=True)
def broadcasting():
    """Other libraries let arrays of different rank meet."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.* is deprecated:DeprecationWarning")  # torch.compile
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float32") for name in peers.PEERS if name != "cudnn"]
    + [
        pytest.param(name, "bfloat16", marks=pytest.mark.slow)
        for name in ("torch", "flax", "flax-optimized", "haiku", "equinox", "keras", "rowlstm_jax")
    ],
)
def test_every_system_computes_and_learns_what_the_equations_say(name, dtype):
    # Not importorskip: Keras reads its backend when it is imported, and `keras_layer` sets it first.
    if name in LIBRARY and importlib.util.find_spec(LIBRARY[name]) is None:
        pytest.skip(f"{LIBRARY[name]} is not installed")
    if name == "torch-compile" and not shutil.which("g++"):
        pytest.skip("torch.compile needs a C++ compiler")
    systems, reasons = peers.prepare([name], make_problem(**SIZES, dtype=dtype), devices=2)
    assert reasons == {}
    assert list(systems) == [name]


def test_a_system_that_computes_or_learns_otherwise_is_not_timed(monkeypatch):
    problem = make_problem(**SIZES)
    first, _ = losses(reference(problem))
    others = {
        "torch": System(lambda count: None, lambda: first + 0.01),
        "flax": System(lambda count: None, lambda: first),
    }
    monkeypatch.setattr(peers, "build", lambda name, problem, devices: others[name])
    systems, reasons = peers.prepare(["torch", "flax"], problem, None)
    assert systems == {}
    assert reasons["torch"].startswith("not timed: its loss is 2.")
    assert reasons["flax"].startswith("not timed: in 5 steps its loss falls by 0.000000, not 0.")


def test_cudnns_weights_are_packed_as_its_reference_reads_them(monkeypatch):
    def lstm(inputs, h, c, weights, lengths, input_size, hidden_size, num_layers, dropout, bidirectional):
        unpacked = rnn.unpack_lstm_weights(weights, input_size, hidden_size, num_layers, bidirectional)
        sizes = (input_size, hidden_size, num_layers, dropout, bidirectional)
        return rnn.lstm_ref(inputs, h, c, *unpacked, lengths, *sizes)

    problem = make_problem(**SIZES)
    with pytest.raises(UnavailableError, match="needs a GPU"):
        jax_libraries.cudnn(problem)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(rnn, "lstm", lstm)
    np.testing.assert_allclose(losses(jax_libraries.cudnn(problem)), losses(reference(problem, biases=2)), rtol=1e-5)


@pytest.mark.parametrize("devices", [1, 2])
def test_no_product_is_left_out_of_the_floor(devices):
    batch, steps, features, hidden = 8, 7, 5, 16
    program, _ = ours.compile_products(make_problem(batch, steps, features, hidden), devices)
    analysis, text = program.cost_analysis() or {}, program.as_text() or ""
    forward, backward = (features + hidden) * 4 * hidden, 4 * hidden * hidden
    # The analysis counts a loop's body once.
    once = 2 * batch // devices * (forward + backward + steps * (features + hidden) * 4 * hidden)
    assert once <= analysis["flops"] < 1.02 * once
    assert text.count('"known_trip_count":{"n":"7"}') == 2


def test_systems_take_turns():
    calls = []
    systems = {name: lambda count, name=name: calls.append(name) for name in "abc"}
    timings = alternate(systems, rounds=3)
    assert list(timings) == ["a", "b", "c"]
    assert all(timing.low <= timing.median <= timing.high for timing in timings.values())
    assert "".join(calls) == "aabbcc" + 3 * "aabbcc"


def test_what_is_missing_is_a_row_and_the_file_has_the_promised_form(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    names = ("torch", "cudnn", "rowlstm_jax", "matrix-products")
    train_step.main(train_step.Config(**SIZES, rounds=2, peers=names, json=tmp_path / "rows.json"))
    assert "[bench]" in "".join(capsys.readouterr().out.split())
    written = json.loads((tmp_path / "rows.json").read_text())
    rows = {row["name"]: row for row in written["rows"]}
    assert rows["torch"]["note"] == "not installed (pip install -e .[bench])"
    assert rows["cudnn"]["note"] == "needs a GPU"
    for name in ("torch", "cudnn"):
        assert (rows[name]["median_ms"], rows[name]["ratio_to_torch"]) == (None, None)
    for name in ("rowlstm_jax", "matrix-products"):
        assert rows[name]["median_ms"] > 0
        assert rows[name]["ratio_to_torch"] is None, "torch did not run"
    assert list(rows) == written["settings"]["peers"] == list(names)
    assert written["settings"]["hidden"] == 6
    assert written["machine"]["versions"]["jax"] == jax.__version__
    assert written["machine"]["cores"] > 0
    assert 0 <= written["machine"]["used_by_others"] <= 1


def test_ratios_are_to_torch():
    timing = alternate({"torch": lambda count: None}, rounds=1)["torch"]
    doubled = type(timing)(*(2 * value for value in timing))
    rows = peers.rows(["torch", "keras", "flax"], {"torch": timing, "keras": doubled}, {"flax": "reason"})
    assert [row["ratio_to_torch"] for row in rows] == [1.0, 2.0, None]
    assert [row["note"] for row in rows] == ["", "", "reason"]


@pytest.mark.parametrize(
    ("config", "fields", "sentence"),
    [
        (train_step.Config, {"rounds": 0}, r"--rounds is 0; it must be from 1 to 2147483647\."),
        (train_step.Config, {"hidden": -3}, r"--hidden is -3; it must be from 1 to"),
        (train_step.Config, {"batch_size": 5, "devices": 2}, r"--devices is 2; it must divide the batch of 5 exam"),
        (
            train_step.Config,
            {"peers": ("flax", "tensor")},
            r"--peers names 'tensor'; choose one or more of torch ",
        ),
        (train_step.Config, {"peers": ()}, r"--peers names nothing; choose one or more of torch torch-compile flax "),
        (
            train_step.Config,
            {"json": Path("/nowhere/rows.json")},
            r"--json is /nowhere/rows\.json; it must name a file",
        ),
        (scaling.Config, {"plot": Path("/")}, r"--plot is /; it must name a file"),
        (scaling.Config, {"devices": 64}, r"--devices is 64; it must divide the batch of 32 examples\."),
        (seeds.Config, {"devices": 8}, r"--devices is 8; it must divide the batch of 100 examples\."),
        (kill_resume.Config, {"devices": 3}, r"--devices is 3; it must divide the batch of 20 examples\."),
        (startup.Config, {"repeats": 0}, r"--repeats is 0; it must be from 1"),
    ],
)
def test_a_bad_value_is_refused_in_a_sentence(config, fields, sentence):
    with pytest.raises(UserError, match=sentence):
        config(**fields)


WHOLE_NUMBERS = [
    (script.Config, field.name)
    for script in (
        train_step,
        scaling,
        startup,
        seeds,
        kill_resume,
        integrity,
        devices,
        whole_run,
        accelerator,
        linear_scan,
    )
    for field in dataclasses.fields(script.Config)
    if field.type in (int, int | None)
]


@pytest.mark.parametrize(("config", "name"), WHOLE_NUMBERS)
def test_each_whole_number_may_be_anything_in_its_range_and_nothing_else(config, name):
    least, most = {"seed": (0, 2**32 - 1), "devices": (1, 1024)}.get(name, (1, 2**31 - 1))
    for value in (least, most) if name != "devices" else (least,):  # more devices must divide the batch
        assert getattr(config(**{name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(UserError, match=rf"^{flag(name)} is {value}; it must be from {least} to {most}\.$"):
            config(**{name: value})


def test_the_ranges_are_those_of_whole_numbers_that_some_benchmark_has():
    assert len(WHOLE_NUMBERS) >= 17
    assert set(BenchmarkConfig.RANGES) <= {name for _, name in WHOLE_NUMBERS}


def test_more_devices_than_there_are_end_the_comparison_and_are_no_row():
    with pytest.raises(UserError, match=r"--devices is 1000, and there are \d+ \(cpu\)"):
        peers.compare(["rowlstm_jax"], make_problem(**SIZES | {"batch_size": 1000}), 1000, 1)


@pytest.mark.parametrize("flags", [["--peers", "flax,torch"], ["--time-steps", "0"]])
def test_a_mistake_ends_with_one_sentence_and_status_2(flags):
    command = [sys.executable, "-m", "experiments.benchmarks.train_step", *flags]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("error: --")
    assert process.stderr.count("\n") == 1


def test_scaling_grows_one_size_at_a_time_and_spares_slow_systems(tmp_path, monkeypatch, capsys):
    asked = []

    def compare(names, problem, devices, rounds):
        batch_size, time_steps, _ = problem.images.shape
        asked.append((batch_size, time_steps, problem.hidden, devices, len(names)))
        slow = problem.hidden > 64
        times = {name: 2000.0 if slow and name == "torch" else 1.0 for name in names}
        return [
            {"name": name, "median_ms": time, "quartiles_ms": [time, time], "note": ""} for name, time in times.items()
        ]

    monkeypatch.setattr(scaling, "compare", compare)
    monkeypatch.setattr(scaling, "AXES", {"time_steps": (28, 56), "hidden": (64, 128, 256), "batch_size": (32, 64)})
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    monkeypatch.chdir(tmp_path)
    scaling.main(scaling.Config(json=tmp_path / "rows.json"))
    assert asked == [
        (128, 28, 128, None, 3),
        (128, 56, 128, None, 2),
        (128, 28, 64, None, 3),
        (128, 28, 128, None, 3),
        (128, 28, 256, None, 2),
        (32, 28, 128, None, 3),
        (64, 28, 128, None, 2),
        (128, 28, 128, 1, 3),
        (128, 28, 128, 2, 2),
    ]
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {row["axis"] for row in rows} == {"time_steps", "hidden", "batch_size", "devices"}
    with Image.open(tmp_path / "runs/scaling/scaling.png") as image:
        assert min(image.size) > 300
    assert f"Picture: {tmp_path}/runs/scaling/scaling.png\n" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"rows.json", "runs"}


@pytest.mark.slow
def test_the_linear_scan_is_held_against_scans_and_a_step_that_compute_the_same(tmp_path, capsys):
    flags = {"batch_size": 4, "time_steps": 5, "hidden": 3, "features": 2, "devices": 2}
    linear_scan.main(linear_scan.Config(**flags, rounds=1, json=tmp_path / "rows.json"))
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    ways = ["linear_scan"]
    ways += [name for way in ("lax.scan", "associative_scan") for name in (way, f"{way}, time first")]
    steps = ["step of a run", "step, written plainly"]
    assert [(row["name"], row["devices"]) for row in rows] == [(n, d) for d in (1, 2) for n in ways] + [
        (name, 2) for name in steps
    ]
    for group in (rows[:5], rows[5:10], rows[10:]):  # ours is the first of each
        for row in group:
            assert row["ratio_to_ours"] == pytest.approx(row["median_ms"] / group[0]["median_ms"])
    assert "associative_scan" in capsys.readouterr().out


def test_the_loop_that_scans_are_held_against_has_the_derivatives_by_real_and_imaginary_parts():
    rng = np.random.default_rng(0)
    a, b, dh, by = (rng.normal(size=shape) + 1j * rng.normal(size=shape) for shape in SHAPES)
    h, da, db = linear_scan.loop(a, b, dh)
    np.testing.assert_allclose(h[:, 2], a * (a * b[:, 0] + b[:, 1]) + b[:, 2])

    def loss(a, b):
        return (linear_scan.loop(a, b, dh)[0] * dh.conj()).real.sum()

    small = 1e-6
    for unit in (1, 1j):
        found = (loss(a + small * unit * by[0, 0], b) - loss(a - small * unit * by[0, 0], b)) / (2 * small)
        assert found == pytest.approx((da.conj() * unit * by[0, 0]).real.sum(), rel=1e-6)
        found = (loss(a, b + small * unit * by) - loss(a, b - small * unit * by)) / (2 * small)
        assert found == pytest.approx((db.conj() * unit * by).real.sum(), rel=1e-6)


@pytest.mark.slow
def test_a_scan_or_a_step_that_computes_otherwise_is_not_timed(monkeypatch):
    mesh = linear_scan.make_mesh(4, 1)
    monkeypatch.setattr(linear_scan, "scan_by_lax", lambda a, b: a[None, None] * b)
    with pytest.raises(UserError, match=r"lax\.scan does not agree with a loop; nothing was timed\."):
        linear_scan.scans(4, 5, 3, mesh)
    monkeypatch.setattr(
        linear_scan, "plain_logits", lambda params, inputs: inputs[:, 0, :1] * params["readout"]["bias"]
    )
    with pytest.raises(UserError, match=r"step of a run: not timed: its loss is 2\.\d+, not 2\.\d+\."):
        linear_scan.steps(make_problem(4, 5, 2, 3), 1)


@pytest.mark.slow
def test_startup_times_the_experiment_by_phase(tmp_path, compilation_cache, mnist):
    (tmp_path / "compiled").symlink_to(compilation_cache)
    seconds = startup.start(tmp_path, "warm", devices=1)
    assert set(seconds) == {*startup.PHASES, startup.FIRST_STEP, startup.END}
    assert 0 < seconds["compile"] < seconds[startup.FIRST_STEP] < seconds[startup.END]


def test_startup_reports_medians_of_cold_and_warm_starts(tmp_path, monkeypatch):
    began = []

    def start(folder, kind, devices):
        began.append(kind)
        return dict.fromkeys((*startup.PHASES, startup.FIRST_STEP, startup.END), float(len(began)))

    monkeypatch.setattr(startup, "start", start)
    startup.main(startup.Config(repeats=3, json=tmp_path / "rows.json"))
    assert began == 3 * ["cold", "warm"]
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {(row["cold"], row["warm"]) for row in rows} == {(3.0, 4.0)}


@pytest.mark.slow
def test_what_integrity_costs_is_timed(tmp_path, mnist):
    flags = ["--steps", "6", "--checkpoint-every", "3", "--json", str(tmp_path / "rows.json")]
    command = [sys.executable, "-m", "experiments.benchmarks.integrity", *flags]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["trained", "resumed at its end"]
    assert all(0 < row["integrity"] < row["seconds"] for row in rows)


def test_an_experiment_that_can_not_start_is_an_error_in_its_own_words(tmp_path):
    with pytest.raises(UserError, match=r"could not be timed: error: --devices is -1; it must be from 1 to 1024\."):
        startup.start(tmp_path, "cold", devices=-1)


@pytest.mark.slow
def test_seeds_are_held_against_runs_of_one_seed_and_whole_runs_are_those_of_a_user(tmp_path, monkeypatch, capsys):
    started = []

    def seconds(flags, output):
        started.append((flags["seed"], flags["num-seeds"], flags["steps"]))
        return 1.0 + flags["num-seeds"]

    monkeypatch.setattr(processes, "experiment", dict)
    monkeypatch.setattr(processes, "seconds", seconds)
    seeds.main(seeds.Config(num_seeds=2, rounds=1, repeats=1, steps=20, json=tmp_path / "rows.json"))
    assert started == [(0, 2, 10), (0, 1, 10), (0, 2, 20), (0, 1, 20), (1, 1, 20)]
    together, alone = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert (together["run_s"], together["run_ratio"], alone["run_s"], alone["run_ratio"]) == (3.0, 0.75, 4.0, 1.0)
    assert together["step_ratio"] == pytest.approx(together["step_ms"] / alone["step_ms"])
    assert "2 seeds in one program" in capsys.readouterr().out


@pytest.mark.slow
def test_numbers_of_devices_are_timed_in_processes_of_their_own(tmp_path, monkeypatch):
    sizes = {"batch_size": 20, "time_steps": 3, "features": 2, "hidden": 4}
    monkeypatch.setattr(devices, "cores", lambda: 2)
    devices.main(devices.Config(**sizes, rounds=1, json=tmp_path / "rows.json"))
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [(row["devices"], row["rows_each"], row["chosen"]) for row in rows] == [(1, 20, False), (2, 10, True)]
    assert rows[0]["ratio_to_one"] == 1
    assert all(row["median_ms"] > 0 for row in rows)
    with pytest.raises(UserError, match="train_step failed with 3 devices: error: --devices is 3; it must divide"):
        devices.step_ms(devices.Config(**sizes), 3, tmp_path)


@pytest.mark.slow
def test_a_whole_run_is_timed_and_a_missing_torch_is_a_row(tmp_path, mnist, monkeypatch):
    monkeypatch.setattr(torch_script, "is_available", lambda: False)
    whole_run.main(whole_run.Config(steps=2, repeats=1, json=tmp_path / "rows.json"))
    warm, cold, torch = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert 0 < warm["median_s"] < 1.5 * cold["median_s"]
    assert 100 < warm["peak_mb"] < 2_000
    assert (torch["median_s"], torch["note"]) == (None, "not installed (pip install -e .[bench])")


@pytest.mark.slow
def test_an_accelerator_is_checked_and_timed_in_one_command(tmp_path, mnist):
    """On a CPU the losses agree closely, and the bits are the same."""
    command = [sys.executable, "-m", "experiments.benchmarks.accelerator", "--quick", "--rounds", "1", "--limit", "1"]
    done = subprocess.run([*command, "--json", tmp_path / "rows.json"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    losses = [row["figure"] for row in rows if row["part"] == "losses"]
    if jax.default_backend() == "cpu":
        assert losses[0] < 1e-5
    assert losses[1] < 0.01
    bits = {row["name"]: row["note"] for row in rows if row["part"] == "bits"}
    assert bits == {"repeated": "the same bits", "killed and resumed": "the same bits"}
    assert [row["name"] for row in rows if row["part"] == "seeds in one program"] == ["1 seed", "8 seeds"]
    assert [row["note"] for row in rows if row["part"].startswith("step")] == 4 * ["left out: 1 s have passed"]


@pytest.mark.slow
def test_the_accelerators_steps_are_rows_also_where_a_system_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(accelerator, "SYSTEMS", ("torch", "cudnn", "matrix-products"))
    monkeypatch.setattr(accelerator, "sizes", lambda config: [(4, 3, 2, 5)])
    torch, cudnn, products, *others = accelerator.steps(accelerator.Config(rounds=1), time.perf_counter() + 1e6)
    assert accelerator.as_text(torch)[1:] == ("torch", "", "not installed (pip install -e .[bench])")
    assert accelerator.as_text(cudnn)[1:] == ("cudnn", "", "needs a GPU")
    assert products["figure"] > 0
    assert [row["part"] for row in others] == 3 * ["step B=4 T=3 F=2 H=5 bfloat16"]


def test_flags_to_try_are_given_to_xla(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    accelerator.use_flags(accelerator.Config(command_buffers="+WHILE", autotune_level=2, deterministic=True))
    expected = "--xla_gpu_enable_command_buffer=+WHILE --xla_gpu_autotune_level=2 --xla_gpu_deterministic_ops=true"
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=x {expected}"
