"""`experiments.insight` draws what a model offers, whatever model it is, and says what it does not."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.insight import draw
from rowlstm_jax import SequenceClassifier, cells
from rowlstm_jax.data import Examples

NAMES = ("a", "b", "c")
OVER_TIME = {"probabilities_over_rows", "rows_needed"}
GATES = {f"gates_over_time_layer_{layer}_{direction}" for layer in range(2) for direction in ("forward", "backward")}


class Flat(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        return nn.Dense(3)(inputs.reshape(len(inputs), -1))


@pytest.mark.parametrize(
    ("model", "pictures", "said"),
    [
        (SequenceClassifier(cells.BasicLSTMCell(4), 3, dtype=jnp.bfloat16), OVER_TIME | {"gates_over_time"}, []),
        (SequenceClassifier(cells.GRUCell(4), 3, num_layers=2), OVER_TIME, ["only the gates of a BasicLSTMCell"]),
        (
            SequenceClassifier(cells.BasicLSTMCell(4), 3, num_layers=2, bidirectional=True),
            GATES,
            ["reads backward too"],
        ),
        (Flat(), set(), ["has no `over_time`", "its gates are not known", "only the gradient by its inputs"]),
    ],
)
def test_it_draws_what_the_model_offers_and_says_what_is_missing(tmp_path, capsys, model, pictures, said):
    images = np.random.default_rng(0).integers(0, 256, (9, 6, 5), dtype=np.uint8)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 6, 5)))["params"]
    draw(tmp_path, model, params, Examples(images, np.array([0, 1] * 4 + [0], np.uint8)), NAMES)
    assert {path.stem for path in tmp_path.iterdir()} == pictures | {"gradients_over_rows"}
    sentences = [line for line in capsys.readouterr().out.splitlines() if line.startswith("The model ")]
    assert len(sentences) == len(said)
    assert all(words in sentence for words, sentence in zip(said, sentences, strict=True))
