import chex
import jax
import numpy as np

from rowlstm_jax.sequences import ORDERS, scale


def test_scale_maps_0_and_255_to_0_and_1_exactly():
    pixels = np.arange(256, dtype=np.uint8)
    scaled = jax.jit(scale)(pixels)
    assert scaled.dtype == np.float32
    assert (scaled[0], scaled[255]) == (0.0, 1.0)
    np.testing.assert_allclose(scaled, np.arange(256) / 255, rtol=1e-7)


def test_rows_are_time_steps():
    images = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    sequences = ORDERS["rows"](images)
    chex.assert_shape(sequences, (2, 3, 4))
    np.testing.assert_array_equal(sequences[1, 2], images[1, 2])
