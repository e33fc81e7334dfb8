"""What linear state spaces share: an input matrix, a complex diagonal recurrence, an output matrix, a feedthrough."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer

from rowlstm_jax.models.layers.base import Layer
from rowlstm_jax.models.linear_scan import complex_product


class StateSpace(Layer):
    r"""A linear system with N complex states, whose recurrence is diagonal.

    .. math::
        h_t &= \lambda h_{t-1} + s (B x_t) \\
        y_t &= \mathrm{Re}(C h_t) + D x_t

    Products with :math:`\lambda` and s are by elements. A subclass defines `discrete`, which returns both, and
    calls `make_parts` with the initial values of B and C in its `setup`, as `LRU` does.

    Parameters: `read` with `kernel` [F, 2 N] is B, `write` with `kernel` [2 N, H] is [Re C; -Im C], real parts before
    imaginary ones; `skip` is D: `scale` [H] if F = H, else `kernel` [F, H].

    Attributes:
      features: H.
      state: N; None is H.
    """

    features: int
    state: int | None = None

    @property
    def width(self) -> int:
        """N."""
        return self.features if self.state is None else self.state

    def discrete(self) -> tuple[jax.Array, jax.Array]:
        """The eigenvalues of a step and the scales s of the inputs, each [2, N]: real and imaginary parts."""
        raise NotImplementedError(f"{type(self).__name__} does not define discrete.")

    def make_parts(self, read_init: Initializer, write_init: Initializer) -> None:
        """Set the submodules `read`, `write` and `skip`."""
        self.read = ScaledInput(self.width, read_init, self.dtype, self.param_dtype)
        self.write = self.dense(self.features, use_bias=False, kernel_init=write_init)
        self.skip = Feedthrough(self.features, self.dtype, self.param_dtype)

    def __call__(
        self, inputs: jax.Array, lengths: jax.Array | None = None, reverse: bool = False, train: bool = False
    ) -> jax.Array:
        """Read sequences, see `Layer`."""
        eigenvalues, scales = self.discrete()
        h = self.recur(eigenvalues, self.read(inputs, scales), lengths, reverse)
        return self.write(h.reshape(*h.shape[:2], -1)) + self.skip(inputs)

    def step(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Read one step, see `Layer`; the carry is h."""
        eigenvalues, scales = self.discrete()
        b = self.read(inputs, scales)
        h = complex_product(eigenvalues[None], carry) + b
        return h, self.write(h.reshape(len(h), -1).astype(b.dtype)) + self.skip(inputs)

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> jax.Array:
        """Zeros, [B, 2, N]."""
        return jnp.zeros((*input_shape[:-1], 2, self.width), jnp.float32)


class ScaledInput(nn.Module):
    """s (B x), [..., 2, N]; s is multiplied into the kernel, which is smaller than B x."""

    width: int
    kernel_init: Initializer
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, scales: jax.Array) -> jax.Array:
        """Of inputs [..., F] and scales [2, N]."""
        kernel = self.param("kernel", self.kernel_init, (inputs.shape[-1], 2 * self.width), self.param_dtype)
        scaled = complex_product(scales[None], kernel.reshape(-1, 2, self.width)).reshape(kernel.shape)
        inputs, kernel = promote_dtype(inputs, scaled, dtype=self.dtype)
        return (inputs @ kernel).reshape(*inputs.shape[:-1], 2, self.width)


class Feedthrough(nn.Module):
    """D x, where D is a diagonal [H] if F = H, else a matrix [F, H]."""

    features: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Of inputs [..., F], outputs [..., H]."""
        if inputs.shape[-1] == self.features:
            weights = self.param("scale", nn.initializers.normal(1.0), (self.features,), self.param_dtype)
        else:
            initial = nn.initializers.lecun_normal()
            weights = self.param("kernel", initial, (inputs.shape[-1], self.features), self.param_dtype)
        inputs, weights = promote_dtype(inputs, weights, dtype=self.dtype)
        return inputs * jnp.expand_dims(weights, range(inputs.ndim - 1)) if weights.ndim == 1 else inputs @ weights
