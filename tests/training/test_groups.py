import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.models.cells import CELLS, BasicLSTMCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.training.groups import decay_mask, scale_rates


def test_matrices_decay_and_biases_do_not():
    model = SequenceClassifier(BasicLSTMCell(4), num_classes=3, num_layers=2)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 5, 7)))["params"]
    params = {**params, "echo": {"reservoir_kernel": np.ones((4, 4)), "input_kernel": np.ones((7, 4))}}
    layer = {"kernel": True, "bias": False}
    names = {"layer_0_forward": layer, "layer_1_forward": layer, "readout": layer}
    assert decay_mask(params) == {**names, "echo": {"reservoir_kernel": False, "input_kernel": True}}


@pytest.mark.parametrize("name", CELLS)
def test_of_every_cell_the_matrices_decay_and_no_scale_bias_or_reservoir(name):
    model = SequenceClassifier(CELLS[name](4), num_classes=3)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 5, 7)))["params"]
    decaying, others = set(), set()
    for (path, leaf), decays in zip(
        jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(decay_mask(params)), strict=True
    ):
        (decaying if decays else others).add((jax.tree_util.keystr(path[-1:], simple=True), leaf.ndim))
    assert decaying == {("kernel", 2)}
    kinds = {"bias", "scale", "reservoir_kernel", "reservoir_input_kernel", "reservoir_bias", "candidate_bias"}
    assert {leaf for leaf, _ in others} <= kinds | {f"peephole_{gate}" for gate in ("input", "forget", "output")}
    if name == "layer_norm_lstm":  # a row for each gate
        assert {("scale", 2), ("bias", 2)} <= others


def test_of_an_own_cell_names_count_before_axes():
    stacked = {
        name: np.ones((2, 4))
        for name in (
            "scale",
            "bias",
            "gate_bias",
            "norm_scale",
            "reservoir_in",
            "bias_f",
            "Biases",
            "b",
            "gamma",
            "rescaled",
        )
    }
    params = {**stacked, "kernel": np.ones((2, 7, 4)), "time_constants": np.ones(4)}
    decays = {"kernel": True, "rescaled": True}
    assert decay_mask({"layer_0_forward": params}) == {"layer_0_forward": dict.fromkeys(params, False) | decays}


def test_the_updates_of_named_parameters_are_scaled_and_no_others():
    params = {"layer": {"nu_log": jnp.ones(2), "kernel": jnp.ones((2, 2))}, "nu_log_of_another": jnp.ones(1)}
    optimizer = optax.chain(optax.sgd(1.0), scale_rates({"nu_log": 0.25, "absent": 0.0}))
    updates, _ = optimizer.update(params, optimizer.init(params))
    assert jax.tree.map(lambda leaf: float(leaf.ravel()[0]), updates) == {
        "layer": {"nu_log": -0.25, "kernel": -1.0},
        "nu_log_of_another": -1.0,
    }


@pytest.mark.parametrize("factor", [-0.1, float("nan"), float("inf")])
def test_a_factor_outside_its_range_is_refused(factor):
    with pytest.raises(ValueError, match=r"^rates has .* for 'nu_log'; a factor must be 0 or more, and finite"):
        scale_rates({"nu_log": factor})


def test_rates_scale_the_updates_by_the_last_part_of_a_name():
    updates = {
        "layer": {"nu_log": np.ones(2, np.float32), "kernel": np.ones(2, np.float32)},
        "nu_log": {"kernel": np.ones(1, np.float32)},
        "Lambda": jnp.ones(3, jnp.bfloat16),
        "step": np.ones(1, np.float32),
    }
    rates = {"nu_log": 0.25, "Lambda": 2, "step": 0.0, "not there": 7.0}
    optimizer = scale_rates(rates)
    rates["nu_log"] = 100.0  # what the caller does later has no effect
    scaled, _ = jax.jit(optimizer.update)(updates, optimizer.init(updates))
    chex.assert_trees_all_equal_shapes_and_dtypes(scaled, updates)
    expected = {"layer": {"nu_log": 0.25, "kernel": 1}, "nu_log": {"kernel": 1}, "Lambda": 2, "step": 0}
    chex.assert_trees_all_equal(jax.tree.map(lambda x: float(x[0]), scaled), jax.tree.map(float, expected))
