import flax.linen as nn
import numpy as np
import optax
import pytest

from rowlstm_jax.parallel import evaluate as evaluate_module
from rowlstm_jax.parallel.evaluate import Evaluator
from rowlstm_jax.parallel.mesh import make_mesh
from rowlstm_jax.parallel.seeds import Seeds
from rowlstm_jax.tasks import scale
from rowlstm_jax.training import Recipe
from tests.reference import cross_entropy


class Known(nn.Module):
    """Logits that are the first three pixels times a weight, so that every evaluation has a known answer."""

    @nn.compact
    def __call__(self, inputs, *, train=False):
        weight = self.param("weight", nn.initializers.ones, ())
        return inputs[:, 0, :3] * weight


@pytest.mark.parametrize("count", [1, 4, 5, 27])
@pytest.mark.parametrize(
    ("devices", "num_seeds", "one_by_one"), [(1, 1, True), (3, 1, True), (4, 2, True), (1, 2, False)]
)
def test_every_example_of_a_ragged_last_batch_counts(tiny_data, monkeypatch, count, devices, num_seeds, one_by_one):
    monkeypatch.setattr(evaluate_module, "EVAL_BATCH", 4)
    seeds = Seeds(num_seeds, make_mesh(6, devices, num_seeds), one_by_one)
    params = {"weight": np.arange(1, num_seeds + 1, dtype=np.float32)}
    recipe = Recipe(Known(), optax.sgd(0.1))
    evaluate = Evaluator(recipe, scale, params, tiny_data.train, seeds)
    examples = tiny_data.test.open(lambda: None)[:count]
    result = evaluate(params, examples)
    assert result.metrics.examples.tolist() == [count] * num_seeds
    for seed in range(num_seeds):
        logits = examples.inputs[:, 0, :3] / 255 * (seed + 1)
        np.testing.assert_allclose(result.outputs[seed], logits, rtol=1e-6)
        assert result.accuracy[seed] == pytest.approx((logits.argmax(axis=1) == examples.targets).mean())
        np.testing.assert_allclose(result.loss[seed], cross_entropy(logits, examples.targets), rtol=1e-5)
        low, high = result.intervals[seed]
        assert low <= result.accuracy[seed] <= high
