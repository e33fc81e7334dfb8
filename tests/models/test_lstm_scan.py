import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.models.lstm_scan import fast_segment, lstm_scan
from tests.reference import lstm

B, T, F, H = 5, 13, 7, 77  # sizes that divide nothing


def arguments(*batch: int, batch_size: int = B) -> dict:
    """Kernel, bias, inputs and carry of ordinary size; `batch` are axes in front of all of them."""
    rng = np.random.default_rng(0)

    def normal(*shape, scale=1.0):
        return (scale * rng.normal(size=(*batch, *shape))).astype(np.float32)

    return {
        "kernel": normal(F + H, 4 * H, scale=0.15),
        "bias": normal(4 * H, scale=0.5),
        "inputs": normal(T, batch_size, F),
        "carry": (normal(batch_size, H), normal(batch_size, H)),
    }


def scan(kernel, bias, inputs, carry, *, forget_bias=1.0, reverse=False, dtype=None):
    """The oracle: Flax's scan over the cell, time-major."""

    def step(cell, carry, x):
        new_carry, output = cell(carry, x)
        return jax.tree.map(lambda new, old: new.astype(old.dtype), new_carry, carry), output

    cell = BasicLSTMCell(H, forget_bias=forget_bias, dtype=dtype)
    over_time = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, reverse=reverse)
    return nn.apply(lambda cell: over_time(cell, carry, inputs), cell)({"params": {"kernel": kernel, "bias": bias}})


def loss(function, arguments):
    """A scalar that weighs every output and both carries, each differently."""
    (c, h), outputs = function(**arguments)
    weights = np.random.default_rng(1).normal(size=(T + 2, H)).astype(np.float32)
    seen = jnp.concatenate([outputs.astype(jnp.float32), c[None], h[None]])
    return jnp.sum(seen**2 * jnp.expand_dims(weights, 1).repeat(seen.shape[1], 1))


@pytest.mark.parametrize("forget_bias", [0.0, 1.0])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("jit", [False, True])
def test_values_agree_with_numpy_in_float64(forget_bias, reverse, jit):
    given = arguments()
    exact = jax.tree.map(np.float64, given)
    inputs = exact["inputs"].swapaxes(0, 1)[:, :: -1 if reverse else 1]
    outputs, carry = lstm(exact["kernel"], exact["bias"], inputs, forget_bias, exact["carry"])
    outputs = outputs[:, :: -1 if reverse else 1].swapaxes(0, 1)
    function = functools.partial(lstm_scan, forget_bias=forget_bias, reverse=reverse)
    actual = (jax.jit(function) if jit else function)(**given)
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, jax.tree.map(np.float32, (carry, outputs)))
    chex.assert_trees_all_close(actual, jax.tree.map(np.float32, (carry, outputs)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"segment": 1}, {"segment": 5}, {"segment": 100}])
def test_all_gradients_agree_with_those_of_the_scan(options):
    expected = jax.jit(jax.grad(functools.partial(loss, functools.partial(scan, reverse="reverse" in options))))
    actual = jax.jit(jax.grad(functools.partial(loss, functools.partial(lstm_scan, **options))))
    assert_close_in_norm(actual(arguments()), expected(arguments()), 1e-5)


def assert_close_in_norm(actual, expected, tolerance):
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        one, other = np.float64(one), np.float64(other)
        assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)
        assert np.abs(one - other).max() <= 10 * tolerance * np.abs(other).max()


def test_one_step_without_a_batch_of_more_than_one():
    given = arguments(batch_size=1)
    given["inputs"] = given["inputs"][:1]
    chex.assert_trees_all_close(lstm_scan(**given), scan(**given), rtol=1e-5, atol=1e-6)


def test_bfloat16_computes_in_bfloat16_and_carries_float32():
    given = arguments()
    exact, exact_gradients = lstm_scan(**given), jax.jit(jax.grad(functools.partial(loss, lstm_scan)))(given)
    half = functools.partial(lstm_scan, dtype=jnp.bfloat16)
    (c, h), outputs = jax.jit(half)(**given)
    assert (c.dtype, h.dtype, outputs.dtype) == (jnp.float32, jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(outputs.astype(np.float32), exact[1], atol=0.05)
    assert np.abs(outputs.astype(np.float32) - exact[1]).max() > 1e-4, "the products were not in bfloat16"
    gradients = jax.jit(jax.grad(functools.partial(loss, half)))(given)
    assert_close_in_norm(gradients, exact_gradients, 0.02)
    scanned = jax.jit(jax.grad(functools.partial(loss, functools.partial(scan, dtype=jnp.bfloat16))))(given)
    assert_close_in_norm(gradients, scanned, 0.04)


def test_parameters_in_bfloat16_keep_their_dtype():
    given = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), arguments())
    chex.assert_trees_all_equal_dtypes(*jax.tree.leaves(lstm_scan(**given)), given["bias"])
    gradients = jax.jit(jax.grad(lambda given: lstm_scan(**given)[1].astype(jnp.float32).sum()))(given)
    chex.assert_trees_all_equal_shapes_and_dtypes(gradients, given)


def test_vmap_over_seeds_agrees_with_a_loop():
    given = arguments(3)
    gradient = jax.jit(jax.value_and_grad(functools.partial(loss, lstm_scan)))
    looped = [gradient(jax.tree.map(lambda x, s=s: x[s], given)) for s in range(3)]
    looped = jax.tree.map(lambda *leaves: np.stack(leaves), *looped)
    assert_close_in_norm(jax.jit(jax.vmap(gradient))(given), looped, 1e-5)


@pytest.mark.parametrize("devices", [1, 2])
def test_the_batch_may_be_split_over_devices(devices):
    if len(jax.devices()) < devices:
        pytest.skip("needs two devices")
    given = arguments(batch_size=6)
    split = {"kernel": P(), "bias": P(), "inputs": P(None, "batch"), "carry": (P("batch"), P("batch"))}

    @functools.partial(
        jax.shard_map,
        mesh=jax.make_mesh((devices,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,)),
        in_specs=(split,),
        out_specs=split,
        check_vma=False,
    )
    def gradients(given):
        parts = jax.grad(functools.partial(loss, lstm_scan))(given)
        return parts | {name: jax.lax.psum(parts[name], "batch") for name in ("kernel", "bias")}

    expected = jax.jit(jax.grad(functools.partial(loss, lstm_scan)))(given)
    assert_close_in_norm(jax.jit(gradients)(given), expected, 1e-5)


@pytest.mark.slow
def test_a_gradient_of_a_gradient_agrees_with_that_of_the_scan():
    given = arguments()

    def penalty(function, given):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(jax.grad(functools.partial(loss, function))(given)))

    second = [jax.jit(jax.grad(functools.partial(penalty, function)))(given) for function in (lstm_scan, scan)]
    assert_close_in_norm(second[0], second[1], 1e-4)


def test_forward_mode_is_refused_by_name():
    given = arguments()
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda inputs: lstm_scan(**given | {"inputs": inputs})[1], (given["inputs"],), (given["inputs"],))


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="cuBLAS takes 32 MB of its own, more than the arrays")
@pytest.mark.parametrize(
    ("steps", "hidden", "expected"), [(784, 64, 14), (780, 32, 15), (787, 32, 787), (784, 65, 784), (399, 8, 399)]
)
def test_long_sequences_of_narrow_layers_are_recomputed_in_segments(steps, hidden, expected):
    assert fast_segment(steps, hidden) == (expected if jax.default_backend() == "cpu" else steps)


def test_segments_save_memory():
    given = arguments()
    given["inputs"] = np.tile(given["inputs"], (10, 1, 1))

    def stored(segment):
        gradient = jax.jit(jax.grad(lambda given: lstm_scan(**given, segment=segment)[1].sum()))
        with jax.default_device(jax.devices("cpu")[0]):  # a GPU adds the workspace of its library of products
            analysis = gradient.lower(given).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    assert stored(10) < 0.4 * stored(None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"inputs": np.zeros((0, B, F), np.float32)}, "at least one time step"),
        ({"inputs": np.zeros((T, F), np.float32)}, r"\[T, B, F\]"),
        ({"kernel": np.zeros((F, 4 * H), np.float32)}, "kernel"),
        ({"carry": (np.zeros((B, H), np.float32), np.zeros((1, H), np.float32))}, "'h': \\(1, 77\\)"),
        ({"segment": 0}, "segment is 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        lstm_scan(**arguments() | wrong)


@pytest.mark.parametrize("segment", [None, 4])
@pytest.mark.parametrize("fields", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.5}])
def test_a_model_reads_the_same_parameters_either_way(fields, segment):
    inputs = arguments()["inputs"].swapaxes(0, 1)
    scanned = SequenceClassifier(BasicLSTMCell(H), 4, recurrence="scan", **fields)
    models = [scanned, scanned.clone(recurrence="fused", segment=segment)]
    variables = [jax.jit(model.init)(jax.random.key(0), inputs) for model in models]
    chex.assert_trees_all_equal(*variables)
    rngs = {"dropout": jax.random.key(1)}
    logits = [jax.jit(lambda v, m=m: m.apply(v, inputs, train=True, rngs=rngs))(variables[0]) for m in models]
    chex.assert_trees_all_close(*logits, rtol=1e-5, atol=1e-5)


class Subclass(BasicLSTMCell):
    """May compute something else."""


@pytest.mark.parametrize("cell", [nn.GRUCell, Subclass])
def test_the_fused_model_refuses_cells_that_it_does_not_know(cell):
    with pytest.raises(ValueError, match=cell.__name__):
        SequenceClassifier(cell(3), 2, recurrence="fused").init(jax.random.key(0), jnp.zeros((1, 2, 3)))


def test_pixels_may_be_read_as_they_are():
    given = arguments()
    given["inputs"] = np.random.default_rng(2).integers(0, 5, (T, B, F), dtype=np.uint8)
    gradient = jax.grad(lambda kernel, given: loss(lstm_scan, given | {"kernel": kernel}))
    floats = given | {"inputs": given["inputs"].astype(np.float32)}
    chex.assert_trees_all_equal(gradient(given["kernel"], given), gradient(given["kernel"], floats))
