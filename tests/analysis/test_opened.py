"""A run of any state is opened: its module, own modules too, its weights and how it reads its inputs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax import cells
from rowlstm_jax.analysis import finish, open_run
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.loop import fit
from rowlstm_jax.training.recipe import Recipe
from tests.trials import train

pytestmark = pytest.mark.usefixtures("no_pictures")

ROOT = Path(__file__).parents[2]


class OwnCell(cells.Cell):
    decay: float = 0.9

    @nn.compact
    def __call__(self, carry, inputs):
        h = self.decay * carry + nn.tanh(self.dense("input")(inputs))
        return h, h


class Mixed(nn.Module):
    """Fields of all kinds that a module can be given."""

    sizes: tuple[int, ...]
    activation: Callable
    inner: nn.Module
    name_of_it: str
    scale: float = 2.0

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        x = inputs.reshape(len(inputs), -1)
        for size in self.sizes:
            x = nn.Dense(size)(x)
        return self.scale * self.inner(self.activation(x))


def test_a_stopped_run_computes_what_the_finished_run_will(make_run, tiny_data):
    run = make_run("run", num_seeds=2, steps=4)
    fitted = train(run, tiny_data)
    assert fitted.validation is not None
    opened = open_run(run.config.run_dir)
    assert (opened.state, opened.steps, opened.seeds, opened.openings, opened.tested) == (
        "stopped",
        4,
        list(run.config.seeds),
        0,
        False,
    )
    assert opened.protocol["fields"] == run.protocol.fields()
    assert opened.records[-1]["step"] == 4
    assert opened.config["num_seeds"] == 2
    images, validation = tiny_data.validation.inputs, fitted.validation
    found = opened.model().logits(images, seed=run.config.seeds[1])
    np.testing.assert_allclose(found, validation.outputs[1], rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=r"is no finished run: finish it with --resume\.$"):
        opened.require_tested()
    with RunFolder(again := make_run("run", num_seeds=2, steps=4, resume=True)) as folder:
        running = open_run(run.config.run_dir)
        assert (running.state, "process" in running.where) == ("running", True)
        with pytest.raises(UserError, match=r"is training it; wait for its end"):
            running.require_tested()
        finish(again, fit(again, tiny_data, folder), tiny_data, folder)
    ended = open_run(run.config.run_dir)
    assert ended.state == "finished"
    np.testing.assert_allclose(
        ended.model().logits(images, seed=run.config.seeds[1]), validation.outputs[1], rtol=1e-4, atol=1e-5
    )


def test_own_modules_are_rebuilt_from_their_classes_and_imported_only_on_request(make_run, tiny_data):
    model = SequenceClassifier(OwnCell(4, decay=0.5), 3, num_layers=2)
    run = make_run("run", recipe=Recipe(model, optax.adam(1e-2)), steps=2)
    fitted = train(run, tiny_data)
    assert fitted.validation is not None
    opened = open_run(run.config.run_dir)
    with pytest.raises(
        UserError, match=r"cell OwnCell .* Its own code is OwnCell of .*test_opened: give its classes, or t"
    ):
        opened.model()
    for more in ({"classes": [OwnCell]}, {"trust_code": True}):
        found = opened.model(**more)
        assert found.module.cell.decay == 0.5
        np.testing.assert_allclose(
            found.logits(tiny_data.validation.inputs), fitted.validation.outputs[0], rtol=1e-4, atol=1e-5
        )
    with pytest.raises(UserError, match="differs in"):
        opened.model(classes=[type("OwnCell", (cells.Cell,), {"__annotations__": {"decay": float}, "decay": 0.5})])


def test_a_module_of_ones_own_with_modules_tuples_and_texts_is_rebuilt(make_run, tiny_data):
    model = Mixed((6, 5), nn.relu, nn.Dense(3), "12 a", scale=0.5)
    run = make_run("run", recipe=Recipe(model, optax.adam(1e-2)), steps=2)
    fitted = train(run, tiny_data)
    assert fitted.validation is not None
    opened = open_run(run.config.run_dir)
    with pytest.raises(UserError, match=r"it is a Mixed, not a SequenceClassifier.*Its own code is Mixed of"):
        opened.model()
    for found in (opened.model(model), opened.model(classes=[Mixed])):
        assert found.module.name_of_it == "12 a"
        outputs = found.logits(tiny_data.validation.inputs)
        np.testing.assert_allclose(outputs, fitted.validation.outputs[0], rtol=1e-4, atol=1e-5)


def test_an_earlier_run_says_what_it_lacks(make_run, tiny_data):
    run = make_run("run", steps=2)
    with RunFolder(run) as folder:
        finish(run, fit(run, tiny_data, folder), tiny_data, folder)
    path = run.config.run_dir / "summary.json"
    summary = json.loads(path.read_text())
    summary.pop("reading")
    summary["protocol"]["fields"]["scaling"] = "standardized"
    path.write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"of an earlier version, which did not note how inputs are scaled"):
        open_run(path).model()
    summary["protocol"]["fields"] |= {"scaling": "pixels / 255", "order_sha256": "0" * 64}
    path.write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"reads in another order 'rows' than ORDERS has"):
        open_run(path).model()
    summary["reading"] = {"shape": [3]}
    path.write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"does not say how inputs are read"):
        open_run(path).model()


SCRIPT = """
import flax.linen as nn
from experiments import mnist_rows
from rowlstm_jax import cells

class Mine(cells.Cell):
    @nn.compact
    def __call__(self, carry, inputs):
        h = nn.tanh(self.dense("input")(inputs) + 0.5 * carry)
        return h, h

if __name__ == "__main__":
    cells.CELLS["mine"] = Mine
    mnist_rows.main(mnist_rows.Config(cell="mine", steps=3, hidden=8, devices=1, run_dir="out"))
"""
OTHER = """
from rowlstm_jax import open_run
model = open_run("out").model(trust_code=True)
import numpy as np
print(type(model.module.cell).__name__, model.predict(np.zeros((2, 28, 28), np.uint8)).shape)
"""


@pytest.mark.slow
def test_a_cell_of_a_script_is_found_by_another_script(tmp_path, mnist, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, text in (("mine.py", SCRIPT), ("other.py", OTHER)):
        (tmp_path / name).write_text(text)
        out = subprocess.run([sys.executable, name], cwd=tmp_path, capture_output=True, text=True)
        assert out.returncode == 0, out.stderr
    assert out.stdout == "Mine (2, 10)\n"


def test_the_weights_have_the_shapes_of_the_module(make_run, tiny_data):
    run = make_run("run", steps=2)
    train(run, tiny_data)
    opened = open_run(run.config.run_dir)
    shapes = jax.tree.map(jnp.shape, opened.params())
    assert shapes["readout"]["kernel"][0] == 1
    with pytest.raises(
        UserError, match=r"checkpoints does not hold the weights of this model: .* there and .* in the model"
    ):
        opened.params(SequenceClassifier(cells.BasicLSTMCell(4), 7))
