"""The weights of a `SequenceClassifier` to and from PyTorch, Keras, Flax and TensorFlow 1, as NumPy arrays.

The other libraries are not imported. Each direction of a conversion takes the model, which says what the arrays are:
its cell, layers, directions and numbers. Its cell is a `BasicLSTMCell`, `GRUCell` or `ElmanCell`, or Flax's
`OptimizedLSTMCell`, `LSTMCell`, `GRUCell` or `SimpleCell`.

A `BasicLSTMCell` adds its forget bias when it runs. The others don't, so it is added to the bias of the forget gate on
the way out and subtracted on the way back. The weights are otherwise the same numbers in another order.

The other network reads the last layer's output as the model does: with `readout="last"` at the step that each direction
reads last, the backward one at t = 0; with "mean" the mean over time. Its initial state is zero.

Of each function here: the arrays have the dtype of the model's parameters. A ValueError says which array is missing, is
not expected, or has another shape or dtype, or why the model can't be converted.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rowlstm_jax.interop import layouts
from rowlstm_jax.interop.convert import IJFO, Format, array_names, convert, flax_name, kind_of, own_format
from rowlstm_jax.models import SequenceClassifier, variables

Params = Mapping[str, Any]  # nested, with arrays as leaves


def to_torch(model: SequenceClassifier, params: Params, rnn: str = "rnn", readout: str = "readout") -> dict[str, Any]:
    """The `state_dict` of a PyTorch module with the parts `rnn` and `readout`, as NumPy arrays.

    `rnn` is a `torch.nn.LSTM`, `torch.nn.GRU` or `torch.nn.RNN` with the model's `num_layers` and `bidirectional`, and
    `batch_first=True`. `readout` is a `torch.nn.Linear`. Gates are in the order i, f, g, o or r, z, n. Of PyTorch's two
    biases the second is zero, except that of a GRU's n. With `h_n` as the final state, [layers * directions, B, H],
    `readout="last"` reads `h_n[-1]`, or `torch.cat([h_n[-2], h_n[-1]], -1)` if bidirectional.

    Args:
      model: whose weights they are.
      params: its parameters.
      rnn: the name of the recurrent part in the module.
      readout: the name of the linear part.

    Returns:
      `<rnn>.weight_ih_l<n>` [G H, F], `<rnn>.weight_hh_l<n>` [G H, H], `<rnn>.bias_ih_l<n>` and `<rnn>.bias_hh_l<n>`
      [G H], with the suffix `_reverse` if they read backward; `<readout>.weight` [C, H] and `<readout>.bias` [C].
    """
    return convert(model, _flat(params), own_format(model), _torch(model, rnn, readout))


def from_torch(
    model: SequenceClassifier, state_dict: Mapping[str, Any], rnn: str = "rnn", readout: str = "readout"
) -> dict[str, Any]:
    """The parameters of the model from a `state_dict` of tensors or arrays: the inverse of `to_torch`."""
    return _nested(convert(model, state_dict, _torch(model, rnn, readout), own_format(model)))


def to_keras(model: SequenceClassifier, params: Params) -> list[np.ndarray]:
    """What `set_weights` of a Keras 3 model takes: its recurrent layers and a `Dense` layer, one after another.

    The recurrent layers are `LSTM`, `GRU(reset_after=True)` or `SimpleRNN`, each in a `Bidirectional` with
    `merge_mode="concat"` if the model is bidirectional. All return sequences; the last one does so only with
    `readout="mean"`, before a `GlobalAveragePooling1D`. Gates are in the order i, f, c, o or z, r, h.

    Returns:
      For each layer, and after its forward copy for the backward one, the kernel [F, G H], recurrent kernel [H, G H]
      and bias [G H], [2, G H] for a GRU; then the kernel [H, C] and the bias [C] of the readout.
    """
    return list(convert(model, _flat(params), own_format(model), _keras(model)).values())


def from_keras(model: SequenceClassifier, weights: Iterable[Any]) -> dict[str, Any]:
    """The parameters of the model from `keras_model.get_weights()`: the inverse of `to_keras`."""
    arrays, source = list(weights), _keras(model)
    names = array_names(model, source)
    if len(arrays) != len(names):
        raise ValueError(f"There are {len(arrays)} arrays; expected {len(names)}: {', '.join(names)}.")
    return _nested(convert(model, dict(zip(names, arrays, strict=True)), source, own_format(model)))


def to_flax(model: SequenceClassifier, params: Params) -> dict[str, Any]:
    """The parameters of the same `SequenceClassifier` with Flax's `OptimizedLSTMCell`, `GRUCell` or `SimpleCell`."""
    return _nested(convert(model, _flat(params), own_format(model), _flax(model)))


def from_flax(model: SequenceClassifier, params: Params) -> dict[str, Any]:
    """The parameters of the model from those of the same one with Flax's cell: the inverse of `to_flax`."""
    return _nested(convert(model, _flat(params), _flax(model), own_format(model)))


def to_tf1(
    model: SequenceClassifier,
    params: Params,
    readout: tuple[str, str] = ("Variable", "Variable_1"),
    scope: str = "",
    forget_bias: float = 1.0,
) -> dict[str, np.ndarray]:
    """The variables of a TensorFlow 1 graph: `BasicLSTMCell`, or `BasicRNNCell` from an Elman network.

    TensorFlow 1's GRU resets before the product, so no GRU can be converted. `np.savez(path, **arrays)` writes them.

    Args:
      model: whose weights they are.
      params: its parameters.
      readout: the names of the readout's kernel and bias; those of `tf.Variable` without a name, in this order.
      scope: the variable scope around the recurrent layers, such as "encoder"; the names of `readout` are whole.
      forget_bias: of TensorFlow's cell, which the variables don't hold.

    Returns:
      `kernel` [F + H, 4 H] and `bias` [4 H], gates in the order i, j, f, o, below the name of each layer:
      `rnn/basic_lstm_cell`, with several layers `rnn/multi_rnn_cell/cell_<n>/basic_lstm_cell` (`MultiRNNCell`),
      bidirectional `bidirectional_rnn/fw/basic_lstm_cell` and `bw`, with several layers
      `stack_bidirectional_rnn/cell_<n>/bidirectional_rnn/fw/basic_lstm_cell` and `bw`.
    """
    return convert(model, _flat(params), own_format(model), _tf1(model, readout, scope, forget_bias))


def from_tf1(
    model: SequenceClassifier,
    arrays: Mapping[str, Any],
    readout: tuple[str, str] = ("Variable", "Variable_1"),
    scope: str = "",
    forget_bias: float = 1.0,
) -> dict[str, Any]:
    """The parameters of the model from the variables of a checkpoint, such as `np.load(path)`: `to_tf1`'s inverse.

    Names may end with ":0". Variables that are no weights of such cells, such as Adam's moments, are left out.
    """
    source, cell = _tf1(model, readout, scope, forget_bias), _tf1_cell(model)
    stored = {name.removesuffix(":0"): name for name in arrays}
    ends = (f"/{cell}/kernel", f"/{cell}/bias")
    others = [name for name in stored if name.startswith(scope) and name.endswith(ends)]  # of layers too many
    names = dict.fromkeys([*array_names(model, source), *others])
    found = {name: arrays[stored[name]] for name in names if name in stored}
    return _nested(convert(model, found, source, own_format(model)))


def _torch(model: SequenceClassifier, rnn: str, readout: str) -> Format:
    def name(layer: int, backward: bool, array: str) -> str:
        return f"{rnn}.{array}_l{layer}{'_reverse' if backward else ''}"

    return Format(layouts.torch(kind_of(model)), name, (f"{readout}.weight", f"{readout}.bias"), transposed=True)


def _keras(model: SequenceClassifier) -> Format:
    return Format(layouts.keras(kind_of(model)), flax_name)  # the arrays are a list; the names are for messages


def _flax(model: SequenceClassifier) -> Format:
    return Format(layouts.flax(kind_of(model)), flax_name)


def _tf1_cell(model: SequenceClassifier) -> str:
    kind = kind_of(model)
    if kind == "gru":
        name = type(model.cell).__name__
        raise ValueError(f"The cell is a {name}, which resets after the product; TensorFlow 1's resets before it.")
    return {"lstm": "basic_lstm_cell", "elman": "basic_rnn_cell"}[kind]


def _tf1(model: SequenceClassifier, readout: tuple[str, str], scope: str, forget_bias: float) -> Format:
    kind, cell = kind_of(model), _tf1_cell(model)

    def name(layer: int, backward: bool, array: str) -> str:
        direction, several = "bw" if backward else "fw", model.num_layers > 1
        if model.bidirectional:
            stack = f"stack_bidirectional_rnn/cell_{layer}/" if several else ""
            parts = f"{stack}bidirectional_rnn/{direction}"
        else:
            parts = f"rnn/multi_rnn_cell/cell_{layer}" if several else "rnn"
        return "/".join(filter(None, [scope, parts, cell, array]))

    layout = layouts.joined(kind, IJFO if kind == "lstm" else layouts.GATES[kind])
    return Format(layout, name, readout, forget_bias=forget_bias)


def _flat(params: Params) -> dict[str, Any]:
    """Parameters by one name, with "/" between its parts; those of `init` too, which are under "params"."""
    return flatten_dict(variables(params)["params"], sep="/")


def _nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return unflatten_dict(dict(arrays), sep="/")
