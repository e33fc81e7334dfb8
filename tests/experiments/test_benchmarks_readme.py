"""The README of the benchmarks: its figures are those of the stored measurements, and its commands parse."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import tyro

from experiments.benchmarks import accelerator
from experiments.benchmarks.harness import QUIET

FOLDER = Path(__file__).parents[2] / "experiments"
TEXT = (FOLDER / "benchmarks/README.md").read_text()
PROSE = " ".join(TEXT.split())  # a sentence may be broken anywhere
COMMANDS = re.findall(r"python -m experiments\.benchmarks\.(\w+)([^`\n]*)", TEXT)
# The columns of the table of training steps: B, T, F, H.
COLUMNS = {
    "base": (100, 28, 28, 128),
    "b512": (512, 28, 28, 128),
    "h512": (100, 28, 28, 512),
    "h1024": (100, 28, 28, 1024),
    "t784": (100, 784, 1, 128),
}
# Those of the table of the accelerator: T, F, H and the dtype.
ACCELERATOR_COLUMNS = [
    (t, f, h, dtype) for t, f in ((28, 28), (784, 1)) for h in (128, 512) for dtype in accelerator.DTYPES
]


def stored(name: str) -> dict:
    return json.loads((FOLDER / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["startup/mnist_rows", "seeds/mnist_rows", "integrity"])
def test_each_measurement_was_made_on_two_cpu_cores_of_a_quiet_machine(name):
    machine = stored(name)["machine"]
    assert (machine["processor"], machine["backend"], machine["cores"]) == ("AMD EPYC", "cpu", 2)
    assert machine["used_by_others"] <= QUIET


def test_the_table_of_training_steps():
    measured = [stored(f"train_step/{name}") for name in COLUMNS]
    assert all(measurement["machine"]["used_by_others"] <= QUIET for measurement in measured)
    assert {measurement["machine"]["backend"] for measurement in measured} == {"cpu"}
    settings = [measurement["settings"] for measurement in measured]
    sizes = [(s["batch_size"], s["time_steps"], s["features"], s["hidden"], s["dtype"]) for s in settings]
    assert sizes == [(*size, "float32") for size in COLUMNS.values()]
    systems = [{row["name"]: row for row in measurement["rows"]} for measurement in measured]
    in_table = [name for name, row in systems[0].items() if row["median_ms"] is not None]
    for name in in_table:
        found = [rows.get(name) for rows in systems]  # the widest is measured for some systems only
        cells = [f"{row['median_ms']:.3g} ({row['ratio_to_torch']:.2f})" if row else "-" for row in found]
        assert re.search(rf"^\| .*`{name}`.* \| {re.escape(' | '.join(cells))} \|$", TEXT, re.M), cells
    assert re.findall(r"^\| .*`([\w-]+)`\**(?= \| [\d.]+ \()", TEXT, re.M) == in_table


def test_the_table_of_linear_scans():
    measured = stored("linear_scan/t784")
    settings, machine = measured["settings"], measured["machine"]
    assert [settings[name] for name in ("batch_size", "time_steps", "features", "hidden")] == [50, 784, 1, 64]
    assert (machine["processor"], machine["backend"], machine["cores"]) == ("AMD EPYC", "cpu", 2)
    lines, rows = [], {(row["name"], row["devices"]): row for row in measured["rows"]}
    for name in dict.fromkeys(name for name, _ in rows):
        found = [rows.get((name, devices)) for devices in (1, 2)]
        cells = [f"{row['median_ms']:.1f} ({row['ratio_to_ours']:.2f})" if row else "-" for row in found]
        lines.append(f"| {name} | {' | '.join(cells)} |\n")
    header = "| what | one device | two devices |\n| --- | --- | --- |\n"
    assert f"{header}{''.join(lines)}\nArrays have the batch first" in TEXT


def test_bfloat16():
    times = {row["name"]: row["median_ms"] for row in stored("train_step/bfloat16")["rows"]}
    both = f"takes {times['rowlstm_jax']:.2f} ms and torch's {times['torch']:.2f} ms"
    assert f"In bfloat16 a step of the first column {both}." in PROSE


def test_whole_runs_and_an_accelerator():
    ours, anew, torch = stored("whole_run")["rows"]
    text = f"A run takes {ours['median_s']:.1f} s and {ours['peak_mb']:.0f} MB at the peak, {anew['median_s']:.1f} s if"
    assert text in PROSE
    assert f"the torch script takes {torch['median_s']:.1f} s and {torch['peak_mb']:.0f} MB (medians of five)" in PROSE
    h200 = {(row["part"], row["name"]): row for row in stored("accelerator/h200")["rows"]}
    assert stored("accelerator/h200")["machine"]["devices"] == ["NVIDIA H200"]
    warm, cold = h200["whole run", "compiled before"]["figure"], h200["whole run", "compiled anew"]["figure"]
    assert f"| {warm:.1f} s, or {cold:.1f} s if nothing has been compiled before |" in PROSE
    assert {h200["bits", name]["note"] for name in ("repeated", "killed and resumed")} == {"the same bits"}
    one, eight = (h200["seeds in one program", name]["figure"] for name in ("1 seed", "8 seeds"))
    assert f"| {eight / one:.2f} ({eight:.2f} ms against {one:.2f} ms) |" in PROSE
    apart = [f"{100 * h200['losses', f'{dtype}, 20 steps']['figure']:.2f} %" for dtype in accelerator.DTYPES]
    assert f"| {' and '.join(apart)} apart:" in PROSE
    steps = [f"step B=100 T={t} F={f} H={h} {dtype}" for t, f, h, dtype in ACCELERATOR_COLUMNS]
    for system in accelerator.SYSTEMS:
        figures = [(h200[step, system]["figure"], h200[step, "torch"]["figure"]) for step in steps]
        cells = [f"{ms:.3g} ({ms / torch_ms:.2f})" if ms else "-" for ms, torch_ms in figures]
        assert f"| {' | '.join(cells)} |" in PROSE, system


def test_numbers_of_devices():
    for batch in (100, 512):
        rows = {row["devices"]: row for row in stored(f"devices/b{batch}")["rows"]}
        cells = [
            f"{rows[n]['median_ms']:.1f} ({rows[n]['ratio_to_one']:.2f})" if n in rows else "-"
            for n in (1, 2, 4, 5, 8, 10, 16)
        ]
        assert f"| {batch} | {' | '.join(cells)} |" in PROSE
        assert rows[max(rows)]["chosen"]


def test_the_start():
    measured = stored("startup/mnist_rows")
    (first,) = [row for row in measured["rows"] if row["name"] == "first step logged"]
    assert f"first logged step it takes {first['warm']:.2f} s, or {first['cold']:.2f} s if nothing" in PROSE
    assert measured["settings"]["repeats"] == 3


def test_several_seeds():
    measured = stored("seeds/mnist_rows")
    together, alone = measured["rows"]
    assert [measured["settings"][name] for name in ("num_seeds", "repeats", "rounds")] == [8, 3, 15]
    seconds = f"{together['run_s']:.1f} s against {alone['run_s']:.1f} s"
    assert f"take {together['run_ratio']:.2f} of the time ({seconds}, medians of 3)" in PROSE
    assert f"training steps alone take {together['step_ratio']:.2f} of the time" in PROSE
    assert together["run_ratio"] <= 0.95


@pytest.mark.parametrize(("name", "number"), [("kill_resume", 1000), ("kill_resume_two_processes", 60)])
def test_kills(name, number):
    measured = stored(name)
    machine = measured["machine"]  # it need not be quiet: no time is compared
    assert (machine["processor"], machine["backend"], machine["cores"]) == ("AMD EPYC", "cpu", 2)
    before, between, saving, *_, everything = measured["rows"]
    assert measured["settings"]["kills"] == before["kills"] + between["kills"] + saving["kills"] == number
    kills = (
        f"{before['kills']} before a first step, {between['kills']} between two saves and {saving['kills']} in a save"
    )
    minutes = round(everything["seconds"] / 60)
    assert f"The bits were equal after {number:,} kills: {kills} ({minutes} minutes)." in PROSE


def test_losses_of_power_and_random_starts():
    measured = stored("power_loss")
    before, later = measured["rows"]
    number = measured["settings"]["losses"]
    assert before["losses"] + later["losses"] == number
    command = f"With `--losses {number} --seed 2` the bits were equal after {number} losses"
    assert f"{command}, {before['losses']} of them before a first checkpoint." in PROSE
    inputs = {row["name"]: row["inputs"] for row in stored("fuzz")["rows"]}
    by_signal = sum(number for name, number in inputs.items() if re.fullmatch(r"killed.*|status 1[2-9]\d", name))
    found = [f"{inputs['status 2']:,} inputs were refused, {inputs['status 0']} trained to the end"]
    found += [f"{inputs['status 1']} failed", f"{by_signal} were ended by a signal; {inputs['resumed: status 0']} were"]
    found += [f"Its {inputs['faults']} findings"]
    assert all(words in PROSE for words in found), found
    assert inputs["status 2"] + inputs["status 0"] + inputs["status 1"] + by_signal == 2000


def test_integrity():
    measured = stored("integrity")
    shares = [f"{row['integrity'] / row['seconds']:.1%}".replace("%", " %") for row in measured["rows"]]
    trained, resumed = [f"{row['seconds']:.1f} s" for row in measured["rows"]]
    assert measured["settings"]["steps"] == 999
    assert f"take {shares[0]} of a run of 999 steps ({trained}), and {shares[1]} of a start" in PROSE
    assert f"finished ({resumed})" in PROSE


@pytest.mark.parametrize(("name", "flags"), COMMANDS, ids=[name + flags for name, flags in COMMANDS])
def test_each_command_parses(name, flags):
    module = importlib.import_module(f"experiments.benchmarks.{name}")
    tyro.cli(module.Config, args=shlex.split(flags))


def test_each_command_of_the_folder_is_in_the_readme():
    scripts = {path.stem for path in (FOLDER / "benchmarks").glob("*.py") if "cli.run(main" in path.read_text()}
    assert {name for name, _ in COMMANDS} == scripts
    assert len(scripts) == 12


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    assert all((FOLDER / "benchmarks" / link).exists() for link in links)
