"""What a network costs."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rowlstm_jax.models.layers import Layer


def forward_flops(cell: nn.RNNCellBase | Layer, num_classes: int, time_steps: int, features: int) -> float:
    """Floating-point operations with which one layer of a cell and a linear readout classify one sequence.

    XLA counts the body of a loop once, however often it runs, so one time step and the readout are counted separately,
    of a layer too.

    Example:
      >>> from rowlstm_jax.models.cells import BasicLSTMCell
      >>> products = 28 * 2 * (28 + 128) * 4 * 128 + 2 * 128 * 10
      >>> 1.0 < forward_flops(BasicLSTMCell(128), 10, 28, 28) / products < 1.02
      True

    Args:
      cell: any `nn.RNNCellBase`, or a layer.
      num_classes: C.
      time_steps: T.
      features: F.
    """
    inputs, key = jax.ShapeDtypeStruct((1, features), jnp.float32), jax.random.key(0)  # shapes: nothing is computed
    carry = jax.eval_shape(lambda: cell.initialize_carry(key, inputs.shape))
    method = {"method": "step"} if isinstance(cell, Layer) else {}
    variables = jax.eval_shape(functools.partial(cell.init, **method), key, carry, inputs)
    apply = functools.partial(cell.apply, **method)
    step = _flops(apply, variables, carry, inputs)
    _, output = jax.eval_shape(apply, variables, carry, inputs)
    readout = nn.Dense(num_classes)
    weights = jax.eval_shape(lambda x: readout.init(key, x), output)
    return time_steps * step + _flops(readout.apply, weights, output)


def _flops(function: Any, *args: Any) -> float:
    analysis = jax.jit(function).lower(*args).compile().cost_analysis()
    return float(analysis["flops"])  # pyright: ignore[reportOptionalSubscript]
