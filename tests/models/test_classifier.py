import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.models.cells import BasicLSTMCell, Cell
from rowlstm_jax.models.classifier import SequenceClassifier
from tests.reference import cross_entropy, lstm

pytestmark = pytest.mark.usefixtures("quick_compiler")

CELLS = [BasicLSTMCell, nn.OptimizedLSTMCell, nn.GRUCell, nn.SimpleCell]


def init(model: nn.Module, inputs):
    return jax.jit(model.init)(jax.random.key(0), inputs)


def test_the_notebooks_model_has_81674_parameters():
    model = SequenceClassifier(BasicLSTMCell(128), num_classes=10)
    variables = jax.eval_shape(lambda: init(model, jnp.zeros((1, 28, 28))))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 81_674


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_every_cell_maps_sequences_to_logits_under_jit_and_grad(cell, dtype):
    model = SequenceClassifier(cell(6), num_classes=4, bidirectional=True, dtype=dtype)
    inputs = jax.random.normal(jax.random.key(1), (5, 13, 7))
    variables = init(model, inputs)

    def total(variables):
        logits = model.apply(variables, inputs)
        return logits.astype(jnp.float32).sum(), logits

    (_, logits), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(variables)
    chex.assert_shape(logits, (5, 4))
    assert logits.dtype == (dtype or jnp.float32)
    chex.assert_trees_all_equal_shapes_and_dtypes(gradients, variables)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("recurrence", ["scan", "fused"])
def test_two_layers_agree_with_numpy(readout, bidirectional, recurrence):
    inputs = np.random.default_rng(0).normal(size=(5, 13, 7)).astype(np.float32)
    shape = {"num_layers": 2, "bidirectional": bidirectional, "readout": readout}
    model = SequenceClassifier(BasicLSTMCell(6), num_classes=4, recurrence=recurrence, **shape)
    variables = init(model, inputs)
    params = jax.tree.map(np.asarray, variables["params"])
    outputs, finals = inputs, []
    for layer in range(2):
        forward, _ = lstm(*_weights(params, f"layer_{layer}_forward"), outputs, 1.0)
        parts, finals = [forward], [forward[:, -1]]
        if bidirectional:
            # The backward reader reads the last step first, so what it knows at the end stands at t = 0.
            backward, _ = lstm(*_weights(params, f"layer_{layer}_backward"), outputs[:, ::-1], 1.0)
            parts.append(backward[:, ::-1])
            finals.append(backward[:, -1])
        outputs = np.concatenate(parts, axis=-1)
    features = np.concatenate(finals, axis=-1) if readout == "last" else outputs.mean(axis=1)
    expected = features @ params["readout"]["kernel"] + params["readout"]["bias"]
    np.testing.assert_allclose(jax.jit(model.apply)(variables, inputs), expected, rtol=1e-5, atol=1e-5)


def _weights(params, name):
    return params[name]["kernel"], params[name]["bias"]


@pytest.mark.parametrize("recurrence", ["scan", "fused"])
def test_gradients_agree_with_finite_differences_of_numpy_in_float64(recurrence):
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(3, 5, 2)), np.array([0, 2, 1])
    with jax.enable_x64(True):
        model = SequenceClassifier(BasicLSTMCell(4), num_classes=3, recurrence=recurrence, param_dtype=jnp.float64)
        variables = init(model, inputs)

        def loss(variables):
            log_probabilities = jax.nn.log_softmax(model.apply(variables, inputs))
            return -jnp.mean(log_probabilities[jnp.arange(3), labels])

        gradients = jax.tree.map(np.asarray, jax.jit(jax.grad(loss))(variables)["params"])
    params = jax.tree.map(np.array, variables["params"])  # writable copies

    def numpy_loss() -> float:
        _, (_, h) = lstm(*_weights(params, "layer_0_forward"), inputs, 1.0)
        return cross_entropy(h @ params["readout"]["kernel"] + params["readout"]["bias"], labels)

    for leaf, gradient in zip(jax.tree.leaves(params), jax.tree.leaves(gradients), strict=True):
        for index in np.ndindex(leaf.shape):
            value, step = leaf[index], 1e-6
            leaf[index] = value + step
            above = numpy_loss()
            leaf[index] = value - step
            below = numpy_loss()
            leaf[index] = value
            np.testing.assert_allclose(gradient[index], (above - below) / (2 * step), rtol=1e-6, atol=1e-9)


def test_dropout_between_layers_changes_over_time_and_with_the_key():
    class Pass(nn.RNNCellBase):
        features: int

        def __call__(self, carry, inputs):
            return carry, inputs

        @nn.nowrap
        def initialize_carry(self, rng, input_shape):
            return jnp.zeros(input_shape)

        @property
        def num_feature_axes(self):
            return 1

    seen = {}

    def spy(next_function, args, kwargs, context):
        result = next_function(*args, **kwargs)
        if isinstance(context.module, nn.Dropout):
            seen["masks"] = result
        return result

    model = SequenceClassifier(Pass(8), num_classes=2, num_layers=2, dropout=0.5)
    inputs = jnp.ones((4, 16, 8))
    variables = init(model, inputs)
    with nn.intercept_methods(spy):
        model.apply(variables, inputs, train=True, rngs={"dropout": jax.random.key(0)})
        masks = seen["masks"]
        model.apply(variables, inputs, train=True, rngs={"dropout": jax.random.key(1)})
    assert set(np.unique(masks)) == {0.0, 2.0}
    assert len(np.unique(masks.swapaxes(0, 1).reshape(16, -1), axis=0)) == 16, "time steps share a mask"
    assert (masks != seen["masks"]).any()
    chex.assert_trees_all_equal(model.apply(variables, inputs), model.apply(variables, inputs, train=False))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"readout": "first"}, "readout is 'first'"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"recurrence": "fast"}, "recurrence is 'fast'"),
        ({"dropout": 0.3}, "dropout is 0.3, but it acts between layers and this model has one"),
        ({"dropout": -0.1, "num_layers": 2}, "dropout is -0.1"),
        ({"dropout": 1.0, "num_layers": 2}, "dropout is 1.0"),
        ({"dropout": float("nan"), "num_layers": 2}, "dropout is nan"),
        ({"segment": 0}, "segment is 0"),
        ({"segment": 2, "recurrence": "scan"}, "segment is 2, but only the fused recurrence"),
        ({"segment": 2, "cell": nn.GRUCell(2)}, "segment is 2, but only the fused recurrence"),
        ({"recurrence": "fused", "cell": nn.GRUCell(2)}, 'recurrence is "fused", .* choose "scan" for GRUCell'),
    ],
)
def test_attributes_that_are_wrong_or_would_be_ignored_are_refused(wrong, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        init(SequenceClassifier(**{"cell": BasicLSTMCell(2), "num_classes": 2} | wrong), jnp.zeros((1, 3, 2)))


class Subclass(BasicLSTMCell):
    """May compute something else."""


@pytest.mark.parametrize(("cell", "is_fused"), [(BasicLSTMCell, True), (Subclass, False), (nn.GRUCell, False)])
def test_auto_is_fused_for_exactly_the_cell_that_the_fused_recurrence_knows(cell, is_fused):
    inputs = jnp.zeros((1, 3, 2))

    def program(recurrence):
        model = SequenceClassifier(cell(2), num_classes=2, recurrence=recurrence)
        variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
        return str(jax.make_jaxpr(model.apply)(variables, inputs))

    assert ("custom_vjp" in program("auto")) == is_fused
    assert "custom_vjp" not in program("scan")
    if not is_fused:
        with pytest.raises(ValueError, match=cell.__name__):
            program("fused")


@pytest.mark.parametrize(("cell", "readout"), [(BasicLSTMCell, "last"), (BasicLSTMCell, "mean"), (nn.GRUCell, "mean")])
def test_logits_over_time_are_those_of_sequences_that_end_there(cell, readout):
    model = SequenceClassifier(cell(6), num_classes=4, num_layers=2, readout=readout)
    inputs = jax.random.normal(jax.random.key(1), (5, 3, 7))
    variables = init(model, inputs)
    over_time = jax.jit(lambda variables: model.apply(variables, inputs, over_time=True))(variables)
    chex.assert_shape(over_time, (5, 3, 4))
    ended = [jax.jit(model.apply)(variables, inputs[:, :steps]) for steps in range(1, 4)]
    np.testing.assert_allclose(over_time, np.stack(ended, axis=1), rtol=1e-5, atol=1e-6)


def test_logits_over_time_of_a_bidirectional_model_are_refused():
    model = SequenceClassifier(BasicLSTMCell(2), num_classes=2, bidirectional=True)
    variables = init(model, jnp.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match="backward"):
        model.apply(variables, jnp.zeros((1, 3, 2)), over_time=True)


def test_a_mean_over_time_in_bfloat16_is_summed_in_float32():
    class Ones(nn.RNNCellBase):
        def __call__(self, carry, inputs):
            return carry, jnp.ones((*inputs.shape[:-1], 1), jnp.bfloat16)

        @nn.nowrap
        def initialize_carry(self, rng, input_shape):
            return jnp.zeros(input_shape)

        @property
        def num_feature_axes(self):
            return 1

    model = SequenceClassifier(Ones(), 1, readout="mean", kernel_init=nn.initializers.ones)
    inputs = jnp.zeros((1, 600, 1))  # in bfloat16 a sum of ones stops at 256
    over_time = model.apply(init(model, inputs), inputs, over_time=True)
    assert set(np.unique(over_time)) == {1.0}


def test_inputs_of_the_wrong_rank_are_refused():
    with pytest.raises(AssertionError, match="rank"):
        init(SequenceClassifier(BasicLSTMCell(2), num_classes=2), jnp.zeros((3, 2)))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, (jnp.bfloat16, jnp.bfloat16)), ({"dtype": jnp.float32, "param_dtype": jnp.float32}, (jnp.float32,) * 2)],
)
def test_a_cell_keeps_its_own_dtypes_unless_the_model_sets_them(fields, expected):
    cell = BasicLSTMCell(4, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    model = SequenceClassifier(cell, num_classes=2, **fields)
    variables = init(model, jnp.zeros((1, 3, 2)))
    parameters = jax.tree.leaves(variables["params"]["layer_0_forward"])
    outputs = model.apply(variables, jnp.zeros((1, 3, 2), expected[0]))
    assert ({leaf.dtype for leaf in parameters}, outputs.dtype) == ({jnp.dtype(expected[1])}, jnp.float32)


class NoCarry(Cell):
    """A cell with a mistake: it returns its output only."""

    def __call__(self, carry, inputs):
        return carry


class OtherCarry(Cell):
    """A cell with a mistake: its carry grows."""

    def __call__(self, carry, inputs):
        return jnp.concatenate([carry, carry], axis=-1), carry


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (NoCarry(8), r"cell NoCarry returned one \w+; a cell must return \(new carry, output\)\."),
        (
            OtherCarry(8),
            r"cell OtherCarry got a carry of shapes \(2, 8\) and returned \(2, 16\); they must be the same\.",
        ),
    ],
)
def test_a_mistake_of_an_own_cell_is_told_in_its_terms(cell, words):
    with pytest.raises(ValueError, match=words):
        SequenceClassifier(cell, num_classes=3).init(jax.random.key(0), jnp.zeros((2, 5, 7)))
