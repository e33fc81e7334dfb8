"""The layouts of one layer: shapes, order of gates, and that reading undoes writing."""

import chex
import numpy as np
import pytest

from rowlstm_jax.interop import layouts
from rowlstm_jax.interop.layouts import GATES, Direction, reorder

F, H = 4, 5
LAYOUTS = {
    **{f"torch {kind}": (kind, layouts.torch(kind)) for kind in GATES},
    **{f"keras {kind}": (kind, layouts.keras(kind)) for kind in GATES},
    **{f"flax {kind}": (kind, layouts.flax(kind)) for kind in GATES},
    "joined lstm": ("lstm", layouts.joined("lstm", ("i", "g", "f", "o"))),
    "joined elman": ("elman", layouts.joined("elman", GATES["elman"], "hidden/")),
    "own gru": ("gru", layouts.own_gru()),
}
each_layout = pytest.mark.parametrize("name", LAYOUTS)


def direction(kind):
    rng, gates = np.random.default_rng(0), len(GATES[kind])
    kernel, recurrent, bias = (rng.normal(size=(n, gates * H)) for n in (F, H, 1))
    return Direction(kernel, recurrent, bias[0], rng.normal(size=H) if kind == "gru" else None)


@each_layout
def test_reading_undoes_writing_to_the_bit(name):
    kind, layout = LAYOUTS[name]
    weights = direction(kind)
    chex.assert_trees_all_equal(layout.read(layout.write(weights)), weights)


@each_layout
def test_the_arrays_have_the_shapes_in_the_order_that_the_layout_says(name):
    kind, layout = LAYOUTS[name]
    shapes = layout.shapes(F, H)
    assert {key: array.shape for key, array in layout.write(direction(kind)).items()} == shapes
    if name.startswith("keras"):  # whose weights are a list
        assert list(layout.write(direction(kind))) == list(shapes)
    first, wider = (next(iter(layout.shapes(inputs, H).values())) for inputs in (F, F + 3))
    assert wider[layout.input_axis] - first[layout.input_axis] == 3


def test_gates_are_put_in_another_order():
    array = np.array([[1, 2, 3, 4, 5, 6]])
    np.testing.assert_array_equal(reorder(array, ("r", "z", "n"), ("z", "r", "n")), [[3, 4, 1, 2, 5, 6]])
    np.testing.assert_array_equal(reorder(array, ("r", "z", "n"), ("n", "r", "z")), [[5, 6, 1, 2, 3, 4]])


@pytest.mark.parametrize("library", ["torch", "keras"])
def test_two_biases_of_a_gru_become_one_but_for_the_candidate(library):
    layout, weights = getattr(layouts, library)("gru"), direction("gru")
    arrays = layout.write(weights)
    if library == "torch":
        arrays["bias_ih"] = arrays["bias_ih"] - 1
        arrays["bias_hh"] = arrays["bias_hh"] + 1
    else:
        arrays["bias"] = arrays["bias"] + np.array([[-1], [1]])
    read = layout.read(arrays)
    np.testing.assert_allclose(read.bias, weights.bias - np.repeat([0, 0, 1], H))
    assert weights.candidate_bias is not None
    np.testing.assert_allclose(read.candidate_bias, weights.candidate_bias + 1)


def test_two_biases_of_an_lstm_add_up():
    layout, weights = layouts.torch("lstm"), direction("lstm")
    arrays = layout.write(weights)
    arrays["bias_hh"] = np.arange(4.0 * H)
    np.testing.assert_array_equal(layout.read(arrays).bias, weights.bias + np.arange(4.0 * H))
