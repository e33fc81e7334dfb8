"""Padded batches: what a network gives for a sequence in one is what it gives for the sequence alone."""

import functools
import re

import chex
import flax.linen as nn
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from rowlstm_jax.models import SequenceClassifier, lstm_scan
from rowlstm_jax.models.cells import CELLS, BasicLSTMCell
from rowlstm_jax.models.diagnostics import gates_over_time, gradient_diagnostics, probabilities_over_time
from rowlstm_jax.models.lengths import require_lengths
from rowlstm_jax.models.over_time import scan_over_time

pytestmark = pytest.mark.usefixtures("quick_compiler")

B, T, F, H = 3, 4, 2, 4
SLOW = pytest.mark.slow
settings = hypothesis.settings(derandomize=True, deadline=None, database=None, max_examples=10)
# Each length of a sequence alone is one more compilation.
lengths = st.lists(st.sampled_from([1, 3, T]), min_size=B, max_size=B)


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    shapes = (F + H, 4 * H), (4 * H,), (T, B, F), (B, H), (B, H)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def padded(inputs, chosen, axis=0):
    """Not a number in the padding: whatever reads it is found out."""
    steps = np.arange(T).reshape(-1, 1) < np.array(chosen)
    return jnp.where(jnp.asarray(steps if axis == 0 else steps.T)[..., None], inputs, jnp.nan)


@functools.partial(jax.jit, static_argnames=("reverse", "segment"))
def of_batch(kernel, bias, inputs, c, h, chosen, weights, reverse, segment):
    """Carry and outputs, and the gradients of a sum of both with random weights."""

    def loss(kernel, bias, inputs, c, h):
        carry, outputs = lstm_scan(kernel, bias, inputs, (c, h), reverse=reverse, segment=segment, lengths=chosen)
        return sum((a * b).sum() for a, b in zip((*carry, outputs), weights, strict=True)), (carry, outputs)

    return jax.value_and_grad(loss, argnums=range(5), has_aux=True)(kernel, bias, inputs, c, h)


@settings
@hypothesis.given(chosen=lengths)
@pytest.mark.parametrize(
    ("reverse", "segment"),
    [(False, None), (True, 3), *(pytest.param(*of, marks=SLOW) for of in ((True, None), (False, 2)))],
)
def test_the_fused_lstm_gives_each_sequence_what_it_gives_it_alone(reverse, segment, chosen):
    kernel, bias, inputs, c, h = arrays()
    weights = [jnp.asarray(np.random.default_rng(7).normal(size=x), jnp.float32) for x in ((B, H), (B, H), (T, B, H))]
    inside = (np.arange(T)[:, None] < np.array(chosen))[..., None]
    weights[2] = weights[2] * inside  # outputs in the padding are 0 and have no gradient
    (_, ((c_end, h_end), outputs)), found = of_batch(
        kernel, bias, padded(inputs, chosen), c, h, jnp.array(chosen), weights, reverse, segment
    )
    assert not np.asarray(outputs)[~np.broadcast_to(inside, outputs.shape)].any()
    total = [np.zeros(x.shape) for x in (kernel, bias)]
    for n, length in enumerate(chosen):
        # Backward is forward over what is turned round: one program is compiled for both.
        turn = functools.partial(jnp.flip, axis=0) if reverse else lambda x: x
        alone = kernel, bias, turn(inputs[:length, n : n + 1]), c[n : n + 1], h[n : n + 1]
        part = weights[0][n : n + 1], weights[1][n : n + 1], turn(weights[2][:length, n : n + 1])
        (_, (carry, output)), own = of_batch(*alone, None, part, False, None)
        output, own_inputs = turn(output), turn(own[2])
        chex.assert_trees_all_close((c_end[n], h_end[n]), (carry[0][0], carry[1][0]), rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(outputs[:length, n], output[:, 0], rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(found[2][:length, n], own_inputs[:, 0], rtol=1e-4, atol=1e-5)
        assert not np.asarray(found[2])[length:, n].any(), "padding has no gradient"
        chex.assert_trees_all_close((found[3][n], found[4][n]), (own[3][0], own[4][0]), rtol=1e-4, atol=1e-5)
        total = [a + b for a, b in zip(total, own[:2], strict=True)]
    chex.assert_trees_all_close(found[:2], tuple(total), rtol=1e-4, atol=1e-5)


MODELS = {
    "fused": SequenceClassifier(BasicLSTMCell(H), 3),
    "two layers both ways": SequenceClassifier(BasicLSTMCell(H), 3, num_layers=2, bidirectional=True, readout="mean"),
    "gru, both ways": SequenceClassifier(CELLS["gru"](H), 3, bidirectional=True),
    "scanned lstm, mean": SequenceClassifier(BasicLSTMCell(H), 3, recurrence="scan", readout="mean"),
    **{f"{name}, last": SequenceClassifier(make(H), 3, recurrence="scan") for name, make in CELLS.items()},
}
FAST = ["gru, both ways"]


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=SLOW) for name in MODELS if name not in FAST)])
def test_logits_and_gradients_are_those_of_each_sequence_alone(name):
    model, inputs = MODELS[name], arrays()[2].swapaxes(0, 1)
    params = jax.jit(model.init)(jax.random.key(0), inputs)

    @jax.jit
    def gradients(params, inputs, weights, chosen):
        def loss(params, inputs):
            logits = model.apply(params, inputs, lengths=chosen)
            return (logits * weights).sum(), logits

        (_, logits), found = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, inputs)
        return logits, *found

    weights = jnp.asarray(np.random.default_rng(1).normal(size=(B, 3)), jnp.float32)
    for chosen in ([2, 4, 4], [4, 2, 2]):
        logits, by_params, by_inputs = gradients(params, padded(inputs, chosen, 1), weights, jnp.array(chosen))
        parts = []
        for n, length in enumerate(chosen):
            own = gradients(params, inputs[n : n + 1, :length], weights[n : n + 1], None)
            chex.assert_trees_all_close(logits[n], own[0][0], rtol=1e-4, atol=1e-5)
            chex.assert_trees_all_close(by_inputs[n, :length], own[2][0], rtol=1e-3, atol=1e-5)
            assert not by_inputs[n, length:].any()
            parts.append(own[1])
        chex.assert_trees_all_close(by_params, jax.tree.map(lambda *of: sum(of), *parts), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_over_time_stays_at_the_end_of_the_sequence(readout):
    model, chosen = SequenceClassifier(BasicLSTMCell(H), 3, readout=readout), [1, 3, 4]
    inputs = arrays()[2].swapaxes(0, 1)
    params = jax.jit(model.init)(jax.random.key(0), inputs)
    apply = jax.jit(functools.partial(model.apply, over_time=True))
    logits, whole = apply(params, inputs, lengths=np.array(chosen)), apply(params, inputs)
    for n, length in enumerate(chosen):
        chex.assert_trees_all_close(logits[n, :length], whole[n, :length], rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(logits[n, length:], jnp.tile(whole[n, length - 1], (T - length, 1)), atol=1e-6)
    probabilities = jax.jit(functools.partial(probabilities_over_time, model))(
        params["params"], inputs, jnp.array(chosen)
    )
    chex.assert_trees_all_close(probabilities, nn.softmax(logits), rtol=1e-5)


def test_diagnostics_leave_padding_out():
    model, inputs, chosen = SequenceClassifier(BasicLSTMCell(H), 3), arrays()[2].swapaxes(0, 1), [3, 3, 3]
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    args = params, padded(inputs, chosen, 1), jnp.array([0, 1, 2])
    found = jax.jit(functools.partial(gradient_diagnostics, model))(*args, jnp.array(chosen))
    short = jax.jit(functools.partial(gradient_diagnostics, model))(params, inputs[:, :3], args[2])
    for name, value in short.items():
        inside = found[name][:3] if value.shape == (3,) else found[name]
        chex.assert_trees_all_close(inside, value, rtol=1e-4, atol=1e-6)
    of_gates = jax.jit(functools.partial(gates_over_time, model))
    gates = of_gates(params, args[1], jnp.array(chosen))["layer_0_forward"]["f"]
    chex.assert_trees_all_close(gates[:3], of_gates(params, inputs[:, :3])["layer_0_forward"]["f"], rtol=1e-6)


def of_padded(given, chosen, **more):
    """A sum of the squares of the carry and the outputs."""
    kernel, bias, inputs, c, h = given
    found = lstm_scan(kernel, bias, inputs, (c, h), lengths=chosen, **more)
    return sum((leaf.astype(jnp.float32) ** 2).sum() for leaf in jax.tree.leaves(found))


def test_bfloat16_has_the_same_gradients_for_a_sequence_alone():
    given, chosen = arrays(), [2, 2, 2]
    gradient = jax.jit(jax.grad(functools.partial(of_padded, dtype=jnp.bfloat16, reverse=True)))
    found = gradient([*given[:2], padded(given[2], chosen), *given[3:]], jnp.array(chosen))
    expected = gradient([*given[:2], given[2][:2], *given[3:]], None)
    assert not np.asarray(found[2])[2:].any()
    chex.assert_trees_all_close([*found[:2], found[2][:2], *found[3:]], expected, rtol=1e-2, atol=1e-2)


def test_vmap_may_map_lengths():
    given, chosen = arrays(), jnp.array([[1, 3, 4], [4, 2, 1]])
    gradient = jax.jit(jax.grad(of_padded))
    found = jax.jit(jax.vmap(jax.grad(of_padded), in_axes=(None, 0)))(given, chosen)
    expected = jax.tree.map(lambda *of: jnp.stack(of), *(gradient(given, of) for of in chosen))
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


def test_shard_map_may_split_sequences_and_lengths():
    if len(jax.devices()) < B:
        pytest.skip("needs three devices")
    split = [P(), P(), P(None, "batch"), P("batch"), P("batch")]

    def gradients(given, chosen):
        found = jax.grad(of_padded)(given, chosen)
        return [*jax.lax.psum(found[:2], "batch"), *found[2:]]

    mesh = jax.make_mesh((B,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.shard_map(gradients, mesh=mesh, in_specs=(split, P("batch")), out_specs=split, check_vma=False)
    given, chosen = arrays(), [1, 3, 4]
    given[2] = padded(given[2], chosen)
    expected = jax.jit(jax.grad(of_padded))(given, jnp.array(chosen))
    chex.assert_trees_all_close(jax.jit(sharded)(given, jnp.array(chosen)), expected, rtol=1e-4, atol=1e-5)


class Sowing(nn.RNNCellBase):
    """Sows what it reads, and carries a tree; with `count`, also a number that is not of any sequence."""

    count: bool = False

    @nn.compact
    def __call__(self, carry, inputs):
        self.sow("intermediates", "sum", carry["sum"] + inputs)
        new = {name: value + (inputs if name == "sum" else 1) for name, value in carry.items()}
        return new, new["sum"]

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        carry = {"sum": jnp.zeros(input_shape), "steps": jnp.zeros(input_shape[0], jnp.int32)}
        return carry | ({"count": jnp.zeros((), jnp.int32)} if self.count else {})

    @property
    def num_feature_axes(self):
        return 1


class Net(nn.Module):
    cell: nn.RNNCellBase
    reverse: bool = False

    @nn.compact
    def __call__(self, inputs, lengths):
        return scan_over_time(self.cell.clone(name="layer", parent=self), inputs, self.reverse, lengths)


@settings
@hypothesis.given(chosen=lengths)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_sows_and_returns_what_it_does_for_each_sequence_alone(reverse, chosen):
    inputs = arrays()[2].swapaxes(0, 1)
    outputs, sown = scan_and_sow(padded(inputs, chosen, 1), jnp.array(chosen), reverse)
    for n, length in enumerate(chosen):
        part = np.asarray(inputs)[n, :length]
        expected = part[::-1].cumsum(axis=0)[::-1] if reverse else part.cumsum(axis=0)
        chex.assert_trees_all_close(outputs[n, :length], expected, rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(sown[:length, n], expected, rtol=1e-5, atol=1e-6)
        assert not np.asarray(outputs)[n, length:].any()


@functools.partial(jax.jit, static_argnames="reverse")
def scan_and_sow(inputs, chosen, reverse):
    outputs, seen = Net(Sowing(), reverse).apply({}, inputs, chosen, mutable="intermediates")
    return outputs, seen["intermediates"]["layer"]["sum"][0]


def test_a_carry_that_is_not_of_a_sequence_is_refused_with_lengths():
    inputs = jnp.zeros((B, T, F))
    chex.assert_shape(Net(Sowing(count=True)).apply({}, inputs, None), (B, T, F))
    with pytest.raises(ValueError, match=r"cell Sowing carries an array of shape \[\]; with lengths, each part"):
        Net(Sowing(count=True)).apply({}, inputs, jnp.full(B, T))
    with pytest.raises(ValueError, match="lengths holds 0"):
        Net(Sowing()).apply({}, inputs, jnp.zeros(B, jnp.int32))


@pytest.mark.parametrize("more", [{}, {"reverse": True}, {"segment": 3}])
def test_without_lengths_nothing_is_added(more):
    given = arrays()
    # No array [B, ...] is chosen from two; constants of the gates and indices of time are.
    masks = re.compile(rf":\w+\[{B},[\d,]*\] = select_n")

    def program(**lengths):
        def loss(kernel, bias, inputs, c, h):
            (c, h), outputs = lstm_scan(kernel, bias, inputs, (c, h), **more, **lengths)
            return c.sum() + h.sum() + outputs.sum()

        return [str(jax.make_jaxpr(f)(*given)) for f in (loss, jax.grad(loss, argnums=range(5)))]

    for plain, none, full in zip(program(), program(lengths=None), program(lengths=np.full(B, T)), strict=True):
        assert plain == none
        assert not masks.search(plain)
        assert masks.search(full)


@pytest.mark.parametrize("cell", [BasicLSTMCell(H), CELLS["gru"](H)])
def test_a_model_without_lengths_is_the_same_program(cell):
    model, inputs = SequenceClassifier(cell, 3, readout="mean"), arrays()[2].swapaxes(0, 1)
    params = jax.jit(model.init)(jax.random.key(0), inputs)
    plain, none = (
        str(jax.make_jaxpr(jax.grad(lambda params, of=of: model.apply(params, inputs, **of).sum()))(params))
        for of in ({}, {"lengths": None})
    )
    assert plain == none


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([0, 1, 2], r"lengths holds 0; a length must be from 1 to 4"),
        ([1, 7, 2], r"lengths holds 7; a length must be from 1 to 4"),
        ([1, 2], r"lengths are int(32|64) \[2\]; they must be a whole number for each sequence, int \[3\]"),
        ([1.0, 2.0, 3.0], r"lengths are float(32|64) \[3\]"),
    ],
)
def test_a_length_that_can_not_be_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        require_lengths(np.array(wrong), B, T)
    model, inputs = SequenceClassifier(BasicLSTMCell(H), 3), arrays()[2].swapaxes(0, 1)
    with pytest.raises(ValueError, match="lengths"):
        model.init(jax.random.key(0), inputs, lengths=np.array(wrong))
    if len(wrong) != B:
        with pytest.raises(ValueError, match="lengths are"):
            jax.eval_shape(lambda of: require_lengths(of, B, T), jnp.array(wrong))


def test_a_list_of_lengths_is_refused():
    with pytest.raises(ValueError, match=r"lengths are a list; they must be an array of whole numbers, int \[3\]"):
        require_lengths([1, 2, 3], B, T)  # pyright: ignore[reportArgumentType]
