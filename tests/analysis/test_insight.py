"""What trained networks do, drawn: what a model offers, and the eigenvalues of its layers before and after training."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.analysis.insight import draw_insight, eigenvalues_in_training
from rowlstm_jax.data import Examples
from rowlstm_jax.models import SequenceClassifier, cells, layers
from rowlstm_jax.training import Recipe, init_state
from tests.insight import GATES, OVER_TIME, Flat

NAMES = ("a", "b", "c")


@pytest.mark.parametrize(
    ("model", "pictures", "said"),
    [
        (SequenceClassifier(cells.BasicLSTMCell(4), 3, dtype=jnp.bfloat16), OVER_TIME | {"gates_over_time"}, []),
        (SequenceClassifier(cells.GRUCell(4), 3, num_layers=2), OVER_TIME, ["only the gates of a BasicLSTMCell"]),
        pytest.param(
            SequenceClassifier(cells.BasicLSTMCell(4), 3, num_layers=2, bidirectional=True),
            GATES,
            ["reads backward too"],
            marks=pytest.mark.slow,
        ),
        (Flat(), set(), ["has no `over_time`", "its gates are not known", "only the gradient by its inputs"]),
    ],
)
def test_it_draws_what_the_model_offers_and_says_what_is_missing(tmp_path, capsys, model, pictures, said):
    images = np.random.default_rng(0).integers(0, 256, (9, 6, 5), dtype=np.uint8)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 6, 5)))["params"]
    draw_insight(tmp_path, model, params, Examples(images, np.array([0, 1] * 4 + [0], np.uint8)), NAMES)
    assert {path.stem for path in tmp_path.iterdir()} == pictures | {"gradients_over_rows"}
    sentences = [line for line in capsys.readouterr().out.splitlines() if line.startswith("The model ")]
    assert len(sentences) == len(said)
    assert all(words in sentence for words, sentence in zip(said, sentences, strict=True))


def test_eigenvalues_before_training_are_those_that_the_first_seed_gives():
    model, inputs = SequenceClassifier(layers.LRU(4), 3), jnp.zeros((1, 5, 3))
    first = jax.jit(lambda: init_state(Recipe(model, optax.sgd(0.1)), inputs, 7).params)()
    trained = jax.tree.map(lambda leaf: np.stack([leaf - 0.1, leaf]), first)
    run: Any = SimpleNamespace(config={}, seeds=[7, 8], example_inputs=lambda: inputs, params=lambda _: trained)
    own = jax.tree.map(np.asarray, first["layer_0_forward"])
    for found, shift in zip(eigenvalues_in_training(run, model), (0.0, 0.1), strict=True):
        expected = np.exp(-np.exp(own["nu_log"] - shift) + 1j * np.exp(own["theta_log"] - shift))
        np.testing.assert_allclose(found["layer_0_forward"], expected, rtol=1e-5)
    run.config["from_checkpoint"] = "another run"
    assert eigenvalues_in_training(run, model)[0] == {}
