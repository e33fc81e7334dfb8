"""Layers with gates that read the input only, so that the recurrence is linear: minGRU, minLSTM, RG-LRU."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rowlstm_jax.models.layers.base import Layer


class GatedLayer(Layer):
    """A real diagonal recurrence h_t = a_t h_{t-1} + b_t whose a and b depend on x_t; a subclass defines `gates`.

    Gates and a are float32 in any dtype: in bfloat16 an a above 0.998 would be 1, and nothing would be forgotten.

    Attributes:
      features: H.
    """

    features: int

    def gates(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """a and b, each [..., H], of inputs [..., F]."""
        raise NotImplementedError(f"{type(self).__name__} does not define gates.")

    def __call__(
        self, inputs: jax.Array, lengths: jax.Array | None = None, reverse: bool = False, train: bool = False
    ) -> jax.Array:
        """Read sequences, see `Layer`."""
        return self.recur(*self.gates(inputs), lengths, reverse)

    def step(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Read one step, see `Layer`; the carry is h."""
        a, b = self.gates(inputs)
        h = a * carry + b
        return h, h.astype(b.dtype)

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> jax.Array:
        """Zeros, [B, H]."""
        return jnp.zeros((*input_shape[:-1], self.features), jnp.float32)


class MinGRU(GatedLayer):
    r"""The minimal gated recurrent unit.

    .. math::
        z_t = \sigma(W_z x_t + b_z), \quad h_t = (1 - z_t) h_{t-1} + z_t (W_h x_t + b_h)

    The authors' code computes it in logarithms with a positive candidate, which their scan needs; this one does not.

    Parameters: `input` with `kernel` [F, 2 H] and `bias` [2 H], z before the candidate.

    Source: Feng et al., "Were RNNs all we needed?", arXiv:2410.01201.
    """

    def setup(self):
        """Makes the parameters."""
        self.input = self.dense(2 * self.features)

    def gates(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """1 - z and z (W_h x + b_h)."""
        z, candidate = jnp.split(self.input(inputs), 2, axis=-1)
        z = nn.sigmoid(z.astype(jnp.float32))
        return 1 - z, (z * candidate).astype(candidate.dtype)


class MinLSTM(GatedLayer):
    r"""The minimal long short-term memory.

    .. math::
        f_t &= \sigma(W_f x_t + b_f), \quad i_t = \sigma(W_i x_t + b_i) \\
        h_t &= \frac{f_t}{f_t + i_t} h_{t-1} + \frac{i_t}{f_t + i_t} (W_h x_t + b_h)

    Parameters: `input` with `kernel` [F, 3 H] and `bias` [3 H], in the order f, i, candidate.

    Source: Feng et al., "Were RNNs all we needed?", arXiv:2410.01201.
    """

    def setup(self):
        """Makes the parameters."""
        self.input = self.dense(3 * self.features)

    def gates(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """f / (f + i) and i / (f + i) times the candidate."""
        f, i, candidate = jnp.split(self.input(inputs), 3, axis=-1)
        # f / (f + i) = sigmoid(log f - log i), which cannot divide 0 by 0.
        keep = nn.sigmoid(nn.log_sigmoid(f.astype(jnp.float32)) - nn.log_sigmoid(i.astype(jnp.float32)))
        return keep, ((1 - keep) * candidate).astype(candidate.dtype)


class RGLRU(GatedLayer):
    r"""The real-gated linear recurrent unit of Griffin.

    .. math::
        r_t &= \sigma(W_r x_t + b_r), \quad i_t = \sigma(W_i x_t + b_i) \\
        a_t &= \sigma(\Lambda)^{c r_t}, \quad c = 8 \\
        h_t &= a_t h_{t-1} + \sqrt{1 - a_t^2} \, (i_t x_t)

    It has as many units as inputs, so where F is not H a linear layer comes first. :math:`\sigma(\Lambda)^c` starts
    uniform between `r_min` and `r_max`. Gates have full matrices; Griffin's are block-diagonal, and its block has a
    convolution too.

    Parameters: `gate` with `kernel` [H, 2 H] and `bias` [2 H], r before i; `Lambda` [H]; `input` with `kernel` [F, H]
    if F is not H.

    Source: De et al., "Griffin: mixing gated linear recurrences with local attention", arXiv:2402.19427.

    Attributes:
      r_min, r_max: the range of :math:`\sigma(\Lambda)^c` at the start, 0 < r_min < r_max < 1.
    """

    r_min: float = 0.9
    r_max: float = 0.999

    def setup(self):
        """Makes the parameters."""
        if not 0 < self.r_min < self.r_max < 1:
            raise ValueError(f"r_min is {self.r_min} and r_max {self.r_max}; they must satisfy 0 < r_min < r_max < 1.")
        self.Lambda = self.param("Lambda", self._decays, (self.features,), self.param_dtype)
        self.gate = self.dense(2 * self.features)
        self.input = self.dense(self.features, use_bias=False)

    def gates(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """a and sqrt(1 - a^2) i x."""
        if inputs.shape[-1] != self.features:
            inputs = self.input(inputs)
        r, i = jnp.split(nn.sigmoid(self.gate(inputs)), 2, axis=-1)
        decays = jnp.expand_dims(nn.log_sigmoid(self.Lambda.astype(jnp.float32)), range(r.ndim - 1))
        log_a = 8 * r.astype(jnp.float32) * decays
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), 1e-12))  # a root has no slope at 0
        return jnp.exp(log_a), (scale * i * inputs).astype(inputs.dtype)

    def _decays(self, key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
        a = jax.random.uniform(key, shape, jnp.float32, self.r_min, self.r_max) ** (1 / 8)
        return (jnp.log(a) - jnp.log1p(-a)).astype(dtype)
