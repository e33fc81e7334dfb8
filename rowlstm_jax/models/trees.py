"""Recursive networks: one composition applied up a tree, from its leaves to its root. Pure."""

import dataclasses
import functools
import operator
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

COMPOSITIONS = ("rnn", "tree_lstm")


@dataclasses.dataclass(frozen=True)
class Tree:
    """A tree with T leaves and N nodes, as a value that can be compared and hashed.

    The leaves are the nodes 0 to T - 1, in the order in which a model reads them. The inner nodes follow, in any order:
    node T + n has the children `children[n]`. All nodes but the root are children, so `children` tells N and T.

    Example:
      >>> tree = Tree([[0, 1], [3, 2]])
      >>> tree.num_leaves, tree.num_nodes, tree.root, tree.arity, tree.levels
      (3, 5, 4, 2, ((3,), (4,)))

    Attributes:
      children: of each inner node, from the first to the last; lists, or an array [N - T, K], become tuples.

    Raises:
      ValueError: this is no tree.
    """

    children: Sequence[Sequence[int]] | np.ndarray

    def __post_init__(self):
        try:
            children = tuple(tuple(operator.index(child) for child in of_one) for of_one in self.children)
        except TypeError as error:
            kind = "whole numbers, the children of each inner node"
            raise ValueError(f"children is {str(self.children)[:80]}; it must hold lists of {kind}.") from error
        object.__setattr__(self, "children", children)
        listed = [child for of_one in children for child in of_one]  # all nodes but the root
        if not all(children):
            raise ValueError(f"children[{children.index(())}] is empty; an inner node has 1 child or more.")
        if wrong := [child for child in listed if not 0 <= child <= len(listed)]:
            raise ValueError(f"children names the node {wrong[0]}; the nodes of this tree are 0 to {len(listed)}.")
        if twice := [child for child, count in Counter(listed).items() if count > 1]:
            raise ValueError(f"children names the node {twice[0]} more than once; a node has one parent.")
        _ = self.levels  # it finds cycles

    @property
    def num_nodes(self) -> int:
        """N."""
        return 1 + sum(map(len, self.children))

    @property
    def num_leaves(self) -> int:
        """T."""
        return self.num_nodes - len(self.children)

    @property
    def root(self) -> int:
        """The node that is no child."""
        return self.levels[-1][0] if self.levels else 0

    @property
    def arity(self) -> int:
        """K, the most children that a node has."""
        return max(map(len, self.children), default=0)

    @functools.cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The inner nodes by height: the children of a node are leaves or nodes of earlier levels. The root is last."""
        done, levels = set(range(self.num_leaves)), []
        waiting = dict(enumerate(self.children, self.num_leaves))
        while waiting:
            level = tuple(node for node, children in waiting.items() if done.issuperset(children))
            if not level:
                raise ValueError(
                    f"children makes the nodes {[*waiting][:5]} their own descendants; a tree has no cycle."
                )
            done.update(level)
            levels.append(level)
            waiting = {node: children for node, children in waiting.items() if node not in done}
        return tuple(levels)


def quad_tree(side: int) -> Tree:
    """The tree over a square of leaves, row by row, whose nodes join four neighbours, 2 x 2.

    Example:
      >>> quad_tree(4).children
      ((0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15), (16, 17, 18, 19))

    Args:
      side: leaves in a row, and in a column.

    Raises:
      ValueError: side is no power of two.
    """
    if side < 1 or side & (side - 1):
        raise ValueError(f"side is {side}; it must be a power of two.")
    grid, children = np.arange(side * side).reshape(side, side), []
    while (half := len(grid) // 2) > 0:
        fours = grid.reshape(half, 2, half, 2).swapaxes(1, 2).reshape(-1, 4)
        grid = side * side + len(children) + np.arange(half * half).reshape(half, half)
        children += fours.tolist()
    return Tree(children)


def binary_tree(leaves: int) -> Tree:
    """The tree whose nodes join two neighbours in the order of the leaves; the last of an odd number goes up alone.

    Example:
      >>> binary_tree(5).children
      ((0, 1), (2, 3), (5, 6), (7, 4))

    Args:
      leaves: T.

    Raises:
      ValueError: there is no leaf.
    """
    if leaves < 1:
        raise ValueError(f"leaves is {leaves}; it must be 1 or more.")
    row, children = [*range(leaves)], []
    while len(row) > 1:
        pairs = [row[n : n + 2] for n in range(0, len(row) - 1, 2)]
        joined = range(leaves + len(children), leaves + len(children) + len(pairs))
        row, children = [*joined, *row[2 * len(pairs) :]], children + pairs
    return Tree(children)


class TreeClassifier(nn.Module):
    r"""A recursive network: it reads leaves, joins them up a tree by one composition, and classifies the root.

    With :math:`h_1, \dots, h_K` of the children, zeros for those that a node lacks:

    .. math::
        \text{"rnn", a leaf:} \quad h &= \tanh(x W + b) \\
        \text{"rnn", an inner node:} \quad h &= \tanh([h_1; \dots; h_K]\, U + d) \\
        \text{"tree\_lstm", a leaf:} \quad [i, o, u] &= x W + b \\
        \text{"tree\_lstm", an inner node:} \quad [i, o, u, f_1, \dots, f_K] &= [h_1; \dots; h_K]\, U + d \\
        c &= \sigma(i) \tanh(u) + \textstyle\sum_k \sigma(f_k)\, c_k \\
        h &= \sigma(o) \tanh(c)

    All inner nodes share U and d; a child has its own part of U at each place among its siblings. All nodes of a level
    are computed at once. Each level is a part of the compiled program, so a deep tree compiles slowly.

    The second composition is the N-ary Tree-LSTM, whose inner nodes read no input here, so they have a bias of their
    own; each f_k has its own too.

    Parameters: `leaf` with `kernel` W and `bias` b, `compose` with `kernel` U and `bias` d, and `readout` with `kernel`
    [H, C] and `bias` [C]. W is [F, H] and U is [K H, H]; of "tree_lstm" [F, 3 H] and [K H, (3 + K) H].

    Example:
      >>> model = TreeClassifier(quad_tree(4), num_classes=10)
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 49)))
      >>> model.apply(variables, jnp.zeros((5, 16, 49))).shape
      (5, 10)

    Source: Goller and Küchler, ICNN (1996); Socher et al., ICML (2011), whose nodes all have the readout; Tai et al.,
    arXiv:1503.00075.

    Attributes:
      tree: over the T leaves.
      num_classes: C.
      hidden: H.
      composition: "rnn" or "tree_lstm".
      dtype: of the computation; None takes that of parameters and inputs.
      param_dtype: of the parameters.
    """

    tree: Tree
    num_classes: int
    hidden: int = 128
    composition: Literal["rnn", "tree_lstm"] = "rnn"
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, at_nodes: bool = False) -> jax.Array:
        """Classify trees.

        Args:
          inputs: the leaves [B, T, F].
          train: changes nothing.
          at_nodes: return the logits of each node, as if it were the root.

        Returns:
          Logits [B, C]; with `at_nodes` [B, N, C], in the order of the nodes' numbers.

        Raises:
          AssertionError: `inputs` does not have three axes.
          ValueError: an attribute is out of range, or there are other than T leaves.
        """
        chex.assert_rank(inputs, 3)
        self._check_attributes(inputs.shape[1])
        tree, first, with_memory = self.tree, self.tree.num_leaves, self.composition == "tree_lstm"
        leaf = self._dense("leaf", (3 if with_memory else 1) * self.hidden)
        compose = self._dense("compose", (3 + tree.arity if with_memory else 1) * self.hidden)
        # Nodes come first, [nodes, B, H], so that a child is one block. The first block, zeros, is a missing child.
        states = self._states(leaf(inputs.swapaxes(0, 1)))
        states = [jnp.pad(state, ((1, 0), (0, 0), (0, 0))) for state in states]
        place = {node: 1 + node for node in range(first)}
        for level in tree.levels:
            of_level = [[place[child] for child in tree.children[node - first]] for node in level]
            index = np.array([places + [0] * (tree.arity - len(places)) for places in of_level]).T  # [K, nodes]
            place |= {node: len(place) + 1 + number for number, node in enumerate(level)}
            h, *memory = ([state[places] for places in index] for state in states)
            above = self._states(compose(jnp.concatenate(h, axis=-1)), *memory)
            states = [jnp.concatenate(both) for both in zip(states, above, strict=True)]
        readout = self._dense("readout", self.num_classes)
        if at_nodes:
            return readout(states[0][np.array([place[node] for node in range(tree.num_nodes)])]).swapaxes(0, 1)
        return readout(states[0][-1])

    def _states(self, products: jax.Array, memory: Sequence[jax.Array] = ()) -> list[jax.Array]:
        """h, or h and c, of some nodes, [nodes, B, H]; `memory` holds c of their first children, second and so on."""
        if self.composition == "rnn":
            return [nn.tanh(products)]
        i, o, u, *forget = jnp.split(products, 3 + len(memory), axis=-1)
        c = nn.sigmoid(i) * nn.tanh(u)
        for f, c_below in zip(forget, memory, strict=True):
            c += nn.sigmoid(f) * c_below
        return [nn.sigmoid(o) * nn.tanh(c), c]

    @nn.nowrap
    def _dense(self, name: str, width: int) -> nn.Dense:
        return nn.Dense(width, dtype=self.dtype, param_dtype=self.param_dtype, name=name)

    @nn.nowrap
    def _check_attributes(self, leaves: int) -> None:
        if not isinstance(self.tree, Tree):
            raise ValueError(f"tree is a {type(self.tree).__name__}; it must be a Tree, such as quad_tree(4).")
        if self.composition not in COMPOSITIONS:
            raise ValueError(f"composition is {self.composition!r}; it must be one of {', '.join(COMPOSITIONS)}.")
        for name in ("hidden", "num_classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if leaves != self.tree.num_leaves:
            raise ValueError(
                f"inputs have {leaves} steps and the tree has {self.tree.num_leaves} leaves; read as many."
            )
