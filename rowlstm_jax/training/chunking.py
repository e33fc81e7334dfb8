"""Two networks that learn a stream together: the chunker reads what the automatiser did not expect. Pure.

The automatiser A reads every input and predicts the next one. The chunker C reads only the inputs that A did not
expect, predicts the next of those, and so bridges long lags in few of its own steps. A also learns to predict the state
of C. That teaches A, at every step, to keep what C found worth keeping, until A needs no C.

Both learn online: at each time step there is one update, from a gradient that reaches a few inputs back.

Source: Schmidhuber, Neural Computation 4(2) (1992), the chunking architecture of two networks. What is different here:
predictions are logistic units with the cross-entropy as their loss, and A's outputs for the state of C are linear;
outputs read the new hidden state, and the inputs directly; C learns a target whether A had missed it or not; and any
cell may take the place of the recurrent units.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rowlstm_jax.models import history

LONGEST = 10.0  # exp(10) = 22,026 steps; more time is the same to the chunker


@dataclasses.dataclass(frozen=True)
class ChunkingSystem:
    """An automatiser and its chunker, or a conventional network if there is no chunker.

    Attributes:
      automatiser: the cell of A.
      chunker: the cell of C; None for A alone.
      features: F.
      optimizer: of both networks, each with its own state.
      window: inputs that a gradient reaches back; a network's own inputs, so C's may lie long ago.
      tolerance: of `history.unexpected`.
      times: whether C also reads how much time passed since its last input, and predicts it.

    Raises:
      ValueError: `window` is less than 1.
    """

    automatiser: nn.RNNCellBase
    chunker: nn.RNNCellBase | None
    features: int
    optimizer: optax.GradientTransformation
    window: int = 3
    tolerance: float = 0.2
    times: bool = False

    def __post_init__(self):
        if self.window < 1:
            raise ValueError(f"window is {self.window}; it must be 1 or more.")

    @property
    def networks(self) -> tuple[history.Predictor, ...]:
        """A, whose outputs are the next input and the state of C; and C, if there is one."""
        if self.chunker is None:
            return (history.Predictor(self.automatiser, self.features),)
        read = self.features + self.times
        state = _output_width(self.chunker, read) + read
        return history.Predictor(self.automatiser, self.features + state), history.Predictor(self.chunker, read)


class Level(NamedTuple):
    """One network while it learns.

    Attributes:
      params: of the network.
      opt_state: of the optimiser.
      carry: before the oldest input of the window.
      inputs: [window, F], the last inputs, the newest last; zeros before the stream begins.
    """

    params: Any
    opt_state: Any
    carry: Any
    inputs: jax.Array


class Learning(NamedTuple):
    """The whole system while it learns: A, C or None, and the steps since C's last input, int32 []."""

    automatiser: Level
    chunker: Level | None
    passed: jax.Array


class Noticed(NamedTuple):
    """What A said of a time step before it saw it: its prediction [F], and whether the input was unexpected, bool."""

    predicted: jax.Array
    unexpected: jax.Array


def _output_width(cell: nn.RNNCellBase, width: int) -> int:
    """The numbers in the output of a cell that reads [width]."""
    key, inputs = jax.random.key(0), jnp.zeros(width)
    _, output = jax.eval_shape(lambda: cell.init_with_output(key, cell.initialize_carry(key, (width,)), inputs)[0])
    return len(output)


def init_chunking(system: ChunkingSystem, key: jax.Array) -> Learning:
    """The system before the first input, all of it a function of the key."""
    levels = []
    widths = (system.features, system.features + system.times)
    for own, network, width in zip(jax.random.split(key), system.networks, widths, strict=False):
        carry = network.cell.initialize_carry(own, (width,))
        params = network.init(own, carry, jnp.zeros(width))
        levels.append(Level(params, system.optimizer.init(params), carry, jnp.zeros((system.window, width))))
    return Learning(levels[0], levels[1] if len(levels) > 1 else None, jnp.ones((), jnp.int32))


def read_window(network: history.Predictor, params: Any, level: Level) -> tuple[Any, jax.Array, jax.Array]:
    """Read the window with these parameters: the carry after its oldest input, and the last hidden state and outputs.

    The carry before the window is what earlier parameters made of it.
    """
    read: Any = network.apply(params, level.carry, level.inputs[0])
    after_oldest = read[0]
    for inputs in level.inputs[1:]:
        read = network.apply(params, read[0], inputs)
    return after_oldest, read[1], read[2]


def prediction_loss(logits: jax.Array, inputs: jax.Array, given: jax.Array) -> jax.Array:
    """The cross-entropy of predictions [F] and inputs [F] from 0 to 1 in nats, a sum over those that are given."""
    return jnp.sum(optax.sigmoid_binary_cross_entropy(logits, inputs), where=given)


def imitation_loss(outputs: jax.Array, state: jax.Array) -> jax.Array:
    """The squared distance of what A says of the state of C from that state."""
    return jnp.square(outputs - state).sum()


def chunker_state(system: ChunkingSystem, level: Level) -> jax.Array:
    """The state of C that A learns to predict: hidden units and predictions, [H + F], or [H + F + 1] with times."""
    _, hidden, logits = read_window(system.networks[1], level.params, level)
    return jnp.concatenate([hidden, nn.sigmoid(logits)])


def learn(
    system: ChunkingSystem,
    network: history.Predictor,
    level: Level,
    inputs: jax.Array,
    given: jax.Array,
    state: jax.Array | None = None,
) -> tuple[Level, jax.Array]:
    """One update of one network by the input that has come, which is then the newest of its window.

    Args:
      system: of the network.
      network: A or C.
      level: of the network.
      inputs: [F], what was to be predicted.
      given: bool [F], the numbers that count.
      state: of C, for A; what else was to be predicted.

    Returns:
      The level after it, and the prediction [F] before it.
    """
    width = len(inputs)

    def loss(params):
        carry, _, outputs = read_window(network, params, level)
        value = prediction_loss(outputs[:width], inputs, given)
        if state is not None:
            value += imitation_loss(outputs[width:], state)
        return value, (carry, nn.sigmoid(outputs[:width]))

    slopes, (carry, predicted) = jax.grad(loss, has_aux=True)(level.params)
    updates, opt_state = system.optimizer.update(slopes, level.opt_state, level.params)
    window = jnp.concatenate([level.inputs[1:], inputs[None]])
    return Level(optax.apply_updates(level.params, updates), opt_state, carry, window), predicted


def chunking_step(
    system: ChunkingSystem, learning: Learning, inputs: jax.Array, given: jax.Array
) -> tuple[Learning, Noticed]:
    """One time step: A learns from the input; C learns from it and reads it only if A did not expect it.

    Args:
      system: which networks, and how they learn.
      learning: after the inputs before.
      inputs: [F], from 0 to 1.
      given: bool [F], which of them are to be predicted at this step; others are read, and count for nothing.

    Returns:
      The system after it, and what A had predicted.
    """
    chunker = learning.chunker
    state = None if chunker is None else chunker_state(system, chunker)
    automatiser, predicted = learn(system, system.networks[0], learning.automatiser, inputs, given, state)
    noticed = Noticed(predicted, history.unexpected(predicted, inputs, system.tolerance, given))
    if chunker is not None:
        read, counts = inputs, given
        if system.times:
            time = jnp.minimum(jnp.log(learning.passed) / LONGEST, 1.0)
            read, counts = jnp.append(inputs, time), jnp.append(given, True)
        learned, _ = learn(system, system.networks[1], chunker, read, counts)
        chunker = jax.tree.map(lambda new, old: jnp.where(noticed.unexpected, new, old), learned, chunker)
    passed = jnp.where(noticed.unexpected, 1, learning.passed + 1)
    return Learning(automatiser, chunker, passed), noticed


def learn_stream(
    system: ChunkingSystem, learning: Learning, inputs: jax.Array, given: jax.Array
) -> tuple[Learning, Noticed]:
    """Learn a stream, or its next part, step by step.

    Args:
      system: which networks, and how they learn.
      learning: after the inputs before.
      inputs: [T, F].
      given: bool [T, F].

    Returns:
      The system after it; and what A had predicted, [T, F], and had not expected, bool [T], before each update.
    """
    return jax.lax.scan(lambda learning, step: chunking_step(system, learning, *step), learning, (inputs, given))


def predict_stream(system: ChunkingSystem, learning: Learning, inputs: jax.Array) -> jax.Array:
    """What A alone predicts, without learning: at t from inputs [T, F] before t, [T, F]; at 0 nothing, 0.5."""
    network = system.networks[0]
    carry = jax.tree.map(jnp.zeros_like, learning.automatiser.carry)

    def step(carry, x):
        read: Any = network.apply(learning.automatiser.params, carry, x)
        return read[0], nn.sigmoid(read[2][: system.features])

    _, predicted = jax.lax.scan(step, carry, inputs)
    return jnp.concatenate([jnp.full((1, system.features), 0.5), predicted[:-1]])
