"""What test.npz keeps of a run, and what it is read as."""

import numpy as np
import pytest

from rowlstm_jax.analysis.tested import read_test
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.files import write_arrays

TARGETS, LOSSES = np.zeros((5, 2), np.float32), np.ones((3, 5), np.float32)


def test_losses_and_targets_are_read(tmp_path):
    write_arrays(tmp_path / "test.npz", {"targets": TARGETS, "losses": LOSSES, "outputs": np.zeros((3, 5, 2))})
    found = read_test(tmp_path)
    assert (found.targets.shape, found.losses.shape, found.predictions.size) == ((5, 2), (3, 5), 0)


def test_the_file_of_an_earlier_version_has_predictions_only(tmp_path):
    write_arrays(tmp_path / "test.npz", {"labels": np.arange(5), "predictions": np.zeros((3, 5), np.uint8)})
    found = read_test(tmp_path)
    assert (found.targets.tolist(), found.losses.shape) == ([0, 1, 2, 3, 4], (3, 0))


@pytest.mark.parametrize(
    ("losses", "words"),
    [(LOSSES[:, 1:], r"losses float32 \(3, 4\), not float \[S, 5\]"), (LOSSES.astype(int), "losses int64")],
)
def test_losses_that_do_not_fit_are_named(tmp_path, losses, words):
    write_arrays(tmp_path / "test.npz", {"targets": TARGETS, "losses": losses})
    with pytest.raises(UserError, match=words):
        read_test(tmp_path)
