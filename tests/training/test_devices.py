import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from rowlstm_jax.training.devices import synchronized, total

TREE = {"real": np.arange(4, dtype=np.float32), "count": np.arange(4, dtype=np.int32)}


@pytest.mark.parametrize(
    ("function", "real", "count"), [(total, 6.0, 6), (synchronized, 1.5, 3)], ids=["total", "synchronized"]
)
def test_each_device_has_what_all_have(function: Callable[..., Any], real, count):
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    split = jax.shard_map(
        functools.partial(function, axis="batch"), mesh=mesh, in_specs=P("batch"), out_specs=P("batch")
    )
    found = jax.jit(split)(TREE)
    assert found["real"].tolist() == [real] * 4
    assert found["count"].tolist() == [count] * 4
    assert found["count"].dtype == jnp.int32


@pytest.mark.parametrize("function", [total, synchronized])
def test_one_device_has_it_all(function: Callable[..., Any]):
    assert function(TREE, None) is TREE
