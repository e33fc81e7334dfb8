"""Trained networks as files: what each computes, what is in it, and what is refused."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax import cells
from rowlstm_jax.errors import UserError
from rowlstm_jax.interop import formats as module
from rowlstm_jax.interop.formats import FORMATS, export
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.tasks import Standardization
from tests.analysis.test_trained import PIXELS, make

pytestmark = pytest.mark.usefixtures("quick_compiler")

ABOUT = {"experiment": "tiny", "seed": 4}
MODELS = {
    "lstm": SequenceClassifier(cells.BasicLSTMCell(5), 3),
    "deep both ways": SequenceClassifier(cells.BasicLSTMCell(5), 3, num_layers=2, bidirectional=True),
    "gru, mean": SequenceClassifier(cells.GRUCell(5), 3, num_layers=2, readout="mean"),
    "elman": SequenceClassifier(cells.ElmanCell(5), 3, bidirectional=True, readout="mean"),
}


@pytest.fixture(autouse=True)
def keras_promotes_ranks():
    with jax.numpy_rank_promotion("allow"):
        yield


SLOW = ("lstm", "elman")


def packages(to: str) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")  # it would ask for TensorFlow
    for name in {"stablehlo": ["flatbuffers"], "onnx": ["onnx", "onnxruntime"]}.get(to, [to]):
        pytest.importorskip(name)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # by Keras
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in MODELS])
def test_a_file_computes_what_the_model_computes(tmp_path, to, name):
    packages(to)
    trained = make(MODELS[name], order="columns")
    found = export(trained, to, tmp_path / "model", seed=4, about=ABOUT)
    assert found.path.exists()
    assert found.difference < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("to", ["stablehlo", "onnx"])
def test_scaling_order_and_batch_are_part_of_the_file(tmp_path, to):
    packages(to)
    trained = make(order="snake", standardize=Standardization((0.4,), (0.2,)))
    path = tmp_path / "model"
    for batch, numbers in ((None, (1, 7)), (3, (3,))):
        export(trained, to, path, batch=batch)
        for number in numbers:
            inputs = PIXELS[:number]
            np.testing.assert_allclose(call(to, path, inputs), trained.logits(inputs), rtol=1e-4, atol=1e-5)


def call(to, path, inputs):
    if to == "stablehlo":
        return np.asarray(jax.export.deserialize(bytearray(path.read_bytes())).call(inputs))
    from rowlstm_jax.interop.onnx import run_onnx

    return run_onnx(path.read_bytes(), inputs)


@pytest.mark.parametrize("to", ["stablehlo", "onnx"])
def test_sequences_and_colours_are_read_as_they_are(tmp_path, to):
    packages(to)
    sequences = make(pictures=False)
    export(sequences, to, tmp_path / "a")
    inputs = np.random.default_rng(1).normal(size=(2, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(call(to, tmp_path / "a", inputs), sequences.logits(inputs), rtol=1e-4, atol=1e-5)
    colours = make(shape=(4, 6, 3), standardize=Standardization((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))
    export(colours, to, tmp_path / "b")
    inputs = np.random.default_rng(1).integers(0, 256, (2, 4, 6, 3)).astype(np.uint8)
    np.testing.assert_allclose(call(to, tmp_path / "b", inputs), colours.logits(inputs), rtol=1e-4, atol=1e-5)


def test_stablehlo_needs_jax_only(tmp_path):
    packages("stablehlo")
    trained = make(SequenceClassifier(cells.LEMCell(5), 3))  # any cell will do
    export(trained, "stablehlo", tmp_path / "model")
    np.save(tmp_path / "inputs.npy", PIXELS[:5])
    program = (
        "import sys, jax, numpy as np\n"
        "file = open('model', 'rb').read()\n"
        "exported = jax.export.deserialize(bytearray(file))\n"
        "np.save('logits.npy', exported.call(np.load('inputs.npy')))\n"
        "assert exported.platforms == ('cpu', 'cuda', 'tpu') and 'flax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), trained.logits(PIXELS[:5]), rtol=1e-4, atol=1e-5)


def test_onnx_and_safetensors_say_what_they_are(tmp_path):
    packages("onnx")
    packages("safetensors")
    import onnx

    from rowlstm_jax.interop import load_safetensors

    export(make(), "onnx", tmp_path / "a", about={"labels": ("a", "b"), **ABOUT})
    found = {entry.key: entry.value for entry in onnx.load(tmp_path / "a").metadata_props}
    assert (found["experiment"], json.loads(found["labels"]), found["seed"]) == ("tiny", ["a", "b"], "4")
    assert "LSTM" in [node.op_type for node in onnx.load(tmp_path / "a").graph.node]
    export(make(), "safetensors", tmp_path / "b", about=ABOUT)
    assert load_safetensors(tmp_path / "b")[1] == {"experiment": "tiny", "seed": "4"}


def test_what_a_format_cannot_hold_is_a_sentence(tmp_path):
    for to in ("onnx", "torch", "keras"):
        if to == "onnx" or importlib.util.find_spec(to):
            packages(to)
            with pytest.raises(ValueError, match=r"The cell is rowlstm_jax's LEMCell, which other libraries lack"):
                export(make(SequenceClassifier(cells.LEMCell(5), 3)), to, tmp_path / "x")
    noisy = make()
    noisy = dataclasses.replace(noisy, preprocessing=dataclasses.replace(noisy.preprocessing, noise_to=9))
    with pytest.raises(ValueError, match="adds noise to its sequences"):
        export(noisy, "onnx", tmp_path / "x")
    assert not [*tmp_path.iterdir()]


class Flat(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        return nn.Dense(3)(inputs.reshape(inputs.shape[0], -1))


def test_a_module_of_ones_own_goes_to_stablehlo(tmp_path):
    packages("stablehlo")
    assert export(make(Flat()), "stablehlo", tmp_path / "x").difference < 1e-5
    with pytest.raises(ValueError, match=r"is a Flat; only a SequenceClassifier can be converted"):
        export(make(Flat()), "onnx", tmp_path / "y")


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    packages("safetensors")
    (tmp_path / "x").write_text("before")
    write = module.FORMATS["safetensors"]
    monkeypatch.setitem(module.FORMATS, "safetensors", lambda *args: np.asarray(write(*args)) + 0.01)
    with pytest.raises(UserError, match=r"computes other logits than the model, 0\.01 apart; not written"):
        export(make(), "safetensors", tmp_path / "x")
    assert (tmp_path / "x").read_text() == "before"
    monkeypatch.undo()
    with pytest.raises(UserError, match="can't be written"):
        export(make(), "safetensors", tmp_path / "no" / "x")


def test_bfloat16_is_compared_as_coarsely_as_it_computes(tmp_path):
    packages("stablehlo")
    model = SequenceClassifier(cells.BasicLSTMCell(5), 3, dtype=jnp.bfloat16)
    assert export(make(model), "stablehlo", tmp_path / "x").difference < 0.05
