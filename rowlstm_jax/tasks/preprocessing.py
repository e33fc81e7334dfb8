"""How stored inputs become the sequences that the model reads: scaling, augmentation, order, noise. Pure."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.data import Examples
from rowlstm_jax.tasks.augmentation import Affine, Augmentation, augment, keys_of_examples
from rowlstm_jax.tasks.orders import Read

Scaling = Literal["pixels / 255", "standardized"]
LUMA = (19595, 38470, 7471)  # of red, green and blue, in 65536ths, as Pillow's convert("L") weighs them


def scale(images: jax.Array) -> jax.Array:
    """Scale pixels to [0, 1] as the notebook's loader does, by a float32 multiplication by 1/255.

    Args:
      images: uint8, any shape; float32 is returned as it is.

    Returns:
      float32 of the same shape; 0 and 255 become exactly 0.0 and 1.0.
    """
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images
    return images.astype(jnp.float32) * jnp.float32(1 / 255)


@dataclasses.dataclass(frozen=True)
class Standardization:
    """Subtract the mean of each channel and divide by its deviation.

    Attributes:
      mean: of the scaled values, one for each channel or feature; one for a grey image.
      deviation: their standard deviation.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, values: jax.Array) -> jax.Array:
        """Standardize float32 [B, ...]; the last axis holds the channels, if there are several."""
        shape = (1,) * (values.ndim - 1) + (len(self.mean),)
        mean, deviation = (jnp.array(of, jnp.float32).reshape(shape) for of in (self.mean, self.deviation))
        return (values - mean) / deviation

    @classmethod
    def of(cls, train: Examples) -> "Standardization":
        """Measure training inputs; a channel that never varies is divided by 1. Padding does not count."""
        unit = 255.0 if train.inputs.dtype == np.uint8 else 1.0
        total, count = sum(of_block.sum(axis=0) for of_block in _rows(train)), sum(map(len, _rows(train)))
        mean = np.asarray(total / count)
        deviation = np.sqrt(sum(((of_block - mean) ** 2).sum(axis=0) for of_block in _rows(train)) / count)
        varies = deviation > np.finfo(np.float32).eps * np.abs(mean)  # more than rounding does
        scaled = np.where(varies, deviation, unit) / unit
        return cls(tuple((mean / unit).tolist()), tuple(scaled.tolist()))


def _rows(examples: Examples, block: int = 1000) -> Iterator[np.ndarray]:
    """The pixels or steps of examples that are no padding, float64 [n, channels], in blocks."""
    for start in range(0, len(examples), block):
        part = examples[start : start + block]
        channels = 1 if part.inputs.dtype == np.uint8 and part.inputs.ndim == 3 else part.inputs.shape[-1]
        values = part.inputs.reshape(-1, channels).astype(np.float64)
        if part.lengths is not None:
            values = values[(np.arange(part.inputs.shape[1]) < part.lengths[:, None]).ravel()]
        yield values


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How stored inputs become the sequences that the model reads.

    Attributes:
      order: float [B, R, K] or [B, R, K, channels] -> sequences [B, T, F].
      augmentation: of the training images; None for no augmentation.
      standardize: of scaled values, after augmentation; None leaves them as they are.
      noise_to: after the last step, Gaussian noise follows up to this number of steps; None adds none. While training,
        it depends on seed, step and the example's position in the batch. In an evaluation it is always the same.
    """

    order: Read
    augmentation: Affine | Augmentation | None = None
    standardize: Callable[[jax.Array], jax.Array] | None = None
    noise_to: int | None = None

    def evaluation(self, inputs: jax.Array) -> jax.Array:
        """Sequences float32 [B, T, F] of stored inputs [B, ...], without augmentation."""
        sequences = self._ordered(scale(inputs))
        if self.noise_to is None:
            return sequences
        noise = jax.random.normal(jax.random.key(0), self._noise_shape(sequences))
        return jnp.concatenate([sequences, jnp.tile(noise[None], (sequences.shape[0], 1, 1))], axis=1)

    def training(self, inputs: jax.Array, key: jax.Array, axis: str | None = None) -> jax.Array:
        """Sequences float32 [B, T, F] of stored inputs [B, ...], varied by a key; see `augment` for `axis`."""
        values = scale(inputs)
        if self.augmentation is not None:
            values = augment(values, key, self.augmentation, axis)
        sequences = self._ordered(values)
        if self.noise_to is None:
            return sequences
        keys = keys_of_examples(jax.random.fold_in(key, 1), len(inputs), axis)
        noise = jax.vmap(lambda key: jax.random.normal(key, self._noise_shape(sequences)))(keys)
        return jnp.concatenate([sequences, noise], axis=1)

    @property
    def varies(self) -> bool:
        """Whether a training input is read differently at each step."""
        return self.augmentation is not None or self.noise_to is not None

    def _ordered(self, values: jax.Array) -> jax.Array:
        return self.order(values if self.standardize is None else self.standardize(values))

    def _noise_shape(self, sequences: jax.Array) -> tuple[int, int]:
        return (self.noise_to or 0) - sequences.shape[1], sequences.shape[2]


def to_grey(images: np.ndarray) -> np.ndarray:
    """Colour pictures uint8 [N, R, K, 3] as grey ones [N, R, K], with Pillow's weights of the colours (ITU-R 601-2)."""
    grey = np.empty(images.shape[:3], np.uint8)
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000].astype(np.uint32)
        grey[start : start + 1000] = (part @ np.array(LUMA, np.uint32) + 0x8000) >> 16
    return grey
