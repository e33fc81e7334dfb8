"""Time the linear scan against scans of complex numbers, and a training step of two LRU blocks against a plain one.

    python -m experiments.benchmarks.linear_scan

The first measurement is h_t = a h_{t-1} + b_t, forward and backward, with N complex states, on one device and with the
batch split over all. Each way of computing it must agree with a loop in NumPy before it is timed. Arrays have the batch
first, as those of layers and data have, and `lax.scan` must turn them round; the rows "time first" show what it takes
where nobody has to. The peers get and return complex numbers, so that they convert nothing.

The second is a training step: the program of a run, and the same network as one would write it first, by `lax.scan`
over real and imaginary parts, the whole batch of a device at once. Both must compute the same losses.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from experiments.benchmarks.harness import Measurement, SizesConfig, Steps, Timing, alternate
from experiments.benchmarks.peers.ours import training
from experiments.benchmarks.problem import (
    NUM_CLASSES,
    Problem,
    System,
    UnavailableError,
    jax_system,
    losses,
    make_problem,
    require_agreement,
)
from rowlstm_jax import cli
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import SequenceClassifier, layers, linear_scan
from rowlstm_jax.parallel import BATCH, make_mesh, shard
from rowlstm_jax.runs import console

OURS, LAX, ASSOCIATIVE, TIME_FIRST = "linear_scan", "lax.scan", "associative_scan", "time first"
RUN, PLAIN = "step of a run", "step, written plainly"
TOLERANCE = 1e-4  # of the largest value of an array
Scan = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Config(SizesConfig):
    """Time the linear scan, and a training step of two LRU blocks."""

    batch_size: int = 50
    time_steps: int = 784
    features: int = 1
    hidden: int = 64
    """N, complex states, and features of a block."""
    rounds: int = 5
    """Times that each is timed, for about 0.3 s and ten steps at least."""


def main(config: Config) -> None:
    measurement = Measurement(config)
    most = make_mesh(config.batch_size, config.devices)
    rows = []
    for mesh in (make_mesh(config.batch_size, 1), *([most] if most.size > 1 else [])):
        systems = scans(config.batch_size, config.time_steps, config.hidden, mesh)
        rows += as_rows(alternate(systems, config.rounds), mesh)
    problem = make_problem(config.batch_size, config.time_steps, config.features, config.hidden)
    rows += as_rows(alternate(steps(problem, most.size), config.rounds), most)
    sizes = f"B={config.batch_size}, T={config.time_steps}, F={config.features}, N={config.hidden}"
    header = ("", "devices", "ms", "quartiles", "ours = 1")
    cells = [
        (
            row["name"],
            str(row["devices"]),
            f"{row['median_ms']:.1f}",
            "{:.1f}-{:.1f}".format(*row["quartiles_ms"]),
            f"{row['ratio_to_ours']:.2f}",
        )
        for row in rows
    ]
    console.show_table(f"Milliseconds forward and backward: {sizes}", header, cells)
    measurement.write(rows)


def as_rows(timings: dict[str, Timing], mesh: Mesh) -> list[dict[str, Any]]:
    """One JSON object for each system; the first one is ours."""
    ours = next(iter(timings.values())).median
    return [
        {
            "name": name,
            "devices": mesh.size,
            "median_ms": found.median,
            "quartiles_ms": [found.low, found.high],
            "ratio_to_ours": found.median / ours,
        }
        for name, found in timings.items()
    ]


def scans(batch: int, time_steps: int, states: int, mesh: Mesh) -> dict[str, Steps]:
    """What computes h, da and db from a, b and dh, by each way; a UserError if one does not agree with `loop`."""
    rng = np.random.default_rng(0)
    a = rng.uniform(0.9, 0.999, states) * np.exp(1j * rng.uniform(0, 0.5, states))
    b, dh = rng.normal(size=(2, batch, time_steps, states, 2)).view(np.complex128)[..., 0]
    ways = {
        OURS: Way(linear_scan, pairs=True),
        LAX: Way(lambda a, b: scan_by_lax(a, b.swapaxes(0, 1)).swapaxes(0, 1)),
        f"{LAX}, {TIME_FIRST}": Way(scan_by_lax, time_first=True),
        ASSOCIATIVE: Way(functools.partial(scan_by_association, axis=1)),
        f"{ASSOCIATIVE}, {TIME_FIRST}": Way(scan_by_association, time_first=True),
    }
    programs, expected = {}, loop(a, b, dh)
    for name, way in ways.items():
        programs[name] = _both_ways(way, [way.give(x) for x in (a, b, dh)], mesh)
        for found, of in zip(map(way.take, programs[name]()), expected, strict=True):
            if not abs(found - of).max() <= TOLERANCE * abs(of).max():  # true for NaN
                raise UserError(f"{name} does not agree with a loop; nothing was timed.")
    return {name: functools.partial(_repeat, run) for name, run in programs.items()}


def _repeat(run: Callable[[], object], count: int) -> None:
    """Run so many times, and drop each result: the next one gets its memory, as in training."""
    for _ in range(count):
        run()


def loop(a: np.ndarray, b: np.ndarray, dh: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """h, da and db by a loop over time, as complex numbers of the derivatives by real and imaginary parts."""
    h, db = b.copy(), dh.copy()
    for t in range(1, b.shape[1]):
        h[:, t] += a * h[:, t - 1]
        db[:, -t - 1] += a.conj() * db[:, -t]
    return h, (h[:, :-1].conj() * db[:, 1:]).sum(axis=(0, 1)), db


class Way(NamedTuple):
    """A scan of a [N] and b, and the form of its arrays: pairs of real numbers or complex64, batch or time first."""

    scan: Scan
    pairs: bool = False
    time_first: bool = False

    def give(self, x: Any) -> np.ndarray:
        """What the scan takes for complex numbers [N] or [B, T, N]."""
        x = x.swapaxes(0, 1) if self.time_first and x.ndim == 3 else x
        return np.stack([x.real, x.imag], -2).astype(np.float32) if self.pairs else x.astype(np.complex64)

    def take(self, x: jax.Array) -> np.ndarray:
        """The complex numbers of what the scan returned."""
        found = np.asarray(x)
        found = found[..., 0, :] + 1j * found[..., 1, :] if self.pairs else found
        return found.swapaxes(0, 1) if self.time_first and found.ndim == 3 else found


def _both_ways(way: Way, arguments: list[np.ndarray], mesh: Mesh) -> Callable[[], tuple[jax.Array, ...]]:
    """Computes h, da and db on a mesh, and returns when they are there."""

    def run(a: jax.Array, b: jax.Array, dh: jax.Array) -> tuple[jax.Array, ...]:
        h, backward = jax.vjp(way.scan, a, b)
        # JAX's derivative by a complex number is the conjugate of the derivatives by its parts.
        da, db = map(jnp.conj, backward(jnp.conj(dh)))
        return h, jax.lax.psum(da, BATCH), db

    spec = P(None, BATCH) if way.time_first else P(BATCH)
    specs = (P(), spec, spec)
    placed = [shard(x, mesh, spec) for x, spec in zip(arguments, specs, strict=True)]
    split = jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=(spec, P(), spec), check_vma=False)
    program = jax.jit(split).lower(*placed).compile()
    return lambda: jax.block_until_ready(program(*placed))


def scan_by_lax(a: jax.Array, b: jax.Array) -> jax.Array:
    """h of a [N] and b [T, B, N], by `lax.scan`."""

    def step(h: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = a[None] * h + b
        return h, h

    return jax.lax.scan(step, jnp.zeros_like(b[0]), b)[1]


def scan_by_association(a: jax.Array, b: jax.Array, axis: int = 0) -> jax.Array:
    """h of a [N] and b, whose axis of time is 0 or 1, by `lax.associative_scan`."""

    def combine(before: tuple[jax.Array, jax.Array], after: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return after[0] * before[0], after[0] * before[1] + after[1]

    shape = [1, 1, len(a)]
    shape[axis] = b.shape[axis]  # the powers of a are the same for the whole batch
    return jax.lax.associative_scan(combine, (jnp.broadcast_to(a[None, None], shape), b), axis=axis)[1]


def steps(problem: Problem, devices: int) -> dict[str, Steps]:
    """Training steps of two LRU blocks: of a run, and written plainly; a UserError if their losses do not agree."""
    block = layers.Block(layers.LRU(problem.hidden))
    model = SequenceClassifier(block, NUM_CLASSES, num_layers=2, readout="mean")
    weights = jax.jit(model.init)(jax.random.key(0), problem.inputs[:1])["params"]
    systems = {RUN: training(model, problem, weights, devices), PLAIN: plain(weights, problem, devices)}
    try:
        require_agreement(losses(systems[RUN]), losses(systems[PLAIN]), problem.dtype)
    except UnavailableError as error:
        raise UserError(f"{RUN}: {error}.") from error
    return {name: system.steps for name, system in systems.items()}


def plain(weights: Any, problem: Problem, devices: int) -> System:
    """The network of `plain_logits` in the training loop of `jax_system`, the batch split over devices."""
    mesh = make_mesh(len(problem.labels), devices)
    specs = {"mesh": mesh, "in_specs": (P(), P(BATCH)), "out_specs": P(BATCH)}
    return jax_system(jax.shard_map(plain_logits, check_vma=False, **specs), weights, problem)


def plain_logits(params: Any, inputs: jax.Array) -> jax.Array:
    """Logits [B, C] of inputs [B, T, F] by two blocks: `layers.Block` around `layers.LRU`, equation by equation."""
    for name in ("layer_0_forward", "layer_1_forward"):
        block = params[name]
        if "encoder" in block:
            inputs = _dense(block["encoder"], inputs)
        normal = inputs - inputs.mean(-1, keepdims=True)
        normal = normal * jax.lax.rsqrt((normal**2).mean(-1, keepdims=True) + 1e-6)
        normal = normal * block["norm"]["scale"] + block["norm"]["bias"]
        gate = _dense(block["glu"], nn.gelu(_lru(block["layer"], normal)))
        inputs = inputs + nn.glu(gate)
    return _dense(params["readout"], inputs.mean(axis=1))


def _dense(params: Any, inputs: jax.Array) -> jax.Array:
    return inputs @ params["kernel"] + params["bias"]


def _lru(params: Any, inputs: jax.Array) -> jax.Array:
    radius, phase = jnp.exp(-jnp.exp(params["nu_log"])), jnp.exp(params["theta_log"])
    real, imaginary = radius * jnp.cos(phase), radius * jnp.sin(phase)
    read = inputs.swapaxes(0, 1) @ params["read"]["kernel"]
    parts = [jnp.exp(params["gamma_log"]) * part for part in jnp.split(read, 2, axis=-1)]  # [T, B, N]

    def step(h: tuple[jax.Array, jax.Array], b: list[jax.Array]) -> tuple[Any, Any]:
        h = real * h[0] - imaginary * h[1] + b[0], real * h[1] + imaginary * h[0] + b[1]
        return h, h

    zeros = jnp.zeros_like(parts[0][0])
    _, h = jax.lax.scan(step, (zeros, zeros), parts)
    return (jnp.concatenate(h, axis=-1) @ params["write"]["kernel"]).swapaxes(0, 1) + params["skip"]["scale"] * inputs


if __name__ == "__main__":
    cli.run(main, Config)
