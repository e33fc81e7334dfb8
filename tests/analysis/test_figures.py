"""Figures over seeds are read as summary.json has them."""

import pytest

from rowlstm_jax.analysis.figures import values_over_seeds


@pytest.mark.parametrize(
    ("value", "values"), [(0.5, [0.5]), (1, [1.0]), ({"values": [0.5, 1]}, [0.5, 1.0]), ({"values": [0.25]}, [0.25])]
)
def test_a_figure_is_a_number_or_has_values_over_seeds(value, values):
    assert values_over_seeds(value) == values


@pytest.mark.parametrize(
    "value", [None, "0.5", True, [0.5], {}, {"values": []}, {"values": 0.5}, {"values": [None]}, 10**400, float("inf")]
)
def test_what_is_no_figure_is_refused(value):
    with pytest.raises(ValueError, match="is neither a number nor values over seeds"):
        values_over_seeds(value)
