"""The linear recurrent unit."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rowlstm_jax.models.layers.state_space import StateSpace


class LRU(StateSpace):
    r"""The linear recurrent unit: a `StateSpace` whose eigenvalues cannot leave the unit disc.

    .. math::
        \lambda = \exp(-\exp(\nu) + i \exp(\theta)), \quad s = \exp(\gamma)

    Initialised as published: the eigenvalues uniform on the ring between `r_min` and `r_max`, with phases up to
    `max_phase`; :math:`s = \sqrt{1 - |\lambda|^2}`; B and C normal with variances 1 / (2 F) and 1 / N in each part, D
    standard normal.

    Parameters: those of `StateSpace`; `nu_log`, `theta_log` and `gamma_log` [N] are :math:`\nu, \theta, \gamma`.

    Source: Orvieto et al., "Resurrecting recurrent neural networks for long sequences", arXiv:2303.06349.

    Attributes:
      r_min, r_max: the ring of the eigenvalues at the start, 0 <= r_min < r_max < 1.
      max_phase: their largest phase at the start, in radians.
    """

    r_min: float = 0.9
    r_max: float = 0.999
    max_phase: float = 2 * math.pi

    def setup(self):
        """Makes the parameters."""
        if not 0 <= self.r_min < self.r_max < 1:
            raise ValueError(f"r_min is {self.r_min} and r_max {self.r_max}; they must satisfy 0 <= r_min < r_max < 1.")
        if not 0 < self.max_phase < math.inf:
            raise ValueError(f"max_phase is {self.max_phase}; it must be more than 0, and finite.")
        shape, dtype = (self.width,), self.param_dtype
        self.nu_log = self.param("nu_log", self._ring, shape, dtype)
        self.theta_log = self.param("theta_log", self._phases, shape, dtype)
        self.gamma_log = self.param("gamma_log", self._normalization, shape, dtype)
        normal = nn.initializers.variance_scaling
        self.make_parts(normal(1 / 2, "fan_in", "normal"), normal(2, "fan_in", "normal"))

    def discrete(self) -> tuple[jax.Array, jax.Array]:
        """The eigenvalues and exp(gamma), see `StateSpace`."""
        nu, theta, gamma = (jnp.exp(part.astype(jnp.float32)) for part in (self.nu_log, self.theta_log, self.gamma_log))
        radius = jnp.exp(-nu)
        return radius[None] * jnp.stack([jnp.cos(theta), jnp.sin(theta)]), jnp.stack([gamma, jnp.zeros_like(gamma)])

    def _ring(self, key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
        squared = jax.random.uniform(key, shape, jnp.float32, self.r_min**2, self.r_max**2)
        return jnp.log(-jnp.log(squared) / 2).astype(dtype)

    def _phases(self, key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
        return jnp.log(self.max_phase * jax.random.uniform(key, shape, jnp.float32, 1e-6)).astype(dtype)

    def _normalization(self, key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
        return (jnp.log(-jnp.expm1(-2 * jnp.exp(self.nu_log))) / 2).astype(dtype)
