"""Gradients carried forward are those of backpropagation through time, and of Williams and Zipser's equations."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.models.cells import CELLS, FullyRecurrentCell, mask_as_text
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.training import losses, rtrl

B, T, F, H, C = 4, 5, 3, 5, 3
RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(RNG.normal(size=(B, T, F)), jnp.float32)
LABELS = jnp.array([0, 2, 1, 2])
MASK = mask_as_text(RNG.integers(0, 2, (F + H, H)))
MODEL = SequenceClassifier(FullyRecurrentCell(H, mask=MASK, visible=4), C)


def params_of(model: SequenceClassifier, inputs: jax.Array = INPUTS) -> Any:
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)["params"]
    return jax.tree.map(lambda of: jnp.asarray(np.random.default_rng(1).normal(0, 0.5, of.shape), of.dtype), shapes)


def by_bptt(model: SequenceClassifier, params: Any, inputs: Any, labels: Any, loss: Any = losses.cross_entropy):
    """Loss and gradient of the classifier, which knows nothing of this way."""

    def mean(params: Any) -> Any:
        logits = model.apply({"params": params}, inputs, over_time=True)
        return loss(logits.reshape(-1, logits.shape[-1]), jnp.repeat(labels, inputs.shape[1])).mean()

    return jax.jit(jax.value_and_grad(mean))(params)


def assert_equal_within_rounding(found: Any, expected: Any) -> None:
    """All gradients to 2e-6 of the largest."""
    found, expected = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("name", [of if of == "lstm" else pytest.param(of, marks=pytest.mark.slow) for of in CELLS])
def test_gradients_of_every_cell_are_those_of_backpropagation(name):
    """Of states of several arrays, and of outputs that are no part of the state, too."""
    model = SequenceClassifier(CELLS[name](H), C)
    params = params_of(model)
    assert_equal_within_rounding(
        jax.jit(lambda p: rtrl.gradients(model, p, INPUTS, LABELS))(params), by_bptt(model, params, INPUTS, LABELS)
    )


def test_gradients_of_a_masked_network_with_another_loss():
    params, loss = params_of(MODEL), losses.Focal(1.5)
    found = jax.jit(lambda p: rtrl.gradients(MODEL, p, INPUTS, LABELS, loss))(params)
    assert_equal_within_rounding(found, by_bptt(MODEL, params, INPUTS, LABELS, loss))


def test_gradients_on_the_rows_of_mnist(mnist):
    model, some = SequenceClassifier(FullyRecurrentCell(8), 10), mnist.train[:10]
    inputs, labels = jnp.asarray(some.inputs / np.float32(255)), jnp.asarray(some.targets, jnp.int32)
    params = params_of(model, inputs)
    found = jax.jit(lambda p: (*rtrl.gradients(model, p, inputs, labels), rtrl.difference(model, p, inputs, labels)))
    value, gradient, difference = found(params)
    expected = jax.jit(jax.value_and_grad(lambda p: rtrl.loss_over_time(model, p, inputs, labels)))(params)
    assert_equal_within_rounding((value, gradient), expected)
    assert 0 < difference < 2e-6


def test_sensitivities_follow_the_equations_of_williams_and_zipser():
    r"""p_ij^k(t+1) = f'(s_k) (\sum_l w_lk p_ij^l(t) + \delta_jk z_i(t)), in float64; z are inputs, units and a one."""
    params = params_of(MODEL)
    mask = np.array([[int(digit) for digit in row] for row in MASK.split()])
    kernel = np.asarray(params["layer_0_forward"]["kernel"], np.float64) * mask
    bias = np.asarray(params["layer_0_forward"]["bias"], np.float64)
    h, p = np.zeros((B, H)), np.zeros((B, H, F + H + 1, H))  # unit k, weight from i to j
    forward = rtrl.start(MODEL, params, INPUTS[:, 0])
    step = jax.jit(lambda forward, x: rtrl.step(MODEL, params, forward, x, LABELS)[0])
    for x in np.asarray(INPUTS.swapaxes(0, 1), np.float64):
        z = np.concatenate([x, h, np.ones((B, 1))], axis=1)
        h = np.tanh(z[:, :-1] @ kernel + bias)
        p = np.einsum("lk,blij->bkij", kernel[F:], p) + np.eye(H)[None, :, None] * z[:, None, :, None]
        p = (1 - h**2)[:, :, None, None] * p
        forward = step(forward, x.astype(np.float32))
    np.testing.assert_allclose(forward.carry, h, rtol=1e-5, atol=1e-6)
    p[:, :, :-1] *= mask  # a weight without connection has no effect
    expected = np.concatenate([p[:, :, -1], p[:, :, :-1].reshape(B, H, -1)], axis=-1)  # bias, then kernel
    np.testing.assert_allclose(forward.sensitivities, expected, rtol=1e-5, atol=1e-5)


def test_learning_online_is_an_update_after_each_step():
    params, optimizer = params_of(MODEL), optax.adam(0.05)
    opt_state = optimizer.init(params)
    learned = jax.jit(lambda p, s: rtrl.learn_online(MODEL, optimizer, p, s, INPUTS, LABELS))(params, opt_state)
    forward, step, expected = rtrl.start(MODEL, params, INPUTS[:, 0]), jax.jit(rtrl.step, static_argnums=0), []
    for x in INPUTS.swapaxes(0, 1):
        forward, value, gradient = step(MODEL, params, forward, x, LABELS)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        params, expected = optax.apply_updates(params, updates), [*expected, value]
    chex.assert_trees_all_close(learned, (params, opt_state, jnp.stack(expected)), rtol=1e-4, atol=1e-6)


def test_small_updates_online_add_up_to_the_gradient_of_backpropagation():
    params, rate = params_of(MODEL), 1e-3
    optimizer = optax.sgd(rate)
    learn = jax.jit(lambda p: rtrl.learn_online(MODEL, optimizer, p, optimizer.init(p), INPUTS, LABELS))
    after, _, values = learn(params)
    value, gradient = by_bptt(MODEL, params, INPUTS, LABELS)
    changes = jax.tree.map(lambda new, old: (old - new) / (rate * T), after, params)
    chex.assert_trees_all_close(changes, gradient, atol=0.01 * float(optax.tree.norm(gradient)))
    np.testing.assert_allclose(values.mean(), value, rtol=1e-2)


def test_learning_at_the_end_is_one_update():
    params, optimizer = params_of(MODEL), optax.sgd(0.1)
    learn = jax.jit(lambda p: rtrl.learn_at_the_end(MODEL, optimizer, p, optimizer.init(p), INPUTS, LABELS))
    after, _, value = learn(params)
    expected, gradient = by_bptt(MODEL, params, INPUTS, LABELS)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    chex.assert_trees_all_close(after, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), rtol=1e-4, atol=1e-6)


def test_the_memory_is_that_of_the_sizes_and_too_much_is_refused_before_it_is_taken():
    model, inputs = SequenceClassifier(FullyRecurrentCell(64), 10), jax.ShapeDtypeStruct((100, 28), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1, 28)))["params"]
    forward = jax.eval_shape(lambda params: rtrl.start(model, params, inputs), params)
    chex.assert_shape(forward.sensitivities, (100, 64, 64 * (28 + 64 + 1)))
    assert 4 * math.prod(forward.sensitivities.shape) == 152_371_200
    said = "The sensitivities take 152 MB: 100 sequences x 64 numbers in the state x 5,952 parameters x 4 bytes."
    with pytest.raises(ValueError, match=rf"^most_megabytes is 152\. {said} Take fewer units, a smaller batch, or "):
        rtrl.start(model, params, inputs, most_megabytes=152)
    with pytest.raises(ValueError, match=r"^most_megabytes is 1000\. The sensitivities take 15,237,120 MB: "):
        rtrl.start(model, params, jax.ShapeDtypeStruct((10**7, 28), jnp.float32))


@pytest.mark.parametrize(
    "fields", [{"num_layers": 2}, {"bidirectional": True}, {"readout": "mean"}, {"dtype": "bfloat16"}]
)
def test_other_models_are_refused(fields):
    model = MODEL.clone(cell=FullyRecurrentCell(H), **fields)
    with pytest.raises(ValueError, match=r"^model must have one layer, forward only, readout \"last\", and the dtypes"):
        rtrl.gradients(model, params_of(model), INPUTS, LABELS)


def test_other_dtypes_are_refused():
    model = SequenceClassifier(FullyRecurrentCell(H, param_dtype=jnp.bfloat16), C)
    with pytest.raises(
        ValueError, match=r"^model has a FullyRecurrentCell whose carry or parameters are not all float32"
    ):
        rtrl.start(model, params_of(model), INPUTS[:, 0])
