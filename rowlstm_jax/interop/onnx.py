"""ONNX files: the pixels or values of the data set in, logits out. The only file that imports the package onnx.

The layers are the operators `LSTM`, `GRU` and `RNN`; see https://onnx.ai/onnx/operators/.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rowlstm_jax.analysis import TrainedModel
from rowlstm_jax.errors import UserError
from rowlstm_jax.interop.convert import kind_of
from rowlstm_jax.interop.weights import to_torch
from rowlstm_jax.models import SequenceClassifier

OPSET, FORMAT = 17, 8  # of the operators, and of the file: what onnxruntime has read since 2022
MISSING = "ONNX files need the packages onnx and onnxruntime; install them with: pip install onnx onnxruntime"
OPERATORS = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN"}
ORDERS = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "elman": (0,)}  # of the gates, from PyTorch's order to ONNX's


class Node(NamedTuple):
    """An operator: its name, its inputs, its outputs and its settings."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    settings: dict[str, Any]


class Graph:
    """Operators one after the other, and the constants that they use."""

    def __init__(self):
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """The name of a constant."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(values, dtype)
        return name

    def add(self, operator: str, *inputs: str, outputs: int = 1, **settings: Any) -> Any:
        """Apply an operator; the name of its output, or the names of several."""
        names = [f"{operator.lower()}_{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(Node(operator, [*inputs], names, settings))
        return names[0] if outputs == 1 else names


def onnx_bytes(trained: TrainedModel, seed: int | None, batch: int | None, about: Mapping[str, str]) -> bytes:
    """The contents of an ONNX file.

    The input is `inputs`, uint8 [N, R, K] or [N, R, K, channels], or float32 [N, T, F] of sequences. The output is
    `logits`, float32 [N, C]. Scaling and reading order are part of the graph.

    Args:
      trained: the networks of a run.
      seed: of the network; None takes the run's first.
      batch: N; None takes any.
      about: the metadata of the file.

    Raises:
      UserError: onnx is not installed.
      ValueError: ONNX has no operator for the cell, or the run adds noise to its sequences.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise UserError(MISSING) from error
    graph = Graph()
    logits = _network(graph, trained, trained.weights_of(seed), _sequences(graph, trained))
    graph.nodes.append(Node("Identity", [logits], ["logits"], {}))
    size: Any = "batch" if batch is None else batch
    kind = onnx.TensorProto.UINT8 if trained.pictures else onnx.TensorProto.FLOAT
    ends = ("inputs", kind, [size, *trained.shape]), ("logits", onnx.TensorProto.FLOAT, [size, _outputs(trained)])
    given, returned = (helper.make_tensor_value_info(*of) for of in ends)
    made = helper.make_graph(
        [helper.make_node(node.operator, node.inputs, node.outputs, **node.settings) for node in graph.nodes],
        "rowlstm_jax",
        [given],
        [returned],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=FORMAT)
    helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def run_onnx(contents: bytes, inputs: np.ndarray) -> np.ndarray:
    """The logits that onnxruntime computes."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(MISSING) from error
    session = onnxruntime.InferenceSession(contents, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"inputs": inputs})[0])


def _sequences(graph: Graph, trained: TrainedModel) -> str:
    """The sequences [T, N, F] that the network reads."""
    how = trained.preprocessing
    if how.noise_to is not None:
        raise ValueError("The run adds noise to its sequences, which ONNX has no fixed operator for; use stablehlo.")
    values = graph.add("Cast", "inputs", to=1)  # float32
    if trained.pictures:
        values = graph.add("Mul", values, graph.constant(np.float32(1 / 255)))
    standardize: Any = how.standardize
    if standardize is not None:
        values = graph.add("Sub", values, graph.constant(_by_channel(standardize.mean)))
        values = graph.add("Div", values, graph.constant(_by_channel(standardize.deviation)))
    places = jnp.arange(math.prod(trained.shape)).reshape(1, *trained.shape)
    positions = np.asarray(how.order(places))[0]  # [T, F]
    flat = graph.add("Reshape", values, graph.constant([0, -1], np.int64))
    read = graph.add("Gather", flat, graph.constant(positions.ravel(), np.int64), axis=1)
    sequences = graph.add("Reshape", read, graph.constant([0, *positions.shape], np.int64))
    return graph.add("Transpose", sequences, perm=[1, 0, 2])


def _by_channel(values: Any) -> Any:
    return values if len(values) > 1 else values[0]


def _network(graph: Graph, trained: TrainedModel, weights: Any, inputs: str) -> str:
    """The logits [N, C] of a network that reads sequences [T, N, F]."""
    model: Any = trained.module
    kind, arrays = kind_of(model), to_torch(model, weights)
    outputs, finals = inputs, ""
    for layer in range(model.num_layers):
        settings = {
            "hidden_size": model.cell.features,
            "direction": "bidirectional" if model.bidirectional else "forward",
        }
        if kind == "gru":
            settings["linear_before_reset"] = 1
        constants = [graph.constant(array) for array in _layer(arrays, model, kind, layer)]
        count = 3 if kind == "lstm" else 2
        names = graph.add(OPERATORS[kind], outputs, *constants, outputs=count, **settings)
        merged = graph.add("Transpose", names[0], perm=[0, 2, 1, 3])  # [T, directions, N, H]
        outputs = graph.add("Reshape", merged, graph.constant([0, 0, -1], np.int64))
        finals = names[1]
    if model.readout == "mean":
        features = graph.add("ReduceMean", outputs, axes=[0], keepdims=0)
    else:
        features = graph.add("Transpose", finals, perm=[1, 0, 2])  # [directions, N, H]
        features = graph.add("Reshape", features, graph.constant([0, -1], np.int64))
    readout = [graph.constant(arrays[f"readout.{name}"]) for name in ("weight", "bias")]
    return graph.add("Gemm", features, *readout, transB=1)


def _layer(arrays: Mapping[str, np.ndarray], model: SequenceClassifier, kind: str, layer: int) -> Iterator[np.ndarray]:
    """W [directions, G H, F], R [directions, G H, H] and B [directions, 2 G H] of a layer."""

    def in_order(name: str) -> np.ndarray:
        gates = np.split(np.asarray(arrays[name], np.float32), len(ORDERS[kind]))
        return np.concatenate([gates[gate] for gate in ORDERS[kind]])

    ends = ("", "_reverse")[: 1 + model.bidirectional]
    for name in ("weight_ih", "weight_hh"):
        yield np.stack([in_order(f"rnn.{name}_l{layer}{end}") for end in ends])
    both = ("bias_ih", "bias_hh")
    yield np.stack([np.concatenate([in_order(f"rnn.{name}_l{layer}{end}") for name in both]) for end in ends])


def _outputs(trained: TrainedModel) -> int:
    model: Any = trained.module
    return model.num_classes
