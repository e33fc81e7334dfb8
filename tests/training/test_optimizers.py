from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.training.optimizers import (
    EmaState,
    SkipState,
    adamw_cosine,
    decay_mask,
    evaluation_params,
    params_ema,
    skip_nonfinite,
)

PARAMS = {"a": np.array([1.0, -2.0], np.float32), "b": {"c": np.full((2, 3), 0.5, np.float32)}}
STEPS, RATE = 30, 0.1


def flatten(tree) -> np.ndarray:
    return np.concatenate([tree["a"], tree["b"]["c"].ravel()])


def gradient(step: int) -> dict:
    return jax.tree.map(lambda leaf: np.sin(leaf + step).astype(np.float32), PARAMS)


def descend(optimizer: optax.GradientTransformation, steps: int = STEPS) -> tuple:
    """The parameters and the optimiser's state after some updates, by a step that donates both."""

    def step(params, opt_state, gradients):
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    step = jax.jit(step, donate_argnums=(0, 1))
    params, opt_state = jax.tree.map(jnp.array, PARAMS), jax.jit(optimizer.init)(PARAMS)
    for n in range(steps):
        params, opt_state = step(params, opt_state, gradient(n))
    return params, opt_state


def expected(decay: float, steps: int = STEPS, gradients=gradient) -> tuple[np.ndarray, np.ndarray]:
    """Gradient descent on all numbers of PARAMS and the moving average, in float64."""
    params = average = flatten(PARAMS).astype(float)
    for t in range(steps):
        params = params - RATE * flatten(gradients(t))
        now = min(decay, (1 + t) / (10 + t))
        average = now * average + (1 - now) * params
    return params, average


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])  # never, early and not yet beyond the warm-up
def test_average_agrees_with_numpy(decay):
    params, opt_state = descend(optax.chain(optax.sgd(RATE), params_ema(decay)))
    plain, average = expected(decay)
    np.testing.assert_allclose(flatten(params), plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(flatten(evaluation_params(params, opt_state)), average, rtol=1e-5, atol=1e-6)
    assert opt_state[-1].count == STEPS


WRAPPERS = {
    "chain in chain": lambda inner: optax.chain(optax.clip_by_global_norm(1e9), optax.chain(inner)),
    "apply_if_finite": lambda inner: optax.apply_if_finite(inner, 3),
    "masked": lambda inner: optax.masked(inner, {"a": True, "b": {"c": True}}),
    "inject_hyperparams": lambda inner: optax.chain(
        optax.inject_hyperparams(optax.sgd)(RATE), optax.inject_hyperparams(params_ema)(0.9)
    ),
    "multi_transform": lambda inner: optax.multi_transform({0: inner, 1: inner}, {"a": 0, "b": {"c": 1}}),
}


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
def test_average_is_found_in_any_wrapper(wrapper):
    params, opt_state = descend(wrapper(optax.chain(optax.sgd(RATE), params_ema(0.9))))
    found = evaluation_params(params, opt_state)
    np.testing.assert_allclose(flatten(found), expected(0.9)[1], rtol=1e-5, atol=1e-6)


def test_with_accumulated_gradients_the_average_counts_updates_only():
    inner = optax.chain(optax.sgd(RATE), params_ema(0.9))
    params, opt_state = descend(optax.MultiSteps(inner, every_k_schedule=3).gradient_transformation(), steps=3 * 8 + 2)

    def mean_of_three(n):
        return jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *(gradient(3 * n + m) for m in range(3)))

    average = expected(0.9, steps=8, gradients=mean_of_three)[1]
    np.testing.assert_allclose(flatten(evaluation_params(params, opt_state)), average, rtol=1e-5, atol=1e-6)


def test_an_update_that_is_not_finite_leaves_the_average_as_it_is():
    optimizer = optax.apply_if_finite(optax.chain(optax.sgd(RATE), params_ema(0.9)), 3)
    before = jax.jit(optimizer.init)(PARAMS)
    _, after = jax.jit(optimizer.update)(jax.tree.map(lambda leaf: leaf * np.nan, PARAMS), before, PARAMS)
    chex.assert_trees_all_equal(evaluation_params(PARAMS, after), evaluation_params(PARAMS, before))
    assert after.inner_state[-1].count == 0


def test_masked_parameters_are_evaluated_as_they_are():
    optimizer = optax.chain(optax.sgd(RATE), optax.masked(params_ema(0.9), {"a": False, "b": {"c": True}}))
    params, opt_state = descend(optimizer)
    plain, average = expected(0.9)
    found = flatten(evaluation_params(params, opt_state))
    np.testing.assert_allclose(found, np.concatenate([plain[:2], average[2:]]), rtol=1e-5, atol=1e-6)


def test_without_an_average_the_parameters_are_evaluated():
    params, opt_state = descend(optax.adam(RATE), steps=2)
    assert evaluation_params(params, opt_state) is params


def test_average_of_bfloat16_moves_although_one_share_is_below_its_resolution():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    optimizer = params_ema(0.999)
    state = EmaState(jnp.int32(10**5), jax.tree.map(lambda leaf: leaf * 0, PARAMS))
    update, still = jax.jit(optimizer.update), jax.tree.map(jnp.zeros_like, params)
    for _ in range(1000):
        _, state = update(still, state, params)
    found = evaluation_params(params, (state,))
    chex.assert_trees_all_equal_shapes_and_dtypes(found, params)
    np.testing.assert_allclose(flatten(state.average), flatten(PARAMS) * (1 - 0.999**1000), rtol=1e-3)


def test_average_passes_updates_on_and_is_no_alias_of_the_parameters():
    optimizer, params = params_ema(0.9), jax.tree.map(jnp.array, PARAMS)
    state = optimizer.init(params)
    updates, _ = optimizer.update(gradient(0), state, params)
    chex.assert_trees_all_equal(updates, gradient(0))
    pointers = {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((params, state.average))}
    assert len(pointers) == 4, "a donated step would be given one buffer twice"


def test_average_vmaps_over_seeds():
    optimizer = optax.chain(optax.sgd(RATE), params_ema(0.9))
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), PARAMS)
    opt_state = jax.jit(jax.vmap(optimizer.init))(stacked)
    _, opt_state = jax.jit(jax.vmap(optimizer.update))(stacked, opt_state, stacked)
    found = evaluation_params(stacked, opt_state)
    share = 1 - 1 / 10
    np.testing.assert_allclose(found["a"], stacked["a"] * (1 - share * RATE), rtol=1e-6)


def test_mistakes_are_named():
    for decay in (-0.1, 1.0, 1, float("nan")):
        with pytest.raises(ValueError, match="decay is"):
            params_ema(decay)
    with pytest.raises(ValueError, match="needs the parameters"):
        params_ema(0.9).update(PARAMS, params_ema(0.9).init(PARAMS))


def test_adamw_decays_what_the_mask_says():
    params = {"kernel": np.ones((2, 2)), "bias": np.ones(2), "reservoir_kernel": np.ones((2, 2))}
    optimizer = optax.adamw(0.1, weight_decay=0.5, mask=decay_mask)
    still = jax.tree.map(np.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(still, jax.jit(optimizer.init)(params), params)
    after: Any = optax.apply_updates(params, updates)
    np.testing.assert_allclose(after["kernel"], 1 - 0.1 * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(after["bias"], 1.0)
    np.testing.assert_array_equal(after["reservoir_kernel"], 1.0)


@pytest.mark.parametrize("rates", [None, {"c": 0.25, "not there": 3.0}])
def test_adamw_cosine_agrees_with_numpy(rates):
    peak, warmup, decay, clip = 0.2, 4, 0.3, 0.7
    options = {"warmup": warmup, "weight_decay": decay, "clip": clip, "average": 0.5}
    params, opt_state = descend(adamw_cosine(peak, STEPS, rates=rates, **options))
    expected, average = (flatten(PARAMS).astype(float) for _ in range(2))
    matrix = np.array([False] * 2 + [True] * 6)  # "a" is a vector, "c" a matrix
    first = second = np.zeros(8)
    factors = np.where(matrix, rates["c"], 1.0) if rates else np.ones(8)
    for t in range(STEPS):
        gradients = flatten(gradient(t)).astype(float)
        gradients *= min(1, clip / np.linalg.norm(gradients))
        first, second = 0.9 * first + 0.1 * gradients, 0.999 * second + 0.001 * gradients**2
        direction = first / (1 - 0.9 ** (t + 1)) / (np.sqrt(second / (1 - 0.999 ** (t + 1))) + 1e-8)
        fallen = (1 + np.cos(np.pi * (t - warmup) / (STEPS - warmup))) / 2
        rate = peak * (t / warmup if t < warmup else fallen)
        expected = expected - factors * rate * (direction + decay * matrix * expected)
        now = min(0.5, (1 + t) / (10 + t))
        average = now * average + (1 - now) * expected
    np.testing.assert_allclose(flatten(params), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(flatten(evaluation_params(params, opt_state)), average, rtol=1e-4, atol=1e-5)


def test_adamw_cosine_needs_more_steps_than_its_warm_up():
    with pytest.raises(ValueError, match=r"^steps is 300, and the step size warms up for 300; ask for more steps"):
        adamw_cosine(1e-3, 300, warmup=300, weight_decay=0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup": -1, "weight_decay": 0.0}, "^warmup is -1; it must be 0 or more"),
        ({"warmup": 0, "weight_decay": -0.1}, r"^weight_decay is -0\.1; it must be a number from 0 to 3\.4e38"),
        ({"warmup": 0, "weight_decay": float("nan")}, "^weight_decay is nan"),
        ({"warmup": 0, "weight_decay": 1e39}, r"^weight_decay is 1e\+39"),
    ],
)
def test_adamw_cosine_refuses_what_is_outside_its_range(settings, message):
    adamw_cosine(1e-3, 300, warmup=0, weight_decay=0.0)
    with pytest.raises(ValueError, match=message):
        adamw_cosine(1e-3, 300, **settings)


def test_skipping_leaves_parameters_and_optimiser_alone_and_counts():
    optimizer = skip_nonfinite(optax.chain(optax.adam(RATE), params_ema(0.9)))
    update, state = jax.jit(optimizer.update), optimizer.init(PARAMS)
    bad = jax.tree.map(lambda leaf: leaf * np.nan, PARAMS)
    seen: list[SkipState] = []
    for gradients in (gradient(0), bad, bad, gradient(1), bad):
        updates, state = update(gradients, state, PARAMS)
        seen.append(state)
        if gradients is bad:
            assert not flatten(updates).any()
            chex.assert_trees_all_equal(state.inner, seen[-2].inner)
    counts = [(int(s.in_a_row), int(s.longest), int(s.total)) for s in seen]
    assert counts == [(0, 0, 0), (1, 1, 1), (2, 2, 2), (0, 2, 2), (1, 2, 3)]
    chex.assert_trees_all_equal(descend(optimizer)[0], descend(optax.adam(RATE))[0])


def test_an_update_that_overflows_is_skipped_although_its_gradient_is_finite():
    optimizer, params = skip_nonfinite(optax.sgd(1e38)), jnp.ones(2)
    updates, state = optimizer.update(jnp.full(2, 1e3), optimizer.init(params), params)
    np.testing.assert_array_equal(updates, 0.0)
    assert jax.tree.leaves(state)[2] == 1, "total"


def test_skipping_needs_the_parameters():
    optimizer = skip_nonfinite(optax.sgd(0.1))
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))
