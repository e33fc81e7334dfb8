"""Two ways to learn side by side, without a run: accuracies on the way, and the memory of a gradient."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rowlstm_jax.data import Examples, Splits, batch_indices
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.tasks import scale

EVALUATIONS = 12


class Learned(NamedTuple):
    """What was learned: parameters of the last seed, sequences read until each evaluation, accuracies there."""

    params: Any
    read: list[int]
    accuracies: list[list[float]]  # of each seed, at each evaluation
    seconds: float


def learn_and_evaluate(
    way: Callable[..., tuple[Any, Any, jax.Array]],
    model: SequenceClassifier,
    optimizer: optax.GradientTransformation,
    data: Splits,
    seeds: Iterable[int],
    batch_size: int,
    steps: int,
) -> Learned:
    """Train a network on pictures read row by row, and evaluate it on the validation images on the way.

    Args:
      way: `rtrl.learn_online` or another function with its arguments.
      model: the network.
      optimizer: makes the updates.
      data: pictures of classes; the test set stays sealed.
      seeds: of the initial weights and the data order, one after the other.
      batch_size: B.
      steps: batches, `EVALUATIONS` or more.
    """
    learn, apply = jax.jit(partial(way, model, optimizer)), jax.jit(model.apply)
    every, found, begun, params = steps // EVALUATIONS, [], time.perf_counter(), None
    for seed in seeds:
        params = jax.jit(model.init)(jax.random.key(seed), scale(jnp.asarray(data.train.inputs[:1])))["params"]
        opt_state, accuracies = optimizer.init(params), []
        for step in range(every * EVALUATIONS):
            batch = data.train[batch_indices(seed, len(data.train), batch_size, step, 1)[0]]
            params, opt_state, _ = learn(params, opt_state, *rows_and_classes(batch))
            if (step + 1) % every == 0:
                rows, classes = rows_and_classes(data.validation)
                accuracies.append(float((apply({"params": params}, rows).argmax(-1) == classes).mean()))
        found.append(accuracies)
    read = [(n + 1) * every * batch_size for n in range(EVALUATIONS)]
    return Learned(params, read, found, time.perf_counter() - begun)


def rows_and_classes(examples: Examples) -> tuple[jax.Array, jax.Array]:
    """Pictures [N, R, K] as float32 sequences of rows, [N, T, F], and their classes, int32 [N]."""
    return scale(jnp.asarray(examples.inputs)), jnp.asarray(examples.targets, jnp.int32)


def planned_megabytes(
    gradient: Callable[..., Any], model: SequenceClassifier, batch_size: int, lengths: Sequence[int], features: int
) -> list[float]:
    """The memory that XLA plans for a gradient, besides its arguments and results.

    Args:
      gradient: a function of model, parameters, inputs [B, T, F] and classes [B].
      model: the network.
      batch_size: B.
      lengths: values of T.
      features: F.

    Returns:
      Megabytes, one for each T.
    """

    def planned(steps: int) -> float:
        inputs = jax.ShapeDtypeStruct((batch_size, steps, features), jnp.float32)
        params = jax.eval_shape(model.init, jax.random.key(0), inputs)["params"]
        program: Any = jax.jit(partial(gradient, model)).lower(
            params, inputs, jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        )
        return program.compile().memory_analysis().temp_size_in_bytes / 1e6

    return [planned(steps) for steps in lengths]
