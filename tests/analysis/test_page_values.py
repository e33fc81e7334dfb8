"""What the tables of a report say of a run."""

import pytest

from rowlstm_jax.analysis import page_values as values
from rowlstm_jax.analysis.comparison import Comparison
from rowlstm_jax.errors import UserError
from rowlstm_jax.tasks import protocol_digest
from tests.analysis.written import FIELDS, write_run


def test_intervals_are_named_after_what_they_are_over(tmp_path):
    one = values.results(values.read(write_run(tmp_path / "one", seeds=1)))
    assert one["test accuracy"].endswith("%\n95 %: 50.00 to 75.00 % (over test examples)")
    assert one["validation accuracy"] == "87.50 %"
    three = values.results(values.read(write_run(tmp_path / "three", seeds=3)))
    assert three["test loss"] == "0.5 ± 0\n95 %: 0.5 to 0.75 (over 3 seeds)"
    assert three["test set opened"] == "2026-01-02T03:04:05+00:00"


def test_each_seed_has_its_figures(tmp_path):
    found = values.of_each_seed(values.read(write_run(tmp_path / "run", seeds=3)))
    assert found["validation accuracy"] == ["87.50 %"] * 3
    assert set(found) == {"test accuracy", "test loss", "validation accuracy"}
    assert values.of_each_seed(values.read(write_run(tmp_path / "one", seeds=1))) == {}


def test_the_protocol_of_a_run_that_has_not_finished_has_its_digest(tmp_path):
    finished, stopped = write_run(tmp_path / "a"), write_run(tmp_path / "b", finished=False)
    told = [values.protocol(values.read(run)) for run in (finished, stopped)]
    assert told[0]["digest of the protocol"] == told[1]["digest of the protocol"] == protocol_digest(FIELDS)
    assert told[0]["data: sha256"] == "0" * 64


def test_diagnostics_are_those_of_the_records(tmp_path):
    found = values.diagnostics(values.read(write_run(tmp_path / "run")))
    norms = {name: found[f"gradient norm, {name}"] for name in ("first", "largest", "last")}
    assert norms == {"first": 5.5, "largest": 20.5, "last": 20.5}
    assert found["ms per step"] == 1.5


def test_environment_training_and_settings(tmp_path):
    run = values.read(write_run(tmp_path / "run"))
    environment = values.environment(run)
    assert (environment["devices"], environment["jax"], environment["git commit"]) == ("2 cpu", "0.10.1", "c" * 40)
    assert values.settings(run) == {"x": 1}
    assert values.training(run)["--learning-rate"] == 0.001
    assert values.training(run)["recipe.model"] == "Net"
    stopped = values.environment(values.read(write_run(tmp_path / "stopped", finished=False)))
    assert (stopped["jax"], stopped["git commit"]) == ("0.10.1", "c" * 40)


def test_read_takes_a_folder_a_link_and_a_summary_and_refuses_damage(tmp_path):
    run = write_run(tmp_path / "run")
    (tmp_path / "latest").symlink_to("run")
    for path in (run, tmp_path / "latest", run / "summary.json"):
        assert values.read(path).directory == run
    (run / "config.json").unlink()  # the results are enough
    assert values.read(run).state == "finished"
    (run / "summary.json").write_text("{")
    with pytest.raises(UserError, match=r"summary\.json can't be read"):
        values.read(run)


def test_compared_gives_the_tests_or_the_reason(tmp_path, capsys):
    a, b = (
        values.read(write_run(tmp_path / folder / "run", error=error)) for folder, error in (("a", 0.1), ("b", 0.3))
    )
    assert isinstance(values.compared(a, b), Comparison)
    assert "name two different runs" in str(values.compared(a, a))
    assert "name two different runs" in capsys.readouterr().err
