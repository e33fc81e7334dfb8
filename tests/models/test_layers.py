"""Every layer against itself step by step, its equations in NumPy, and its published initial values."""

import functools
import math
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import cont2discrete

from rowlstm_jax.models.cells import CELLS, BasicLSTMCell, GRUCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.models.layers import LAYERS, LRU, RGLRU, RNN, S5, Block, Layer, MinGRU, MinLSTM, make, names
from rowlstm_jax.models.layers.s5 import hippo_normal, s4d_lin
from tests.reference import sigmoid

pytestmark = pytest.mark.usefixtures("quick_compiler")

B, T, F, H = 3, 5, 3, 4
LENGTHS = np.array([5, 1, 3], np.int32)
CASES: dict[str, tuple[Layer, int]] = {  # with the features of its inputs
    "lru": (LRU(H, state=6), F),
    "rg_lru": (RGLRU(H), F),
    "rnn": (RNN(GRUCell(H)), F),
    "min_lstm": (MinLSTM(H), F),
    "lru, F = H": (LRU(H), H),
    "s5": (S5(H, state=5, spectrum="s4d_lin"), F),
    "min_gru": (MinGRU(H), F),
    "rg_lru, F = H": (RGLRU(H), H),
    "rnn of an lstm": (RNN(BasicLSTMCell(H)), F),
    "block, F = H, rms": (Block(MinGRU(H), norm="rms"), H),
    "block of an rnn": (Block(RNN(GRUCell(H)), norm="none"), F),
    **{f"block of {name}": (make(H), F) for name, make in LAYERS.items()},
}
FAST = list(CASES)[:3]
SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)
Params = Any


def sequences(features: int = F) -> jax.Array:
    return jax.random.normal(jax.random.key(7), (B, T, features))


def scattered(model: nn.Module, features: int = F) -> Params:
    """Random variables, without the time that it takes to compile initial ones."""
    rng, shapes = np.random.default_rng(0), jax.eval_shape(model.init, jax.random.key(0), sequences(features))
    return jax.tree.map(lambda x: rng.normal(scale=0.5, size=x.shape).astype(np.float32), shapes)


def step_by_step(layer: Layer, variables: Params, inputs: jax.Array) -> jax.Array:
    carry = layer.initialize_carry(jax.random.key(0), inputs[:, 0].shape)

    def step(carry, x):
        after, output = layer.apply(variables, carry, x, method="step")
        chex.assert_trees_all_equal_shapes_and_dtypes(after, carry)
        return after, output

    return jax.lax.scan(step, carry, inputs.swapaxes(0, 1))[1].swapaxes(0, 1)


def with_gradients(function, variables: Params, inputs: jax.Array) -> tuple[jax.Array, Params]:
    def loss(variables, inputs):
        outputs = function(variables, inputs)
        return jnp.sum(jnp.sin(outputs + jnp.arange(H)[None, None])), outputs

    (_, outputs), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables, inputs)
    return outputs, gradients


@pytest.mark.parametrize("name", [*FAST, *(SLOW(n) for n in CASES if n not in FAST)])
def test_a_sequence_read_at_once_step_by_step_backward_and_in_a_padded_batch(name):
    layer, features = CASES[name]
    inputs, variables = np.asarray(sequences(features)), scattered(layer, features)
    inside = (np.arange(T) < LENGTHS[:, None])[..., None]
    turned = inputs.copy()  # each sequence alone, turned round
    for n, length in enumerate(LENGTHS):
        turned[n, :length] = inputs[n, :length][::-1]

    @jax.jit
    def read(variables, inputs, turned, lengths):
        padded, both = jnp.where(inside, inputs, jnp.nan), jnp.concatenate([inputs, turned])
        return (
            with_gradients(layer.apply, variables, both),
            with_gradients(functools.partial(step_by_step, layer), variables, both),
            [layer.apply(variables, padded, lengths, reverse) for reverse in (False, True)],
        )

    whole, steps, (forward, backward) = read(variables, inputs, turned, LENGTHS)
    chex.assert_shape(whole[0], (2 * B, T, H))
    chex.assert_trees_all_close(whole, steps, rtol=1e-4, atol=1e-5)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(whole[1])), "a parameter without effect"
    expected, expected_turned = np.split(whole[0], 2)
    for n, length in enumerate(LENGTHS):
        np.testing.assert_allclose(forward[n, :length], expected[n, :length], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(backward[n, :length][::-1], expected_turned[n, :length], rtol=1e-4, atol=1e-5)


def affine(p: Params, x: np.ndarray) -> np.ndarray:
    return x @ p["kernel"] + p.get("bias", 0)


def feedthrough(p: Params, x: np.ndarray) -> np.ndarray:
    return x * p["scale"] if "scale" in p else x @ p["kernel"]


def lru(p: Params, x: np.ndarray) -> np.ndarray:
    eigenvalues = np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"]))
    states = len(eigenvalues)
    read = p["read"]["kernel"][:, :states] + 1j * p["read"]["kernel"][:, states:]
    write = p["write"]["kernel"][:states] - 1j * p["write"]["kernel"][states:]
    h, outputs = np.zeros((len(x), states), complex), []
    for t in range(x.shape[1]):
        h = eigenvalues * h + np.exp(p["gamma_log"]) * (x[:, t] @ read)
        outputs.append((h @ write).real + feedthrough(p["skip"], x[:, t]))
    return np.stack(outputs, axis=1)


def gated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    h, outputs = np.zeros(a[:, 0].shape), []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        outputs.append(h)
    return np.stack(outputs, axis=1)


def min_gru(p: Params, x: np.ndarray) -> np.ndarray:
    z, candidate = np.split(affine(p["input"], x), 2, axis=-1)
    return gated(1 - sigmoid(z), sigmoid(z) * candidate)


def min_lstm(p: Params, x: np.ndarray) -> np.ndarray:
    f, i, candidate = np.split(affine(p["input"], x), 3, axis=-1)
    f, i = sigmoid(f), sigmoid(i)
    return gated(f / (f + i), i / (f + i) * candidate)


def rg_lru(p: Params, x: np.ndarray) -> np.ndarray:
    x = affine(p["input"], x) if "input" in p else x
    r, i = np.split(sigmoid(affine(p["gate"], x)), 2, axis=-1)
    a = sigmoid(p["Lambda"]) ** (8 * r)
    return gated(a, np.sqrt(1 - a**2) * i * x)


def block(layer, norm: str, p: Params, x: np.ndarray) -> np.ndarray:
    residual = affine(p["encoder"], x) if "encoder" in p else x
    x = residual
    if norm == "layer":
        x = x - x.mean(axis=-1, keepdims=True)
    if norm != "none":
        x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * p["norm"]["scale"] + p["norm"].get("bias", 0)
    v = layer(p["layer"], x)
    v = v / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3)))
    value, gate = np.split(affine(p["glu"], v), 2, axis=-1)
    return residual + value * sigmoid(gate)


@pytest.mark.parametrize(
    ("layer", "features", "equations"),
    [
        (LRU(H, state=6), F, lru),
        (MinGRU(H), F, min_gru),
        (MinLSTM(H), F, min_lstm),
        (RGLRU(H), F, rg_lru),
        (Block(LRU(H)), F, functools.partial(block, lru, "layer")),
        SLOW(LRU(H), H, lru),
        SLOW(RGLRU(H), H, rg_lru),
        SLOW(Block(MinGRU(H), norm="rms"), H, functools.partial(block, min_gru, "rms")),
        SLOW(Block(MinGRU(H), norm="none"), F, functools.partial(block, min_gru, "none")),
    ],
    ids=lambda of: "" if callable(of) and not isinstance(of, Layer) else str(of).split("(")[0],
)
def test_outputs_are_those_of_the_published_equations(layer, features, equations):
    variables, inputs = scattered(layer, features), sequences(features)
    params, exact = jax.tree.map(np.float64, (variables["params"], inputs))
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, inputs), equations(params, exact), rtol=1e-4, atol=1e-5)


def run_discrete(system: Any, x: np.ndarray) -> np.ndarray:
    a, b, c, d = system[:4]
    h, outputs = np.zeros((len(x), len(a))), []
    for t in range(x.shape[1]):
        h = h @ a.T + x[:, t] @ b.T
        outputs.append(h @ c.T + x[:, t] @ d.T)
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize("features", [F, SLOW(H)])
def test_s5_is_scipys_zero_order_hold_of_the_whole_real_system(features):
    """Each pair of conjugate states is a rotation and a decay of two real states."""
    layer = S5(H, state=6)
    variables, inputs = scattered(layer, features), sequences(features)
    p: Params = jax.tree.map(np.float64, variables["params"])
    exact = np.float64(inputs)
    states, step = 6, np.exp(p["step_log"])
    decay, frequency = np.diag(-np.exp(p["decay_log"]) * step), np.diag(p["frequency"] * step)
    a = np.block([[decay, -frequency], [frequency, decay]])
    b = np.concatenate([step, step])[:, None] * p["read"]["kernel"].T
    d = np.diag(p["skip"]["scale"]) if features == H else p["skip"]["kernel"].T
    assert a.shape == (2 * states, 2 * states)
    system = cont2discrete((a, b, p["write"]["kernel"].T, d), 1.0, "zoh")
    np.testing.assert_allclose(
        jax.jit(layer.apply)(variables, inputs), run_discrete(system, exact), rtol=1e-4, atol=1e-5
    )


def test_the_scales_of_s5_keep_their_digits_at_short_steps():
    layer = S5(H, state=20, step_min=1e-5, step_max=1e-3)
    p = jax.tree.map(np.asarray, jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 1, H)))["params"])
    _, scales = layer.apply({"params": p}, method="discrete")
    system = -np.exp(np.float64(p["decay_log"])) + 1j * np.float64(p["frequency"])
    # (exp(x) - 1) / x by its series, whose terms do not cancel; |x| is at most 0.8.
    x = system * np.exp(np.float64(p["step_log"]))
    series = sum(x**n / math.factorial(n + 1) for n in range(20))
    found = np.float64(scales[0]) + 1j * np.float64(scales[1])
    np.testing.assert_allclose(found, series * np.exp(np.float64(p["step_log"])), rtol=2e-6)


def hippo_n(states: int) -> np.ndarray:
    """HiPPO-LegS and the rank 1 that makes it normal, as S4D and S5 write them."""
    a, p = np.zeros((states, states)), np.sqrt(np.arange(states) + 0.5)
    for n in range(states):
        for k in range(n + 1):
            a[n, k] = -(n + 1) if n == k else -math.sqrt(2 * n + 1) * math.sqrt(2 * k + 1)
    return a + np.outer(p, p)


@pytest.mark.parametrize("states", [1, 6, 20])
def test_hippos_eigenvalues_are_numpys(states):
    eigenvalues, vectors = hippo_normal(states)
    matrix = hippo_n(2 * states)
    found = np.linalg.eigvals(matrix)
    found = found[found.imag > 0]
    np.testing.assert_allclose(eigenvalues.real, -0.5)
    np.testing.assert_allclose(eigenvalues.imag, np.sort(found.imag), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(matrix @ vectors, vectors * eigenvalues, atol=1e-8 * states)
    np.testing.assert_allclose(s4d_lin(3), [-0.5, -0.5 + 1j * np.pi, -0.5 + 2j * np.pi])
    np.testing.assert_allclose(vectors.conj().T @ vectors, np.eye(states), atol=1e-10)


@functools.cache
def initial(layer: Layer, features: int) -> Params:
    """Its first parameters."""
    params = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 1, features)))["params"]
    return jax.tree.map(np.float64, params)


def test_the_lru_starts_uniform_on_a_ring_and_normalised():
    states, features = 1_000, 150
    p: Params = initial(LRU(features, state=states, r_min=0.4, r_max=0.8, max_phase=0.3), features)
    radii, phases = np.exp(-np.exp(p["nu_log"])), np.exp(p["theta_log"])
    for values, least, most in ((radii**2, 0.4**2, 0.8**2), (phases, 0, 0.3)):
        shares = (np.sort(values) - least) / (most - least)
        assert shares[0] > -1e-6, least
        assert shares[-1] < 1 + 1e-6, most
        assert np.abs(shares - (np.arange(states) + 0.5) / states).max() < 0.06, "uniform, by Kolmogorov and Smirnov"
    np.testing.assert_allclose(np.exp(p["gamma_log"]), np.sqrt(1 - radii**2), rtol=1e-5)
    for kernel, deviation in ((p["read"], (1 / (2 * features)) ** 0.5), (p["write"], states**-0.5)):
        np.testing.assert_allclose(kernel["kernel"].std(), deviation, rtol=0.03)
    np.testing.assert_allclose(p["skip"]["scale"].std(), 1, rtol=0.2)


@functools.cache
def initial_s5(spectrum: Literal["hippo", "s4d_lin"] = "hippo") -> tuple[S5, Params, int, int]:
    states, features = 24, 50
    layer = S5(features, state=states, spectrum=spectrum, step_min=0.01, step_max=0.2)
    return layer, initial(layer, features), states, features


@pytest.mark.parametrize("spectrum", ["hippo", SLOW("s4d_lin")])
def test_s5_starts_as_published(spectrum):
    _, p, states, features = initial_s5(spectrum)
    eigenvalues = hippo_normal(states)[0] if spectrum == "hippo" else s4d_lin(states)
    np.testing.assert_allclose(-np.exp(p["decay_log"]) + 1j * p["frequency"], eigenvalues, rtol=1e-6)
    shares = (p["step_log"] - np.log(0.01)) / (np.log(0.2) - np.log(0.01))
    assert -1e-6 < shares.min() < 0.2 < 0.8 < shares.max() < 1 + 1e-6
    # B has one state of each pair; C has the variance 1 / N, and twice C is kept.
    np.testing.assert_allclose((p["read"]["kernel"] ** 2).sum(), features / 2, rtol=0.1)
    np.testing.assert_allclose((p["write"]["kernel"] ** 2).sum(), 4 * features, rtol=0.1)


def test_s5_starts_as_the_dense_system_of_hippo():
    layer, start, states, features = initial_s5()
    p: Params = start | {"step_log": np.full(states, np.log(0.02))}
    step = 0.02
    _, vectors = hippo_normal(states)
    read = p["read"]["kernel"][:, :states] + 1j * p["read"]["kernel"][:, states:]
    write = p["write"]["kernel"][:states] - 1j * p["write"]["kernel"][states:]
    b, c = 2 * (vectors @ read.T).real, (write.T @ vectors.conj().T).real
    system = cont2discrete((hippo_n(2 * states), b, c, np.diag(p["skip"]["scale"])), step, "zoh")
    expected = run_discrete(system, np.float64(sequences(features)))
    outputs = jax.jit(layer.apply)({"params": jax.tree.map(np.float32, p)}, sequences(features))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_the_rg_lru_starts_in_its_range():
    powers = sigmoid(initial(RGLRU(500, r_min=0.8, r_max=0.95), 500)["Lambda"]) ** 8
    shares = (np.sort(powers) - 0.8) / 0.15
    assert np.abs(shares - (np.arange(500) + 0.5) / 500).max() < 0.08
    assert -1e-4 < shares[0] < shares[-1] < 1 + 1e-4


def test_an_rg_lru_that_keeps_all_has_finite_gradients():
    layer, inputs = RGLRU(H), sequences()
    variables = scattered(layer)
    variables["params"]["gate"]["bias"] = np.full(2 * H, -200.0, np.float32)  # r = 0 in float32, so that a = 1
    chex.assert_tree_all_finite(jax.jit(functools.partial(with_gradients, layer.apply))(variables, inputs))


def shapes(module: nn.Module, features: int = 1, steps: int = 784) -> Params:
    return jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((2, steps, features)))["params"]


def test_names_and_numbers_of_parameters():
    model = SequenceClassifier(Block(LRU(64)), 10, num_layers=2, readout="mean")
    params = shapes(model)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 50_954
    one = {"nu_log": (64,), "theta_log": (64,), "gamma_log": (64,), "read": {"kernel": (64, 128)}}
    one |= {"write": {"kernel": (128, 64)}, "skip": {"scale": (64,)}}
    second = {"norm": {"scale": (64,), "bias": (64,)}, "layer": one, "glu": {"kernel": (64, 128), "bias": (128,)}}
    readout = {"kernel": (64, 10), "bias": (10,)}
    first = second | {"encoder": {"kernel": (1, 64), "bias": (64,)}}
    expected = {"layer_0_forward": first, "layer_1_forward": second, "readout": readout}
    assert jax.tree.map(lambda leaf: leaf.shape, params) == expected
    several = shapes(SequenceClassifier(Block(RNN(GRUCell(4)), norm="none"), 3, num_layers=2, bidirectional=True), 8, 5)
    directions = {f"layer_{n}_{way}" for n in range(2) for way in ("forward", "backward")}
    assert set(several) == {*directions, "readout"}
    assert set(several["layer_1_backward"]) == {"encoder", "layer", "glu"}  # it reads 2 H = 8 features
    assert set(several["layer_0_forward"]["layer"]) == {"cell"}
    s5 = shapes(S5(4, state=3), 2, 5)
    assert {"decay_log", "frequency", "step_log", "read", "write", "skip"} == set(s5)
    assert s5["skip"]["kernel"].shape == (2, 4)
    assert set(shapes(RGLRU(4), 2, 5)) == {"Lambda", "gate", "input"}
    assert set(shapes(RGLRU(4), 4, 5)) == {"Lambda", "gate"}


@pytest.mark.parametrize(
    "cell", [Block(LRU(H)), Block(RNN(GRUCell(H))), Block(S5(H)), RGLRU(H)], ids=["lru", "rnn", "s5", "rg"]
)
def test_dtypes_of_a_classifier_reach_the_modules_within(cell):
    model = SequenceClassifier(cell, 3, num_layers=2, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    inputs = jnp.zeros((B, T, F), jnp.bfloat16)
    variables, sown = jax.eval_shape(
        lambda: (
            model.init(jax.random.key(0), inputs),
            model.apply(model.init(jax.random.key(0), inputs), inputs, capture_intermediates=True),
        )
    )
    of_modules = [leaf for leaf in jax.tree.leaves(sown) if leaf.ndim > 1 and leaf.shape[-1] != 3]
    assert len(of_modules) >= 2
    assert {leaf.dtype for leaf in (*jax.tree.leaves(variables), *of_modules)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("name", ["lru", SLOW("min_gru"), SLOW("rg_lru")])
def test_a_layer_in_bfloat16_is_close_to_one_in_float32(name):
    layer, inputs = LAYERS[name](H), sequences()
    variables = scattered(layer)
    exact = jax.jit(layer.apply)(variables, inputs)
    rough = SequenceClassifier(layer, 3, dtype=jnp.bfloat16)
    both = {
        "params": {"layer_0_forward": variables["params"], "readout": {"kernel": jnp.eye(H, 3), "bias": jnp.zeros(3)}}
    }
    logits = jax.jit(rough.apply)(both, inputs)
    assert logits.dtype == jnp.bfloat16
    assert 1e-6 < np.abs(np.float32(logits) - np.float32(exact[:, -1, :3])).max() < 0.1


@pytest.mark.parametrize(("kind", "bias"), [(MinGRU, [-7.5, 1]), (MinLSTM, [0, -8, 1])])
def test_a_factor_close_to_one_is_not_one_in_bfloat16(kind, bias):
    """With a candidate of 1, h is 1 - a^T. If a were 1, it would be T (1 - a), above 1."""
    params = {"kernel": jnp.zeros((F, len(bias))), "bias": jnp.asarray(bias, jnp.float32)}
    h = kind(1, dtype=jnp.bfloat16).apply({"params": {"input": params}}, jnp.zeros((1, 2_000, F), jnp.bfloat16))
    assert h.dtype == jnp.bfloat16
    keep = sigmoid(7.5) if len(bias) == 2 else 0.5 / (0.5 + sigmoid(-8.0))
    np.testing.assert_allclose(np.float32(h[0, -1, 0]), 1 - keep**2_000, rtol=0.01)


@pytest.mark.parametrize(("readout", "layers"), [("mean", 1), SLOW("mean", 2), SLOW("last", 2)])
def test_a_padded_batch_has_the_logits_and_gradients_of_one_without_padding(readout, layers):
    model = SequenceClassifier(Block(LRU(H)), 3, num_layers=layers, bidirectional=layers > 1, readout=readout)
    inputs, weights = sequences(), np.random.default_rng(1).normal(size=(B, 3)).astype(np.float32)
    variables = scattered(model)

    @jax.jit
    def gradients(variables, inputs, lengths=None):
        def loss(variables, inputs):
            logits: Any = model.apply(variables, inputs, lengths=lengths)
            return (logits * weights).sum(), logits

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables, inputs)

    padded = inputs.at[:, 3:].set(jnp.nan)
    (_, logits), (by_params, by_inputs) = gradients(variables, padded, np.full(B, 3))
    (_, expected), (of_params, of_inputs) = gradients(variables, inputs[:, :3])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close((by_params, by_inputs[:, :3]), (of_params, of_inputs), rtol=1e-3, atol=1e-5)
    assert not by_inputs[:, 3:].any()


@pytest.mark.parametrize(("readout", "layers"), [("mean", 1), SLOW("last", 2), SLOW("mean", 2)])
def test_logits_over_time_are_those_of_sequences_that_end_there(readout, layers):
    model = SequenceClassifier(Block(MinLSTM(H)), 3, num_layers=layers, readout=readout)
    inputs = sequences()
    variables = scattered(model)
    over_time = jax.jit(functools.partial(model.apply, over_time=True))(variables, inputs)
    apply = jax.jit(model.apply)
    for lengths in (np.array([1, 2, 3]), np.array([5, 4, 4])):
        expected = apply(variables, inputs, lengths=lengths)
        np.testing.assert_allclose(over_time[np.arange(B), lengths - 1], expected, rtol=1e-4, atol=1e-5)


def test_a_mask_of_dropout_is_the_same_at_all_steps_and_differs_between_sequences_and_keys():
    layer, inputs = Block(MinGRU(16), dropout=0.5), jax.random.normal(jax.random.key(1), (B, T, 16))
    variables = scattered(layer, 16)

    @jax.jit
    def dropped(key):
        seen = []

        def spy(next_function, args, kwargs, context):
            result = next_function(*args, **kwargs)
            if isinstance(context.module, nn.Dropout):
                seen.append(result == 0)
            return result

        with nn.intercept_methods(spy):
            layer.apply(variables, inputs, train=True, rngs={"dropout": key})
        return seen

    seen = [np.asarray(mask) for seed in range(2) for mask in dropped(jax.random.key(seed))]
    assert len(seen) == 4, "after the GELU and after the GLU, twice"
    for mask in seen:
        assert (mask == mask[:, :1]).all()
        assert 0.2 < mask.mean() < 0.8
    masks = np.stack(seen)[:, :, 0].reshape(4 * B, 16)
    assert len(np.unique(masks, axis=0)) == 4 * B
    without = [jax.jit(of.apply)(variables, inputs) for of in (layer, Block(MinGRU(16)))]
    np.testing.assert_array_equal(*without)


def test_names_make_cells_and_layers():
    assert names() == (*CELLS, *LAYERS)
    assert make("s5", 6) == Block(S5(6))
    assert make("gru", 6) == GRUCell(6)
    assert [LAYERS[name](6).features for name in LAYERS] == [6] * len(LAYERS)
    assert [LAYERS[name](6).is_linear for name in LAYERS] == [True] * len(LAYERS)
    assert not Block(RNN(GRUCell(6))).is_linear
    with pytest.raises(
        ValueError, match=r"^cell is 'lruu'; choose one of lstm, .*, lru, s5, min_gru, min_lstm, rg_lru\.$"
    ):
        make("lruu", 6)
    with pytest.raises(
        ValueError, match=r"^recurrence is 'fused', which computes the cell lstm only; choose 'auto' for s5"
    ):
        make("s5", 6, "fused")


class Unfinished(Layer):
    """Defines nothing."""

    features: int = H


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (LRU(H, r_min=0.9, r_max=0.9), r"r_min is 0\.9 and r_max 0\.9; they must satisfy 0 <= r_min < r_max < 1"),
        (LRU(H, r_max=1.0), r"r_min is 0\.9 and r_max 1\.0"),
        (LRU(H, max_phase=0.0), r"max_phase is 0\.0; it must be more than 0, and finite"),
        (LRU(H, max_phase=math.inf), "max_phase is inf"),
        (RGLRU(H, r_min=0.0), r"r_min is 0\.0 and r_max 0\.999; they must satisfy 0 < r_min < r_max < 1"),
        (S5(H, step_min=0.0), r"step_min is 0\.0 and step_max 0\.1; they must satisfy 0 < step_min < step_max"),
        (S5(H, spectrum="legs"), 'spectrum is \'legs\'; it must be "hippo" or "s4d_lin"'),
        (Block(LRU(H), norm="batch"), 'norm is \'batch\'; it must be "layer", "rms" or "none"'),
        (Block(LRU(H), dropout=1.0), r"dropout is 1\.0; it must be 0 or more and below 1"),
    ],
)
def test_attributes_out_of_range_are_refused(layer, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        layer.init(jax.random.key(0), sequences())


def test_what_a_layer_of_ones_own_does_not_define_is_named():
    for call in (
        lambda: Unfinished().init(jax.random.key(0), sequences()),
        lambda: Unfinished().initialize_carry(jax.random.key(0), (1, 2)),
    ):
        with pytest.raises(NotImplementedError, match=r"^Unfinished does not define \w+\."):
            call()
