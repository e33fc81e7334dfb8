"""The simplified structured state space, S5."""

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.models.layers.state_space import StateSpace


class S5(StateSpace):
    r"""S5: one continuous system with many inputs and outputs, held at its inputs (zero-order hold).

    .. math::
        \dot h(t) &= \Lambda h(t) + B x(t), \quad y(t) = 2 \mathrm{Re}(C h(t)) + D x(t) \\
        \lambda &= \exp(\Lambda \Delta), \quad s = (\lambda - 1) / \Lambda, \quad
        \Lambda = -\exp(\alpha) + i \omega, \quad \Delta = \exp(\delta)

    Only one state of each conjugate pair is kept, hence the factor 2, which `write` holds. Initialised as published:
    with "hippo", :math:`\Lambda` are the eigenvalues of the normal part of HiPPO-LegS, a matrix of 2 N states, and B
    and C are normal before they are turned into the coordinates of its eigenvectors; with "s4d_lin",
    :math:`\Lambda_n = -1/2 + i \pi n`, and B and C are normal. :math:`\Delta` is log-uniform between `step_min` and
    `step_max`. The authors' code trains the real parts themselves, which may leave the stable half plane; here their
    logarithms are trained.

    Parameters: those of `StateSpace`; `decay_log`, `frequency` and `step_log` [N] are :math:`\alpha`, :math:`\omega`
    and :math:`\delta`.

    Source: Smith et al., "Simplified state space layers for sequence modeling", arXiv:2208.04933; Gu et al.,
    arXiv:2206.11893, for both initial values.

    Attributes:
      spectrum: "hippo" or "s4d_lin", the eigenvalues at the start.
      step_min, step_max: the range of the time steps at the start, 0 < step_min < step_max.
    """

    spectrum: Literal["hippo", "s4d_lin"] = "hippo"
    step_min: float = 1e-3
    step_max: float = 1e-1

    def setup(self):
        """Makes the parameters."""
        if not 0 < self.step_min < self.step_max:
            low, high = self.step_min, self.step_max
            raise ValueError(f"step_min is {low} and step_max {high}; they must satisfy 0 < step_min < step_max.")
        if self.spectrum not in ("hippo", "s4d_lin"):
            raise ValueError(f'spectrum is {self.spectrum!r}; it must be "hippo" or "s4d_lin".')
        hippo = self.spectrum == "hippo"
        eigenvalues, vectors = hippo_normal(self.width) if hippo else (s4d_lin(self.width), None)
        dtype = self.param_dtype
        self.decay_log = self.param("decay_log", lambda _: jnp.asarray(np.log(-np.real(eigenvalues)), dtype))
        self.frequency = self.param("frequency", lambda _: jnp.asarray(np.imag(eigenvalues), dtype))
        self.step_log = self.param("step_log", self._steps, (self.width,), dtype)
        self.make_parts(functools.partial(_read_init, vectors), functools.partial(_write_init, vectors))

    def discrete(self) -> tuple[jax.Array, jax.Array]:
        """The eigenvalues and scales of a step, see `StateSpace`."""
        parts = (part.astype(jnp.float32) for part in (self.decay_log, self.frequency, self.step_log))
        decay_log, frequency, step_log = parts
        decay, step = -jnp.exp(decay_log), jnp.exp(step_log)
        radius, phase = jnp.exp(decay * step), frequency * step
        real, imaginary = radius * jnp.cos(phase), radius * jnp.sin(phase)
        # s = (change + i imaginary) / (decay + i frequency); real - 1 would lose the digits of a short step.
        change = jnp.expm1(decay * step) * jnp.cos(phase) - 2 * jnp.sin(phase / 2) ** 2
        size = decay**2 + frequency**2
        scales = change * decay + imaginary * frequency, imaginary * decay - change * frequency
        return jnp.stack([real, imaginary]), jnp.stack(scales) / size[None]

    def _steps(self, key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, math.log(self.step_min), math.log(self.step_max))


def hippo_normal(states: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Eigenvalues and eigenvectors of the normal part of HiPPO-LegS, those with positive imaginary parts.

    .. math::
        A_{nk} = -\frac 12 \begin{cases} 1 & n = k \\ \pm \sqrt{(2 n + 1)(2 k + 1)} & + \text{ if } n > k \end{cases}

    Args:
      states: N; the matrix is [2 N, 2 N].

    Returns:
      Eigenvalues, complex128 [N], with real parts -1/2; and orthonormal eigenvectors [2 N, N].
    """
    roots = np.sqrt(2 * np.arange(2 * states) + 1)
    skew = np.triu(np.outer(roots, roots), 1) / 2
    frequencies, vectors = np.linalg.eigh(-1j * (skew - skew.T))
    return -0.5 + 1j * frequencies[states:], vectors[:, states:]


def s4d_lin(states: int) -> np.ndarray:
    r"""The eigenvalues :math:`-1/2 + i \pi n`, complex128 [N]."""
    return -0.5 + 1j * np.pi * np.arange(states)


def _read_init(vectors: np.ndarray | None, key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
    """B [F, 2 N]: real normal values of variance 1 / (2 N), in the coordinates of the eigenvectors."""
    inputs, states = shape[0], shape[1] // 2
    deviation = (2 * states) ** -0.5
    if vectors is None:
        return (deviation * jax.random.normal(key, shape) / 2**0.5).astype(dtype)
    values = deviation * jax.random.normal(key, (inputs, 2 * states))
    return jnp.concatenate([values @ np.real(vectors), -(values @ np.imag(vectors))], axis=-1).astype(dtype)


def _write_init(vectors: np.ndarray | None, key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
    """2 [Re C; -Im C], [2 N, H]: both parts normal of variance 1 / (2 N), in the coordinates of the eigenvectors."""
    states, outputs = shape[0] // 2, shape[1]
    deviation = 2 * (2 * states) ** -0.5
    if vectors is None:
        return (deviation * jax.random.normal(key, shape)).astype(dtype)
    real, imaginary = deviation * jax.random.normal(key, (2, outputs, 2 * states))
    by_real, by_imaginary = jnp.asarray(np.real(vectors), jnp.float32), jnp.asarray(np.imag(vectors), jnp.float32)
    parts = real @ by_real - imaginary @ by_imaginary, -(real @ by_imaginary + imaginary @ by_real)
    return jnp.concatenate(parts, axis=-1).T.astype(dtype)
