"""What every conversion does with a model: which ones it takes, and what the arrays are that it returns."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.interop import from_flax, from_keras, from_tf1, from_torch, to_flax, to_keras, to_tf1, to_torch
from rowlstm_jax.interop.convert import array_names, convert, own_format
from rowlstm_jax.models.cells import CELLS as ALL_CELLS
from rowlstm_jax.models.cells import BasicLSTMCell, GRUCell
from rowlstm_jax.models.classifier import SequenceClassifier
from tests.interop.networks import C, H, network


def test_own_arrays_have_the_names_of_the_parameters_in_their_order_by_layer():
    model, _ = network("gru", num_layers=1, bidirectional=True)
    arrays = ("input/kernel", "input/bias", "recurrent/kernel", "candidate_bias")
    layers = [f"layer_0_{direction}/{array}" for direction in ("forward", "backward") for array in arrays]
    assert array_names(model, own_format(model)) == [*layers, "readout/kernel", "readout/bias"]


def test_a_constant_is_added_for_f_where_the_formats_differ_by_it():
    model, params = network(num_layers=1, bidirectional=False)
    flat = {f"{layer}/{name}": array for layer, arrays in params.items() for name, array in arrays.items()}
    own = own_format(model)
    assert own.forget_bias == 0.75
    chex.assert_trees_all_equal(convert(model, flat, own, own), flat)
    without = convert(model, flat, own, own._replace(forget_bias=0.25))
    difference = without["layer_0_forward/bias"] - flat["layer_0_forward/bias"]
    np.testing.assert_allclose(np.split(difference, 4), [[0] * H, [0] * H, [0.5] * H, [0] * H], atol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_arrays_have_the_dtype_of_the_parameters_and_are_new(dtype):
    model, params = network(param_dtype=dtype)
    state = to_torch(model, params)
    assert {array.dtype for array in state.values()} == {jnp.dtype(dtype)}
    assert all(array.flags.writeable and array.flags.c_contiguous for array in state.values())
    assert not any(np.shares_memory(a, b) for a in state.values() for b in jax.tree.leaves(params))
    assert {leaf.dtype for leaf in jax.tree.leaves(from_torch(model, state))} == {jnp.dtype(dtype)}


def test_the_variables_of_init_and_jax_arrays_are_taken_too():
    model, params = network()
    variables = {"params": jax.tree.map(jnp.asarray, params)}
    chex.assert_trees_all_equal(to_torch(model, variables), to_torch(model, params))


def test_dropout_and_the_way_to_compute_change_no_weights():
    model, params = network()
    other = model.clone(dropout=0.5, recurrence="scan")
    chex.assert_trees_all_equal(to_torch(other, params), to_torch(model, params))


@pytest.mark.parametrize("name", sorted(set(ALL_CELLS) - {"lstm", "gru", "elman"}))
def test_cells_that_other_libraries_lack_are_refused(name):
    model = SequenceClassifier(ALL_CELLS[name](H), C)
    for function in (to_torch, from_torch, to_keras, from_keras, to_flax, from_flax, to_tf1, from_tf1):
        with pytest.raises(ValueError, match=r"^The cell is rowlstm_jax's \w+Cell, which other libraries lack; these"):
            function(model, {})


class OwnLSTM(BasicLSTMCell):
    pass


class OwnClassifier(SequenceClassifier):
    pass


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (SequenceClassifier(OwnLSTM(H), C), r"^The cell is \w+'s OwnLSTM, which other libraries lack"),
        (OwnClassifier(BasicLSTMCell(H), C), "^The model is a OwnClassifier; only a SequenceClassifier can be"),
        (SequenceClassifier(nn.SimpleCell(H, residual=True), C), "flax's SimpleCell with other functions .*residual"),
        (SequenceClassifier(nn.GRUCell(H, gate_fn=nn.hard_sigmoid), C), "^The cell is flax's GRUCell with other"),
        (SequenceClassifier(GRUCell(H, carry_init=nn.initializers.ones), C), "initial carry that is not zero"),
    ],
)
def test_models_that_may_compute_something_else_are_refused(model, sentence):
    with pytest.raises(ValueError, match=sentence):
        to_torch(model, {})
