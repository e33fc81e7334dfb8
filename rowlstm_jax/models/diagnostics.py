"""What a network does over time: probabilities, gates, gradients. Pure."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.linen.dtypes import promote_dtype
from flax.traverse_util import flatten_dict

from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.models.lengths import before_end, if_any
from rowlstm_jax.models.spectrum import memory_of_layers, time_constants
from rowlstm_jax.models.weights import variables

Arrays = dict[str, jax.Array]
SATURATED = 0.05  # a gate this close to an end of its range passes hardly any gradient


def missing_diagnostics(model: nn.Module) -> dict[str, str]:
    """What can't be known of a model: a sentence for each of "probabilities" over time, "gates" and "carry".

    Example:
      >>> for sentence in missing_diagnostics(nn.Dense(10)).values():
      ...     print(sentence)
      model has no `over_time`: its probabilities after each time step are not known.
      model is a Dense, not a SequenceClassifier: its gates are not known.
      model is a Dense, not a SequenceClassifier: only the gradient by its inputs is known, not that by its carry.
    """
    missing = {}
    if "over_time" not in inspect.signature(type(model).__call__).parameters:
        missing["probabilities"] = "model has no `over_time`: its probabilities after each time step are not known."
    elif getattr(model, "bidirectional", False):
        missing["probabilities"] = "model reads backward too: it has no probabilities before the sequence ends."
    if not isinstance(model, SequenceClassifier):
        kind = f"model is a {type(model).__name__}, not a SequenceClassifier"
        missing["gates"] = f"{kind}: its gates are not known."
        missing["carry"] = f"{kind}: only the gradient by its inputs is known, not that by its carry."
    elif type(model.cell) is not BasicLSTMCell:  # a subclass may compute something else
        missing["gates"] = (
            f"model has the cell {type(model.cell).__name__}; only the gates of a BasicLSTMCell are known."
        )
    return missing


def probabilities_over_time(
    model: nn.Module, params: Mapping[str, Any], inputs: jax.Array, lengths: jax.Array | None = None
) -> jax.Array:
    """The class probabilities that a model gives sequences [B, T, F] after each time step: float32 [B, T, C].

    With `lengths`, int [B], those in the padding are those at the end of the sequence.

    Raises:
      ValueError: the model has none; see `missing_diagnostics`.
    """
    _require(model, "probabilities")
    more = if_any(lengths)
    logits = jnp.asarray(model.apply(variables(params), inputs, over_time=True, **more), jnp.float32)
    return jax.nn.softmax(logits)


def rows_needed(probabilities: jax.Array, confidence: float = 0.99) -> jax.Array:
    r"""How many time steps a classifier needs until it is sure of its final prediction, and stays sure.

    .. math::
        n = \min \{ n : p_t(\hat y) > \mathrm{confidence} \text{ for all } t = n, \ldots, T \}, \quad
        \hat y = \arg\max_k p_T(k)

    Example:
      >>> two_classes = jnp.array([[[0.5, 0.5], [1.0, 0.0], [0.2, 0.8], [0.0, 1.0], [0.0, 1.0]]])
      >>> rows_needed(two_classes).tolist()
      [4]

    Args:
      probabilities: [N, T, C], after each time step.
      confidence: the classifier is sure above this probability.

    Returns:
      int32 [N], from 1 to T; T + 1 where it is not sure even after the last step.
    """
    chex.assert_rank(probabilities, 3)
    predicted = probabilities[:, -1].argmax(axis=-1)
    sure = jnp.take_along_axis(probabilities, predicted[:, None, None], axis=-1)[..., 0] > confidence
    sure_to_the_end = jnp.cumprod(sure[:, ::-1].astype(jnp.int32), axis=1).sum(axis=1)
    return probabilities.shape[1] + 1 - sure_to_the_end


def gates_over_time(
    model: nn.Module, params: Mapping[str, Any], inputs: jax.Array, lengths: jax.Array | None = None
) -> dict[str, Arrays]:
    """The gates and the state of every `BasicLSTMCell` of a model, after their nonlinearities, in the model's dtype.

    Args:
      model: a `SequenceClassifier`; dropout is off.
      params: its parameters.
      inputs: [B, T, F].
      lengths: int [B], the steps of each sequence; gates in the padding mean nothing.

    Returns:
      For each `layer_<n>_<direction>`: i, j, f, o, c and h of the equations of `BasicLSTMCell`, each [T, B, H]. Those
      at t are computed by the step that reads x_t.

    Raises:
      ValueError: the model has no gates that are known; see `missing_diagnostics`.
    """
    _require(model, "gates")
    more = if_any(lengths)
    given = variables(params)
    seen: Any = _scanned(model).apply(given, inputs, mutable="diagnostics", **more)[1]["diagnostics"]
    dtype = model.dtype or model.cell.dtype
    gates = {}
    for layer, values in sorted(seen.items()):
        carry, read = values["read"][0]
        gates[layer] = _gates(given["params"][layer], carry, read, model.cell.forget_bias, dtype)
    return gates


def gradient_diagnostics(
    model: nn.Module,
    params: Mapping[str, Any],
    inputs: jax.Array,
    labels: jax.Array,
    lengths: jax.Array | None = None,
    loss: Callable[[jax.Array, jax.Array], jax.Array] = optax.softmax_cross_entropy_with_integer_labels,
) -> Arrays:
    r"""How far the gradient of the loss reaches back in time, and what the gates do to it; for one batch.

    L is the mean loss, by default the cross-entropy, dropout off; d is the total derivative, through all later steps
    and layers. For each layer and direction of a `SequenceClassifier` the keys begin with its name, as in
    `layer_0_forward/`.

    Of a `BasicLSTMCell`:

    - gradient_norm_h, gradient_norm_c [T]: the norms over batch and units of :math:`dL / dh_t` and :math:`dL / dc_t`.
    - saturated_i, saturated_f, saturated_o []: shares of activations below 0.05 or above 0.95; saturated_j []: the
      share below -0.95 or above 0.95; over time, batch and units.
    - time_constants [3]: the 10 %, 50 % and 90 % quantiles over the units of :math:`\tau = -1 / \log \bar f`, the steps
      in which c decays to 1/e, where :math:`\bar f` is a unit's mean forget gate over batch and time.

    Of any other cell: gradient_norm_carry [T], by the carry after the step, each part varied while the others stay. An
    output that is part of the carry (a GRU's h) varies with it. Any other output is left out: what the readout and the
    next layer see of it does not count.

    Of a layer with a linear recurrence: gradient_norm_carry [T], by its state h_t, and half_lives [3], the 10 %, 50 %
    and 90 % quantiles over its channels of the steps in which they decay to a half.

    Of any other model, and of a cell whose carry holds no real numbers: `input/gradient_norm` [T], the norm of
    :math:`dL / dx_t`; nothing if the inputs are integers.

    It may be called in jit, and under vmap over seeds.

    Args:
      model: maps [B, T, F] to logits [B, C].
      params: its parameters, or all of its variables.
      inputs: [B, T, F].
      labels: int [B], or other targets [B, ...] of the loss.
      lengths: int [B], the steps of each sequence. Gates in the padding do not count.
      loss: (outputs, labels) -> [B].

    Returns:
      float32 values by name; t = 0 is the first position, which a backward reader reads last.
    """

    more = if_any(lengths)

    def mean_loss(model, displaced, inputs):
        outputs = jnp.asarray(model.apply(variables(params) | displaced, inputs, **more), jnp.float32)
        return loss(outputs, labels).mean()

    missing = missing_diagnostics(model)
    adjoints = {} if "carry" in missing else _by_carry(_scanned(model), params, inputs, mean_loss)
    if not adjoints:
        if not jnp.issubdtype(inputs.dtype, jnp.inexact):
            return {}
        by_inputs = jax.grad(lambda inputs: mean_loss(model, {}, inputs))(inputs)
        return {"input/gradient_norm": _norm_over_time(jnp.moveaxis(by_inputs, 1, 0))}
    if "gates" in missing:
        norms = {f"{layer}/gradient_norm_carry": _norm_over_time(adjoints[layer]) for layer in sorted(adjoints)}
        return norms | memory_of_layers(model, params, inputs, lengths)
    measured = {}
    inside = None if lengths is None else before_end(lengths, inputs.shape[1]).T
    for layer, gates in gates_over_time(model, params, inputs, lengths).items():
        dc, dh = adjoints[layer]
        dc = dc + dh * gates["o"] * (1 - jnp.tanh(gates["c"]) ** 2)  # c acts through h, too
        health = {"gradient_norm_h": _norm_over_time(dh), "gradient_norm_c": _norm_over_time(dc)}
        measured |= {f"{layer}/{name}": value for name, value in (health | _gate_health(gates, inside)).items()}
    return measured


def _require(model: nn.Module, what: str) -> None:
    if sentence := missing_diagnostics(model).get(what):
        raise ValueError(sentence)


def _scanned(model: nn.Module) -> nn.Module:
    """The same model, computed by `scan_over_time`, where diagnostics see what each step reads and carries on."""
    return model.clone(recurrence="scan", segment=None)


def _by_carry(model: nn.Module, params: Mapping[str, Any], inputs: jax.Array, loss: Any) -> dict[str, list[jax.Array]]:
    """The gradients of the loss by the real parts of each layer's carries, each [T, B, ...], by layer."""
    shapes = jax.eval_shape(lambda: model.apply(variables(params), inputs, mutable="perturbations")[1])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes.get("perturbations", {}))
    if not jax.tree.leaves(zeros):
        return {}
    gradients = jax.grad(lambda perturbations: loss(model, {"perturbations": perturbations}, inputs))(zeros)
    found = {}
    leaf: Any
    for (first, *names), leaf in flatten_dict(gradients).items():  # a layer's state is [B, T, ...]
        leaves = leaf if isinstance(leaf, list) else [leaf]
        found[first] = [jnp.moveaxis(leaf, 1, 0) for leaf in leaves] if names[-1] == "state" else leaves
    return found


def _gates(params: Mapping[str, jax.Array], carry: Any, inputs: jax.Array, forget_bias: float, dtype: Any) -> Arrays:
    """All gates at once: the carries (c, h) [T, B, H] that the steps read are known."""
    c, h = carry
    x, h, kernel, bias = promote_dtype(inputs, h, params["kernel"], params["bias"], dtype=dtype)
    gates = jnp.concatenate([x, h], axis=-1) @ kernel
    i, j, f, o = jnp.split(gates + jnp.broadcast_to(bias, gates.shape), 4, axis=-1)
    i, j, f, o = nn.sigmoid(i), jnp.tanh(j), nn.sigmoid(f + forget_bias), nn.sigmoid(o)
    c = f * c + i * j
    return {"i": i, "j": j, "f": f, "o": o, "c": c, "h": o * jnp.tanh(c)}


def _norm_over_time(tree: Any) -> jax.Array:
    """The norm [T] of a tree of arrays [T, ...] over all but time."""
    leaves = [jnp.abs(leaf).astype(jnp.float32).reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)]
    return jnp.linalg.norm(jnp.concatenate(leaves, axis=-1), axis=-1)


def _gate_health(gates: Arrays, inside: jax.Array | None) -> Arrays:
    """`inside`, [T, B], says which steps are no padding; None counts all."""
    where = None if inside is None else jnp.broadcast_to(inside[..., None], gates["i"].shape)
    saturated = {
        f"saturated_{name}": jnp.mean((gates[name] < SATURATED) | (gates[name] > 1 - SATURATED), where=where)
        for name in "ifo"
    }
    saturated["saturated_j"] = jnp.mean(jnp.abs(gates["j"]) > 1 - SATURATED, where=where)
    quantiles = jnp.quantile(time_constants(gates["f"], where), jnp.array([0.1, 0.5, 0.9]))
    return saturated | {"time_constants": quantiles}
