"""Where the training data lie changes no bit; what does not fit stays on the host."""

import chex
import jax
import numpy as np
import optax
import pytest

from rowlstm_jax.data import Examples
from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import storage
from rowlstm_jax.parallel.compiled import CompiledSteps
from rowlstm_jax.parallel.mesh import make_mesh
from rowlstm_jax.parallel.seeds import Seeds
from rowlstm_jax.parallel.storage import Storage
from rowlstm_jax.tasks.augmentation import Affine
from rowlstm_jax.tasks.preprocessing import Preprocessing
from rowlstm_jax.training.recipe import Recipe
from tests.parallel.test_compiled import batches
from tests.runs.test_loop_metrics import Mean
from tests.trials import train

READING = Preprocessing(lambda images: images, Affine(shift=2))


def mapped(examples: Examples, folder) -> Examples:
    """The same examples in files."""
    arrays = []
    for number, array in enumerate(examples.arrays):
        np.save(folder / f"{number}.npy", array)
        arrays.append(np.load(folder / f"{number}.npy", mmap_mode="r"))
    assert all(isinstance(array, np.memmap) for array in arrays)
    return Examples(*arrays)


def trained(examples: Examples, where, devices: int, num_seeds: int):
    seeds = Seeds(num_seeds, make_mesh(4, devices, num_seeds))
    recipe = Recipe(Mean(), optax.adam(1e-2))
    programs = CompiledSteps(recipe, READING, examples, 4, 5, seeds, data_on=where).compile()
    state = programs.begin(np.arange(num_seeds, dtype=np.uint32))
    indices = batches(examples, range(num_seeds), 4, 8)
    for part in (indices[:, :5], indices[:, 5:]):
        state = programs.train(state, part)
    after = programs.evaluate_minibatch(state.weights, indices[:, -1])
    return jax.device_get((state.state.params, state.metrics, after))


@pytest.mark.parametrize(
    ("devices", "num_seeds"), [(2, 2), *(pytest.param(*of, marks=pytest.mark.slow) for of in ((1, 1), (2, 1), (1, 2)))]
)
def test_data_on_the_host_on_the_devices_or_in_files_give_the_same_bits(tiny_data, tmp_path, devices, num_seeds):
    plain = trained(tiny_data.train, "device", devices, num_seeds)
    chex.assert_trees_all_equal(trained(tiny_data.train, "host", devices, num_seeds), plain)
    files = mapped(tiny_data.train, tmp_path)
    chex.assert_trees_all_equal(trained(files, "host", devices, num_seeds), plain)
    chex.assert_trees_all_equal(trained(files, "device", devices, num_seeds), plain)


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [1, 2])
def test_a_run_may_be_resumed_with_its_data_elsewhere(make_run, tiny_data, tiny_model, num_seeds):
    whole = train(make_run("whole", data_on="device", num_seeds=num_seeds, memory_health=True), tiny_data)
    fields = {"data_on": "host", "num_seeds": num_seeds, "memory_health": True}
    train(make_run("parts", steps=5, **fields), tiny_data)
    resumed = train(make_run("parts", resume=True, **fields), tiny_data)
    assert resumed.steps_taken == 7
    chex.assert_trees_all_equal(*(jax.device_get(of.params) for of in (whole, resumed)))


STATE = {"w": jax.ShapeDtypeStruct((1, 1000), np.float32)}  # 4,000 bytes; the images of tiny_data and labels are 1,476


@pytest.mark.parametrize(
    ("free", "where", "on_host", "why"),
    [
        (20_000, "auto", False, ""),
        (
            9_000,
            "auto",
            True,
            "The training data take 0.0 GB for each of 2 devices, and 0.0 GB of their memory are free",
        ),
        (9_000, "host", True, ""),
        (20_000, "host", True, ""),
    ],
)
def test_data_that_do_not_fit_stay_on_the_host(tiny_data, monkeypatch, free, where, on_host, why):
    monkeypatch.setattr(storage, "_free", lambda mesh: (free, 2))
    found = Storage(tiny_data.train, STATE, make_mesh(4, 2), where)
    assert found.on_host == on_host
    assert found.why.startswith(why)
    assert bool(found.why) == bool(why)


@pytest.mark.parametrize(("free", "where", "what"), [(9_000, "device", " and data"), (7_000, "auto", "")])
def test_what_does_not_fit_at_all_is_refused(tiny_data, monkeypatch, free, where, what):
    monkeypatch.setattr(storage, "_free", lambda mesh: (free, 2))
    with pytest.raises(UserError, match=f"Weights, optimiser state{what} take .* GB on 2 devices, and .* are free"):
        Storage(tiny_data.train, STATE, make_mesh(4, 2), where)


def test_what_is_sent_for_one_call_is_limited(tiny_data, monkeypatch):
    mesh = make_mesh(4, 1)
    on_host, on_device = (Storage(tiny_data.train, STATE, mesh, where) for where in ("host", "device"))
    assert (on_host.steps_per_dispatch(50, 4, 2), on_device.steps_per_dispatch(50, 4, 2)) == (50, 50)
    monkeypatch.setattr(storage, "MOST_SENT", 36 * 4 * 2 * 7)
    assert (on_host.steps_per_dispatch(50, 4, 2), on_device.steps_per_dispatch(50, 4, 2)) == (7, 50)
    monkeypatch.setattr(storage, "MOST_SENT", 1)
    assert on_host.steps_per_dispatch(50, 4, 2) == 1


def test_the_examples_at_the_positions_are_fetched(tiny_data):
    indices = np.array([[[3, 1, 3]], [[0, 2, 40]]], np.int32)
    for where in ("host", "device"):
        stored, positions = Storage(tiny_data.train, STATE, make_mesh(4, 1), where).fetch(indices)
        assert positions.shape == indices.shape
        np.testing.assert_array_equal(np.asarray(stored[0])[positions], tiny_data.train.inputs[indices])
        np.testing.assert_array_equal(np.asarray(stored[1])[positions], tiny_data.train.targets[indices])
