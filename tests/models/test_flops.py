import pytest

from rowlstm_jax.models.flops import forward_flops
from rowlstm_jax.models.layers import make

C, F, H = 3, 3, 5


@pytest.mark.parametrize("name", ["lstm", "gru", "cornn", "lru"])
def test_flops_of_a_model_grow_with_its_time_steps_and_its_inputs(name):
    flops = forward_flops(make(name, H), C, 2, F)
    readout = 2 * forward_flops(make(name, H), C, 1, F) - flops
    assert 2 * H * C <= readout <= 3 * H * C
    assert flops < forward_flops(make(name, H), C, 2, 2 * F)
