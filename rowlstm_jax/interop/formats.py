"""A trained network as a file for another system, compared with the model before it counts as written."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.analysis import TrainedModel
from rowlstm_jax.errors import UserError
from rowlstm_jax.interop.networks import keras_network, save_keras, save_torch, torch_network
from rowlstm_jax.interop.onnx import onnx_bytes, run_onnx
from rowlstm_jax.interop.safetensors import load_safetensors, save_safetensors
from rowlstm_jax.models import SequenceClassifier, variables

PLATFORMS = ("cpu", "cuda", "tpu")
LARGEST, LARGEST_BFLOAT16 = 1e-4, 0.05  # difference of logits, of the largest logit
COMPARED = 64  # inputs
FLATBUFFERS = "StableHLO files need the package flatbuffers; install it with: pip install flatbuffers"


class Exported(NamedTuple):
    """A file that was written."""

    path: Path
    difference: float  # the largest of the logits of the file and of the model
    inputs: int  # that were compared


def export(
    trained: TrainedModel, to: str, path: Path, *, seed: int | None = None, batch: int | None = None, about: Any = None
) -> Exported:
    """Write a network as a file.

    - stablehlo: `jax.export.deserialize(bytes).call(inputs)`, with JAX only, on CPU, CUDA or TPU.
    - onnx: any ONNX runtime; the metadata hold `about`.
    - torch: `torch.load(path)` is a `state_dict` with "about" beside it. It reads sequences.
    - keras: `keras.models.load_model(path)`. It reads sequences.
    - safetensors: the parameters by name, and `about`.

    StableHLO and ONNX take inputs as the data set has them: scaling and reading order are part of the file.

    Args:
      trained: the networks of a run.
      to: a key of `FORMATS`.
      path: of the file, which is replaced.
      seed: of the network; None takes the run's first.
      batch: the number of inputs; None takes any. StableHLO and ONNX only.
      about: JSON values by name, such as the experiment and the digests.

    Raises:
      UserError: a package is missing, the file can't be written, or it computes something else.
      ValueError: the format can't hold the network.
    """
    inputs = _examples(trained, batch)
    expected = trained.logits(inputs, seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"exported{SUFFIXES[to]}")
        texts = {name: of if isinstance(of, str) else json.dumps(of) for name, of in (about or {}).items()}
        found = FORMATS[to](trained, seed, batch, texts, file, inputs)
        difference = float(np.abs(np.asarray(found, np.float32) - expected).max())
        leaves = jax.tree.leaves(trained.weights)
        coarse = getattr(trained.module, "dtype", None) == jnp.bfloat16 or any(x.dtype == jnp.bfloat16 for x in leaves)
        if not difference <= (LARGEST_BFLOAT16 if coarse else LARGEST) * max(1.0, float(np.abs(expected).max())):
            raise UserError(f"The {to} file computes other logits than the model, {difference:.2g} apart; not written.")
        try:
            temporary = path.with_name(f".{path.name}.part")
            temporary.write_bytes(file.read_bytes())
            temporary.replace(path)
        except OSError as error:
            raise UserError(f"{path} can't be written: {error.strerror}.") from error
    return Exported(path, difference, len(inputs))


def _examples(trained: TrainedModel, batch: int | None) -> np.ndarray:
    """Inputs to compare with: random ones, so that no data are needed."""
    rng, shape = np.random.default_rng(0), (batch or COMPARED, *trained.shape)
    if trained.pictures:
        return rng.integers(0, 256, shape).astype(np.uint8)
    return rng.normal(size=shape).astype(np.float32)


def _stablehlo(trained: TrainedModel, seed: int | None, batch: int | None, about: Any, file: Path, inputs: Any) -> Any:
    module, weights = trained.module, jax.tree.map(jnp.asarray, trained.weights_of(seed))
    if isinstance(module, SequenceClassifier):
        module = module.clone(recurrence="scan", segment=None)  # the same for any platform and any batch

    def logits(inputs: jax.Array) -> jax.Array:
        outputs: Any = module.apply(variables(weights), trained.preprocessing.evaluation(inputs))
        return outputs

    size = "batch" if batch is None else str(batch)
    shape = jax.export.symbolic_shape(", ".join([size, *map(str, trained.shape)]))
    given = jax.ShapeDtypeStruct(shape, np.uint8 if trained.pictures else np.float32)
    exported = jax.export.export(jax.jit(logits), platforms=PLATFORMS)(given)
    try:
        file.write_bytes(exported.serialize())
    except ImportError as error:
        raise UserError(FLATBUFFERS) from error
    return jax.export.deserialize(bytearray(file.read_bytes())).call(inputs)


def _onnx(trained: TrainedModel, seed: int | None, batch: int | None, about: Any, file: Path, inputs: Any) -> Any:
    file.write_bytes(onnx_bytes(trained, seed, batch, about))
    return run_onnx(file.read_bytes(), inputs)


def _torch(trained: TrainedModel, seed: int | None, batch: int | None, about: Any, file: Path, inputs: Any) -> Any:
    network = torch_network(_classifier(trained), trained.weights_of(seed))
    return save_torch(network, about, file, trained.sequences(inputs))


def _keras(trained: TrainedModel, seed: int | None, batch: int | None, about: Any, file: Path, inputs: Any) -> Any:
    sequences = trained.sequences(inputs)
    steps, features = sequences.shape[1:]
    return save_keras(keras_network(_classifier(trained), trained.weights_of(seed), (steps, features)), file, sequences)


def _safetensors(
    trained: TrainedModel, seed: int | None, batch: int | None, about: Any, file: Path, inputs: Any
) -> Any:
    save_safetensors(file, trained.weights_of(seed), about)
    weights, _ = load_safetensors(file)
    return trained.apply(variables(weights), trained.sequences(inputs))


def _classifier(trained: TrainedModel) -> SequenceClassifier:
    module: nn.Module = trained.module
    if not isinstance(module, SequenceClassifier):
        raise ValueError(f"The model is a {type(module).__name__}; only a SequenceClassifier can be converted.")
    return module


FORMATS: Mapping[str, Callable[..., Any]] = {
    "stablehlo": _stablehlo,
    "onnx": _onnx,
    "torch": _torch,
    "keras": _keras,
    "safetensors": _safetensors,
}
SUFFIXES = {
    "stablehlo": ".stablehlo",
    "onnx": ".onnx",
    "torch": ".pt",
    "keras": ".keras",
    "safetensors": ".safetensors",
}
