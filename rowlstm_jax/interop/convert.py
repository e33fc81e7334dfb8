"""The weights of a whole `SequenceClassifier` from one library's names and layout to another's."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.interop import layouts
from rowlstm_jax.interop.arrays import Shape, as_numpy, checked, required
from rowlstm_jax.interop.layouts import GATES, Layout
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell, ElmanCell, GRUCell

IJFO = ("i", "g", "f", "o")  # TensorFlow 1's order of an LSTM's gates

# The cells that can be converted: the kind and the layout. A subclass may compute something else.
CELLS: dict[type, tuple[str, Layout]] = {
    BasicLSTMCell: ("lstm", layouts.joined("lstm", IJFO)),
    GRUCell: ("gru", layouts.own_gru()),
    ElmanCell: ("elman", layouts.joined("elman", GATES["elman"], "hidden/")),
    nn.OptimizedLSTMCell: ("lstm", layouts.flax("lstm")),
    nn.LSTMCell: ("lstm", layouts.flax("lstm")),
    nn.GRUCell: ("gru", layouts.flax("gru")),
    nn.SimpleCell: ("elman", layouts.flax("elman")),
}


class Format(NamedTuple):
    """How a library names and lays out the weights of a network.

    Attributes:
      layout: of one layer in one direction.
      name: the name of an array, from the number of its layer, whether that reads backward, and its name in the layout.
      readout: the names of the readout's kernel and bias.
      transposed: whether the readout's kernel is [C, H], not [H, C].
      forget_bias: what an LSTM adds to f when it runs.
    """

    layout: Layout
    name: Callable[[int, bool, str], str]
    readout: tuple[str, str] = ("readout/kernel", "readout/bias")
    transposed: bool = False
    forget_bias: float = 0.0


def flax_name(layer: int, backward: bool, array: str) -> str:
    """The name of an array in the parameters of a `SequenceClassifier`, flat."""
    return f"layer_{layer}_{'backward' if backward else 'forward'}/{array}"


def own_format(model: SequenceClassifier) -> Format:
    """The format of the model's own parameters, flat, with "/" between the names."""
    kind_of(model)
    return Format(CELLS[type(model.cell)][1], flax_name, forget_bias=getattr(model.cell, "forget_bias", 0.0))


def kind_of(model: SequenceClassifier) -> str:
    """The kind of the model's cell: "lstm", "gru" or "elman".

    Raises:
      ValueError: the model can't be converted.
    """
    if type(model) is not SequenceClassifier:
        raise ValueError(f"The model is a {type(model).__name__}; only a SequenceClassifier can be converted.")
    cell = model.cell
    name = f"{type(cell).__module__.partition('.')[0]}'s {type(cell).__name__}"
    if type(cell) not in CELLS:
        known = ", ".join(dict.fromkeys(known.__name__ for known in CELLS))
        raise ValueError(f"The cell is {name}, which other libraries lack; these can be converted: {known}.")
    gate, activation = getattr(cell, "gate_fn", nn.sigmoid), getattr(cell, "activation_fn", nn.tanh)
    if gate is not nn.sigmoid or activation is not nn.tanh or getattr(cell, "residual", False):
        raise ValueError(f"The cell is {name} with other functions than sigmoid and tanh, or residual.")
    carry: Any = cell.initialize_carry(jax.random.key(0), (1, 1))
    if any(np.any(np.asarray(state)) for state in jax.tree.leaves(carry)):
        raise ValueError(f"The cell is {name} with an initial carry that is not zero, which other libraries lack.")
    return CELLS[type(cell)][0]


def convert(model: SequenceClassifier, arrays: Mapping[str, Any], source: Format, target: Format) -> dict[str, Any]:
    """The network's arrays in one format, by name, from those in another one; they are copies.

    Raises:
      ValueError: an array is missing, is not expected, or has another shape or dtype.
    """
    arrays = {name: as_numpy(array) for name, array in arrays.items()}
    arrays = checked(arrays, _expected(model, source, _inputs(model, arrays, source)))
    converted = {}
    for layer, backward in _directions(model):
        names = source.layout.shapes(1, 1)
        weights = source.layout.read({name: arrays[source.name(layer, backward, name)] for name in names})
        if kind_of(model) == "lstm":
            bias = _shifted(weights.bias, source.forget_bias - target.forget_bias)
            weights = weights._replace(bias=bias)
        for name, array in target.layout.write(weights).items():
            converted[target.name(layer, backward, name)] = array
    kernel, bias = (arrays[name] for name in source.readout)
    converted[target.readout[0]] = kernel if source.transposed == target.transposed else kernel.T
    converted[target.readout[1]] = bias
    return {name: np.array(array, order="C") for name, array in converted.items()}


def array_names(model: SequenceClassifier, source: Format) -> list[str]:
    """The names of all arrays in a format, in its order."""
    return list(_expected(model, source, 1))


def _directions(model: SequenceClassifier) -> Iterator[tuple[int, bool]]:
    """Each layer and direction: the layer's number, and whether it reads backward."""
    for layer in range(model.num_layers):
        for backward in (False, True)[: 1 + model.bidirectional]:
            yield layer, backward


def _inputs(model: SequenceClassifier, arrays: Mapping[str, np.ndarray], source: Format) -> int:
    """F of the first layer, from the size of its first kernel; 1 or more."""
    name, shape = next(iter(source.layout.shapes(0, model.cell.features).items()))
    found, axis = required(arrays, source.name(0, False, name)), source.layout.input_axis
    return max(1, found.shape[axis] - shape[axis]) if found.ndim >= len(shape) else 1


def _expected(model: SequenceClassifier, source: Format, inputs: int) -> dict[str, tuple[Shape, np.dtype]]:
    """The shape and the dtype of each array in a format, by name."""
    hidden, dtype = model.cell.features, jnp.dtype(model.param_dtype or model.cell.param_dtype)
    together = hidden * (1 + model.bidirectional)
    expected = {}
    for layer, backward in _directions(model):
        for name, shape in source.layout.shapes(together if layer else inputs, hidden).items():
            expected[source.name(layer, backward, name)] = shape, dtype
    kernel = (together, model.num_classes)
    dtype = jnp.dtype(model.param_dtype or jnp.float32)
    expected[source.readout[0]] = kernel[::-1] if source.transposed else kernel, dtype
    expected[source.readout[1]] = (model.num_classes,), dtype
    return expected


def _shifted(bias: np.ndarray, difference: float) -> np.ndarray:
    """The bias [4 H] of an LSTM with a constant added for f; unchanged where that is 0."""
    if not difference:
        return bias
    i, f, g, o = np.split(bias, 4)
    return np.concatenate([i, f + np.asarray(difference, bias.dtype), g, o])
