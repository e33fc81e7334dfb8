"""How a batch is made of stored images."""

import chex
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.tasks import scale
from rowlstm_jax.training.batch import gather, read_batch


def test_a_batch_is_read_as_scaled_rows_with_integer_labels(tiny_data):
    images, labels = tiny_data.train.inputs, tiny_data.train.targets
    batch = read_batch((images[:4], labels[:4]), np.ones(4, bool), scale)
    chex.assert_shape(batch.inputs, (4, 5, 7))
    chex.assert_type([batch.inputs, batch.targets, batch.mask], [jnp.float32, jnp.int32, bool])
    np.testing.assert_allclose(batch.inputs, images[:4] / 255, rtol=1e-6)
    chosen = gather((images, labels), np.array([3, 1]), scale)
    np.testing.assert_array_equal(chosen.targets, labels[[3, 1]])
