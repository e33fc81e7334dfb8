"""Two ways to learn side by side: accuracies on validation images, and memory that grows with time or does not."""

import jax
import numpy as np
import optax

from rowlstm_jax.analysis.online import EVALUATIONS, learn_and_evaluate, planned_megabytes, rows_and_classes
from rowlstm_jax.models.cells import FullyRecurrentCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.training import rtrl

MODEL = SequenceClassifier(FullyRecurrentCell(6), num_classes=3)


def test_a_network_learns_and_is_evaluated_on_the_way(tiny_data):
    learned = learn_and_evaluate(rtrl.learn_online, MODEL, optax.adam(3e-2), tiny_data, range(3, 5), 8, 61)
    assert learned.read == [40 * n for n in range(1, EVALUATIONS + 1)]
    assert [len(of) for of in learned.accuracies] == 2 * [EVALUATIONS]
    assert learned.accuracies[0] != learned.accuracies[1]
    assert np.mean(learned.accuracies, axis=0)[-1] > 0.8
    rows, classes = rows_and_classes(tiny_data.validation)
    np.testing.assert_allclose(rows, tiny_data.validation.inputs / 255, rtol=1e-6)
    last = np.argmax(MODEL.apply({"params": learned.params}, rows), axis=-1) == np.asarray(classes)
    np.testing.assert_allclose(last.mean(), learned.accuracies[-1][-1], rtol=1e-6)


def test_the_memory_of_backpropagation_grows_with_time_and_the_other_is_at_least_its_sensitivities():
    backward = planned_megabytes(jax.grad(rtrl.loss_over_time, argnums=1), MODEL, 4, [50, 500], 7)
    assert 5 < backward[1] / backward[0] < 20
    (forward,) = planned_megabytes(rtrl.gradients, MODEL, 4, [50], 7)
    assert forward >= 4 * 4 * 6 * 6 * (7 + 6 + 1) / 1e6
