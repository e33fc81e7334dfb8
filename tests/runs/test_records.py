import numpy as np
import pytest

from rowlstm_jax.errors import NonFiniteError
from rowlstm_jax.runs.records import by_seed, log_line, require_finite, training_record
from rowlstm_jax.training.metrics import Metrics


def metrics(**values) -> Metrics:
    zeros = np.zeros(2)
    fields = {"loss": zeros, "correct": zeros, "examples": zeros, "gradient_norm": zeros, "nonfinite": zeros}
    return Metrics(**{name: np.asarray(value) for name, value in ({**fields, "steps": zeros} | values).items()})


def test_one_seed_has_numbers_and_several_have_lists():
    assert by_seed(np.array([0.5])) == 0.5
    assert by_seed(np.array([0.5, 1.0])) == [0.5, 1.0]
    assert by_seed(np.array([[1.0, 2.0]])) == [1.0, 2.0]


def test_a_record_holds_means_since_the_last_one_by_seed():
    sums = metrics(loss=[6.0, 3.0], correct=[2, 3], examples=[4, 4], gradient_norm=[8.0, 2.0], steps=[2, 2])
    after = metrics(loss=[1.0, 2.0], correct=[1, 2], examples=[2, 2])
    record = training_record(200, sums, after)
    assert record == {
        "examples": 200,
        "loss": [0.5, 1.0],
        "accuracy": [0.5, 1.0],
        "train_loss": [1.5, 0.75],
        "train_accuracy": [0.5, 0.75],
        "gradient_norm": [4.0, 1.0],
    }
    line = log_line(2, 10, record | {"validation_loss": [1.0, 2.0], "validation_accuracy": [0.5, 0.7]})
    assert line == (
        "step 2/10  samples 200  minibatch loss 0.750000, accuracy 0.75000  "
        "validation loss 1.500000, accuracy 0.60000  (means over 2 seeds)"
    )


def test_the_line_of_one_seed_says_nothing_of_seeds():
    assert log_line(5, 9, {"validation_loss": 0.25, "validation_accuracy": 0.5}) == (
        "step 5/9  validation loss 0.250000, accuracy 0.50000"
    )


def test_which_seeds_stopped_being_finite_is_said():
    sums = metrics(nonfinite=[0, 3], steps=[5, 2], gradient_norm=[1.0, 9.0])
    after = metrics(loss=[1.0, np.nan])
    with pytest.raises(NonFiniteError, match=r"after step 7 of seed 6, where its norm was 4.5 on average; .* Kept\.$"):
        require_finite(range(5, 7), 10, sums, after, "Kept.")
    both = metrics(nonfinite=[1, 3])
    with pytest.raises(NonFiniteError, match=r"after step 9 of seed 5 and after step 7 of seed 6; lower"):
        require_finite(range(5, 7), 10, both, after, "")
    require_finite(range(5, 7), 10, metrics(), metrics(loss=[1.0, 2.0]), "")
