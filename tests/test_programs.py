import chex
import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from reference import cross_entropy

from rowlstm_jax import programs as programs_module
from rowlstm_jax.cells import BasicLSTMCell
from rowlstm_jax.data import Examples
from rowlstm_jax.data.order import batch_indices
from rowlstm_jax.devices import make_mesh
from rowlstm_jax.model import SequenceClassifier
from rowlstm_jax.programs import compile_programs
from rowlstm_jax.sequences import rows


class Known(nn.Module):
    """Logits that are the first three pixels, so that every evaluation has a known answer."""

    @nn.compact
    def __call__(self, inputs, *, train=False):
        weight = self.param("weight", nn.initializers.ones, ())
        return inputs[:, 0, :3] * weight


@pytest.mark.parametrize("count", [1, 4, 5, 27])
@pytest.mark.parametrize("devices", [1, 3])
def test_evaluation_counts_every_example_of_a_ragged_last_batch(tiny_data, monkeypatch, count, devices):
    monkeypatch.setattr(programs_module, "EVAL_BATCH", 4)
    programs = compile_programs(Known(), optax.sgd(0.1), rows, tiny_data.train, 6, 1, make_mesh(6, devices))
    examples = tiny_data.test[:count]
    logits = examples.images[:, 0, :3] / 255
    result = programs.evaluate(programs.init(np.uint32(0)), examples)
    np.testing.assert_allclose(result.logits, logits, rtol=1e-6)
    assert result.metrics.examples == count
    assert result.accuracy == (logits.argmax(axis=1) == examples.labels).mean()
    np.testing.assert_allclose(result.loss, cross_entropy(logits, examples.labels), rtol=1e-5)


def test_the_second_call_of_every_function_compiles_nothing(tiny_data, tiny_model, compilations):
    programs = compile_programs(tiny_model, optax.adam(1e-2), rows, tiny_data.train, 4, 3, make_mesh(4, 2))

    def call_all(seed: int, count: int, examples: Examples) -> None:
        indices = batch_indices(seed, len(tiny_data.train), 4, 0, count)
        state = programs.init(np.uint32(seed))
        state, metrics = programs.train(state, programs.zero_metrics(), indices)
        programs.evaluate_minibatch(state, indices[-1])
        jax.block_until_ready((metrics, programs.evaluate(state, examples)))

    call_all(0, 3, tiny_data.test)
    assert compilations
    compilations.clear()
    call_all(1, 1, tiny_data.validation[:5])
    assert compilations == []


def test_a_batch_of_another_shape_is_refused_rather_than_compiled(tiny_data, tiny_model):
    programs = compile_programs(tiny_model, optax.adam(1e-2), rows, tiny_data.train, 4, 3, make_mesh(4, 2))
    with pytest.raises(TypeError, match=r"shape|differ|int32\[3,6\]"):
        programs.train(programs.init(np.uint32(0)), programs.zero_metrics(), np.zeros((3, 6), np.int32))


@pytest.mark.parametrize("recurrence", ["scan", "fused"])
def test_two_devices_compute_what_one_computes(tiny_data, recurrence):
    model = SequenceClassifier(BasicLSTMCell(8), num_classes=3, num_layers=2, recurrence=recurrence)
    results = []
    for devices in (1, 2, 4):
        programs = compile_programs(model, optax.adam(1e-2), rows, tiny_data.train, 8, 9, make_mesh(8, devices))
        state, metrics = programs.init(np.uint32(0)), programs.zero_metrics()
        indices = batch_indices(0, len(tiny_data.train), 8, 0, 9)
        state, metrics = programs.train(state, metrics, indices)
        after = programs.evaluate_minibatch(state, indices[-1])
        evaluation = programs.evaluate(state, tiny_data.test)
        results.append((state.params, metrics, after, evaluation.metrics, evaluation.logits))
    for several in results[1:]:
        chex.assert_trees_all_close(*jax.device_get((results[0], several)), rtol=2e-5, atol=2e-6)


def test_devices_draw_different_dropout_masks(tiny_data):
    """With one mask for both, two devices with the same four examples would compute what one does with these."""
    model = SequenceClassifier(BasicLSTMCell(8), num_classes=3, num_layers=2, dropout=0.5)

    def loss(indices, devices):
        mesh = make_mesh(len(indices), devices)
        programs = compile_programs(model, optax.adam(1e-2), rows, tiny_data.train, len(indices), 1, mesh)
        state, metrics = programs.init(np.uint32(0)), programs.zero_metrics()
        return float(programs.train(state, metrics, np.array([indices], np.int32))[1].mean_loss)

    assert abs(loss([0, 1, 2, 3], 1) - loss([0, 1, 2, 3, 0, 1, 2, 3], 2)) > 1e-3
