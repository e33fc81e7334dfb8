"""Strict settings for all tests, and the small data and runs that they share."""

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from rowlstm_jax.analysis import report
from rowlstm_jax.config import RunConfig
from rowlstm_jax.data import Dataset, Examples, Sealed, Splits, load
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.runs.run import Run
from rowlstm_jax.tasks.protocol import Protocol
from rowlstm_jax.training.recipe import Recipe

PROTOCOL = Protocol(name="tiny", dataset="mnist", validation_examples=13, order="rows")

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)  # most tests use the first only
jax.devices()  # starts JAX, before a run would choose other devices
# A suite started in the background ignores Ctrl-C, and so would the scripts that it starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def ctrl_c_stays() -> Iterator[None]:
    """A process that `cli.run` leaves gives Ctrl-C its plain action; that of the tests goes on and keeps its own."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Many tests compile the same programs: all processes of pytest-xdist share a cache of this session's own.

    With a largest size JAX locks it, or one process would read what another one writes. The scripts that a process
    starts share another one, without a lock.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "compilation"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", 2**32)
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # as `start` does
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    with pytest.MonkeyPatch.context() as patch:
        # It reads a file of each stored program each time that one is stored: with thousands of them, minutes.
        patch.setattr("jax._src.lru_cache.LRUCache._evict_if_needed", lambda *_, **__: None)
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(own / "compilation_of_scripts"))
        yield folder


@pytest.fixture(scope="module")
def quick_compiler() -> Iterator[None]:
    """For files that compare values within tolerances: LLVM's optimisations take half of their time.

    No program that was compiled without them is left to a test of bits.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


@pytest.fixture
def compilations() -> Iterator[list[object]]:
    """The names of the functions that JAX compiles during the test."""
    seen = []

    def listen(event: str, duration: float, **kwargs: object) -> None:
        if event.endswith("backend_compile_duration"):
            seen.append(kwargs.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """Where scripts find it too; prepared on first use."""
    try:
        return load("mnist")
    except ValueError as error:
        pytest.skip(f"MNIST is not here and cannot be had: {error}")


@pytest.fixture(scope="session")
def tiny_data() -> Splits:
    """Noisy images [5, 7] of three classes that differ in which row is bright."""
    rng = np.random.default_rng(0)

    def examples(count: int) -> Examples:
        labels = rng.integers(0, 3, count, dtype=np.uint8)
        images = rng.integers(0, 60, (count, 5, 7), dtype=np.uint8)
        images[np.arange(count), labels] += 190
        return Examples(images, labels)

    return Splits("tiny", "1.0.0", ("a", "b", "c"), "0" * 64, examples(41), examples(13), Sealed(examples(27)))


@pytest.fixture(scope="session")
def tiny_model() -> SequenceClassifier:
    return SequenceClassifier(BasicLSTMCell(8), num_classes=3, num_layers=2, dropout=0.3)


@pytest.fixture(scope="session")
def make_run_in(tiny_model: SequenceClassifier) -> Callable[..., Run]:
    """A run of the tiny model with Adam in a folder; other keywords are fields of its config."""

    def make(run_dir: Path, protocol: Protocol = PROTOCOL, recipe: Recipe | None = None, **fields) -> Run:
        config = RunConfig(
            steps=12, batch_size=4, log_every=3, eval_every=5, devices=2, run_dir=run_dir, strict_compile=True
        )
        config = dataclasses.replace(config, **fields)
        return Run("tiny", config, protocol, recipe or Recipe(tiny_model, optax.adam(1e-2)))

    return make


@pytest.fixture
def make_run(tmp_path: Path, make_run_in: Callable[..., Run]) -> Callable[..., Run]:
    """`make_run_in` for a folder of the test."""
    return lambda folder="run", **fields: make_run_in(**{"run_dir": tmp_path / folder} | fields)


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """For files that look at no picture of a run: four of them take longer than its training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw_all", lambda *_: None)
        yield
