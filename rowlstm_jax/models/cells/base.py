"""`Cell`, the base class of the cells, and the initialisers that JAX lacks."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype, Initializer


class Cell(nn.RNNCellBase):
    """A recurrent cell: one time step, (carry, x_t [..., F]) -> (new carry, y_t).

    The carry is one array [..., H], or a tuple of `num_states` of them, and starts at zero. The output is [..., H] too.
    Both have the dtype `param_dtype`: with `dtype=bfloat16` the matrix products are in bfloat16 and the carry stays
    float32, so that it keeps its precision over long sequences.

    A new cell has `__call__`, and fields of its own if it needs them.

    Example:
      >>> class DecayCell(Cell):
      ...     decay: float = 0.9
      ...
      ...     @nn.compact
      ...     def __call__(self, carry, inputs):
      ...         h = self.decay * carry + nn.tanh(self.dense("input")(inputs))
      ...         return h, h
      >>> cell = DecayCell(features=4)
      >>> carry = cell.initialize_carry(jax.random.key(0), (2, 3))
      >>> variables = cell.init(jax.random.key(1), carry, jnp.ones((2, 3)))
      >>> h, y = cell.apply(variables, carry, jnp.ones((2, 3)))
      >>> y.shape
      (2, 4)

    Attributes:
      features: H.
      dtype: of the products; None takes that of parameters and inputs.
      param_dtype: of the parameters, the carry and the output.
      carry_init: initialiser of each array of the carry.
    """

    features: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()

    num_states: ClassVar[int] = 1

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """Returns the carry before the first step, arrays [..., H], for inputs of shape [..., F]."""
        shape = (*input_shape[:-1], self.features)
        states = [self.carry_init(key, shape, self.param_dtype) for key in jax.random.split(rng, self.num_states)]
        return states[0] if self.num_states == 1 else tuple(states)

    @property
    def num_feature_axes(self) -> int:
        """One: features lie on the last axis."""
        return 1

    @nn.nowrap
    def dense(self, name: str, width: int | None = None, **settings: Any) -> nn.Dense:
        """A linear layer with this cell's dtypes, `width` or H wide; the settings are those of `nn.Dense`."""
        width = self.features if width is None else width
        return nn.Dense(width, dtype=self.dtype, param_dtype=self.param_dtype, name=name, **settings)


def uniform_within(limit: float) -> Initializer:
    """Uniform between -limit and limit; `jax.nn.initializers.uniform` starts at zero."""

    def init(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def glorot_uniform_diagonal(
    key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None
) -> jax.Array:
    """Glorot uniform for the diagonal [H] of a matrix [H, H], as TensorFlow 1 initialises vectors."""
    return uniform_within((6 / (shape[0] + shape[0])) ** 0.5)(key, shape, dtype)


def orthogonal(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
    """Orthogonal rows or columns, in any dtype; JAX's own cannot decompose a bfloat16 matrix."""
    return nn.initializers.orthogonal()(key, shape, jnp.promote_types(dtype, jnp.float32)).astype(dtype)
