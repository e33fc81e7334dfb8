"""`experiments.insight` draws runs of any classifier, and says which it does not."""

import os
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import optax
import pytest

from rowlstm_jax import PROTOCOLS, Recipe, RunFolder, SequenceClassifier, cells, finish, fit, layers, load_data
from tests.insight import GATES, OVER_TIME, Flat


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
        (SequenceClassifier(layers.Block(layers.S5(4)), 10), OVER_TIME | {"eigenvalues"}, ""),
        (SequenceClassifier(nn.MGUCell(4), 10), {"probabilities_over_rows", "rows_needed"}, ""),
        (Flat(10), set(), "it is a Flat, not a SequenceClassifier"),
    ],
    ids=["deep", "mean", "jordan", "lem", "s5", "a cell of Flax", "own model"],
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
