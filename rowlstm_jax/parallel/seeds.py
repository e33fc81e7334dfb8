"""S independent seeds in one program: how they lie on the mesh, and how a device computes its own."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rowlstm_jax.parallel.mesh import SEED

# Arrays that belong to seeds have S as their first axis, also if there is only one seed.
PER_SEED, REPLICATED = PartitionSpec(SEED), PartitionSpec()


@dataclasses.dataclass(frozen=True)
class Seeds:
    """S seeds, split evenly along the axis "seed" of a mesh.

    Attributes:
      number: S.
      mesh: made by `make_mesh`.
      one_by_one: whether a device computes its seeds one after the other, or all at once with vmap. One by one, the
        weights of a seed stay in the cache of a CPU; all at once, they fill a GPU or a TPU. None chooses by device.
    """

    number: int
    mesh: Mesh
    one_by_one: bool | None = None

    @property
    def here(self) -> int:
        """The number of seeds of one device."""
        return self.number // self.mesh.shape[SEED]

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Turn a function of one seed's values into a function of the values of all seeds of a device."""
        if self.here == 1:
            return lambda *args: jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x[0], args)))
        on_cpu = self.mesh.devices.flat[0].platform == "cpu"
        if on_cpu if self.one_by_one is None else self.one_by_one:
            return lambda *args: jax.lax.map(lambda of_one: function(*of_one), args)
        return jax.vmap(function)

    def own(self, tree: Any) -> Any:
        """The values of this device's seeds, from those of all seeds."""
        first = jax.lax.axis_index(SEED) * self.here
        return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, self.here), tree)

    def all(self, tree: Any) -> Any:
        """The values of all seeds, on every device."""
        return tree if self.here == self.number else jax.lax.all_gather(tree, SEED, tiled=True)

    def compile(
        self,
        function: Callable[..., Any],
        specs: Sequence[PartitionSpec],
        out_specs: Any,
        *args: Any,
        donate: tuple[int, ...] = (),
    ) -> jax.stages.Compiled:
        """Compile a function that every device calls with its parts of the arguments.

        Args:
          function: of the parts.
          specs: how each argument is split.
          out_specs: how the results are.
          args: arrays, or anything with their shapes and dtypes.
          donate: positions of the arguments whose buffers the results take over.
        """
        split = jax.shard_map(function, mesh=self.mesh, in_specs=tuple(specs), out_specs=out_specs, check_vma=False)
        shapes = [self.shapes(arg, spec) for arg, spec in zip(args, specs, strict=True)]
        return jax.jit(split, donate_argnums=donate).lower(*shapes).compile()

    def shapes(self, tree: Any, spec: PartitionSpec) -> Any:
        """The shapes, dtypes and shardings of a tree of arrays that is split by `spec`."""
        sharding = NamedSharding(self.mesh, spec)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=sharding), tree)
