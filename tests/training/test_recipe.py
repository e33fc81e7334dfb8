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
