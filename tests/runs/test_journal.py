"""The files that grow: what one seed and several write, what is cut off, and what is never lost."""

import json

import pytest

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.journal import Journal


@pytest.fixture
def journal(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return Journal(tmp_path)


def test_values_of_any_shape_are_kept(journal):
    journal.open(0)
    journal.log(5, {"loss": [0.5, None], "norms": [[1.0, 2.0], [3.0, 4.0]], "examples": 20})
    journal.close()
    assert journal.records()[0]["norms"] == [[1.0, 2.0], [3.0, 4.0]]


def test_the_digest_is_that_of_the_file_also_after_opening_again(journal, tmp_path):
    journal.open(0)
    for step in (1, 2):
        journal.log(step, {"loss": 0.5})
    journal.close()
    again = Journal(tmp_path)
    again.open(1)
    again.log(2, {"loss": 0.5})
    again.close()
    assert again.recorded == journal.recorded


def test_nothing_is_logged_before_the_files_are_open(journal):
    with pytest.raises(RuntimeError, match="open"):
        journal.log(1, {})


def test_each_opening_of_the_test_set_is_a_line(journal, tmp_path):
    assert journal.test_openings() == []
    for steps in ([7, 9], [9, 9]):
        journal.open_test(steps)
    lines = [json.loads(line) for line in (tmp_path / "test_openings.jsonl").read_text().splitlines()]
    assert [line["selected_steps"] for line in lines] == [[7, 9], [9, 9]]
    assert journal.test_openings() == lines


def test_an_opening_without_its_end_is_damage(journal, tmp_path):
    journal.open_test([7])
    path = tmp_path / "test_openings.jsonl"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(UserError, match="is damaged in line 1"):
        journal.open_test([9])


def test_the_remedy_for_a_damaged_opening_does_not_erase_it(journal, tmp_path):
    (tmp_path / "test_openings.jsonl").write_text('{"time": \n')
    with pytest.raises(UserError, match=r"line 1 .*; put it back from a copy, or start a new run: .*\.$") as error:
        journal.test_openings()
    assert "remove" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"step": 2, "x": "y"}', "'x' is no number"),
        ('{"step": 2, "loss": [0.5, true]}', "'loss' is no number"),
        ('{"step": 2, "loss": []}', "'loss' is no number"),
        ('{"step": 2, "loss": {"a": 1}}', "'loss' is no number"),
        ('{"step": 2, "loss": 1e300}', "'loss' is no number"),
        ('{"step": 2.0}', "it has no step"),
        ('{"loss": 2.0}', "it has no step"),
    ],
)
def test_a_value_that_is_no_number_is_damage(journal, tmp_path, line, what):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1, "loss": [0.5, null]}}\n{line}\n')
    with pytest.raises(UserError, match=rf"metrics\.jsonl is damaged in line 2 \({what}\); remove the line, or resume"):
        journal.records()
