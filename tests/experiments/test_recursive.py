"""`experiments.recursive` as a user runs it: trained, drawn, opened again, killed and resumed; its stored results."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import recursive
from experiments.benchmarks import same_bits
from rowlstm_jax import open_run
from rowlstm_jax.models import TreeClassifier, binary_tree, quad_tree
from tests.experiments.test_own_data import kill, run

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
SMALL = ["recursive", "--hidden", "8", "--batch-size", "20", "--num-seeds", "2", "--log-every", "5"]
SMALL += ["--checkpoint-every", "10"]


@pytest.mark.slow
def test_a_run_is_trained_drawn_and_opened_again(tmp_path, mnist):
    shown = run([*SMALL, "--steps", "40", "--composition", "tree_lstm", "--tree", "binary", "--run-dir", "a"], tmp_path)
    assert re.search(r"compose/kernel +│ +\(16, 40\)", shown)
    found = open_run(tmp_path / "a")
    assert (found.experiment, found.seeds, found.sequence_shape) == ("recursive", [0, 1], (16, 49))
    model = found.model()
    assert model.module == TreeClassifier(binary_tree(16), 10, 8, "tree_lstm")
    inputs = mnist.test.inputs[:50]
    expected = np.load(tmp_path / "a" / "test.npz")["predictions"][1, :50]
    np.testing.assert_array_equal(model.predict(inputs, seed=1).argmax(axis=-1), expected)
    weights = {"params": jax.tree.map(lambda leaf: leaf[1], model.weights)}
    at_nodes = model.module.apply(weights, model.preprocessing.evaluation(inputs), at_nodes=True)
    np.testing.assert_allclose(at_nodes[:, binary_tree(16).root], model.logits(inputs, seed=1), rtol=1e-4, atol=1e-5)
    with Image.open(tmp_path / "a" / "plots" / "nodes.png") as image:
        assert min(image.size) > 300
        assert len(np.unique(np.asarray(image.convert("L")))) > 10


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_killed_and_resumed_to_the_same_bits_and_another_tree_is_refused(tmp_path):
    arguments = [*SMALL, "--steps", "300", "--composition", "tree_lstm"]
    run([*arguments, "--run-dir", "whole"], tmp_path)
    killed = [*arguments, "--run-dir", "killed"]
    kill(killed, tmp_path, "killed")
    assert open_run(tmp_path / "killed").module() == TreeClassifier(quad_tree(4), 10, 8, "tree_lstm")
    assert "Resumed from step" in run([*killed, "--resume"], tmp_path)
    assert same_bits.require(tmp_path / "whole", tmp_path / "killed") > 5
    assert (tmp_path / "killed" / "plots" / "nodes.png").exists()
    refused = run([*killed, "--resume", "--tree", "binary"], tmp_path, status=2)
    assert "tree was quad and is now binary" in refused


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_a_tree_has_no_recurrence(tmp_path):
    refused = run([*SMALL, "--recurrence", "scan", "--run-dir", "a"], tmp_path, status=2)
    assert refused == "error: --recurrence is 'scan', and a tree has no recurrence; leave it out.\n"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("file", "composition"), [("recursive.json", "rnn"), ("recursive/tree_lstm.json", "tree_lstm")]
)
def test_the_figures_of_the_docstring_are_those_of_the_stored_runs(file, composition):
    summary, defaults = json.loads((RESULTS / file).read_text()), recursive.Config()
    assert (summary["seeds"], summary["steps"]) == (list(defaults.seeds), defaults.steps)
    assert summary["protocol"] == recursive.PROTOCOL.to_json()
    assert len(summary["test_openings"]) == 1
    model = TreeClassifier(quad_tree(4), 10, defaults.hidden, composition)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 16, 49), np.float32))
    assert summary["num_params"] == sum(leaf.size for leaf in jax.tree.leaves(shapes))
    accuracy = summary["test_accuracy"]
    figure = f"{100 * accuracy['mean']:.2f} +- {100 * accuracy['std']:.2f} %"
    assert figure in " ".join((recursive.__doc__ or "").split())
