"""A training loop as most users of JAX write it: one jitted step, its state donated, called from Python."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.benchmarks.problem import LEARNING_RATE, Problem

Logits = Callable[[Any, jax.Array], jax.Array]  # parameters, inputs [B, T, F] -> logits [B, C]


class JaxLoop:
    """The `Trainer` of a pure function and its parameters."""

    def __init__(self, logits: Logits, params: Any, problem: Problem):
        optimizer = optax.adam(LEARNING_RATE)

        def loss_fn(params, inputs, labels):
            scores = logits(params, inputs).astype(jnp.float32)
            return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

        def step(state, inputs, labels):
            params, moments = state
            loss, gradients = jax.value_and_grad(loss_fn)(params, inputs, labels)
            updates, moments = optimizer.update(gradients, moments, params)
            return (optax.apply_updates(params, updates), moments), loss

        self._batch = jax.device_put((problem.inputs, problem.labels))
        params = jax.tree.map(jnp.array, params)
        self._state = params, optimizer.init(params)
        self._loss = jax.jit(loss_fn)
        self._step = jax.jit(step, donate_argnums=0)

    def loss(self) -> float:
        """The mean cross-entropy of the batch with the present weights."""
        return float(self._loss(self._state[0], *self._batch))

    def steps(self, count: int) -> None:
        """Take training steps; the host waits for the last one only."""
        for _ in range(count):
            self._state, _ = self._step(self._state, *self._batch)
        jax.block_until_ready(self._state)


def cast(tree: Any, dtype: str) -> Any:
    """The arrays of a tree in the dtype of the products."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)
