"""Hopfield networks: values by an independent NumPy implementation, energies, fixed points, attention."""

import chex
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from rowlstm_jax.models import hopfield

N, H, B = 3, 24, 5
settings = hypothesis.settings(derandomize=True, deadline=None, database=None, max_examples=30)
seeds = st.integers(0, 2**31)
# Compiled once for all the examples of a test.
update, energy, recall = jax.jit(hopfield.asynchronous), jax.jit(hopfield.energy), jax.jit(hopfield.recall)
modern_energy, modern_update = jax.jit(hopfield.modern_energy), jax.jit(hopfield.modern_update)


def random_patterns(seed=0, shape=(N, H)):
    return np.random.default_rng(seed).choice([-1.0, 1.0], shape).astype(np.float32)


def random_net(seed):
    """Symmetric weights of whole numbers, for exact sums, no diagonal below 0; and states with unknown units."""
    rng = np.random.default_rng(seed)
    half = rng.integers(-9, 10, (H, H)).astype(np.float32)
    weights = half + half.T
    np.fill_diagonal(weights, rng.integers(0, 5, H))
    return weights, rng.integers(-1, 2, (B, H)).astype(np.float32)


def energy_by_loops(weights, state):
    total = 0.0
    for i in range(len(state)):
        for j in range(len(state)):
            total -= 0.5 * weights[i, j] * state[i] * state[j]
    return total


def one_after_the_other(weights, states, order):
    states = np.array(states)
    for state in states:
        for unit in order:
            field = sum(weights[unit, j] * state[j] for j in range(len(state)))
            if field != 0:
                state[unit] = 1.0 if field > 0 else -1.0
    return states


def numpy_update(patterns, state, beta):
    close = np.array([beta * sum(x * s for x, s in zip(pattern, state, strict=True)) for pattern in patterns])
    shares = np.exp(close - close.max())
    return (shares / shares.sum()) @ patterns


def test_hebbs_rule_is_the_mean_product_of_two_units_without_the_diagonal():
    patterns = random_patterns()
    expected = np.zeros((H, H))
    for i in range(H):
        for j in range(H):
            expected[i, j] = 0.0 if i == j else sum(x[i] * x[j] for x in patterns) / H
    np.testing.assert_allclose(jax.jit(hopfield.hebbian)(patterns), expected, rtol=1e-6)


def test_the_pseudo_inverse_is_the_projection_on_the_patterns_without_the_diagonal():
    patterns = random_patterns()
    gram = patterns.astype(float) @ patterns.T.astype(float)
    expected = patterns.T @ np.linalg.solve(gram, patterns)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(jax.jit(hopfield.pseudo_inverse)(patterns), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", [hopfield.hebbian, hopfield.pseudo_inverse])
def test_patterns_are_recalled_from_a_part_of_them(rule):
    patterns = random_patterns(shape=(N, 200))
    shown = patterns * (np.arange(200) < 100)
    for key in (None, jax.random.key(0)):
        chex.assert_trees_all_equal(recall(rule(patterns), shown, key), patterns)


def test_patterns_that_resemble_each_other_are_fixed_points_of_the_pseudo_inverse_alone():
    patterns = random_patterns(shape=(20, 200))
    patterns[:, :150] = patterns[:1, :150]  # three quarters of each are the same
    kept = hopfield.synchronous(hopfield.pseudo_inverse(patterns), patterns)
    chex.assert_trees_all_equal(kept, patterns)
    mixed = hopfield.synchronous(hopfield.hebbian(patterns), patterns)
    assert (np.asarray(mixed) != patterns).any(axis=1).all()


@settings
@hypothesis.given(seeds)
def test_no_asynchronous_update_raises_the_energy(seed):
    weights, states = random_net(seed)
    before = np.array([energy_by_loops(weights, state) for state in states])
    np.testing.assert_array_equal(hopfield.energy(weights, states), before)
    for unit in np.random.default_rng(seed).permutation(H):
        states = update(weights, states, jnp.array([unit]))
        after = np.asarray(energy(weights, states))
        assert (after <= before).all()
        before = after


@settings
@hypothesis.given(seeds)
def test_asynchronous_recall_ends_where_no_unit_changes(seed):
    weights, states = random_net(seed)
    end = recall(weights, states, jax.random.key(seed), sweeps=1_000)
    chex.assert_trees_all_equal(hopfield.synchronous(weights, end), end)
    assert (np.asarray(energy(weights, end)) <= np.asarray(energy(weights, states))).all()


@settings
@hypothesis.given(seeds)
def test_synchronous_recall_ends_in_one_state_or_two_that_alternate(seed):
    weights, states = random_net(seed)
    weights = weights + np.float32(0.5) * np.eye(H, dtype=np.float32)  # no sum is 0
    end = recall(weights, np.where(states == 0, np.float32(1), states), sweeps=1_000)
    once = hopfield.synchronous(weights, end)
    chex.assert_trees_all_equal(hopfield.synchronous(weights, once), end)


def test_synchronous_updates_may_raise_the_energy_and_alternate():
    weights = jnp.eye(4) - jnp.ones((4, 4))  # each unit wants to differ from all others
    states = jnp.array([1.0, 1.0, 1.0, -1.0])
    at_once = hopfield.synchronous(weights, states)
    assert at_once.tolist() == [-1, -1, -1, -1]
    assert hopfield.synchronous(weights, at_once).tolist() == [1, 1, 1, 1]
    one_by_one = hopfield.asynchronous(weights, states, jnp.arange(4))
    assert one_by_one.tolist() == [-1, 1, 1, -1]
    assert [float(hopfield.energy(weights, of)) for of in (states, at_once, one_by_one)] == [0, 6, -2]
    assert recall(weights, states, sweeps=7).tolist() == [-1, -1, -1, -1]
    assert recall(weights, states, sweeps=8).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_updates_are_those_of_a_loop_over_units(seed):
    weights, states = random_net(seed)
    order = np.random.default_rng(seed).integers(0, H, 40)  # some units twice, some never
    found = jax.jit(hopfield.asynchronous)(weights, states, order)
    chex.assert_trees_all_equal(found, one_after_the_other(weights, states, order))
    sums = states @ weights
    chex.assert_trees_all_equal(hopfield.synchronous(weights, states), np.where(sums == 0, states, np.sign(sums)))


def test_a_unit_whose_sum_is_0_stays():
    states = jnp.array([1.0, -1.0, 0.0])
    for new in (
        hopfield.synchronous(jnp.zeros((3, 3)), states),
        hopfield.asynchronous(jnp.zeros((3, 3)), states, jnp.arange(3)),
    ):
        chex.assert_trees_all_equal(new, states)


def test_vmap_over_networks_agrees_with_a_loop():
    patterns, (_, states), key = random_patterns(shape=(4, N, H)), random_net(0), jax.random.key(1)
    of_one = lambda patterns: recall(hopfield.hebbian(patterns), states, key)  # noqa: E731
    together = jax.jit(jax.vmap(of_one))(patterns)
    chex.assert_shape(together, (4, B, H))
    chex.assert_trees_all_equal(together, jnp.stack([of_one(one) for one in patterns]))


def test_states_may_have_any_leading_axes():
    weights, states = random_net(3)
    for way in (hopfield.synchronous, lambda *of: update(*of, jnp.arange(H))):
        many = way(weights, states.reshape(B, 1, H))
        chex.assert_trees_all_equal(many[:, 0], way(weights, states))
    chex.assert_shape(hopfield.energy(weights, states[0]), ())
    chex.assert_shape(hopfield.modern_update(random_patterns(), states[0], 1.0), (H,))


@pytest.mark.parametrize("beta", [0.1, H**-0.5, 3.0])
def test_an_update_of_the_modern_network_is_attention(beta):
    patterns, states = (np.random.default_rng(0).normal(size=(n, H)).astype(np.float32) for n in (N, B))
    found = jax.jit(hopfield.modern_update)(patterns, states, beta)
    np.testing.assert_allclose(found, [numpy_update(patterns, state, beta) for state in states], rtol=1e-4, atol=1e-5)
    keys = patterns[None, :, None]  # one batch, one head
    attention = jax.nn.dot_product_attention(states[None, :, None], keys, keys, scale=beta)
    np.testing.assert_allclose(found, attention[0, :, 0], rtol=1e-5, atol=1e-6)


@settings
@hypothesis.given(seeds, st.floats(0.01, 30))
def test_no_update_of_the_modern_network_raises_its_energy_which_has_bounds(seed, beta):
    rng = np.random.default_rng(seed)
    patterns, states = rng.normal(size=(N, H)).astype(np.float32), rng.normal(size=(B, H)).astype(np.float32)
    longest = float((patterns**2).sum(axis=1).max())
    before = np.asarray(modern_energy(patterns, states, beta))
    for _ in range(4):
        states = modern_update(patterns, states, beta)
        after = np.asarray(modern_energy(patterns, states, beta))
        assert (after <= before + 1e-4).all()
        assert ((after >= -1e-4) & (after <= 2 * longest + 1e-4)).all()
        before = after


def test_the_energy_of_the_modern_network_is_that_of_numpy_and_its_slope_is_the_way_of_an_update():
    rng = np.random.default_rng(0)
    patterns, states, beta = rng.normal(size=(N, H)), rng.normal(size=(B, H)), 0.7
    expected = [
        -np.log(sum(np.exp(beta * x @ state) for x in patterns)) / beta
        + 0.5 * state @ state
        + np.log(N) / beta
        + 0.5 * max(x @ x for x in patterns)
        for state in states
    ]
    patterns, states = patterns.astype(np.float32), states.astype(np.float32)
    np.testing.assert_allclose(modern_energy(patterns, states, beta), expected, rtol=1e-5)
    slope = jax.grad(lambda states: modern_energy(patterns, states, beta).sum())(states)
    np.testing.assert_allclose(slope, states - modern_update(patterns, states, beta), rtol=1e-4, atol=1e-5)


def test_gradients_of_an_update_are_the_numerical_ones():
    rng = np.random.default_rng(0)
    patterns, states, weights = (rng.normal(size=shape).astype(np.float32) for shape in ((N, H), (B, H), (B, H)))
    loss = jax.jit(lambda *of: (hopfield.modern_update(*of) * weights).sum())
    at = [patterns, states, np.float32(0.7)]
    for place, gradient in enumerate(jax.grad(loss, argnums=(0, 1, 2))(*at)):
        direction = np.asarray(rng.normal(size=gradient.shape), np.float32)
        ends = [loss(*at[:place], at[place] + step * direction, *at[place + 1 :]) for step in (0.01, -0.01)]
        np.testing.assert_allclose((gradient * direction).sum(), (ends[0] - ends[1]) / 0.02, rtol=0.02)


def test_the_share_of_random_patterns_that_is_kept_falls_with_the_load_and_is_that_of_a_loop():
    hidden, key = 512, jax.random.key(0)  # a power of two: all sums are exact
    few, many = hopfield.shares_kept(key, hidden, (0.16, 0.3), tested=10)
    assert many < 0.1 < 0.4 < few < 1
    kept = []
    for own in jax.random.split(key, 7):
        patterns = np.asarray(jax.random.rademacher(jax.random.fold_in(own, 0), (154, hidden), jnp.float32))[:82]
        weights = patterns.T @ patterns / hidden * (1 - np.eye(hidden, dtype=np.float32))
        ends = np.asarray(recall(weights, patterns[:10], jax.random.fold_in(own, 1), sweeps=100))
        kept.append(np.mean((ends != patterns[:10]).mean(axis=1) <= 0.05))
    assert few == pytest.approx(np.mean(kept), abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hopfield.hebbian(jnp.ones(3)), r"patterns have shape \(3,\); they must be \[N, H\]"),
        (lambda: hopfield.pseudo_inverse(jnp.ones((0, 3))), "at least one pattern"),
        (lambda: hopfield.energy(jnp.ones((3, 3)), jnp.ones(4)), r"\(3, 3\) and \(4,\)"),
        (lambda: hopfield.recall(jnp.ones((3, 4)), jnp.ones(3)), r"they must be \[H, H\] and \[..., H\]"),
        (lambda: hopfield.modern_update(jnp.ones((3, 4)), jnp.ones((2, 3)), 1.0), r"states have shape \(2, 3\)"),
        (lambda: hopfield.modern_energy(jnp.ones((3, 4)), jnp.ones(()), 1.0), r"states have shape \(\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
