"""What every system of a benchmark is given: one batch and one set of weights, as NumPy arrays."""

import dataclasses
from typing import Literal

import numpy as np

NUM_CLASSES = 10  # C
LEARNING_RATE = 1e-3
FORGET_BIAS = 1.0

Dtype = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A batch to be learnt with an LSTM that reads T rows and a readout of its last h; Adam at 0.001.

    Attributes:
      images: uint8 [B, T, F].
      labels: int32 [B].
      kernel: float32 [F + H, 4 H], gates in the order i, j, f, o.
      bias: float32 [4 H], without the constant forget bias of 1.
      readout_kernel: float32 [H, C].
      readout_bias: float32 [C].
      dtype: of the products; weights and optimiser state are float32 in either case.
    """

    images: np.ndarray
    labels: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    readout_kernel: np.ndarray
    readout_bias: np.ndarray
    dtype: Dtype = "float32"

    @property
    def inputs(self) -> np.ndarray:
        """The images in [0, 1], float32 [B, T, F]."""
        return self.images.astype(np.float32) / np.float32(255)

    @property
    def features(self) -> int:
        """F."""
        return self.images.shape[2]

    @property
    def hidden(self) -> int:
        """H."""
        return len(self.readout_kernel)

    def gates(self, order: str, forget_bias: float = FORGET_BIAS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The LSTM's weights [F, 4 H], [H, 4 H] and [4 H] with the gates in another order, and a forget bias added."""
        kernels = dict(zip("ijfo", np.split(self.kernel, 4, axis=1), strict=True))
        biases = dict(zip("ijfo", np.split(self.bias, 4), strict=True))
        biases["f"] = biases["f"] + np.float32(forget_bias)
        kernel = np.concatenate([kernels[gate] for gate in order], axis=1)
        return kernel[: self.features], kernel[self.features :], np.concatenate([biases[gate] for gate in order])


def make_problem(batch_size: int, time_steps: int, features: int, hidden: int, dtype: Dtype = "float32") -> Problem:
    """Random images and labels, and weights as the models here start with; the same for the same sizes."""
    rng = np.random.default_rng(0)

    def glorot(rows: int, columns: int) -> np.ndarray:
        limit = np.sqrt(6 / (rows + columns))
        return rng.uniform(-limit, limit, (rows, columns)).astype(np.float32)

    return Problem(
        images=rng.integers(0, 256, (batch_size, time_steps, features), dtype=np.uint8),
        labels=rng.integers(0, NUM_CLASSES, batch_size, dtype=np.int32),
        kernel=glorot(features + hidden, 4 * hidden),
        bias=rng.normal(0, 0.1, 4 * hidden).astype(np.float32),
        readout_kernel=glorot(hidden, NUM_CLASSES),
        readout_bias=rng.normal(0, 0.1, NUM_CLASSES).astype(np.float32),
        dtype=dtype,
    )
