"""`experiments.insight` draws what a model offers, whatever model it is, and says what it does not."""

import os
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.insight import draw
from rowlstm_jax import PROTOCOLS, Recipe, RunFolder, SequenceClassifier, cells, finish, fit, load_data
from rowlstm_jax.data import Examples

NAMES = ("a", "b", "c")
OVER_TIME = {"probabilities_over_rows", "rows_needed"}
GATES = {f"gates_over_time_layer_{layer}_{direction}" for layer in range(2) for direction in ("forward", "backward")}


class Flat(nn.Module):
    classes: int = 3

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        return nn.Dense(self.classes)(inputs.reshape(len(inputs), -1))


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
    draw(tmp_path, model, params, Examples(images, np.array([0, 1] * 4 + [0], np.uint8)), NAMES)
    assert {path.stem for path in tmp_path.iterdir()} == pictures | {"gradients_over_rows"}
    sentences = [line for line in capsys.readouterr().out.splitlines() if line.startswith("The model ")]
    assert len(sentences) == len(said)
    assert all(words in sentence for words, sentence in zip(said, sentences, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "pictures", "sentence"),
    [
        (
            SequenceClassifier(cells.BasicLSTMCell(4), 10, num_layers=2, bidirectional=True, param_dtype=jnp.bfloat16),
            GATES,
            "",
        ),
        (SequenceClassifier(cells.BasicLSTMCell(4, forget_bias=0.5), 10, readout="mean"), {"gates_over_time"}, ""),
        (SequenceClassifier(cells.JordanCell(4, outputs=3), 10, num_layers=2, dropout=0.1), OVER_TIME, ""),
        (SequenceClassifier(cells.LEMCell(4, dt=0.5), 10, dtype=jnp.bfloat16), OVER_TIME, ""),
        (SequenceClassifier(nn.MGUCell(4), 10), {"probabilities_over_rows", "rows_needed"}, ""),
        (Flat(10), set(), "it is a Flat, not a SequenceClassifier"),
    ],
    ids=["deep", "mean", "jordan", "lem", "a cell of Flax", "own model"],
)
def test_the_script_draws_a_run_of_any_classifier_and_refuses_others(mnist, make_run, model, pictures, sentence):
    recipe = Recipe(model, optax.adam(1e-3))
    run = make_run(protocol=PROTOCOLS["notebook"], recipe=recipe, steps=2, num_seeds=2, strict_compile=False)
    with RunFolder(run) as folder:
        data = load_data(run, folder)
        finish(run, fit(run, data, folder), data, folder)
    command = [sys.executable, "-m", "experiments.insight", str(folder.path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=folder.path, env=environment, capture_output=True, text=True, check=False)
    if sentence:
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"config.json: {sentence}" in done.stderr
        assert "call params(model)" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert pictures | {"gradients_over_rows"} <= {path.stem for path in (folder.path / "plots").iterdir()}
