"""The table of published accuracies has every figure with its source, and ours as their summaries say."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.results_table import EXPERIMENTS
from rowlstm_jax.analysis import hardware, published_table, stored_summaries, training_minutes
from rowlstm_jax.analysis.published import TASKS
from rowlstm_jax.errors import UserError

SUMMARY: dict[str, Any] = {
    "experiment": "mine",
    "seeds": [0, 1],
    "steps": 600,
    "num_params": 1_234,
    "test_accuracy": {"values": [0.97, 0.98], "interval_95": [0.91, 1.0]},
    "protocol": {
        "name": "notebook",
        "fields": {
            "dataset": "mnist",
            "order": "permuted_bit_reversal",
            "validation_examples": 5_000,
            "augmentation": None,
        },
    },
    "timing": {"ms_per_step": 200.0},
    "environment": {"backend": "gpu", "devices": ["NVIDIA H200"], "cores": 16, "processor": "Xeon"},
}


def cells(table: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_every_published_figure_has_a_source_and_stands_above_ours():
    rows = cells(published_table([SUMMARY]))
    assert {len(row) for row in rows} == {9}
    assert len(rows) == 1 + sum(len(published) for _, published in TASKS.values())
    for row in rows:
        assert re.search(
            r"\]\((https://arxiv\.org/abs/\d{4}\.\d{5}|https://github\.com/[\w/-]+|mine\.json)\)$", row[-1]
        )
        assert 85 < float(row[2].strip("*")) < 100
    permuted = [row[1] for row in rows if row[0] == "MNIST by permuted pixels"]
    assert permuted[-2:] == ["S4", "**`mine`**"]
    assert ["MNIST by pixels", "S5", "99.65"] in [row[:3] for row in rows]


def test_a_run_is_described_by_its_summary():
    (row,) = [row for row in cells(published_table([SUMMARY])) if "mine" in row[1]]
    protocol = "bit reversal; 5,000 images for validation; no augmentation"
    expected = ["**97.50**", "91.00 to 100.00", "2", protocol, "1,234", "2 min, NVIDIA H200", "[mine.json](mine.json)"]
    assert row[2:] == expected


@pytest.mark.parametrize(
    ("augmentation", "words"),
    [
        ({"shift": 1.0, "flip": False}, "augmented: affine maps"),
        ({"shift": 1.0, "flip": True}, "augmented: affine maps, mirror images"),
        ({"name": "elastic", "sha256": "size 1"}, "augmented: elastic maps"),
        ({"name": "affine, cutout", "sha256": "4 to 12"}, "augmented: affine maps, cutout"),
    ],
)
def test_a_run_of_one_seed_with_augmentation(augmentation, words):
    one = copy.deepcopy(SUMMARY) | {"test_accuracy": 0.5, "test_accuracy_interval_95": [0.25, 0.75], "seeds": [3]}
    one["protocol"]["fields"] |= {"augmentation": augmentation, "order": "rows"}
    (row,) = [row for row in cells(published_table([one])) if "mine" in row[1]]
    assert row[0] == "MNIST by rows"
    assert row[2:6] == ["**50.00**", "25.00 to 75.00", "1", f"5,000 images for validation; {words}"]


def test_time_and_hardware_of_a_training():
    assert training_minutes(SUMMARY) == 2.0
    assert hardware(SUMMARY) == "NVIDIA H200"
    on_cpu = SUMMARY | {"environment": {"backend": "cpu", "devices": ["cpu"], "cores": 2, "processor": "AMD EPYC"}}
    assert hardware(on_cpu) == "2 cores of AMD EPYC"
    on_cpu["environment"]["cores"] = 1
    assert hardware(on_cpu) == "1 core of AMD EPYC"


def test_summaries_are_read_in_order_and_what_is_not_stored_is_left_out(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(SUMMARY))
    assert stored_summaries(tmp_path, [("other", "notebook"), ("mine", "notebook")]) == [SUMMARY]


@pytest.mark.parametrize(
    "change",
    [
        {"experiment": "other"},
        {"seeds": []},
        {"seeds": [0, 1, 2]},
        {"steps": None},
        {"test_accuracy": 0.5},
        {"test_accuracy": None},
        {"timing": {}},
        {"environment": []},
        {"protocol": {"name": "notebook", "fields": {"dataset": "other", "order": "rows"}}},
        {"protocol": {"name": "notebook", "fields": {"dataset": "mnist", "order": None}}},
    ],
)
def test_what_is_no_summary_of_the_experiment_is_refused_in_a_sentence(tmp_path, change):
    (tmp_path / "mine.json").write_text(json.dumps(SUMMARY | change))
    with pytest.raises(UserError, match=r"mine\.json is no summary of mine by the protocol notebook \(.*\); store one"):
        stored_summaries(tmp_path, [("mine", "notebook")])


def test_the_stored_summaries_name_nothing_of_the_machine_that_made_them():
    results = Path(__file__).parents[2] / "experiments" / "results"
    assert len(stored_summaries(results, EXPERIMENTS)) >= 7
    for experiment, _ in EXPERIMENTS:
        assert not re.search(r'"/(work|tmp|home|root)\b', (results / f"{experiment}.json").read_text())
