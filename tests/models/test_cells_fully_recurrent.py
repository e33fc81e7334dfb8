"""The fully recurrent network: its mask, its visible units, and the classical networks that are masks of it."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.models.cells import ElmanCell, FullyRecurrentCell, JordanCell, identity_recurrence, mask_as_text
from rowlstm_jax.models.classifier import SequenceClassifier
from tests.reference import sigmoid

pytestmark = pytest.mark.usefixtures("quick_compiler")

B, T, F, H, V = 4, 6, 3, 5, 2
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(T, B, F)).astype(np.float32)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.7, shape).astype(np.float32)


def run(cell, params, carry, inputs) -> tuple[np.ndarray, np.ndarray]:
    carry, outputs = jax.jit(lambda c, x: jax.lax.scan(lambda c, x: cell.apply({"params": params}, c, x), c, x))(
        carry, inputs
    )
    return np.asarray(carry), np.asarray(outputs)


def mask_of(*connected: tuple[slice, slice], units: int) -> np.ndarray:
    """From places among the inputs and then the units, to places among the units."""
    mask = np.zeros((F + units, units), int)
    for source, reader in connected:
        mask[source, reader] = 1
    return mask


def test_with_all_connections_it_is_elmans_hidden_layer():
    kernel, bias = random(F + H, H), random(H)
    ours = run(FullyRecurrentCell(H), {"kernel": kernel, "bias": bias}, np.zeros((B, H), np.float32), INPUTS)
    elman = {"hidden": {"kernel": kernel, "bias": bias}}
    chex.assert_trees_all_close(ours, run(ElmanCell(H), elman, np.zeros((B, H), np.float32), INPUTS), rtol=1e-6)


def test_elmans_network_is_a_mask():
    """Hidden units read the inputs and each other, and visible units read the hidden ones, one step later."""
    visible, hidden, inputs = slice(V), slice(V, V + H), slice(F)
    mask = mask_of((inputs, hidden), (slice(F + V, F + V + H), hidden), (slice(F + V, F + V + H), visible), units=V + H)
    kernel, bias = random(F + V + H, V + H), random(V + H)  # also where no connection is
    cell = FullyRecurrentCell(V + H, mask=mask_as_text(mask), visible=V)
    _, outputs = run(cell, {"kernel": kernel, "bias": bias}, np.zeros((B, V + H), np.float32), INPUTS)
    chex.assert_shape(outputs, (T, B, V))
    elman = {"kernel": np.delete(kernel, np.arange(F, F + V), axis=0)[:, hidden], "bias": bias[hidden]}
    _, h = run(ElmanCell(H), {"hidden": elman}, np.zeros((B, H), np.float32), INPUTS)
    expected = np.tanh(h @ kernel[F + V :, visible] + bias[visible])
    np.testing.assert_allclose(outputs[1:], expected[:-1], rtol=1e-5, atol=1e-6)


def test_jordans_network_is_a_mask():
    """Hidden units read the inputs and the outputs, the outputs read the hidden units, and nothing reads itself.

    Each connection takes a step, so an input is shown for two: the first reaches the hidden units, the second the
    outputs. Jordan's outputs y are logistic; ours are u = 2 y - 1.
    """
    visible, hidden = slice(V), slice(V, V + H)
    mask = mask_of((slice(F), hidden), (slice(F, F + V), hidden), (slice(F + V, F + V + H), visible), units=V + H)
    (w, b), (v, c) = (random(F + V, H), random(H)), (random(H, V), random(V))
    kernel, bias = random(F + V + H, V + H), random(V + H)
    kernel[:F, hidden], kernel[F : F + V, hidden], bias[hidden] = w[:F], w[F:] / 2, b + w[F:].sum(axis=0) / 2
    kernel[F + V :, visible], bias[visible] = v / 2, c / 2
    start = np.concatenate([-np.ones((B, V)), random(B, H)], axis=1).astype(np.float32)
    cell = FullyRecurrentCell(V + H, mask=mask_as_text(mask), visible=V)
    _, outputs = run(cell, {"kernel": kernel, "bias": bias}, start, np.repeat(INPUTS, 2, axis=0))
    jordan = {"hidden": {"kernel": w, "bias": b}, "output": {"kernel": v, "bias": c}}
    _, expected = run(JordanCell(H, outputs=V, decay=0.0), jordan, np.zeros((B, V), np.float32), INPUTS)
    np.testing.assert_allclose((1 + outputs[1::2]) / 2, expected, rtol=1e-5, atol=1e-6)
    y = np.zeros((B, V))  # and the same by hand
    for x, found in zip(INPUTS, outputs[1::2], strict=True):
        y = sigmoid(np.tanh(np.concatenate([x, y], axis=1) @ w + b) @ v + c)
        np.testing.assert_allclose((1 + found) / 2, y, rtol=1e-4, atol=1e-5)


def test_a_missing_connection_has_no_effect_and_no_gradient():
    mask = np.random.default_rng(1).integers(0, 2, (F + H, H))
    model = SequenceClassifier(FullyRecurrentCell(H, mask=mask_as_text(mask)), num_classes=3)
    inputs = INPUTS.swapaxes(0, 1)
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    gradient = jax.jit(jax.grad(lambda p: jnp.square(model.apply({"params": p}, inputs)).sum()))(params)
    gradient = gradient["layer_0_forward"]["kernel"]
    np.testing.assert_array_equal(np.asarray(gradient)[mask == 0], 0)
    assert np.all(np.asarray(gradient)[mask == 1] != 0)


def test_a_classifier_reads_the_visible_units():
    model = SequenceClassifier(FullyRecurrentCell(H, visible=V), num_classes=3)
    params = jax.eval_shape(model.init, jax.random.key(0), INPUTS.swapaxes(0, 1))["params"]
    chex.assert_shape(params["readout"]["kernel"], (V, 3))
    chex.assert_shape(params["layer_0_forward"]["kernel"], (F + H, H))


def test_a_mask_or_number_of_visible_units_that_does_not_fit_is_refused():
    def start(**fields):
        return FullyRecurrentCell(2, **fields).init(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros((1, 1)))

    assert start(mask="10 01 11", visible=2)["params"]["kernel"].shape == (3, 2)
    for mask in ("10 01", "10 01 111", "10 01 12", "110111"):
        with pytest.raises(ValueError, match=rf"^mask is '{re.escape(mask)}', . words; .* be 3 words of 2 digits"):
            start(mask=mask)
    for visible in (0, 3, -1):
        with pytest.raises(ValueError, match=rf"^visible is {visible}; it must be from 1 to 2, the number of units\."):
            start(visible=visible)


def test_the_identity_keeps_the_state():
    params = jax.jit(FullyRecurrentCell(H, kernel_init=identity_recurrence).init)(
        jax.random.key(0), jnp.zeros((1, H)), jnp.zeros((1, F))
    )["params"]
    np.testing.assert_array_equal(params["kernel"][F:], np.eye(H))
    assert 0.3 < jnp.abs(params["kernel"][:F]).max() <= np.sqrt(6 / (F + H))
