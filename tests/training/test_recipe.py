from typing import Any

import optax
import pytest

from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.training.recipe import Recipe

MODEL = SequenceClassifier(BasicLSTMCell(4), num_classes=3)


def test_by_default_labels_are_not_smoothed_and_no_seed_stops_early():
    recipe = Recipe(MODEL, optax.sgd(0.1))
    assert (recipe.label_smoothing, recipe.patience) == (0.0, None)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_label_smoothing_outside_its_range_is_named(share):
    Recipe(MODEL, optax.sgd(0.1), label_smoothing=0.999)
    with pytest.raises(ValueError, match=f"^label_smoothing is {share}; it must be from 0 to less than 1"):
        Recipe(MODEL, optax.sgd(0.1), label_smoothing=share)


@pytest.mark.parametrize("patience", [0, -3])
def test_patience_outside_its_range_is_named(patience):
    Recipe(MODEL, optax.sgd(0.1), patience=1)
    with pytest.raises(ValueError, match=f"^patience is {patience}; it must be 1 or more"):
        Recipe(MODEL, optax.sgd(0.1), patience=patience)


def plain(outputs, targets):
    return outputs[:, 0] - targets


@pytest.mark.parametrize(
    "name", ["loss", "accuracy", "learning_rate", "a/b", "two words", "", "train_x", "test_x", "a.b", 3]
)
def test_a_metric_with_a_name_that_records_or_arrays_cannot_have_is_refused(name):
    with pytest.raises(ValueError, match=f"^metrics has the name {name!r}; a name has letters"):
        Recipe(MODEL, optax.sgd(0.1), metrics={name: plain})


def test_losses_and_metrics_that_are_no_functions_or_can_not_be_compared_are_refused():
    class Unhashable:
        __hash__ = None  # pyright: ignore[reportAssignmentType]

        def __call__(self, outputs, targets):
            return plain(outputs, targets)

    wrong: Any = "mse"
    for fields, words in (
        ({"loss": wrong}, "^loss is 'mse'; it must be a function"),
        ({"metrics": {"f1": wrong}}, "^metrics has 'f1', which is 'mse'; a metric is a function"),
        ({"loss": Unhashable()}, "^loss can't be hashed .*; make it a function or a frozen dataclass"),
        ({"metrics": {"f1": Unhashable()}}, r"^metrics\['f1'\] can't be hashed"),
        (
            {"loss": plain, "label_smoothing": 0.1},
            r"^label_smoothing is 0\.1, and loss is given; use loss=CrossEntropy",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            Recipe(MODEL, optax.sgd(0.1), **fields)
    Recipe(MODEL, optax.sgd(0.1), loss=plain, metrics={"F1-score_2": plain})
