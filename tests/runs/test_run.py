"""What a run is, as a value; and whether a run on disk is the same."""

import dataclasses

import optax
import pytest

from rowlstm_jax.errors import UserError
from rowlstm_jax.models import SequenceClassifier, cells
from rowlstm_jax.runs import Run
from rowlstm_jax.runs.environment import versions
from rowlstm_jax.runs.run import require_same_run
from rowlstm_jax.training import Recipe


def test_a_run_is_a_value_that_nothing_changes(make_run, tmp_path):
    run = make_run()
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.config = None  # pyright: ignore[reportAttributeAccessIssue]
    assert run.identity == make_run("elsewhere").identity, "where it is written is no part of it"
    assert run.identity != make_run(seed=1).identity
    assert not list(tmp_path.iterdir()), "and nothing is written"


def test_skipping_wraps_the_optimiser_once(make_run):
    plain, skipping = make_run(), make_run(on_nonfinite="skip")
    assert plain.recipe.optimizer != skipping.recipe.optimizer
    assert skipping.identity["recipe.optimizer.init.optimizer"] == "GradientTransformationExtraArgs"


class OwnCell(cells.ElmanCell):
    """A cell outside the library: its source is hashed."""


def test_changed_code_is_refused_unless_it_is_accepted(make_run, tmp_path):
    def start(**fields) -> Run:
        model = SequenceClassifier(OwnCell(2), num_classes=3)
        return make_run(recipe=Recipe(model, optax.adam(1e-2)), resume=True, **fields)

    run = start()
    (name,) = [name for name in run.code if name.endswith("OwnCell")]
    saved = {"identity": run.identity, "versions": versions(), "code": run.code}
    require_same_run(run, tmp_path, saved, tmp_path)
    saved["code"] = run.code | {name: "0" * 64}
    with pytest.raises(UserError, match=rf"has changed since it was saved: {name}\. Undo .*--accept-changed-code"):
        require_same_run(run, tmp_path, saved, tmp_path)
    require_same_run(start(accept_changed_code=True), tmp_path, saved, tmp_path)
    saved["code"] = None  # a run of an earlier version has no hashes
    require_same_run(run, tmp_path, saved, tmp_path)


def test_patience_without_the_best_evaluation_is_refused_when_the_run_is_made(make_run, tiny_model):
    with pytest.raises(ValueError, match=r"patience is 5, .* the protocol tiny has 'last'"):
        make_run(recipe=Recipe(tiny_model, optax.adam(1e-2), patience=5))
