"""The linear recurrence against a Python loop in complex128, and its gradients against the loop run backward."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from rowlstm_jax.models.linear_scan import linear_scan

B, T, N = 5, 9, 7  # more steps than those that are always read in a loop
SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)
LENGTHS = np.array([9, 1, 6, 8, 2], np.int32)


def arguments(pairs: bool, constant: bool, batch_size: int = B) -> dict[str, np.ndarray]:
    """a with radii around 0.9, b and start, float32; `pairs` makes them complex."""
    rng = np.random.default_rng(0)
    row = (2, N) if pairs else (N,)

    def normal(*shape):
        return rng.normal(size=(*shape, *row)).astype(np.float32)

    a = 0.9 + 0.3 * normal(*(() if constant else (batch_size, T)))
    return {"a": a / 1.4 if pairs else a, "b": normal(batch_size, T), "start": normal(batch_size)}


def exact(x: np.ndarray, pairs: bool) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x[..., 0, :] + 1j * x[..., 1, :] if pairs else x


def parts(x: np.ndarray, pairs: bool) -> np.ndarray:
    return np.stack([x.real, x.imag], axis=-2) if pairs else x


def loop(given, pairs, reverse, lengths, weights):
    """h, and the gradients of the sum of all parts of weights * h: a loop over each sequence, and one back."""
    a, b, start, dh = (exact(x, pairs) for x in (given["a"], given["b"], given["start"], weights))
    constant = a.ndim == 1
    a = np.broadcast_to(a, b.shape)
    h, da, db, dstart = (np.zeros_like(x) for x in (b, b, b, start))
    for n in range(len(b)):
        order = range(lengths[n])[:: -1 if reverse else 1]
        before, read = start[n], []
        for t in order:
            read.append((t, before))
            before = h[n, t] = a[n, t] * before + b[n, t]
        later = np.zeros_like(before)
        for t, before in reversed(read):
            db[n, t] = later + dh[n, t]
            da[n, t] = db[n, t] * np.conj(before)
            later = db[n, t] * np.conj(a[n, t])
        dstart[n] = later
    da = da.sum(axis=(0, 1)) if constant else da
    return parts(h, pairs), {"a": parts(da, pairs), "b": parts(db, pairs), "start": parts(dstart, pairs)}


def assert_close(actual, expected, tolerance=2e-5):
    """Against the largest value of each array."""
    chex.assert_trees_all_equal_shapes(actual, expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(
            np.float64(one), np.float64(other), rtol=0, atol=tolerance * np.abs(np.float64(other)).max()
        )


@functools.partial(jax.jit, static_argnames=("reverse", "method"))
def value_and_gradients(given, weights, lengths=None, *, reverse=False, method="auto"):
    def loss(given):
        h = linear_scan(**given, lengths=lengths, reverse=reverse, method=method)
        return jnp.sum(h.astype(jnp.float32) * weights), h

    (_, h), gradients = jax.value_and_grad(loss, has_aux=True)(given)
    return h, gradients


def weigh(b: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).normal(size=b.shape).astype(np.float32)


def in_padding(given: dict[str, np.ndarray], constant: bool) -> dict[str, np.ndarray]:
    """The same with values in the padding that are not numbers, or with which the state would overflow."""
    wild = {name: np.array(value) for name, value in given.items()}
    for n, length in enumerate(LENGTHS):
        wild["b"][n, length:] = np.nan
        if not constant:
            wild["a"][n, length:] = 1e30
    return wild


@pytest.mark.parametrize(
    ("pairs", "constant", "reverse", "method"),
    [
        *((True, constant, reverse, "sequential") for constant in (True, False) for reverse in (True, False)),
        (False, True, False, "sequential"),
        (False, False, True, "sequential"),
        (True, True, False, "associative"),
        (True, False, True, "associative"),
        SLOW(False, True, True, "sequential"),
        SLOW(False, False, False, "sequential"),
        SLOW(True, True, True, "associative"),
        SLOW(True, False, False, "associative"),
        *(SLOW(False, constant, reverse, "associative") for constant in (True, False) for reverse in (True, False)),
    ],
)
def test_values_and_gradients_are_those_of_a_loop(pairs, constant, reverse, method):
    given = arguments(pairs, constant)
    weights, options = weigh(given["b"]), {"reverse": reverse, "method": method}
    for lengths in (np.full(B, T, np.int32), LENGTHS):
        expected = loop(given, pairs, reverse, lengths, weights)
        found = value_and_gradients(
            given if lengths is not LENGTHS else in_padding(given, constant), weights, lengths, **options
        )
        assert_close(found, expected)
        chex.assert_trees_all_equal_dtypes(found[1], given)


@pytest.mark.parametrize("reverse", [False, True])
def test_without_lengths_all_steps_are_read_and_without_a_start_it_is_zero(reverse):
    given = arguments(pairs=True, constant=False)
    expected = loop(given, True, reverse, np.full(B, T), weigh(given["b"]))
    assert_close(value_and_gradients(given, weigh(given["b"]), reverse=reverse), expected)
    nothing = given | {"start": 0 * given["start"]}
    expected, _ = loop(nothing, True, reverse, np.full(B, T), weigh(given["b"]))
    assert_close(linear_scan(given["a"], given["b"], reverse=reverse, method="sequential"), expected)


def test_one_step():
    given = arguments(pairs=True, constant=True)
    one = {"a": given["a"], "b": given["b"][:, :1], "start": given["start"]}
    for method in ("sequential", "associative"):
        expected = loop(one, True, False, np.ones(B, int), weigh(one["b"]))
        assert_close(value_and_gradients(one, weigh(one["b"]), method=method), expected)


@pytest.mark.parametrize(("constant", "method"), [(False, "sequential"), SLOW(True, "associative")])
def test_bfloat16_is_read_and_written_and_the_state_is_float32(constant, method):
    given = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), arguments(pairs=True, constant=constant))
    wide = jax.tree.map(lambda x: np.asarray(x, np.float32), given)
    found = value_and_gradients(given, weigh(wide["b"]), method=method)
    chex.assert_trees_all_equal_dtypes(found, (given["b"], given))
    assert_close(found, loop(wide, True, False, np.full(B, T), weigh(wide["b"])), 0.02)


def test_a_sum_of_many_ones_in_bfloat16_does_not_stop_at_256():
    ones = jnp.ones((1, 512, 1), jnp.bfloat16)
    assert linear_scan(ones[0, 0], ones, method="sequential")[0, -1, 0] == 512


def test_auto_is_sequential_on_a_cpu_and_for_a_few_steps():
    given = arguments(pairs=False, constant=False)

    def is_loop(given):
        program = str(jax.make_jaxpr(lambda given: linear_scan(**given))(given))
        return "scan[" in program or "while[" in program

    assert is_loop(given) == (jax.default_backend() == "cpu")
    assert is_loop(given | {name: given[name][:, :8] for name in "ab"})


def test_the_second_call_compiles_nothing(compilations):
    given = arguments(pairs=True, constant=True)
    gradients = jax.jit(lambda given, lengths: jax.grad(lambda g: linear_scan(**g, lengths=lengths).sum())(given))
    gradients(given, LENGTHS)
    compilations.clear()
    gradients(jax.tree.map(lambda x: x + 1, given), LENGTHS[::-1])
    assert compilations == []


@pytest.mark.parametrize("method", ["sequential", SLOW("associative")])
def test_vmap_over_seeds_agrees_with_a_loop(method):
    given = arguments(pairs=True, constant=True)
    weights, several = weigh(given["b"]), jax.tree.map(lambda x: np.stack([x, 0.9 * x, -x]), given)
    mapped = jax.vmap(functools.partial(value_and_gradients, method=method), in_axes=(0, None))(several, weights)
    seeds = [jax.tree.map(lambda x, s=s: x[s], several) for s in range(3)]
    looped = [loop(of, True, False, np.full(B, T), weights) for of in seeds]
    assert_close(mapped, jax.tree.map(lambda *leaves: np.stack(leaves), *looped))


@pytest.mark.parametrize("constant", [True, SLOW(False)])
def test_the_batch_may_be_split_over_two_devices(constant):
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    given = arguments(pairs=True, constant=constant, batch_size=6)
    weights = weigh(given["b"])
    split = {"a": P() if constant else P("batch"), "b": P("batch"), "start": P("batch")}

    @functools.partial(
        jax.shard_map,
        mesh=jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2]),
        in_specs=(split, P("batch")),
        out_specs=(P("batch"), split),
        check_vma=False,
    )
    def found(given, weights):
        h, gradients = value_and_gradients(given, weights)
        return h, gradients | ({"a": jax.lax.psum(gradients["a"], "batch")} if constant else {})

    assert_close(jax.jit(found)(given, weights), loop(given, True, False, np.full(6, T), weights))


@pytest.mark.parametrize("pairs", [False, True])
def test_the_backward_pass_keeps_a_and_h_and_nothing_else(pairs):
    given = arguments(pairs, constant=False)
    a, b = jnp.asarray(given["a"]), jnp.asarray(given["b"])
    h, backward = jax.vjp(functools.partial(linear_scan, method="sequential"), a, b)
    kept = [leaf for leaf in jax.tree.leaves(backward) if jnp.size(leaf) > 8]
    assert len(kept) == 2
    for found, expected in zip(kept, (a, h), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the sequential loop is for a CPU")
def test_memory_grows_by_no_more_than_inputs_and_outputs():
    a, b = np.ones((2, 64), np.float32), np.ones((4, 784, 2, 64), np.float32)

    def loss(a, b):
        h = linear_scan(a, b)
        return jnp.vdot(h, h)

    memory = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(a, b).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 1.1 * b.nbytes, "h; db is the output"


def test_forward_mode_is_refused_by_name():
    a, b = jnp.ones(N), jnp.ones((B, T, N))
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda b: linear_scan(a, b), (b,), (b,))


@pytest.mark.parametrize(
    ("a", "b", "options", "said"),
    [
        ((N,), (B, N), {}, r"b has the shape \[5, 7\]; it must be \[B, T, N\], or \[B, T, 2, N\]"),
        ((2, N), (B, T, 3, N), {}, r"b has the shape \[5, 9, 3, 7\]"),
        ((N,), (B, 0, N), {}, r"b has the shape \[5, 0, 7\]; .* without an axis of length 0"),
        ((N + 1,), (B, T, N), {}, r"a has the shape \[8\]; it must be \[7\] or \[5, 9, 7\], as b"),
        ((N,), (B, T, 2, N), {}, r"a has the shape \[7\]; it must be \[2, 7\] or \[5, 9, 2, 7\]"),
        ((N,), (B, T, N), {"start": np.zeros(N)}, r"start has the shape \[7\]; it must be \[5, 7\], as b at one step"),
        ((N,), (B, T, N), {"method": "fast"}, 'method is \'fast\'; it must be "auto", "sequential" or'),
        ((N,), (B, T, N), {"lengths": np.zeros(B, np.int32)}, "lengths holds 0; a length must be from 1 to 9"),
    ],
)
def test_what_does_not_fit_together_is_refused(a, b, options, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        linear_scan(np.zeros(a, np.float32), np.zeros(b, np.float32), **options)
