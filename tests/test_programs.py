import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import cross_entropy

from rowlstm_jax import programs as programs_module
from rowlstm_jax.data import Examples
from rowlstm_jax.data.order import batch_indices
from rowlstm_jax.metrics import Metrics
from rowlstm_jax.programs import compile_programs
from rowlstm_jax.sequences import rows


class Known(nn.Module):
    """Logits that are the first three pixels, so that every evaluation has a known answer."""

    @nn.compact
    def __call__(self, inputs, *, train=False):
        weight = self.param("weight", nn.initializers.ones, ())
        return inputs[:, 0, :3] * weight


@pytest.mark.parametrize("count", [1, 4, 5, 27])
def test_evaluation_counts_every_example_of_a_ragged_last_batch(tiny_data, monkeypatch, count):
    monkeypatch.setattr(programs_module, "EVAL_BATCH", 4)
    programs = compile_programs(Known(), optax.sgd(0.1), rows, tiny_data.train, 4, 1)
    examples = tiny_data.test[:count]
    logits = examples.images[:, 0, :3] / 255
    result = programs.evaluate(programs.init(np.uint32(0)), examples)
    np.testing.assert_allclose(result.logits, logits, rtol=1e-6)
    assert result.metrics.examples == count
    assert result.accuracy == (logits.argmax(axis=1) == examples.labels).mean()
    np.testing.assert_allclose(result.loss, cross_entropy(logits, examples.labels), rtol=1e-5)


def test_the_second_call_of_every_function_compiles_nothing(tiny_data, tiny_model, compilations):
    programs = compile_programs(tiny_model, optax.adam(1e-2), rows, tiny_data.train, 4, 3)
    pixels = jax.device_put((tiny_data.train.images, tiny_data.train.labels))

    def call_all(seed: int, count: int, examples: Examples) -> None:
        indices = batch_indices(seed, len(tiny_data.train), 4, 0, count)
        state = programs.init(np.uint32(seed))
        state, metrics, _ = programs.train(state, Metrics.zeros(), pixels, indices)
        jax.block_until_ready((metrics, programs.evaluate(state, examples)))

    call_all(0, 3, tiny_data.test)
    assert compilations
    compilations.clear()
    call_all(1, 1, tiny_data.validation[:5])
    assert compilations == []


def test_a_batch_of_another_shape_is_refused_rather_than_compiled(tiny_data, tiny_model):
    programs = compile_programs(tiny_model, optax.adam(1e-2), rows, tiny_data.train, 4, 3)
    pixels = jax.device_put((tiny_data.train.images, tiny_data.train.labels))
    with pytest.raises(TypeError, match=r"shape|differ|int32\[3,5\]"):
        programs.train(programs.init(np.uint32(0)), Metrics.zeros(), pixels, jnp.zeros((3, 5), jnp.int32))
