"""S independent seeds in one program: how they are computed on a device, and how they lie on a mesh."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rowlstm_jax.parallel.mesh import SEED

# What belongs to a seed has S as its first axis; so has an array for one seed only.
PER_SEED, REPLICATED = PartitionSpec(SEED), PartitionSpec()


@dataclasses.dataclass(frozen=True)
class Seeds:
    """How S seeds lie on a mesh, split evenly along its axis "seed", and what a device does with its own.

    Attributes:
      number: S.
      mesh: of `devices.make_mesh`.
      one_by_one: whether a device computes its seeds one after the other, so that each keeps its weights in the cache
        and the bits of a run of its own, or all at once under vmap, which fills a GPU or a TPU. None: the former on a
        CPU.
    """

    number: int
    mesh: Mesh
    one_by_one: bool | None = None

    @property
    def here(self) -> int:
        """The seeds of one device."""
        return self.number // self.mesh.shape[SEED]

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of one seed's values as a function of those of all seeds of a device."""
        if self.here == 1:
            return lambda *args: jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x[0], args)))
        on_cpu = self.mesh.devices.flat[0].platform == "cpu"
        if on_cpu if self.one_by_one is None else self.one_by_one:
            return lambda *args: jax.lax.map(lambda of_one: function(*of_one), args)
        return jax.vmap(function)

    def own(self, tree: Any) -> Any:
        """Of the values of all seeds, those of this device's."""
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
        """Compile what every device does with its parts of the arguments.

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
        """The shapes, dtypes and shardings of a tree of arrays that is split like this."""
        sharding = NamedSharding(self.mesh, spec)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=sharding), tree)
