"""The same networks in PyTorch and Keras 3, which take the weights of `to_torch` and `to_keras`.

The only file that imports torch and keras, and only when a network is made.
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rowlstm_jax.errors import UserError
from rowlstm_jax.interop.convert import kind_of
from rowlstm_jax.interop.weights import to_keras, to_torch
from rowlstm_jax.models import SequenceClassifier


def torch_network(model: SequenceClassifier, params: Any) -> Any:
    """A `torch.nn.Module` that maps sequences [N, T, F] to logits [N, C] as the model does.

    Its parts are `rnn` and `readout`; README.md in this folder shows the class, which needs no rowlstm_jax.

    Raises:
      UserError: torch is not installed.
      ValueError: the model can't be converted.
    """
    torch = _package("torch")
    arrays, kind = to_torch(model, params), kind_of(model)
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}[kind]
    both, hidden = model.bidirectional, model.cell.features

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            features = arrays["rnn.weight_ih_l0"].shape[1]
            self.rnn = layer(features, hidden, num_layers=model.num_layers, bidirectional=both, batch_first=True)
            self.readout = torch.nn.Linear((1 + both) * hidden, model.num_classes)

        def forward(self, inputs):
            outputs, state = self.rnn(inputs)
            if model.readout == "mean":
                return self.readout(outputs.mean(1))
            final = state[0] if kind == "lstm" else state
            return self.readout(torch.cat([final[-2], final[-1]], -1) if both else final[-1])

    network = Classifier()
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    return network.eval()


def keras_network(model: SequenceClassifier, params: Any, shape: tuple[int, int]) -> Any:
    """A `keras.Sequential` that maps sequences [N, T, F] to logits [N, C] as the model does.

    Args:
      model: the network.
      params: its parameters.
      shape: T and F.

    Raises:
      UserError: keras is not installed.
      ValueError: the model can't be converted.
    """
    keras = _keras()
    kind = kind_of(model)
    make = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "elman": keras.layers.SimpleRNN}[kind]
    layers: list[Any] = [keras.layers.Input(shape)]
    for number in range(model.num_layers):
        goes_on = number < model.num_layers - 1 or model.readout == "mean"
        layer = make(model.cell.features, return_sequences=goes_on)
        layers.append(keras.layers.Bidirectional(layer) if model.bidirectional else layer)
    if model.readout == "mean":
        layers.append(keras.layers.GlobalAveragePooling1D())
    network = keras.Sequential([*layers, keras.layers.Dense(model.num_classes)])
    network.set_weights(to_keras(model, params))
    return network


def save_torch(network: Any, about: Mapping[str, str], file: Path, sequences: np.ndarray) -> np.ndarray:
    """Write the `state_dict` of a `torch_network`, read it again, and return its logits of sequences [N, T, F]."""
    torch = _package("torch")
    torch.save({"state_dict": network.state_dict(), "about": dict(about)}, file)
    network.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
    with torch.no_grad():
        return network(torch.from_numpy(np.array(sequences))).numpy()


def save_keras(network: Any, file: Path, sequences: np.ndarray) -> np.ndarray:
    """Write a `keras_network`, read it again, and return its logits of sequences [N, T, F]."""
    network.save(file)
    return np.asarray(_keras().models.load_model(file).predict(sequences, verbose=0))


def _keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "jax")  # Keras would ask for TensorFlow
    return _package("keras")


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"This needs the package {name}; install it with: pip install {name}.") from error
