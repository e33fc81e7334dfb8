"""The block around a layer, as in S4, S5 and the LRU: normalisation, layer, GELU, GLU, dropout, residual."""

from typing import Any, Literal

import flax.linen as nn
import jax

from rowlstm_jax.models.layers.base import Layer


class Block(Layer):
    r"""A layer with normalisation before it, a gated linear unit after it, and a residual connection around both.

    .. math::
        u &= W_{\text{in}} x \text{ if F is not H, else } x \\
        v &= \mathrm{drop}(\mathrm{gelu}(\mathrm{layer}(\mathrm{norm}(u)))) \\
        y &= u + \mathrm{drop}((W v + b) \sigma(W_g v + b_g))

    A mask of dropout is the same at all steps of a sequence.

    Parameters: `encoder` with `kernel` [F, H] and `bias` [H], if F is not H; `norm`; `layer`; `glu` with `kernel`
    [H, 2 H] and `bias` [2 H].

    Source: Smith et al., arXiv:2208.04933, and Orvieto et al., arXiv:2303.06349, with layer instead of batch
    normalisation.

    Attributes:
      layer: with H features.
      norm: "layer" (Ba et al., arXiv:1607.06450), "rms" (Zhang & Sennrich, arXiv:1910.07467) or "none".
      dropout: rate while training, 0 or more and below 1. It needs the rng "dropout".
    """

    layer: Layer
    norm: Literal["layer", "rms", "none"] = "layer"
    dropout: float = 0.0

    def setup(self):
        """Makes the submodules."""
        if self.norm not in ("layer", "rms", "none"):
            raise ValueError(f'norm is {self.norm!r}; it must be "layer", "rms" or "none".')
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be 0 or more and below 1.")
        self.encoder = self.dense(self.features)
        kind = nn.LayerNorm if self.norm == "layer" else nn.RMSNorm
        self.normalize = kind(dtype=self.dtype, param_dtype=self.param_dtype, name="norm")
        self.glu = self.dense(2 * self.features)
        self.drop = nn.Dropout(self.dropout, broadcast_dims=(1,))

    @property
    def features(self) -> int:
        """H."""
        return self.layer.features  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def is_linear(self) -> bool:
        """As the layer."""
        return self.layer.is_linear

    def __call__(
        self, inputs: jax.Array, lengths: jax.Array | None = None, reverse: bool = False, train: bool = False
    ) -> jax.Array:
        """Read sequences, see `Layer`."""
        residual, inputs = self._before(inputs)
        return residual + self._after(self.layer(inputs, lengths, reverse, train), train)

    def step(self, carry: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        """Read one step, see `Layer`; the carry is that of the layer. Dropout is off."""
        residual, inputs = self._before(inputs)
        carry, outputs = self.layer.step(carry, inputs)
        return carry, residual + self._after(outputs, train=False)

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """The initial carry of the layer."""
        return self.layer.initialize_carry(rng, (*input_shape[:-1], self.features))

    def _before(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        if inputs.shape[-1] != self.features:
            inputs = self.encoder(inputs)
        return inputs, inputs if self.norm == "none" else self.normalize(inputs)

    def _after(self, outputs: jax.Array, train: bool) -> jax.Array:
        outputs = self.drop(nn.gelu(outputs), deterministic=not train)
        return self.drop(nn.glu(self.glu(outputs)), deterministic=not train)
