import dataclasses

import pytest

from rowlstm_jax.data import Sealed
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import RunFolder, data, load_data, sample_indices


@pytest.mark.parametrize(
    ("number", "shown"), [(10_000, [100, 101, 102]), (103, [100, 101, 102]), (102, [99, 100, 101])]
)
def test_the_notebooks_samples_are_shown_or_the_last_of_fewer(number, shown):
    assert sample_indices(number) == shown
    assert sample_indices(2) == [0, 1]


def test_samples_of_a_small_test_set_are_printed_and_remembered(make_run, tiny_data, monkeypatch, capsys):
    examples = tiny_data.test.open(lambda: None)
    fresh = dataclasses.replace(tiny_data, test=Sealed(examples))
    monkeypatch.setattr(data, "load", lambda *_, **__: None)
    monkeypatch.setattr(data, "split", lambda *_: fresh)
    run = make_run()
    with RunFolder(run) as folder:
        assert load_data(run, folder) is fresh
        assert folder.clock.seconds["data"] >= 0
    out = capsys.readouterr().out
    name = tiny_data.class_names[examples.targets[24]]
    assert f"test sample 24: class {name}, label vector" in out
    assert fresh.test.shown == [24, 25, 26]


def test_data_that_can_not_be_had_name_the_flag(make_run, tmp_path):
    run = make_run(local_files=tmp_path / "nowhere", data_dir=tmp_path / "data")
    with (
        pytest.raises(UserError, match=r"^--local-files is .*nowhere, which is not a folder"),
        RunFolder(run) as folder,
    ):
        load_data(run, folder)
    assert not folder.path.exists()
