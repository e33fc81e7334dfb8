"""A batch that is augmented in parts, each on a device of its own."""

import jax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from rowlstm_jax.tasks import Affine, Augmentation, augment


def augmented_in_parts(
    images: jax.typing.ArrayLike, key: jax.Array, augmentation: Affine | Augmentation, devices: int
) -> jax.Array:
    """`augment` of a batch that is split over the first devices, compiled."""
    mesh = jax.make_mesh((devices,), ("batch",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    shards = {"mesh": mesh, "in_specs": (P("batch"), P()), "out_specs": P("batch")}
    split = jax.shard_map(lambda part, key: augment(part, key, augmentation, "batch"), **shards)
    return jax.jit(split)(images, key)
