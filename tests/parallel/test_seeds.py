import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from rowlstm_jax.parallel.mesh import make_mesh
from rowlstm_jax.parallel.seeds import PER_SEED, REPLICATED, Seeds


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize(("number", "devices"), [(1, 1), (3, 1), (4, 2), (2, 4)])
def test_each_seed_is_computed_as_if_alone_wherever_it_lies(number, devices, one_by_one):
    seeds = Seeds(number, make_mesh(4, devices, number), one_by_one)
    values = np.arange(number * 3, dtype=np.float32).reshape(number, 3)

    def function(x):
        return seeds.all(seeds.each(lambda of_one: (of_one * 2, of_one.sum()))(x))

    program = seeds.compile(function, (PER_SEED,), REPLICATED, values)
    doubled, sums = program(jax.device_put(values, jax.sharding.NamedSharding(seeds.mesh, PER_SEED)))
    chex.assert_trees_all_close((doubled, sums), (values * 2, values.sum(axis=1)))
    chex.assert_shape(sums, (number,))


def test_a_device_finds_its_own_seeds_among_all():
    seeds = Seeds(4, make_mesh(4, 2, 4))
    values = np.arange(4, dtype=np.float32)
    program = seeds.compile(lambda x: seeds.all(seeds.own(x) + 1), (REPLICATED,), REPLICATED, values)
    np.testing.assert_array_equal(program(values), values + 1)
    assert seeds.here == 2


def test_shapes_carry_where_arrays_shall_lie():
    seeds = Seeds(2, make_mesh(4, 2, 2))
    shape = seeds.shapes({"a": jnp.zeros((2, 5))}, PER_SEED)["a"]
    assert (shape.shape, shape.dtype, shape.sharding.spec) == ((2, 5), np.float32, P("seed"))
