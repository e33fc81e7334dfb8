r"""Hopfield networks: memories that complete a pattern of which a part is known. Pure.

The classical network stores N patterns of H units, each -1 or 1, in symmetric weights W [H, H] whose diagonal is 0.
`hebbian` and `pseudo_inverse` make the weights, `asynchronous` and `synchronous` update the units, and `recall` repeats
this until nothing changes. A unit that is 0 is not known: the first update sets it, unless its field, (W s)_i, is 0.
`shares_kept` measures how much Hebb's rule stores.

The modern network keeps the patterns themselves, of any real values. `modern_update` is one step of softmax attention;
`modern_energy` is what it lowers.

All but `shares_kept` can be used in `jax.jit` and `jax.vmap`. Papers write N for the number of units. Here H is the
number of units and N the number of patterns.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

LOADS = (0.04, 0.07, *(percent / 100 for percent in range(10, 21)), 0.23, 0.26)  # around the capacity of Hebb's rule


def hebbian(patterns: jax.Array) -> jax.Array:
    r"""The weights of Hebb's rule: units that are equal in many patterns excite each other.

    .. math::
        W_{ij} = \frac{1}{H} \sum_n x_{ni} x_{nj} \text{ for } i \ne j, \qquad W_{ii} = 0

    It stores up to about 0.138 H random patterns (Amit et al. 1985), and far fewer patterns that resemble each other.
    A pattern of zeros stores nothing.

    Example:
      >>> hebbian(jnp.array([[1.0, -1.0]])).tolist()
      [[0.0, -0.5], [-0.5, 0.0]]

    Args:
      patterns: [N, H], each value -1 or 1.

    Returns:
      W, [H, H].

    Source: Hopfield, PNAS 79 (1982); Amit, Gutfreund and Sompolinsky, Physical Review Letters 55 (1985).
    """
    _require_patterns(patterns)
    return _without_diagonal(patterns.T @ patterns / patterns.shape[1])


def pseudo_inverse(patterns: jax.Array) -> jax.Array:
    r"""The weights of the pseudo-inverse rule: all patterns are fixed points, however much they resemble each other.

    .. math::
        P = X^+ X, \qquad W_{ij} = P_{ij} \text{ for } i \ne j, \qquad W_{ii} = 0

    P projects on the span of the patterns, the rows of X. So P x = x for each of them, and (W x)_i = (1 - P_ii) x_i has
    the sign of x_i where P_ii < 1. Fewer than H independent patterns are fixed points; far fewer are recalled from a
    part. Without the diagonal, patterns are recalled from more distant states.

    Args:
      patterns: [N, H], each value -1 or 1.

    Returns:
      W, [H, H].

    Source: Personnaz, Guyon and Dreyfus, Journal de Physique Lettres 46 (1985); without the diagonal, Kanter and
    Sompolinsky, Physical Review A 35 (1987).
    """
    _require_patterns(patterns)
    return _without_diagonal(jnp.linalg.pinv(patterns) @ patterns)


def energy(weights: jax.Array, states: jax.Array) -> jax.Array:
    r"""The energy, which no asynchronous update raises.

    .. math::
        E = -\frac{1}{2} \sum_{ij} W_{ij} s_i s_j

    This holds for symmetric weights whose diagonal is not negative. Synchronous updates may raise it.

    Args:
      weights: [H, H].
      states: [..., H].

    Returns:
      E, [...].

    Source: Hopfield, PNAS 79 (1982).
    """
    _require_weights(weights, states)
    return -0.5 * ((states @ weights) * states).sum(axis=-1)


def synchronous(weights: jax.Array, states: jax.Array) -> jax.Array:
    r"""Update all units at once, from the same states.

    .. math::
        s_i \leftarrow \mathrm{sign}\Big(\sum_j W_{ij} s_j\Big), \text{ and } s_i \text{ stays where the sum is 0}

    Repeated, it ends in a fixed point, or in two states that alternate.

    Args:
      weights: [H, H], symmetric.
      states: [..., H], each value -1, 1, or 0 for not known.

    Returns:
      The new states, [..., H].

    Source: Goles and Olivos, Discrete Mathematics 30 (1980).
    """
    _require_weights(weights, states)
    return _signs(states @ weights, states)


def asynchronous(weights: jax.Array, states: jax.Array, order: jax.Array) -> jax.Array:
    """Update units one after the other, each from what the updates before it have left; else as `synchronous`.

    Args:
      weights: [H, H], symmetric.
      states: [..., H].
      order: int [T], the units to update; a permutation of all units is one sweep.

    Source: Hopfield, PNAS 79 (1982), where units are chosen at random.
    """
    _require_weights(weights, states)
    weights = jnp.asarray(weights)  # a NumPy array can't be indexed by a traced unit

    def update(units: jax.Array, unit: jax.Array) -> tuple[jax.Array, None]:
        return units.at[unit].set(_signs(jnp.tensordot(weights[unit], units, axes=1), units[unit])), None

    # Units come first, so that each step reads and writes a piece of memory without gaps.
    return jnp.moveaxis(jax.lax.scan(update, jnp.moveaxis(states, -1, 0), order)[0], 0, -1)


def recall(weights: jax.Array, states: jax.Array, key: jax.Array | None = None, *, sweeps: int = 20) -> jax.Array:
    """Update all units again and again until none changes; weights, states and result are those of `synchronous`.

    Args:
      weights: [H, H].
      states: [..., H].
      key: for asynchronous updates: each sweep has a random order of its own. None updates synchronously.
      sweeps: how often each unit is updated at most.
    """
    _require_weights(weights, states)

    def sweep(loop: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        number, before, _ = loop
        if key is None:
            after = synchronous(weights, before)
        else:
            order = jax.random.permutation(jax.random.fold_in(key, number), len(weights))
            after = asynchronous(weights, before, order)
        return number + 1, after, (after != before).any()

    start = jnp.int32(0), states, jnp.bool_(True)
    return jax.lax.while_loop(lambda loop: loop[2] & (loop[0] < sweeps), sweep, start)[1]


def shares_kept(key: jax.Array, hidden: int, loads: Sequence[float] = LOADS, *, tested: int = 50) -> list[float]:
    """How many random patterns a network by Hebb's rule stores: the share that it keeps, for each load N / H.

    A pattern is kept if asynchronous updates that start from it change at most 5 % of its units. Theory says that for
    large H nearly all are kept below 0.138 H patterns, and nearly none above. Small networks change over slowly. The
    shares are those of several networks, 4,000 units in all and at least two.

    Args:
      key: of patterns and orders.
      hidden: H.
      loads: patterns for each unit, each below 1.
      tested: the most patterns that are tested in a network.

    Returns:
      The share for each load, from 0 to 1, to four digits.

    Source: Amit, Gutfreund and Sompolinsky, Physical Review Letters 55 (1985).
    """
    counts = [max(1, round(load * hidden)) for load in loads]
    shape = max(counts), hidden  # one for all loads, so that one program serves them

    @jax.jit
    def share(key: jax.Array, count: int) -> jax.Array:
        stored = jnp.arange(shape[0]) < count
        patterns = jax.random.rademacher(jax.random.fold_in(key, 0), shape, jnp.float32) * stored[:, None]
        starts = patterns[:tested]
        ends = recall(hebbian(patterns), starts, jax.random.fold_in(key, 1), sweeps=100)
        return ((starts * ends).mean(axis=1) >= 0.9).mean(where=stored[:tested])

    keys = jax.random.split(key, max(2, 4_000 // hidden))
    return [round(sum(float(share(key, count)) for key in keys) / len(keys), 4) for count in counts]


def modern_energy(patterns: jax.Array, states: jax.Array, beta: float | jax.Array) -> jax.Array:
    r"""The energy of the modern network, which no update raises; it lies between 0 and 2 M^2.

    .. math::
        E = -\frac{1}{\beta} \log \sum_n \exp(\beta \, x_n \cdot \xi) + \frac{1}{2} \xi \cdot \xi
            + \frac{1}{\beta} \log N + \frac{1}{2} M^2, \qquad M = \max_n \lVert x_n \rVert

    Those bounds are for states among the patterns' averages, as every update returns them.

    The arguments are those of `modern_update`; returns E, [...].

    Source: Ramsauer et al., arXiv:2008.02217, equation 2.
    """
    _require_patterns(patterns, states)
    longest = jnp.square(patterns).sum(axis=-1).max()
    close = jax.nn.logsumexp(beta * (states @ patterns.T), axis=-1) - jnp.log(len(patterns))
    return 0.5 * (jnp.square(states).sum(axis=-1) + longest) - close / beta


def modern_update(patterns: jax.Array, states: jax.Array, beta: float | jax.Array) -> jax.Array:
    r"""One update: an average of the patterns, in which those close to the state count most.

    .. math::
        \xi \leftarrow X^T \mathrm{softmax}(\beta X \xi)

    It is attention with the states as queries, and the patterns, the rows of X, as keys and values. Attention usually
    has :math:`\beta = 1 / \sqrt{H}`. With a large beta, one update returns the pattern with the largest product; with a
    small one, an average of many patterns.

    Args:
      patterns: [N, H], of any values.
      states: xi, [..., H].
      beta: the inverse temperature, above 0.

    Returns:
      The new states, [..., H].

    Source: Ramsauer et al., arXiv:2008.02217, equation 3.
    """
    _require_patterns(patterns, states)
    return jax.nn.softmax(beta * (states @ patterns.T), axis=-1) @ patterns


def _signs(fields: jax.Array, states: jax.Array) -> jax.Array:
    return jnp.where(fields == 0, states, jnp.sign(fields)).astype(states.dtype)


def _without_diagonal(weights: jax.Array) -> jax.Array:
    return jnp.fill_diagonal(weights, 0.0, inplace=False)


def _require_patterns(patterns: jax.Array, states: jax.Array | None = None) -> None:
    if patterns.ndim != 2 or 0 in patterns.shape:
        raise ValueError(f"patterns have shape {patterns.shape}; they must be [N, H] with at least one pattern.")
    if states is not None and (states.ndim == 0 or states.shape[-1] != patterns.shape[1]):
        raise ValueError(f"states have shape {states.shape}; for patterns {patterns.shape} they must be [..., H].")


def _require_weights(weights: jax.Array, states: jax.Array) -> None:
    if weights.ndim != 2 or states.ndim == 0 or weights.shape != 2 * states.shape[-1:]:
        raise ValueError(f"The shapes are {weights.shape} and {states.shape}; they must be [H, H] and [..., H].")
