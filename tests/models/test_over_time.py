"""A cell over a whole sequence: the same parameters and other random numbers at each step, mistakes in its terms."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.models import cells
from rowlstm_jax.models.over_time import scan_over_time

pytestmark = pytest.mark.usefixtures("quick_compiler")

B, T, F = 2, 5, 3


class Noisy(nn.RNNCellBase):
    """Returns random numbers of an rng of its own name."""

    rng: str = "noise"

    @nn.compact
    def __call__(self, carry, inputs):
        self.param("scale", nn.initializers.ones_init(), (1,))
        return carry, jax.random.normal(self.make_rng(self.rng), inputs.shape) + carry

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.zeros(input_shape)

    @property
    def num_feature_axes(self):
        return 1


class Over(nn.Module):
    cell: Any

    @nn.compact
    def __call__(self, inputs):
        return scan_over_time(self.cell, inputs)


@pytest.mark.parametrize("rng", ["dropout", "noise"])
@pytest.mark.parametrize("given", ["own", "params"])
def test_random_numbers_of_any_name_are_new_at_each_step(rng, given):
    model, inputs = Over(Noisy(rng)), jnp.zeros((B, T, F))
    variables = model.init({"params": jax.random.key(0), rng: jax.random.key(2)}, inputs)
    keys = {rng if given == "own" else "params": jax.random.key(1)}
    drawn = np.asarray(jax.jit(lambda keys: model.apply(variables, inputs, rngs=keys))(keys))
    assert len(np.unique(drawn)) == drawn.size
    assert jax.tree.leaves(variables)[0].shape == (1,), "one parameter for all steps"


class Wrong(Noisy):
    result: Any = None

    @nn.compact
    def __call__(self, carry, inputs):
        return carry if self.result == "carry" else (carry[:, :1], inputs)


def test_a_cell_that_returns_something_else_is_told_in_its_terms():
    inputs = jnp.zeros((B, T, F))
    with pytest.raises(ValueError, match=r"^cell Wrong returned one .*; a cell must return \(new carry, output\)"):
        Over(Wrong(result="carry")).init(jax.random.key(0), inputs)
    with pytest.raises(ValueError, match=r"^cell Wrong got a carry of shapes \(2, 3\) and returned \(2, 1\)"):
        Over(Wrong(result="shape")).init(jax.random.key(0), inputs)


@pytest.mark.parametrize("cell", [*cells.CELLS.values(), nn.GRUCell, nn.OptimizedLSTMCell])
def test_a_carry_of_zeros_is_made_without_a_random_key(cell):
    model = Over(cell(4))
    inputs = jnp.ones((B, T, F))
    variables = model.init(jax.random.key(0), inputs)
    assert "random" not in str(jax.make_jaxpr(lambda x: model.apply(variables, x))(inputs))


class FromOnes(cells.ElmanCell):
    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.ones((*input_shape[:-1], self.features))


@pytest.mark.parametrize("cell", [FromOnes(4), cells.ElmanCell(4, carry_init=nn.initializers.ones_init())])
def test_a_carry_of_ones_own_is_kept(cell):
    inputs = jnp.ones((B, 1, F))
    variables = Over(cell).init(jax.random.key(0), inputs)
    own = {"params": variables["params"]["cell"]}
    expected = cell.apply(own, jnp.ones((B, 4)), inputs[:, 0])[1]
    np.testing.assert_allclose(Over(cell).apply(variables, inputs)[:, 0], expected, rtol=1e-6)
