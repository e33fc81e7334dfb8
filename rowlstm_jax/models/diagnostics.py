"""What a recurrent network does over time: when it knows, what its gates do, how far its gradient reaches. Pure."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rowlstm_jax.models.cells import BasicLSTMCell

Arrays = dict[str, jax.Array]
SATURATED = 0.05  # a gate this close to an end of its range passes hardly any gradient


def probabilities_over_time(model: nn.Module, params: Mapping[str, Any], inputs: jax.Array) -> jax.Array:
    """The class probabilities that a `SequenceClassifier` gives sequences [B, T, F] after each step: [B, T, C]."""
    logits = jnp.asarray(model.apply({"params": params}, inputs, over_time=True), jnp.float32)
    return jax.nn.softmax(logits)


def rows_needed(probabilities: jax.Array, confidence: float = 0.99) -> jax.Array:
    r"""How many time steps a classifier needs until it is sure of its final prediction, for good.

    .. math::
        n = \min \{ n : p_t(\hat y) > \mathrm{confidence} \text{ for all } t = n, \ldots, T \}, \quad
        \hat y = \arg\max_k p_T(k)

    Example:
      >>> two_classes = jnp.array([[[0.5, 0.5], [1.0, 0.0], [0.2, 0.8], [0.0, 1.0], [0.0, 1.0]]])
      >>> rows_needed(two_classes).tolist()
      [4]

    Args:
      probabilities: [N, T, C], after each time step.
      confidence: above which the classifier counts as sure, from 0 to 1.

    Returns:
      int32 [N], from 1 to T; T + 1 where it is not sure even after the last step.
    """
    chex.assert_rank(probabilities, 3)
    predicted = probabilities[:, -1].argmax(axis=-1)
    sure = jnp.take_along_axis(probabilities, predicted[:, None, None], axis=-1)[..., 0] > confidence
    sure_to_the_end = jnp.cumprod(sure[:, ::-1].astype(jnp.int32), axis=1).sum(axis=1)
    return probabilities.shape[1] + 1 - sure_to_the_end


def gates_over_time(model: nn.Module, params: Mapping[str, Any], inputs: jax.Array) -> dict[str, Arrays]:
    """The gates and the state of every `BasicLSTMCell` of a model, after their nonlinearities.

    Args:
      model: a `SequenceClassifier`; dropout is off.
      params: its parameters.
      inputs: [B, T, F].

    Returns:
      For each `layer_<n>_<direction>`: i, j, f, o, c and h of the equations of `BasicLSTMCell`, each [T, B, H], at t
      what the step computes that reads x_t.

    Raises:
      ValueError: the cell is another.
    """
    if type(model.cell) is not BasicLSTMCell:
        raise ValueError(f"The gates of a BasicLSTMCell are known here, not those of {type(model.cell).__name__}.")
    seen: Any = _observed(model).apply({"params": params}, inputs, mutable="intermediates")[1]
    gates = {}
    for layer, values in sorted(seen["intermediates"].items()):
        carry, read = values["read"][0]
        gates[layer] = _gates(params[layer], carry, read, model.cell.forget_bias)
    return gates


def gradient_diagnostics(model: nn.Module, params: Mapping[str, Any], inputs: jax.Array, labels: jax.Array) -> Arrays:
    r"""How far the gradient of the loss reaches back in time, and what the gates do to it; for one batch.

    L is the mean cross-entropy, dropout off; d is the total derivative, through all later steps and layers. Keys begin
    with the layer and direction, `layer_0_forward/`. For a `BasicLSTMCell`:

    - gradient_norm_h, gradient_norm_c [T]: the norms over batch and units of :math:`dL / dh_t` and :math:`dL / dc_t`.
    - saturated_i, saturated_f, saturated_o []: shares of activations below 0.05 or above 0.95; saturated_j []: of those
      beyond 0.95 either way; over time, batch and units.
    - time_constants [3]: the 10 %, 50 % and 90 % quantiles over the units of :math:`\tau = -1 / \log \bar f`, the steps
      in which c decays to 1/e, where :math:`\bar f` is a unit's mean forget gate over batch and time.

    For any other cell: gradient_norm_carry [T], by the whole carry after the step, its parts varied one at a time. An
    output that is part of that carry (a GRU's h) varies with it; of one that is not, what the readout sees directly is
    left out.

    To be called in jit, and under vmap over seeds.

    Args:
      model: a `SequenceClassifier`.
      params: its parameters.
      inputs: [B, T, F].
      labels: int [B].

    Returns:
      float32 values by name; t = 0 is the first position, which a backward reader reaches last.
    """
    observed = _observed(model)

    def loss(perturbations):
        variables = {"params": params, "perturbations": perturbations}
        logits = jnp.asarray(observed.apply(variables, inputs), jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    shapes = jax.eval_shape(lambda: observed.apply({"params": params}, inputs, mutable="perturbations")[1])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes["perturbations"])
    adjoints = {layer: leaves["carry"] for layer, leaves in jax.grad(loss)(zeros).items()}
    if type(model.cell) is not BasicLSTMCell:
        return {f"{layer}/gradient_norm_carry": _norm_over_time(adjoints[layer]) for layer in sorted(adjoints)}
    measured = {}
    for layer, gates in gates_over_time(model, params, inputs).items():
        dc, dh = adjoints[layer]
        dc = dc + dh * gates["o"] * (1 - jnp.tanh(gates["c"]) ** 2)  # c acts through h, too
        health = {"gradient_norm_h": _norm_over_time(dh), "gradient_norm_c": _norm_over_time(dc)} | _gate_health(gates)
        measured |= {f"{layer}/{name}": value for name, value in health.items()}
    return measured


def time_constants(forget: jax.Array) -> jax.Array:
    """The steps in which each unit's c decays to 1/e, [H], from its forget gates [T, B, H]; finite even if f is 1."""
    mean = forget.astype(jnp.float32).mean(axis=(0, 1))
    return -1 / jnp.log(jnp.minimum(mean, 1 - jnp.finfo(jnp.float32).epsneg))


def _observed(model: nn.Module) -> nn.Module:
    """The same model of the same parameters; its cells sow what they read, and their new carry can be perturbed."""
    template = model.cell

    class Observed(type(template)):  # a subclass, so that the parameters keep their names
        def __call__(self, carry, inputs):
            self.sow("intermediates", "read", (carry, inputs))
            new_carry, output = super().__call__(carry, inputs)
            perturbed = self.perturb("carry", new_carry)
            # An output that is part of the carry is perturbed with it.
            pairs = zip(jax.tree.leaves(new_carry), jax.tree.leaves(perturbed), strict=True)
            return perturbed, next((after for before, after in pairs if before is output), output)

    names = [field.name for field in dataclasses.fields(template) if field.name not in ("parent", "name")]
    fields = {name: getattr(template, name) for name in names}
    return model.clone(cell=Observed(**fields), recurrence="scan")


def _gates(params: Mapping[str, jax.Array], carry: Any, inputs: jax.Array, forget_bias: float) -> Arrays:
    """All gates at once: the carries (c, h) [T, B, H] that the steps read are known."""
    c, h = carry
    gates = jnp.concatenate([inputs.astype(h.dtype), h], axis=-1) @ params["kernel"]
    i, j, f, o = jnp.split(gates + jnp.broadcast_to(params["bias"], gates.shape), 4, axis=-1)
    i, j, f, o = nn.sigmoid(i), jnp.tanh(j), nn.sigmoid(f + forget_bias), nn.sigmoid(o)
    c = f * c + i * j
    return {"i": i, "j": j, "f": f, "o": o, "c": c, "h": o * jnp.tanh(c)}


def _norm_over_time(tree: Any) -> jax.Array:
    """The norm [T] of a tree of arrays [T, ...] over all but time."""
    leaves = [leaf.astype(jnp.float32).reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)]
    return jnp.linalg.norm(jnp.concatenate(leaves, axis=-1), axis=-1)


def _gate_health(gates: Arrays) -> Arrays:
    saturated = {
        f"saturated_{name}": jnp.mean((gates[name] < SATURATED) | (gates[name] > 1 - SATURATED)) for name in "ifo"
    }
    saturated["saturated_j"] = jnp.mean(jnp.abs(gates["j"]) > 1 - SATURATED)
    quantiles = jnp.quantile(time_constants(gates["f"]), jnp.array([0.1, 0.5, 0.9]))
    return saturated | {"time_constants": quantiles}
