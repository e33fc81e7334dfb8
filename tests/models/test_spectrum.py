import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.models import (
    SequenceClassifier,
    cells,
    eigenvalues,
    gradient_diagnostics,
    half_lives,
    layers,
    transitions,
)

pytestmark = pytest.mark.usefixtures("quick_compiler")

B, T, F, H = 4, 9, 3, 5


def network(cell, **fields):
    model, inputs = SequenceClassifier(cell, 3, num_layers=2, **fields), jax.random.normal(jax.random.key(1), (B, T, F))
    return model, model.init(jax.random.key(0), inputs)["params"], inputs


def test_the_factors_of_an_lru_are_its_eigenvalues():
    model, params, inputs = network(layers.Block(layers.LRU(H)))
    found = transitions(model, params, inputs)
    assert sorted(found) == ["layer_0_forward", "layer_1_forward"]
    for name, a in found.items():
        chex.assert_shape(a, (2, H))
        own = jax.tree.map(np.asarray, params[name]["layer"])
        expected = np.exp(-np.exp(own["nu_log"]) + 1j * np.exp(own["theta_log"]))
        np.testing.assert_allclose(np.asarray(a[0]) + 1j * np.asarray(a[1]), expected, rtol=1e-5)
        np.testing.assert_allclose(eigenvalues(model, params, inputs)[name], expected, rtol=1e-5)
        np.testing.assert_allclose(half_lives(a), np.log(0.5) / np.log(np.abs(expected)), rtol=1e-3)


def test_the_factors_of_a_gated_layer_follow_the_inputs_and_padding_does_not_count():
    model, params, inputs = network(layers.MinGRU(H))
    a = transitions(model, params, inputs)["layer_0_forward"]
    chex.assert_shape(a, (B, T, H))
    own = jax.tree.map(np.asarray, params["layer_0_forward"]["input"])
    z = 1 / (1 + np.exp(-(np.asarray(inputs) @ own["kernel"] + own["bias"])[..., :H]))
    np.testing.assert_allclose(a, 1 - z, rtol=1e-5)
    lengths = np.array([9, 1, 4, 7], np.int32)
    inside = np.arange(T)[None] < lengths[:, None]
    expected = np.log(0.5) / np.log((1 - z)[inside].mean(axis=0))
    np.testing.assert_allclose(half_lives(a, jnp.asarray(inside)), expected, rtol=1e-4)
    assert eigenvalues(model, params, inputs) == {}


def test_a_cell_has_none_and_a_factor_of_one_is_finite():
    assert transitions(*network(cells.GRUCell(H))) == {}
    assert transitions(*network(layers.RNN(cells.BasicLSTMCell(H)))) == {}
    assert np.isfinite(half_lives(jnp.array([0.0, 1.0]))).all()


@pytest.mark.parametrize("cell", [layers.LRU(H), layers.Block(layers.MinLSTM(H))], ids=["lru", "block of min_lstm"])
def test_the_gradient_by_the_state_is_that_of_the_recurrence(cell):
    """By hand for the last layer of a network that reads its last step: dL/dh_t = conj(a)^(T-1-t) dL/dh_{T-1}."""
    model, params, inputs = network(cell)
    found = jax.jit(gradient_diagnostics, static_argnums=0)(model, params, inputs, jnp.arange(B) % 3)
    a, norms = transitions(model, params, inputs)["layer_1_forward"], found["layer_1_forward/gradient_norm_carry"]
    assert set(found) == {f"layer_{n}_forward/{kind}" for n in (0, 1) for kind in ("gradient_norm_carry", "half_lives")}
    chex.assert_shape(norms, (T,))
    if a.ndim == 2:  # |a| is another in each channel, so the norm decays between the slowest and the fastest
        size = np.linalg.norm(a, axis=0)
        ratios = np.asarray(norms[:-1] / norms[1:])
        assert (ratios <= size.max() * (1 + 1e-5)).all()
        assert (ratios >= size.min() * (1 - 1e-5)).all()
    assert (np.asarray(norms) > 0).all()
    by_hand = jnp.quantile(half_lives(a), jnp.array([0.1, 0.5, 0.9]))
    np.testing.assert_allclose(found["layer_1_forward/half_lives"], by_hand, rtol=1e-5)
