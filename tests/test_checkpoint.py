import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from rowlstm_jax.checkpoint import Checkpoints
from rowlstm_jax.devices import make_mesh, place

HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def tree(value: float):
    return {"weights": jnp.full((3, 2), value), "step": jnp.int32(value), "key": jax.random.key(int(value))}


def like(saved, sharding):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), saved)


def test_round_trip_keeps_every_bit_and_the_typed_key(tmp_path):
    saved = tree(7) | {"odd": jnp.array([np.nan, np.inf, -0.0, 1e-45], jnp.float32)}
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, saved)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        restored = checkpoints.restore(1, like(saved, HERE))
    assert jax.random.key_data(restored.pop("key")).tolist() == jax.random.key_data(saved.pop("key")).tolist()
    for name, leaf in saved.items():
        assert np.asarray(restored[name]).tobytes() == np.asarray(leaf).tobytes(), name
        assert restored[name].dtype == leaf.dtype


def test_what_is_saved_survives_the_donation_of_its_buffers(tmp_path):
    update = jax.jit(lambda x: x + 1, donate_argnums=0)
    weights = jnp.zeros((512, 512))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, {"weights": weights})
        for _ in range(20):
            weights = update(weights)
        weights.block_until_ready()
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        restored = checkpoints.restore(1, {"weights": weights})
    np.testing.assert_array_equal(restored["weights"], 0.0)


def test_the_two_latest_are_kept(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step is None
        for step in range(1, 7):
            checkpoints.save(step, tree(step))
        assert checkpoints.latest_step == 6
        chex.assert_trees_all_equal(checkpoints.restore(5, tree(0))["weights"], tree(5)["weights"])
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit())
    assert kept == [5, 6]


@pytest.mark.parametrize(("saved_on", "restored_on"), [(2, 1), (2, 4), (4, 2), (1, 2)])
def test_a_checkpoint_moves_between_numbers_of_devices(tmp_path, saved_on, restored_on):
    def everywhere(devices):
        return NamedSharding(make_mesh(4, devices), PartitionSpec())

    saved = place(jax.device_get({"weights": jnp.arange(6.0)}), make_mesh(4, saved_on))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, saved)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        restored = checkpoints.restore(1, like(saved, everywhere(restored_on)))
    assert restored["weights"].sharding == everywhere(restored_on)
    np.testing.assert_array_equal(restored["weights"], np.arange(6.0))
