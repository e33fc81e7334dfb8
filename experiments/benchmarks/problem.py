"""What every system is given, one batch and one set of weights, and the losses that it must compute from them."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

NUM_CLASSES = 10  # C
LEARNING_RATE = 1e-3
FORGET_BIAS = 1.0

Dtype = Literal["float32", "bfloat16"]
TOLERANCE: dict[Dtype, float] = {"float32": 1e-4, "bfloat16": 2e-3}  # of the loss, relative
GPU_TOLERANCE = 2e-3  # the float32 products of a GPU are computed in TF32 unless one asks otherwise

# How far the loss falls in a few steps tests the gradients and Adam. Keras's Adam has another epsilon.
STEPS = 5
FALL_TOLERANCE = 0.05


class UnavailableError(Exception):
    """A system can't be timed here; the message is the reason, for its row of the table."""


class System(NamedTuple):
    """A classifier, its optimiser and its batch, as one library builds them.

    Attributes:
      steps: takes so many training steps on the batch, and returns when they are done.
      loss: the mean cross-entropy of the batch with the present weights; None if the system has no loss.
    """

    steps: Callable[[int], object]
    loss: Callable[[], float] | None = None


@dataclasses.dataclass(frozen=True)
class Problem:
    """A batch, and the first weights of an LSTM that reads T rows and of the readout of its last h. Adam at 0.001.

    Attributes:
      images: uint8 [B, T, F].
      labels: int32 [B].
      kernel: float32 [F + H, 4 H], gates in the order i, j, f, o.
      bias: float32 [4 H], without the constant forget bias of 1.
      readout_kernel: float32 [H, C].
      readout_bias: float32 [C].
      dtype: of the products; weights and optimiser state are float32 in either case.
    """

    images: np.ndarray
    labels: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    readout_kernel: np.ndarray
    readout_bias: np.ndarray
    dtype: Dtype = "float32"

    @property
    def inputs(self) -> np.ndarray:
        """The images in [0, 1], float32 [B, T, F]."""
        return self.images.astype(np.float32) / np.float32(255)

    @property
    def features(self) -> int:
        """F."""
        return self.images.shape[2]

    @property
    def hidden(self) -> int:
        """H."""
        return len(self.readout_kernel)

    def gates(self, order: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Kernels [F, 4 H] and [H, 4 H] and bias [4 H], the gates in another order, the forget bias added."""
        kernels = dict(zip("ijfo", np.split(self.kernel, 4, axis=1), strict=True))
        biases = dict(zip("ijfo", np.split(self.bias, 4), strict=True))
        biases["f"] = biases["f"] + np.float32(FORGET_BIAS)
        kernel = np.concatenate([kernels[gate] for gate in order], axis=1)
        return kernel[: self.features], kernel[self.features :], np.concatenate([biases[gate] for gate in order])


def make_problem(batch_size: int, time_steps: int, features: int, hidden: int, dtype: Dtype = "float32") -> Problem:
    """Random images and labels, and weights as `SequenceClassifier` draws them; the same for the same sizes."""
    rng = np.random.default_rng(0)

    def glorot(rows: int, columns: int) -> np.ndarray:
        limit = np.sqrt(6 / (rows + columns))
        return rng.uniform(-limit, limit, (rows, columns)).astype(np.float32)

    return Problem(
        images=rng.integers(0, 256, (batch_size, time_steps, features), dtype=np.uint8),
        labels=rng.integers(0, NUM_CLASSES, batch_size, dtype=np.int32),
        kernel=glorot(features + hidden, 4 * hidden),
        bias=rng.normal(0, 0.1, 4 * hidden).astype(np.float32),
        readout_kernel=glorot(hidden, NUM_CLASSES),
        readout_bias=rng.normal(0, 0.1, NUM_CLASSES).astype(np.float32),
        dtype=dtype,
    )


def jax_system(logits: Callable[[Any, jax.Array], Any], params: Any, problem: Problem) -> System:
    """A training loop as most users of JAX write it: one jitted step, its state donated, called from Python.

    `logits` maps parameters and inputs [B, T, F] to logits [B, C]. `params` are the first parameters.
    """
    optimizer = optax.adam(LEARNING_RATE)

    def loss_fn(params, inputs, labels):
        scores = logits(params, inputs).astype(jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

    def step(state, inputs, labels):
        params, moments = state
        loss, gradients = jax.value_and_grad(loss_fn)(params, inputs, labels)
        updates, moments = optimizer.update(gradients, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    compiled_loss, compiled_step = jax.jit(loss_fn), jax.jit(step, donate_argnums=0)
    batch = jax.device_put((problem.inputs, problem.labels))
    params = jax.tree.map(jnp.array, params)
    state = params, optimizer.init(params)

    def steps(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, _ = compiled_step(state, *batch)
        jax.block_until_ready(state)

    return System(steps, lambda: float(compiled_loss(state[0], *batch)))


def reference(problem: Problem, biases: int = 1) -> System:
    """What every system must compute: the equations, written plainly, in float32 whatever the problem's dtype.

    Adam updates each of the LSTM's biases, so the sum of two learns twice as fast as one.
    """

    def logits(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
        def step(carry, x):
            c, h = carry
            gates = jnp.concatenate([x, h], axis=1) @ params["kernel"] + params["bias"].sum(axis=0, keepdims=True)
            i, j, f, o = jnp.split(gates, 4, axis=1)
            c = jax.nn.sigmoid(f + FORGET_BIAS) * c + jax.nn.sigmoid(i) * jnp.tanh(j)
            return (c, jax.nn.sigmoid(o) * jnp.tanh(c)), None

        zeros = jnp.zeros((len(inputs), problem.hidden))
        (_, h), _ = jax.lax.scan(step, (zeros, zeros), inputs.swapaxes(0, 1))
        return h @ params["readout_kernel"] + params["readout_bias"][None]

    params = {name: getattr(problem, name) for name in ("kernel", "readout_kernel", "readout_bias")}
    params["bias"] = np.stack([problem.bias, *[0 * problem.bias] * (biases - 1)])
    return jax_system(logits, params, problem)


def losses(system: System) -> tuple[float, float]:
    """The loss before the first step and after `STEPS` steps, of a system that has one."""
    assert system.loss
    before = system.loss()
    system.steps(STEPS)
    return before, system.loss()


def require_agreement(found: tuple[float, float], expected: tuple[float, float], dtype: Dtype) -> None:
    """Compare the losses before and after a few steps with those of the reference.

    Raises:
      UnavailableError: they differ.
    """
    tolerance = max(TOLERANCE[dtype], GPU_TOLERANCE if jax.default_backend() == "gpu" else 0.0)
    fall, expected_fall = found[0] - found[1], expected[0] - expected[1]
    if not abs(found[0] - expected[0]) <= tolerance * abs(expected[0]):  # true for NaN
        raise UnavailableError(f"not timed: its loss is {found[0]:.6f}, not {expected[0]:.6f}")
    if not abs(fall - expected_fall) <= FALL_TOLERANCE * abs(expected_fall):
        raise UnavailableError(f"not timed: in {STEPS} steps its loss falls by {fall:.6f}, not {expected_fall:.6f}")
