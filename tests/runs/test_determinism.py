"""What must come out to the bit, and did before: golden digests, and equal bits on any number of cores."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
import optax
import pytest

from experiments.benchmarks import same_bits
from rowlstm_jax.data.batches import batch_indices
from rowlstm_jax.errors import InterruptedRun
from rowlstm_jax.models.cells import BasicLSTMCell, GRUCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.models.layers import LAYERS, RNN, Block
from rowlstm_jax.parallel.mesh import cores
from rowlstm_jax.tasks.augmentation import Affine
from rowlstm_jax.tasks.preprocessing import Preprocessing
from rowlstm_jax.training.metrics import Metrics
from rowlstm_jax.training.recipe import Recipe
from rowlstm_jax.training.state import TrainState, init_state
from rowlstm_jax.training.step import train_steps
from tests.trials import at_steps
from tests.trials import train as train_run

ROOT = Path(__file__).parents[2]
WEIGHTS = {  # by the release of jaxlib
    "0.10.1": "ebc212e23094173b9055157712fbd8e58b50418791c214e80a570ed1a821e7a9",
    "0.12.0.1": "00f5f2e267aa2bb654e3965479fe04e024f01bc614603195323ee792e7630932",
}
# XLA makes code for the vector instructions that it finds: on this processor AVX2 gives the same bits, SSE4.2 others.
INSTRUCTIONS = {"avx2", "fma", "avx512f"}
FIGURES = {"norm": 4.893911, "mean absolute": 0.1738745, "largest": 0.7824158, "loss": 174.0105}


@pytest.mark.parametrize(
    ("seed", "num_examples", "batch_size", "first_step", "num_steps", "digest"),
    [
        (0, 55_000, 100, 0, 1_000, "83a787c39db934a0b3cd9bb2dfc3f3d31f6354d3fc9851a0b5707e70a336785e"),
        (1, 55_000, 100, 549, 2, "5350bc8f5167868e3c664f5078a34df9ce8fc8fe7713f7638925a3f68cc55ff7"),
        (2**32 - 1, 60_000, 128, 468, 2, "36ba305bf2cb2016c860c0f948b10ab7897da97e07d7958dd7b0b93354075f12"),
        (7, 41, 4, 9, 30, "807ca1b741fd8a6eb250fb2fcd79073506ca214c59c28f99aa05f00c1476c9db"),
        (7, 3, 9, 0, 2, "57854940e7a35db207125ccfbe0cff81bf908dad1a746c0af66942ad757a2fc5"),
    ],
)
def test_the_data_order_is_the_same_on_every_machine_and_with_every_numpy(
    seed, num_examples, batch_size, first_step, num_steps, digest
):
    assert (first_step + num_steps) * batch_size > num_examples > first_step * batch_size, "an epoch ends in between"
    indices = batch_indices(seed, num_examples, batch_size, first_step, num_steps)
    assert indices.dtype == np.int32
    assert hashlib.sha256(indices.astype("<i4").tobytes()).hexdigest() == digest


@jax.jit
def trained(seed: jax.Array, images: jax.Array, labels: jax.Array, indices: jax.Array) -> tuple[TrainState, Metrics]:
    recipe = Recipe(SequenceClassifier(BasicLSTMCell(8), num_classes=3), optax.adam(1e-2))
    reading = Preprocessing(lambda images: images, Affine(shift=1, rotation=0.2))  # its random numbers count too
    state = init_state(recipe, jnp.zeros((1, 5, 7)), seed)
    return train_steps(state, Metrics.zeros(), (images, labels), indices, len(indices), reading)


def train(seed: int) -> tuple[str, dict[str, float]]:
    """The digest of the weights of a tiny model after 20 steps, and what is left of it in a few figures."""
    numbers = np.random.PCG64(7).random_raw(60 * 6).astype("<u8").view(np.uint8).reshape(60, 48)
    images, labels = numbers[:, :35].reshape(60, 5, 7), numbers[:, 35] % 3
    state, sums = jax.device_get(trained(np.uint32(seed), images, labels, batch_indices(seed, 60, 8, 0, 20)))
    weights = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state.params)])
    figures = {
        "norm": np.linalg.norm(weights.astype(float)),
        "mean absolute": np.abs(weights).mean(dtype=float),
        "largest": np.abs(weights).max(),
        "loss": sums.loss,
    }
    digest = hashlib.sha256(weights.astype("<f4").tobytes()).hexdigest()
    return digest, {name: float(value) for name, value in figures.items()}


def recorded_here() -> bool:
    """Whether versions and processor are those with which the digest was recorded."""
    versions = jaxlib.version.__version__ in WEIGHTS
    cpuinfo = Path("/proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
    return versions and flags is not None and set(flags[1].split()) >= INSTRUCTIONS


def test_the_weights_after_some_steps_are_close_to_those_recorded_on_any_machine():
    digest, figures = train(0)
    assert figures == pytest.approx(FIGURES, rel=1e-4)
    assert train(1)[0] != digest, "another seed"


def test_the_weights_after_some_steps_have_the_recorded_bits_with_the_same_versions_and_kind_of_processor():
    if not recorded_here() or jax.default_backend() != "cpu":
        pytest.skip("the bits were recorded with other versions, or on a processor with other vector instructions")
    assert train(0)[0] == WEIGHTS[jaxlib.version.__version__]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_a_run_on_one_core_and_one_on_two_compute_the_same_bits(tmp_path, mnist, devices):
    if not hasattr(os, "sched_setaffinity") or cores() < 2:
        pytest.skip("needs two cores, and a system that can hold a process to one")
    flags = ["--steps", 12, "--hidden", 64, "--devices", devices, "--log-every", 5, "--compilation-cache", None]
    found = []
    for number in (1, 2):
        run, some = tmp_path / str(number), sorted(os.sched_getaffinity(0))[:number]
        hold = f"import os, sys; os.sched_setaffinity(0, {some}); os.execv(sys.executable, sys.argv[1:])"
        program = [sys.executable, "-m", "experiments.mnist_rows", *map(str, flags), "--run-dir", str(run)]
        command = [sys.executable, "-c", hold, *program]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
        assert json.loads((run / "summary.json").read_text())["environment"]["cores"] == number
        found.append(same_bits.contents(run))
    assert len(found[0]) == 30
    assert [name for name in found[0] if found[0][name] != found[1].get(name)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LAYERS, "rnn"])
def test_a_run_of_a_layer_that_was_stopped_and_resumed_has_the_bits_of_one_never_stopped(make_run, tiny_data, name):
    """Two seeds on two devices, with dropout."""
    layer = Block(RNN(GRUCell(6))) if name == "rnn" else LAYERS[name](6)
    model = SequenceClassifier(layer.clone(dropout=0.2), 3, readout="mean")
    fields = {"recipe": Recipe(model, optax.adam(1e-2)), "num_seeds": 2}

    def bits(run, data):
        fitted = train_run(run, data)
        return jax.tree.map(lambda x: np.asarray(x).tobytes(), jax.device_get(fitted.params)), (
            run.config.run_dir / "metrics.jsonl"
        ).read_bytes()

    undisturbed = bits(make_run("undisturbed", **fields), tiny_data)
    stop = at_steps(6, action=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(InterruptedRun, match="Stopped at step 6 of 12"), stop:
        train_run(make_run("stopped", **fields), tiny_data)
    assert bits(make_run("stopped", resume=True, **fields), tiny_data) == undisturbed
