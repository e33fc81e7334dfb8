"""Automatiser and chunker against an implementation in NumPy, whose slopes are numerical."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.models import cells
from rowlstm_jax.tasks import lag_stream, solved_after
from rowlstm_jax.training import ChunkingSystem, init_chunking, learn_stream, predict_stream
from rowlstm_jax.training.chunking import chunking_step

pytestmark = pytest.mark.usefixtures("quick_compiler")

F, H, HC, WINDOW, LAG = 5, 4, 3, 3, 2
RATE, TOLERANCE = 0.05, 0.3


def system(rate: float = RATE, **settings: Any) -> ChunkingSystem:
    own, chunker = cells.ElmanCell(H), cells.ElmanCell(HC)
    return ChunkingSystem(own, chunker, F, optax.sgd(rate), WINDOW, TOLERANCE, **settings)


def stream(sequences: int, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    return lag_stream(jnp.asarray(np.random.default_rng(seed).random(sequences + 1) < 0.5), LAG)


def flat(params: Any) -> list[np.ndarray]:
    """Kernel and bias of the cell, kernel and bias of the readout, in float64."""
    cell, readout = params["params"]["cell"]["hidden"], params["params"]["readout"]
    return [np.asarray(of[name], np.float64) for of in (cell, readout) for name in ("kernel", "bias")]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Network:
    """One network in NumPy: its weights, its window and the hidden state before the window."""

    def __init__(self, params: Any):
        self.weights = flat(params)
        self.width = len(self.weights[0]) - len(self.weights[1])
        self.h, self.window = np.zeros(len(self.weights[1])), [np.zeros(self.width)] * WINDOW

    def read(self, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The hidden state after the oldest input of the window, and hidden state and outputs after the newest."""
        kernel, bias, out, out_bias = weights
        states = [self.h]
        for x in self.window:
            states.append(np.tanh(np.concatenate([x, states[-1]]) @ kernel + bias))
        return states[1], states[-1], np.concatenate([self.window[-1], states[-1]]) @ out + out_bias

    def learn(self, x: np.ndarray, given: np.ndarray, state: np.ndarray | None) -> None:
        """One step down the numerical slope of the loss, then the input joins the window."""

        def loss(weights: list[np.ndarray]) -> float:
            _, _, outputs = self.read(weights)
            p = sigmoid(outputs[: self.width])
            nats = -(x * np.log(p) + (1 - x) * np.log(1 - p))[given].sum()
            return nats + (0 if state is None else np.square(outputs[self.width :] - state).sum())

        after, _, _ = self.read(self.weights)
        self.weights = descend(loss, self.weights)
        self.h, self.window = after, [*self.window[1:], x]


def descend(loss: Callable[[list[np.ndarray]], float], weights: list[np.ndarray]) -> list[np.ndarray]:
    """Weights after one step of gradient descent, by central differences."""
    slopes = []
    for n, array in enumerate(weights):
        slope = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            ends = []
            for side in (1e-6, -1e-6):
                moved = [of.copy() for of in weights]
                moved[n][index] += side
                ends.append(loss(moved))
            slope[index] = (ends[0] - ends[1]) / 2e-6
        slopes.append(slope)
    return [array - RATE * slope for array, slope in zip(weights, slopes, strict=True)]


@pytest.mark.parametrize("times", [False, True])
def test_both_networks_learn_as_they_do_in_numpy(times):
    ours = system(times=times)
    learning = jax.jit(lambda key: init_chunking(ours, key))(jax.random.key(1))
    assert learning.chunker is not None
    a, c, passed = Network(learning.automatiser.params), Network(learning.chunker.params), 1
    inputs, given = stream(8)
    learning, noticed = jax.jit(lambda *of: learn_stream(ours, *of))(learning, inputs, given)
    missed = []
    for t, (x, counts) in enumerate(zip(np.asarray(inputs, np.float64), np.asarray(given), strict=True)):
        _, hidden, outputs = c.read(c.weights)
        predicted = sigmoid(a.read(a.weights)[2][:F])
        np.testing.assert_allclose(noticed.predicted[t], predicted, atol=1e-4)
        a.learn(x, counts, np.concatenate([hidden, sigmoid(outputs)]))
        missed.append((np.abs(predicted - x)[counts] > TOLERANCE).any())
        if missed[-1]:
            time = [min(1, np.log(passed) / 10)] * times
            c.learn(np.append(x, time), np.append(counts, np.ones(int(times), bool)), None)
        passed = 1 if missed[-1] else passed + 1
    assert noticed.unexpected.tolist() == missed
    assert int(learning.passed) == passed
    for level, network in ((learning.automatiser, a), (learning.chunker, c)):
        assert level is not None
        for leaf, expected in zip(flat(level.params), network.weights, strict=True):
            np.testing.assert_allclose(leaf, expected, atol=2e-4)
        np.testing.assert_allclose(level.inputs, network.window, atol=1e-6)
        np.testing.assert_allclose(level.carry, network.h, atol=2e-4)


def test_a_chunker_reads_only_what_was_not_expected():
    ours = system()
    learning = jax.jit(lambda key: init_chunking(ours, key))(jax.random.key(1))
    step = jax.jit(lambda *of: chunking_step(ours, *of))
    seen, given = set(), jnp.ones(F, bool)
    for _ in range(60):  # the same input again and again, until it is expected
        after, noticed = step(learning, jnp.eye(F)[0], given)
        same = jax.tree.map(lambda a, b: bool((a == b).all()), after.chunker, learning.chunker)
        assert all(jax.tree.leaves(same)) == (not noticed.unexpected)
        assert int(after.passed) == (1 if noticed.unexpected else int(learning.passed) + 1)
        seen.add(bool(noticed.unexpected))
        learning = after
    assert seen == {False, True}


def test_a_network_alone_learns_as_an_automatiser_without_a_chunker():
    alone = ChunkingSystem(cells.ElmanCell(H), None, F, optax.sgd(RATE), WINDOW, TOLERANCE)
    learning = jax.jit(lambda key: init_chunking(alone, key))(jax.random.key(2))
    assert learning.chunker is None
    network, (inputs, given) = Network(learning.automatiser.params), stream(3)
    learning, _ = jax.jit(lambda *of: learn_stream(alone, *of))(learning, inputs, given)
    for x, counts in zip(np.asarray(inputs, np.float64), np.asarray(given), strict=True):
        network.learn(x, counts, None)
    for leaf, expected in zip(flat(learning.automatiser.params), network.weights, strict=True):
        np.testing.assert_allclose(leaf, expected, atol=2e-4)


def test_an_automatiser_predicts_alone():
    ours, (inputs, _) = system(), stream(4)
    learning = jax.jit(lambda key: init_chunking(ours, key))(jax.random.key(1))
    found = jax.jit(lambda *of: predict_stream(ours, *of))(learning, inputs)
    np.testing.assert_array_equal(found[0], 0.5)
    network = Network(learning.automatiser.params)
    for x, predicted in zip(np.asarray(inputs[:-1], np.float64), found[1:], strict=True):
        network.window = [x]
        network.h, _, outputs = network.read(network.weights)
        np.testing.assert_allclose(predicted, sigmoid(outputs[:F]), atol=1e-5)


@pytest.mark.slow
def test_seeds_learn_together_as_they_do_alone():
    ours, (inputs, given) = system(), stream(4)
    keys = jax.random.split(jax.random.key(0), 2)

    def learned(key):
        return learn_stream(ours, init_chunking(ours, key), inputs, given)

    together = jax.jit(jax.vmap(learned))(keys)
    for s in range(2):
        own = jax.tree.map(lambda leaf, s=s: leaf[s], together)
        chex.assert_trees_all_close(own, jax.jit(learned)(keys[s]), atol=1e-5)


@pytest.mark.parametrize("name", ["lstm", pytest.param("jordan", marks=pytest.mark.slow)])
def test_any_cell_can_take_their_place(name):
    ours = ChunkingSystem(cells.make(name, H), cells.make(name, HC), F, optax.sgd(RATE), 2)
    state = 10 if name == "jordan" else HC  # a Jordan network gives its ten outputs
    assert [network.outputs for network in ours.networks] == [F + state + F, F]
    inputs, given = stream(4)
    learned = jax.jit(lambda key: learn_stream(ours, init_chunking(ours, key), inputs, given))
    learning, noticed = learned(jax.random.key(0))
    chex.assert_tree_all_finite((learning, noticed))
    chex.assert_shape(noticed.predicted, (len(inputs), F))


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"^window is 0; it must be 1 or more\."):
        ChunkingSystem(cells.ElmanCell(H), None, F, optax.sgd(RATE), 0)


@pytest.mark.slow
def test_a_chunker_teaches_what_a_gradient_over_three_steps_cannot():
    """A lag of eight steps: the automatiser alone learns nothing of it, with a chunker it does."""
    is_a = jnp.asarray(np.random.default_rng(0).random(2001) < 0.5)
    inputs, given = lag_stream(is_a, 8)
    solved = []
    for chunker in (cells.ElmanCell(8), None):
        ours = ChunkingSystem(cells.ElmanCell(16), chunker, 11, optax.sgd(0.02))
        learned = jax.jit(
            lambda key, ours=ours: learn_stream(ours, init_chunking(ours, key), inputs, given)[1].predicted
        )
        right = np.abs(np.asarray(learned(jax.random.key(0)))[::9, -1] - np.asarray(is_a[:-1])) < 0.2
        solved.append(bool(solved_after(right[None])[0]))
    assert solved == [True, False]
