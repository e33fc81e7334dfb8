import numpy as np
import pytest

from rowlstm_jax.data.batches import batch_indices, epoch_order


def test_every_epoch_visits_every_example_once_even_where_the_batch_does_not_divide():
    indices = batch_indices(seed=0, num_examples=10, batch_size=3, first_step=0, num_steps=10).ravel()
    epochs = indices.reshape(3, 10)
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert (epochs[0] != epochs[1]).any()


@pytest.mark.parametrize("first_step", [0, 1, 7, 19])
def test_the_batch_of_a_step_does_not_depend_on_where_one_starts(first_step):
    whole = batch_indices(seed=3, num_examples=11, batch_size=4, first_step=0, num_steps=20)
    part = batch_indices(seed=3, num_examples=11, batch_size=4, first_step=first_step, num_steps=1)
    np.testing.assert_array_equal(part[0], whole[first_step])


def test_seeds_and_epochs_have_their_own_orders():
    orders = [tuple(epoch_order(seed, epoch, 50)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9


def test_a_batch_larger_than_an_epoch_spans_several():
    indices = batch_indices(seed=0, num_examples=3, batch_size=9, first_step=0, num_steps=1)
    assert sorted(indices[0]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
