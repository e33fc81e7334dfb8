from rowlstm_jax.models.weights import lasting, variables, weights


def test_weights_are_the_parameters_or_all_variables():
    params, stats = {"kernel": 1}, {"mean": 2}
    assert weights(params, {}) is params
    assert variables(params) == {"params": params}
    both = weights(params, {"batch_stats": stats})
    assert variables(both) == {"params": params, "batch_stats": stats}


def test_what_a_step_hands_on_is_neither_parameters_nor_observations():
    assert lasting({"params": 1, "batch_stats": 2, "intermediates": 3, "perturbations": 4}) == {"batch_stats": 2}
