"""The sequence classifier: [B, T, F] -> logits [B, C]."""

import dataclasses
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.linear import default_kernel_init
from flax.typing import Dtype, Initializer

from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.models.layers import Layer
from rowlstm_jax.models.lengths import at_end, before_end, require_lengths, without_padding
from rowlstm_jax.models.over_time import lstm_over_time, scan_over_time

# Attributes that change how a model computes, but not what: a run may be resumed with other values.
WAYS_TO_COMPUTE = frozenset({"recurrence", "segment"})


class SequenceClassifier(nn.Module):
    """Recurrent layers over time and a linear readout.

    Each layer applies its own copy of `cell` at every time step. With `recurrence="scan"` this is a loop over the cell
    (`nn.scan`), for any cell. With "fused", `lstm_scan` computes the same result from the same parameters, faster, for
    `BasicLSTMCell` only.

    The readout is a linear layer. Its input is the last layer's output: with `readout="last"` at the step that is read
    last, which is t = 0 for a backward reader; with "mean" the mean over time.

    Parameters: `layer_<n>_forward` (and `layer_<n>_backward`) hold the parameters of the cell, `readout` has
    `kernel` [H, C] and `bias` [C]. With `bidirectional` its kernel is [2 H, C].

    Example:
      >>> from rowlstm_jax.models.cells import BasicLSTMCell
      >>> model = SequenceClassifier(BasicLSTMCell(128), num_classes=10)
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 28, 28)))
      >>> model.apply(variables, jnp.zeros((5, 28, 28))).shape
      (5, 10)

    Attributes:
      cell: any `nn.RNNCellBase`; each layer and direction has its own copy.
      num_classes: C.
      num_layers: recurrent layers, 1 or more.
      bidirectional: each layer has a second copy of the cell, which reads backward; the outputs are concatenated.
      readout: "last" or "mean".
      recurrence: "scan", "fused", or "auto", which is "fused" for a `BasicLSTMCell` and "scan" for any other cell.
      segment: time steps that the fused backward pass recomputes at a time, to save memory; T recomputes nothing, and
        None takes what is faster.
      dropout: rate between layers while training, 0 or more and below 1, with a new mask at every time step. It needs
        two layers or more, and the rng "dropout".
      kernel_init: initialiser of the readout's kernel.
      bias_init: initialiser of the readout's bias.
      dtype: of the computation, in the cells too; None keeps each cell's own.
      param_dtype: of the parameters, in the cells too; None keeps each cell's own, and is float32 in the readout.
    """

    cell: nn.RNNCellBase | Layer
    num_classes: int
    num_layers: int = 1
    bidirectional: bool = False
    readout: Literal["last", "mean"] = "last"
    recurrence: Literal["auto", "scan", "fused"] = "auto"
    segment: int | None = None
    dropout: float = 0.0
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype | None = None

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        *,
        lengths: jax.Array | None = None,
        train: bool = False,
        over_time: bool = False,
    ) -> jax.Array:
        """Classify sequences.

        Args:
          inputs: [B, T, F].
          lengths: int [B], the steps of each sequence, from 1 to T; what comes after is padding. The result is that of
            each sequence alone: "last" is its own last step, "mean" leaves padding out, and a backward reader begins at
            its end. None reads all steps.
          train: whether dropout is on.
          over_time: return logits after every time step.

        Returns:
          Logits [B, C]; with `over_time` [B, T, C], where those at t are the logits of the sequence that ends at t; in
          the padding, those of the whole sequence.

        Raises:
          AssertionError: `inputs` does not have three axes.
          ValueError: an attribute or a length is out of range, or `over_time` is asked of a bidirectional model.
        """
        chex.assert_rank(inputs, 3)
        self._check_attributes()
        if lengths is not None:
            require_lengths(lengths, *inputs.shape[:2])
        if over_time and self.bidirectional:
            raise ValueError("over_time needs a forward model: a backward reader begins where the sequence ends.")
        outputs = finals = inputs
        for layer in range(self.num_layers):
            if layer > 0:
                outputs = nn.Dropout(self.dropout, deterministic=not train)(outputs)
            outputs, finals = self._layer(layer, outputs, lengths, train)
        features = finals
        if over_time:
            features = outputs if self.readout == "last" else _running_mean(outputs)
            if lengths is not None:
                inside = before_end(lengths, inputs.shape[1])[..., None]
                features = jnp.where(inside, features, at_end(features, lengths)[:, None])
        elif self.readout == "mean":
            features = outputs.mean(axis=1) if lengths is None else _mean_until_end(outputs, lengths)
        return nn.Dense(
            self.num_classes,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype or jnp.float32,
            name="readout",
        )(features)

    def _layer(
        self, layer: int, inputs: jax.Array, lengths: jax.Array | None, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Outputs [B, T, H] of one layer, and its output [B, H] at the step that each direction reads last."""
        chosen = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        dtypes: dict[str, Any] = {name: dtype for name, dtype in chosen.items() if dtype is not None}
        outputs, finals = [], []
        for direction in ("forward", "backward")[: 1 + self.bidirectional]:
            cell = _copied(self.cell, dtypes).clone(name=f"layer_{layer}_{direction}", parent=self)
            reverse = direction == "backward"
            if isinstance(cell, Layer):
                read = cell(without_padding(inputs, lengths), lengths, reverse, train)
                outputs.append(without_padding(read, lengths))
            elif self.is_fused:
                outputs.append(lstm_over_time(cell, inputs, reverse, self.segment, lengths))
            else:
                outputs.append(scan_over_time(cell, inputs, reverse, lengths))
            if lengths is None or reverse:
                finals.append(outputs[-1][:, 0 if reverse else -1])
            else:
                finals.append(at_end(outputs[-1], lengths))
        return jnp.concatenate(outputs, axis=-1), jnp.concatenate(finals, axis=-1)

    @property
    def is_fused(self) -> bool:
        """Whether `lstm_scan` computes the layers."""
        # A subclass of the cell may compute something else, so the exact type counts.
        return self.recurrence == "fused" or (self.recurrence == "auto" and type(self.cell) is BasicLSTMCell)

    @nn.nowrap
    def _check_attributes(self) -> None:
        if self.readout not in ("last", "mean"):
            raise ValueError(f'readout is {self.readout!r}; it must be "last" or "mean".')
        if self.recurrence not in ("auto", "scan", "fused"):
            raise ValueError(f'recurrence is {self.recurrence!r}; it must be "auto", "scan" or "fused".')
        if self.is_fused and type(self.cell) is not BasicLSTMCell:
            name = type(self.cell).__name__
            raise ValueError(f'recurrence is "fused", which computes a BasicLSTMCell only; choose "scan" for {name}.')
        if self.segment is not None and not self.is_fused:
            raise ValueError(
                f"segment is {self.segment}, but only the fused recurrence of a BasicLSTMCell uses it; leave it out."
            )
        if self.num_layers < 1:
            raise ValueError(f"num_layers is {self.num_layers}; it must be 1 or more.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be 0 or more and below 1.")
        if self.dropout and self.num_layers == 1:
            raise ValueError(
                f"dropout is {self.dropout}, but it acts between layers and this model has one; "
                "leave it at 0, or set num_layers to 2 or more."
            )


def _copied(module: Any, dtypes: dict[str, Any]) -> Any:
    """A copy that no parent owns, of the modules within it too: each layer needs parameters of its own."""
    values = {field.name: getattr(module, field.name) for field in dataclasses.fields(module) if field.name != "parent"}
    within = {name: _copied(value, dtypes) for name, value in values.items() if isinstance(value, nn.Module)}
    return module.clone(parent=None, name=None, **within, **dtypes)


def _running_mean(outputs: jax.Array) -> jax.Array:
    """The mean over the steps up to each, [B, T, H]."""
    steps = jnp.arange(1, outputs.shape[1] + 1)[None, :, None]
    return (jnp.cumsum(outputs, axis=1, dtype=jnp.promote_types(outputs.dtype, jnp.float32)) / steps).astype(
        outputs.dtype
    )


def _mean_until_end(outputs: jax.Array, lengths: jax.Array) -> jax.Array:
    """The mean over the steps of each sequence, [B, H]; outputs in the padding are 0."""
    total = outputs.sum(axis=1, dtype=jnp.promote_types(outputs.dtype, jnp.float32))
    return (total / lengths[:, None]).astype(outputs.dtype)
