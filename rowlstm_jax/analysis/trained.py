"""A trained network as a value: from pictures or sequences to logits and probabilities."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from rowlstm_jax.models import missing_diagnostics, probabilities_over_time, variables
from rowlstm_jax.tasks import Preprocessing, to_grey

BLOCK = 512  # examples that are computed at once


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
    """The networks of a run, one for each seed, and how they read an input.

    `predict`, `logits` and `over_time` take inputs as the data set of the run has them:

    - pictures, uint8 from 0 to 255 or floats from 0 to 1, [N, R, K] or [N, R, K, channels]; if the run makes colours
      grey first, colour pictures too;
    - sequences, floats [N, T, F], with `lengths`, int [N], if they have several lengths.

    They return NumPy arrays, and raise a ValueError if the inputs are others, or a seed is none of the run's.

    Attributes:
      module: the Flax module.
      weights: selected by the run's protocol, [S, ...]; see `models.variables`.
      seeds: of the networks.
      preprocessing: how inputs become the sequences [N, T, F] that the module reads.
      shape: of one input of the data set, grey if colours are made grey.
      pictures: whether inputs are pictures; else they are sequences.
      grey: whether colour pictures are made grey first.
      class_names: C of them; none if the outputs are no classes.
    """

    module: nn.Module
    weights: Any
    seeds: tuple[int, ...]
    preprocessing: Preprocessing
    shape: tuple[int, ...]
    pictures: bool
    grey: bool = False
    class_names: tuple[str, ...] = ()

    def predict(
        self, inputs: npt.ArrayLike, seed: int | None = None, lengths: npt.ArrayLike | None = None
    ) -> np.ndarray:
        """The probability of each class, float32 [N, C], from the network of a seed, by default the run's first.

        Raises:
          ValueError: the outputs are no classes; see `logits`.
        """
        self._require_classes()
        return np.asarray(jax.nn.softmax(self.logits(inputs, seed, lengths), axis=-1))

    def logits(
        self, inputs: npt.ArrayLike, seed: int | None = None, lengths: npt.ArrayLike | None = None
    ) -> np.ndarray:
        """What the network returns, float32: logits [N, C], or the numbers that it predicts, [N, ...]."""
        return self._computed(self._logits, inputs, seed, lengths)

    def over_time(
        self, inputs: npt.ArrayLike, seed: int | None = None, lengths: npt.ArrayLike | None = None
    ) -> np.ndarray:
        """The probability of each class after each time step, float32 [N, T, C].

        Raises:
          ValueError: the outputs are no classes, or the module has none; see `diagnostics.missing_diagnostics`.
        """
        self._require_classes()
        if not self.has_over_time:
            raise ValueError(f"The {missing_diagnostics(self.module)['probabilities']}")
        return self._computed(self._over_time, inputs, seed, lengths)

    @property
    def has_over_time(self) -> bool:
        """Whether the module can say what it thinks after each time step."""
        return "probabilities" not in missing_diagnostics(self.module)

    def sequences(self, inputs: npt.ArrayLike) -> np.ndarray:
        """What the module reads of inputs, float32 [N, T, F]."""
        return np.asarray(self.preprocessing.evaluation(jnp.asarray(self._checked(inputs))))

    def weights_of(self, seed: int | None = None) -> Any:
        """The weights of the network of a seed, by default the run's first; see `models.variables`."""
        if seed is not None and seed not in self.seeds:
            raise ValueError(f"seed is {seed}; the run has {', '.join(map(str, self.seeds))}.")
        position = 0 if seed is None else self.seeds.index(seed)
        return jax.tree.map(lambda leaf: leaf[position], self.weights)

    def apply(self, variables: Any, sequences: Any, **more: Any) -> Any:
        """The module's own `apply`, for sequences [N, T, F]."""
        return self.module.apply(variables, sequences, **more)

    @functools.cached_property
    def _logits(self) -> Any:
        def logits(weights: Any, inputs: jax.Array, **lengths: Any) -> jax.Array:
            return self.apply(variables(weights), self.preprocessing.evaluation(inputs), **lengths)

        return jax.jit(logits)

    @functools.cached_property
    def _over_time(self) -> Any:
        def over_time(weights: Any, inputs: jax.Array, **lengths: Any) -> jax.Array:
            sequences = self.preprocessing.evaluation(inputs)
            return probabilities_over_time(self.module, weights, sequences, **lengths)

        return jax.jit(over_time)

    def _computed(self, function: Any, inputs: Any, seed: int | None, lengths: Any) -> np.ndarray:
        checked, weights, found = self._checked(inputs), self.weights_of(seed), []
        ends = None if lengths is None else _checked_lengths(lengths, checked)
        for start in range(0, len(checked), BLOCK):
            block = checked[start : start + BLOCK]
            size = 1 << (len(block) - 1).bit_length()  # few sizes, as each is compiled
            padded = np.concatenate([block, np.zeros((size - len(block), *block.shape[1:]), block.dtype)])
            more: dict[str, Any] = {}
            if ends is not None:
                part = ends[start : start + BLOCK]
                more["lengths"] = np.concatenate([part, np.ones(size - len(part), np.int32)])
            found.append(np.asarray(function(weights, padded, **more), np.float32)[: len(block)])
        return np.concatenate(found)

    def _require_classes(self) -> None:
        if not self.class_names:
            raise ValueError("The outputs of this model are no classes, so they have no probabilities; use logits.")

    def _checked(self, inputs: npt.ArrayLike) -> np.ndarray:
        """The inputs as the preprocessing takes them."""
        array = np.asarray(inputs)
        allowed = [self.shape, *([(*self.shape, 3)] if self.grey else [])]
        what = f"inputs are {array.dtype} {list(array.shape)}"
        if array.shape[1:] not in allowed or not len(array):
            needed = " or ".join(f"[N, {', '.join(map(str, shape))}]" for shape in allowed)
            one = " Give a single one as inputs[None]." if array.shape in allowed else ""
            raise ValueError(f"{what}; this model reads {'pictures' if self.pictures else 'sequences'} {needed}.{one}")
        if array.dtype == np.uint8 and self.pictures:
            return to_grey(array) if self.grey and array.ndim == 4 else array
        if array.dtype.kind != "f":
            kinds = "uint8 from 0 to 255, or floats from 0 to 1" if self.pictures else "floats"
            raise ValueError(f"{what}; they must be {kinds}.")
        if not np.isfinite(array).all():
            raise ValueError(f"{what} with NaN or infinity; remove them.")
        if self.pictures and not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"{what} from {array.min():g} to {array.max():g}; floats must be from 0 to 1: divide them by their "
                "largest possible value, or convert pixels from 0 to 255 to uint8."
            )
        array = array.astype(np.float32)
        return array @ np.array([0.299, 0.587, 0.114], np.float32) if self.grey and array.ndim == 4 else array


def _checked_lengths(lengths: npt.ArrayLike, inputs: np.ndarray) -> np.ndarray:
    array = np.asarray(lengths)
    if (
        array.shape != (len(inputs),)
        or array.dtype.kind not in "iu"
        or array.min() < 1
        or array.max() > inputs.shape[1]
    ):
        raise ValueError(
            f"lengths are {array.dtype} {list(array.shape)}; they must be [{len(inputs)}] whole numbers from 1 to "
            f"{inputs.shape[1]}."
        )
    return array.astype(np.int32)
