import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel.mesh import best_count, cores, make_mesh, shard, why_cores


@pytest.fixture
def two_processes(monkeypatch):
    """JAX as the first of two processes sees it, as far as a mesh asks."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "local_devices", lambda process: jax.devices()[2 * process : 2 * process + 2])


@pytest.mark.parametrize(("batch_size", "expected"), [(100, 4), (60, 4), (30, 3), (36, 3), (22, 2), (18, 1), (7, 1)])
def test_by_default_a_batch_is_split_over_the_most_devices_that_divide_it_with_ten_rows_each(batch_size, expected):
    mesh = make_mesh(batch_size)
    assert dict(mesh.shape) == {"seed": 1, "batch": expected}
    assert list(mesh.devices.flat) == jax.devices()[:expected]


@pytest.mark.parametrize(
    ("available", "processes", "batch_size", "num_seeds", "platform", "expected"),
    [
        (64, 1, 100, 1, "cpu", 10),  # ten rows a device
        (64, 1, 100, 1, "gpu", 50),
        (64, 4, 100, 1, "cpu", 1),  # 25 rows a device; two would have 12.5, five 5
        (64, 2, 512, 1, "cpu", 16),
        (64, 1, 100, 8, "cpu", 40),  # eight seeds, each over five devices with 20 rows
        (64, 1, 4, 8, "cpu", 1),
        (64, 1, 4, 8, "gpu", 32),
        (64, 3, 100, 1, "cpu", 1),  # can't be split at all, which `make_mesh` says
    ],
)
def test_on_a_cpu_no_device_has_a_few_rows_only(available, processes, batch_size, num_seeds, platform, expected):
    assert best_count(available, processes, batch_size, num_seeds, platform) == expected


@pytest.mark.parametrize(
    ("batch_size", "asked_for", "message"),
    [
        (100, 3, "A batch of 100 can't be split over 3 devices; change --batch-size or --devices."),
        (100, 5, "--devices is 5, and there are 4 (cpu); ask for fewer."),
    ],
)
def test_devices_that_can_not_be_had_are_refused(batch_size, asked_for, message):
    with pytest.raises(UserError) as error:
        make_mesh(batch_size, asked_for)
    assert str(error.value) == message


def test_no_process_is_asked_for_more_devices_than_it_has(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "local_devices", lambda process: jax.devices()[3 * process : 3 * process + 3])
    assert list(make_mesh(100).devices.flat) == [jax.devices()[0], jax.devices()[3]], "the second has one only"


def test_every_process_gives_the_mesh_as_many_devices(two_processes):
    assert list(make_mesh(100, 1).devices.flat) == [jax.devices()[0], jax.devices()[2]]
    assert make_mesh(100).size == 4
    with pytest.raises(UserError, match="A batch of 6 can't be split over 2 devices in each of 2 processes"):
        make_mesh(6, 2)
    with pytest.raises(UserError, match="A batch of 7 can't be split over 1 device in each of 2 processes"):
        make_mesh(7)


@pytest.mark.parametrize(
    ("bound", "environment", "expected", "why"),
    [
        (4, {"SLURM_CPUS_PER_TASK": "2"}, 4, ""),  # the cluster has bound the process
        (64, {}, 64, ""),
        (
            64,
            {"SLURM_CPUS_PER_TASK": "8", "SLURM_CPUS_ON_NODE": "32"},
            8,
            "8 of the node's 64 cores, as SLURM_CPUS_PER",
        ),
        (64, {"SLURM_CPUS_ON_NODE": "32", "SLURM_STEP_TASKS_PER_NODE": "4(x2),1"}, 8, "as SLURM_CPUS_ON_NODE says"),
        (64, {"SLURM_CPUS_ON_NODE": "64"}, 64, ""),
        (64, {"OMPI_COMM_WORLD_LOCAL_SIZE": "16"}, 4, "as OMPI_COMM_WORLD_LOCAL_SIZE says"),
        (64, {"OMPI_COMM_WORLD_LOCAL_SIZE": "100"}, 64, ""),
        (64, {"SLURM_CPUS_PER_TASK": "many"}, 64, ""),
    ],
)
def test_a_process_takes_the_cores_that_its_cluster_gives_it(bound, environment, expected, why, monkeypatch):
    for name in (
        "SLURM_CPUS_PER_TASK",
        "SLURM_CPUS_ON_NODE",
        "SLURM_STEP_TASKS_PER_NODE",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(bound)), raising=False)
    assert cores() == expected
    assert why in why_cores()
    assert bool(why) == bool(why_cores())


def test_what_is_placed_lies_where_it_was_asked_for():
    mesh = make_mesh(8, 4)
    everywhere, split = shard(np.arange(8), mesh), shard(np.arange(8), mesh, PartitionSpec("batch"))
    assert [shard.data.tolist() for shard in everywhere.addressable_shards] == [list(range(8))] * 4
    assert [shard.data.tolist() for shard in split.addressable_shards] == [[0, 1], [2, 3], [4, 5], [6, 7]]
