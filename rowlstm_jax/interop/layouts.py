"""How each library lays out the weights of one recurrent layer in one direction.

A `Layout` reads arrays into a `Direction` and writes them from one. Letters: F inputs of the layer, H units, G gates.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rowlstm_jax.interop.arrays import Shape

Arrays = Mapping[str, np.ndarray]

# The gates of each kind of cell, in PyTorch's order. Here g is TensorFlow's j and Keras's c, and n is Keras's h.
GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "elman": ("",)}


class Direction(NamedTuple):
    """The weights of one layer in one direction, with the gates in the order of `GATES`."""

    kernel: np.ndarray  # [F, G H]
    recurrent: np.ndarray  # [H, G H]
    bias: np.ndarray  # [G H]
    candidate_bias: np.ndarray | None = None  # [H], of a GRU only: n = tanh(n_x + r (n_h + candidate_bias))


class Layout(NamedTuple):
    """The arrays of one layer in one direction in one library.

    Attributes:
      shapes: the shapes of the arrays by name, in the library's order, as a function of F and H.
      input_axis: the axis of the first of them, negative, whose size depends on F.
      read: a `Direction` from the arrays.
      write: the arrays from a `Direction`.
    """

    shapes: Callable[[int, int], dict[str, Shape]]
    input_axis: int
    read: Callable[[Arrays], Direction]
    write: Callable[[Direction], dict[str, np.ndarray]]


def reorder(array: np.ndarray, before: Sequence[str], after: Sequence[str]) -> np.ndarray:
    """An array [..., G H] whose gates are in the order `after`, from one with the order `before`."""
    parts = np.split(array, len(before), axis=-1)
    return np.concatenate([parts[before.index(gate)] for gate in after], axis=-1)


def joined(kind: str, order: Sequence[str], prefix: str = "") -> Layout:
    """One kernel [F + H, G H] and one bias: TensorFlow 1's cells, `BasicLSTMCell` and `ElmanCell`."""
    gates, kernel, bias = GATES[kind], f"{prefix}kernel", f"{prefix}bias"

    def shapes(inputs: int, hidden: int) -> dict[str, Shape]:
        return {kernel: (inputs + hidden, len(gates) * hidden), bias: (len(gates) * hidden,)}

    def read(arrays: Arrays) -> Direction:
        hidden = len(arrays[bias]) // len(gates)
        both = reorder(arrays[kernel], order, gates)
        return Direction(both[:-hidden], both[-hidden:], reorder(arrays[bias], order, gates))

    def write(weights: Direction) -> dict[str, np.ndarray]:
        both = np.concatenate([weights.kernel, weights.recurrent])
        return {kernel: reorder(both, gates, order), bias: reorder(weights.bias, gates, order)}

    return Layout(shapes, -2, read, write)


def own_gru() -> Layout:
    """`GRUCell` of this library."""

    def shapes(inputs: int, hidden: int) -> dict[str, Shape]:
        return {
            "input/kernel": (inputs, 3 * hidden),
            "input/bias": (3 * hidden,),
            "recurrent/kernel": (hidden, 3 * hidden),
            "candidate_bias": (hidden,),
        }

    def read(arrays: Arrays) -> Direction:
        names = ("input/kernel", "recurrent/kernel", "input/bias", "candidate_bias")
        return Direction(*(arrays[name] for name in names))

    def write(weights: Direction) -> dict[str, np.ndarray]:
        assert weights.candidate_bias is not None
        return {
            "input/kernel": weights.kernel,
            "input/bias": weights.bias,
            "recurrent/kernel": weights.recurrent,
            "candidate_bias": weights.candidate_bias,
        }

    return Layout(shapes, -2, read, write)


def flax(kind: str) -> Layout:
    """A kernel for each gate: Flax's `OptimizedLSTMCell` and `LSTMCell`, `GRUCell` and `SimpleCell`."""
    gates = GATES[kind]
    biases = [f"h{gate}/bias" if kind == "lstm" else f"i{gate}/bias" for gate in gates]

    def shapes(inputs: int, hidden: int) -> dict[str, Shape]:
        kernels = {f"i{gate}/kernel": (inputs, hidden) for gate in gates}
        kernels |= {f"h{gate}/kernel": (hidden, hidden) for gate in gates}
        names = [*biases, "hn/bias"] if kind == "gru" else biases
        return {**kernels, **dict.fromkeys(names, (hidden,))}

    def read(arrays: Arrays) -> Direction:
        kernel, recurrent = (
            np.concatenate([arrays[f"{source}{gate}/kernel"] for gate in gates], axis=-1) for source in "ih"
        )
        bias = np.concatenate([arrays[name] for name in biases])
        return Direction(kernel, recurrent, bias, arrays["hn/bias"] if kind == "gru" else None)

    def write(weights: Direction) -> dict[str, np.ndarray]:
        arrays = {}
        for source, kernel in (("i", weights.kernel), ("h", weights.recurrent)):
            parts = np.split(kernel, len(gates), axis=-1)
            arrays |= {f"{source}{gate}/kernel": part for gate, part in zip(gates, parts, strict=True)}
        arrays |= dict(zip(biases, np.split(weights.bias, len(gates)), strict=True))
        return arrays if weights.candidate_bias is None else arrays | {"hn/bias": weights.candidate_bias}

    return Layout(shapes, -2, read, write)


def torch(kind: str) -> Layout:
    """Kernels [G H, F] and [G H, H], and two biases: `torch.nn.LSTM`, `torch.nn.GRU` and `torch.nn.RNN`."""

    def shapes(inputs: int, hidden: int) -> dict[str, Shape]:
        width = len(GATES[kind]) * hidden
        return {"weight_ih": (width, inputs), "weight_hh": (width, hidden), "bias_ih": (width,), "bias_hh": (width,)}

    def read(arrays: Arrays) -> Direction:
        biases = _one_bias(kind, arrays["bias_ih"], arrays["bias_hh"])
        return Direction(arrays["weight_ih"].T, arrays["weight_hh"].T, *biases)

    def write(weights: Direction) -> dict[str, np.ndarray]:
        kernels = {"weight_ih": weights.kernel.T, "weight_hh": weights.recurrent.T}
        return kernels | {"bias_ih": weights.bias, "bias_hh": _second_bias(weights)}

    return Layout(shapes, -1, read, write)


def keras(kind: str) -> Layout:
    """Keras 3's layers `LSTM`, `GRU(reset_after=True)` and `SimpleRNN`, in the order of their weights."""
    gates = GATES[kind]
    order = ("z", "r", "n") if kind == "gru" else gates

    def shapes(inputs: int, hidden: int) -> dict[str, Shape]:
        width = len(gates) * hidden
        bias = (2, width) if kind == "gru" else (width,)
        return {"kernel": (inputs, width), "recurrent_kernel": (hidden, width), "bias": bias}

    def read(arrays: Arrays) -> Direction:
        kernel, recurrent, bias = (
            reorder(arrays[name], order, gates) for name in ("kernel", "recurrent_kernel", "bias")
        )
        if kind == "gru":
            return Direction(kernel, recurrent, *_one_bias(kind, *bias))
        return Direction(kernel, recurrent, bias)

    def write(weights: Direction) -> dict[str, np.ndarray]:
        bias = np.stack([weights.bias, _second_bias(weights)]) if kind == "gru" else weights.bias
        arrays = {"kernel": weights.kernel, "recurrent_kernel": weights.recurrent, "bias": bias}
        return {name: reorder(array, gates, order) for name, array in arrays.items()}

    return Layout(shapes, -2, read, write)


def _one_bias(kind: str, bias: np.ndarray, recurrent_bias: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The bias and the candidate bias from a bias of x W and one of h U, which only add up, but for a GRU's n."""
    if kind != "gru":
        return bias + recurrent_bias, None
    hidden = len(bias) // 3
    return np.concatenate([(bias + recurrent_bias)[:-hidden], bias[-hidden:]]), recurrent_bias[-hidden:]


def _second_bias(weights: Direction) -> np.ndarray:
    """The bias of h U: zeros, but for a GRU's n."""
    second = np.zeros_like(weights.bias)
    if weights.candidate_bias is not None:
        second[-len(weights.candidate_bias) :] = weights.candidate_bias
    return second
