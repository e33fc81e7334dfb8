"""Models to and from other systems: weights and files of PyTorch, Keras, Flax, TensorFlow 1, ONNX, StableHLO; pictures.

Weights go out and come in as NumPy arrays by name. A library is imported where a file for it is written. This floor
uses `analysis` and the floors below it.
"""

from rowlstm_jax.interop.drawing_page import DrawingServer
from rowlstm_jax.interop.formats import FORMATS, SUFFIXES, export
from rowlstm_jax.interop.networks import keras_network, torch_network
from rowlstm_jax.interop.pictures import Seen, as_mnist, find_pictures, load_picture
from rowlstm_jax.interop.safetensors import load_safetensors, save_safetensors
from rowlstm_jax.interop.weights import (
    from_flax,
    from_keras,
    from_tf1,
    from_torch,
    to_flax,
    to_keras,
    to_tf1,
    to_torch,
)

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "DrawingServer",
    "Seen",
    "as_mnist",
    "export",
    "find_pictures",
    "from_flax",
    "from_keras",
    "from_tf1",
    "from_torch",
    "keras_network",
    "load_picture",
    "load_safetensors",
    "save_safetensors",
    "to_flax",
    "to_keras",
    "to_tf1",
    "to_torch",
    "torch_network",
]
