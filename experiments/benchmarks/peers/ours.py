"""This repository's classifier in the compiled steps of its runs, and the matrix products of a step alone."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

from experiments.benchmarks.problem import FORGET_BIAS, LEARNING_RATE, NUM_CLASSES, Problem, System
from rowlstm_jax.data import Examples
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.parallel import BATCH, CompiledSteps, Seeds, make_mesh, shard
from rowlstm_jax.tasks import Preprocessing
from rowlstm_jax.training import Recipe

STEPS_PER_DISPATCH = 100


def compile_steps(
    model: SequenceClassifier, examples: Examples, batch: int, layout: Seeds, count: int
) -> CompiledSteps:
    """The compiled steps of a run with Adam that reads images as rows, `count` in a dispatch."""
    recipe, rows = Recipe(model, optax.adam(LEARNING_RATE)), Preprocessing(order=lambda images: images)
    return CompiledSteps(recipe, rows, examples, batch, count, layout).compile()


def classifier(problem: Problem, recurrence: Literal["fused", "scan"], devices: int | None) -> System:
    """This repository, up to a hundred steps in a dispatch; it also gathers its batch from stored pixels."""
    model = SequenceClassifier(
        BasicLSTMCell(problem.hidden, forget_bias=FORGET_BIAS),
        NUM_CLASSES,
        recurrence=recurrence,
        dtype=None if problem.dtype == "float32" else jnp.dtype(problem.dtype),
    )
    weights = {
        "layer_0_forward": {"kernel": problem.kernel, "bias": problem.bias},
        "readout": {"kernel": problem.readout_kernel, "bias": problem.readout_bias},
    }
    return training(model, problem, weights, devices)


def training(model: SequenceClassifier, problem: Problem, weights: Any, devices: int | None) -> System:
    """A model that starts with some weights and is trained on the batch of a problem."""
    examples = Examples(problem.images, problem.labels.astype(np.uint8))
    layout = Seeds(1, make_mesh(len(examples), devices))
    programs = compile_steps(model, examples, len(examples), layout, STEPS_PER_DISPATCH)
    progress = programs.begin(np.zeros(1, np.uint32))
    params = jax.tree.map(
        lambda old, new: jax.device_put(jnp.array(new)[None], old.sharding), progress.state.params, weights
    )
    progress = progress.replace(state=progress.state.replace(params=params))
    indices = np.tile(np.arange(len(examples), dtype=np.int32), (1, STEPS_PER_DISPATCH, 1))

    def steps(count: int) -> None:
        """The host waits after each dispatch, as a run does that logs so often."""
        nonlocal progress
        for start in range(0, count, STEPS_PER_DISPATCH):
            progress = programs.train(progress, indices[:, : count - start])
            jax.block_until_ready(progress.metrics)

    return System(steps, lambda: float(programs.evaluate(progress.state.params, examples).loss[0]))


def products(
    count: jax.Array, kernel: jax.Array, inputs: jax.Array, reads: jax.Array, gradients: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The products of the forward scan, of the backward scan and of the kernel's gradient, `count` times.

    Each product of a scan needs the result of the one before it, and each repetition that of the one before: XLA can
    drop none, move none out of the loop, and run no two at once.

    `count` is int32 [], `kernel` [F + H, 4 H] and `inputs` [T, B, F]. `reads` [T B, F + H] stand for the rows that the
    forward scan reads, `gradients` [T B, 4 H] for the gradients of its products. Returns rows like `reads`, and the
    kernel's gradient [F + H, 4 H].
    """
    (_, batch, features), hidden = inputs.shape, kernel.shape[1] // 4
    transposed = kernel[features:].T

    def forward(gates: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
        return jnp.concatenate([x, gates[:, :hidden]], axis=1) @ kernel, None

    def backward(gates: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jax.lax.dynamic_update_slice(gates, gates @ transposed, (0, 0)), None

    def step(_: jax.Array, results: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reads, _ = results
        gates = jax.lax.scan(forward, jnp.tile(reads[:batch, features:], (1, 4)), inputs)[0]
        gates = jax.lax.scan(backward, gates, length=len(inputs))[0]
        reads = jax.lax.dynamic_update_slice(reads, gates[:, :hidden], (0, features))
        return reads, reads.T @ gradients

    return jax.lax.fori_loop(0, count, step, (reads, jnp.zeros_like(kernel)))


def compile_products(problem: Problem, devices: int | None) -> tuple[jax.stages.Compiled, list[jax.Array]]:
    """`products` with the problem's kernel, the batch split over devices; and its arguments after `count`."""
    batch_size, time_steps, features = problem.images.shape
    mesh, rng = make_mesh(batch_size, devices), np.random.default_rng(0)
    arrays = (
        problem.kernel,
        problem.inputs.swapaxes(0, 1),
        rng.normal(size=(time_steps * batch_size, features + problem.hidden)),
        rng.normal(size=(time_steps * batch_size, 4 * problem.hidden)),
    )
    specs = (P(), P(None, BATCH), P(BATCH), P(BATCH))
    arguments = [shard(x.astype(problem.dtype), mesh, spec) for x, spec in zip(arrays, specs, strict=True)]
    split = jax.shard_map(products, mesh=mesh, in_specs=(P(), *specs), out_specs=P(BATCH), check_vma=False)
    count = jax.ShapeDtypeStruct((), np.int32)
    return jax.jit(split).lower(count, *arguments).compile(), arguments


def matrix_products(problem: Problem, devices: int | None) -> System:
    """The matrix products of a training step, all in one dispatch.

    Not counted: the readout, the arithmetic of the gates, Adam, the sum of the gradients of several devices, and all
    that moves data between the products.
    """
    program, arguments = compile_products(problem, devices)
    return System(lambda count: jax.block_until_ready(program(np.int32(count), *arguments)))
