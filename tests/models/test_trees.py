"""Networks up a tree, against a recursion in NumPy that knows nothing of levels."""

import re

import chex
import hypothesis
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from rowlstm_jax.models.trees import COMPOSITIONS, Tree, TreeClassifier, binary_tree, quad_tree
from tests.reference import sigmoid

pytestmark = pytest.mark.usefixtures("quick_compiler")

B, F, H, C, S = 3, 4, 5, 3, 2

each_composition = pytest.mark.parametrize("composition", COMPOSITIONS)


def random_tree(seed: int, leaves: int) -> Tree:
    """Nodes of 1 to 4 children in a random order, a leaf beside an inner node too; inner nodes in any order."""
    rng = np.random.default_rng(seed)
    pool, joined = [*range(leaves)], []
    while len(pool) > 1:
        chosen = rng.permutation(pool)[: rng.integers(1, 5)].tolist()
        pool = [node for node in pool if node not in chosen] + [leaves + len(joined)]
        joined.append(chosen)
    numbers = [*range(leaves), *(leaves + rng.permutation(len(joined))).tolist()]
    children = [[]] * len(joined)
    for node, of_one in enumerate(joined, leaves):
        children[numbers[node] - leaves] = [numbers[child] for child in of_one]
    return Tree(children)


SLOW = {"random 0", "random 3", "binary", "chain"}
TREES = {f"random {seed}": random_tree(seed, leaves) for seed, leaves in enumerate((2, 5, 9, 16))}
TREES |= {"quad": quad_tree(4), "binary": binary_tree(11), "chain": Tree([[0, 1], [5, 2], [6, 3], [4, 7]])}
TREES |= {"one leaf": Tree([]), "one child": Tree([[0]])}
RAGGED = TREES["random 1"]
each_tree = pytest.mark.parametrize("tree", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in TREES])


def model_of(composition: str, tree: Tree = RAGGED, **fields) -> TreeClassifier:
    return TreeClassifier(tree, C, H, composition, **fields)


def started(model: TreeClassifier, seed: int = 0):
    """Random parameters, biases too, and leaves; nothing is compiled."""
    rng, leaves = np.random.default_rng(seed), np.random.default_rng(7)
    inputs = leaves.normal(size=(B, model.tree.num_leaves, F)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)["params"]
    return jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), shapes), inputs


def by_recursion(model: TreeClassifier, params, inputs) -> np.ndarray:
    """Logits [B, N, C], a node at a time."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    tree, leaves = model.tree, np.asarray(inputs, np.float64)
    most, states = max(map(len, tree.children), default=0), {}

    def gated(z, below):
        i, o, u = (z[:, k * H : (k + 1) * H] for k in range(3))
        c = sigmoid(i) * np.tanh(u)
        for k, (_, c_below) in enumerate(below):
            c = c + sigmoid(z[:, (3 + k) * H : (4 + k) * H]) * c_below
        return sigmoid(o) * np.tanh(c), c

    def visit(node):
        if node < tree.num_leaves:
            z, below = leaves[:, node] @ params["leaf"]["kernel"] + params["leaf"]["bias"], []
        else:
            below = [visit(child) for child in tree.children[node - tree.num_leaves]]
            z, kernel = params["compose"]["bias"], params["compose"]["kernel"].reshape(most, H, -1)
            for k, (h, _) in enumerate(below):
                z = z + h @ kernel[k]
        states[node] = gated(z, below) if model.composition == "tree_lstm" else (np.tanh(z), None)
        return states[node]

    listed = {child for of_one in tree.children for child in of_one}
    (root,) = {*range(len(listed) + 1)} - listed
    assert root == tree.root
    visit(root)
    readout = params["readout"]
    return np.stack([states[n][0] @ readout["kernel"] + readout["bias"] for n in range(len(states))], axis=1)


@each_composition
@each_tree
def test_all_nodes_and_the_root_are_those_of_the_recursion(composition, tree):
    model = model_of(composition, TREES[tree])
    params, inputs = started(model)
    both = jax.jit(lambda p, x: [model.apply({"params": p}, x, at_nodes=at_nodes) for at_nodes in (False, True)])
    logits, at_nodes = both(params, inputs)
    expected = by_recursion(model, params, inputs)
    chex.assert_shape([logits, at_nodes], [(B, C), (B, model.tree.num_nodes, C)])
    np.testing.assert_allclose(at_nodes, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, expected[:, model.tree.root], rtol=1e-4, atol=1e-5)


@each_composition
def test_gradients_are_the_numerical_ones(composition):
    model = model_of(composition)
    params, inputs = started(model)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    loss = jax.jit(lambda flat, x: jnp.square(model.apply({"params": unravel(flat)}, x)).mean())
    found = jax.jit(jax.grad(loss, argnums=(0, 1)))(flat, inputs)
    for number, gradient in enumerate(found):
        direction, step = np.random.default_rng(number).normal(size=gradient.shape), 3e-3
        at = [[flat, inputs] for _ in range(2)]
        for sign, arguments in zip((1, -1), at, strict=True):
            arguments[number] = (arguments[number] + sign * step * direction).astype(np.float32)
        slope = (loss(*at[0]) - loss(*at[1])) / (2 * step)
        np.testing.assert_allclose((direction * gradient).sum(), slope, rtol=0.02, atol=1e-4)
    assert all(jnp.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(unravel(found[0]))), "a part does not learn"


@each_composition
def test_a_second_call_and_an_equal_model_compile_nothing(composition, compilations):
    def apply(model, params, x):
        return model.apply({"params": params}, x)

    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(apply, n=1), static_argnums=0)
    params, inputs = started(model_of(composition, quad_tree(2)))
    first = traced(model_of(composition, quad_tree(2)), params, inputs)
    compilations.clear()
    second = traced(model_of(composition, Tree(np.array([[0, 1, 2, 3]]))), params, inputs + 1)
    assert compilations == []
    assert (first != second).any()


@each_composition
def test_a_level_is_one_product(composition):
    for tree in (quad_tree(8), binary_tree(64), RAGGED):
        model = model_of(composition, tree)
        params, inputs = started(model)
        program = str(jax.make_jaxpr(model.apply)({"params": params}, inputs))
        assert program.count("dot_general[") == len(tree.levels) + 2  # leaves and readout


@each_composition
@pytest.mark.slow
def test_networks_of_several_seeds_are_those_of_each(composition):
    model = model_of(composition)
    both, inputs = [started(model, seed)[0] for seed in range(S)], started(model)[1]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *both)
    together = jax.jit(jax.vmap(lambda params: model.apply({"params": params}, inputs)))(stacked)
    for s, params in enumerate(both):
        np.testing.assert_allclose(together[s], jax.jit(model.apply)({"params": params}, inputs), rtol=1e-4, atol=1e-5)


@each_composition
def test_parameters_have_their_shapes_and_products_may_be_in_bfloat16(composition):
    model = model_of(composition)
    params, inputs = started(model)
    gates, more = (3, 3 + RAGGED.arity) if composition == "tree_lstm" else (1, 1)
    assert jax.tree.map(jnp.shape, params) == {
        "leaf": {"kernel": (F, gates * H), "bias": (gates * H,)},
        "compose": {"kernel": (RAGGED.arity * H, more * H), "bias": (more * H,)},
        "readout": {"kernel": (H, C), "bias": (C,)},
    }
    rough_model = model.clone(dtype=jnp.bfloat16)
    variables = jax.eval_shape(rough_model.init, jax.random.key(0), inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    rough = jax.jit(rough_model.apply)({"params": params}, inputs)
    assert rough.dtype == jnp.bfloat16
    np.testing.assert_allclose(rough.astype(np.float32), by_recursion(model, params, inputs)[:, RAGGED.root], atol=0.1)


def test_equal_trees_are_equal_values():
    given = [[[0, 1], [2, 3], [4, 5]], np.array([[0, 1], [2, 3], [4, 5]]), ((0, 1), (2, 3), (4, 5))]
    assert len({Tree(children) for children in given}) == 1
    assert Tree([[0, 1]]) != Tree([[1, 0]])
    assert {type(child) for child in Tree(given[1]).children[0]} == {int}


def test_quadrants_are_squares_of_neighbours():
    tree = quad_tree(8)
    assert (tree.num_leaves, tree.num_nodes, tree.arity) == (64, 85, 4)
    assert [len(level) for level in tree.levels] == [16, 4, 1]
    for node in range(64, 85):
        below = [node]
        while max(below) >= 64:
            below = [child for n in below for child in tree.children[n - 64]]
        rows, columns = np.divmod(below, 8)
        side = round(len(below) ** 0.5)
        assert sorted(below) == sorted(8 * r + c for r in range(rows.min(), rows.min() + side) for c in set(columns))
        assert len(set(columns)) == np.ptp(columns) + 1 == side


@pytest.mark.parametrize("leaves", [1, 2, 3, 7, 16, 33])
def test_a_binary_tree_keeps_the_order_of_its_leaves_and_is_as_flat_as_can_be(leaves):
    tree = binary_tree(leaves)
    assert {len(children) for children in tree.children} <= {2}
    assert len(tree.levels) == (leaves - 1).bit_length()

    def read(node):
        return [node] if node < leaves else [leaf for child in tree.children[node - leaves] for leaf in read(child)]

    assert read(tree.root) == [*range(leaves)]


@hypothesis.settings(derandomize=True, deadline=None, database=None, max_examples=300)
@hypothesis.given(st.lists(st.lists(st.integers(-1, 7), max_size=3), max_size=4))
def test_any_lists_are_a_tree_or_one_sentence(children):
    tree, refused = Tree([]), ""
    try:
        tree = Tree(children)
    except ValueError as error:
        refused = str(error)
    if refused:
        assert re.fullmatch(r"children[^;.]*; [^;.]*\.", refused)
        return
    seen = [tree.root]
    for node in seen:
        seen += tree.children[node - tree.num_leaves] if node >= tree.num_leaves else ()
    assert sorted(seen) == [*range(tree.num_nodes)]
    assert sorted(node for level in tree.levels for node in level) == [*range(tree.num_leaves, tree.num_nodes)]


@pytest.mark.parametrize(
    ("children", "message"),
    [
        (5, "children is 5; it must hold lists of whole numbers"),
        ([[0, 1.5]], r"children is \[\[0, 1.5\]\]; it must hold lists of whole numbers"),
        ([[0, 1], []], r"children\[1\] is empty; an inner node has 1 child or more\."),
        ([[0, 7]], r"children names the node 7; the nodes of this tree are 0 to 2\."),
        ([[0, -1]], "children names the node -1; the nodes"),
        ([[0, 1], [0, 3]], r"children names the node 0 more than once; a node has one parent\."),
        ([[0, 4], [1, 3], [2]], r"children makes the nodes \[3, 4\] their own descendants; a tree has no cycle\."),
    ],
)
def test_what_is_no_tree_is_refused(children, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Tree(children)


def test_sizes_without_a_tree_are_refused():
    for side in (0, -4, 3, 12):
        with pytest.raises(ValueError, match=rf"^side is {side}; it must be a power of two\.$"):
            quad_tree(side)
    with pytest.raises(ValueError, match=r"^leaves is 0; it must be 1 or more\.$"):
        binary_tree(0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tree": "quad"}, r"^tree is a str; it must be a Tree, such as quad_tree\(4\)\."),
        ({"composition": "lstm"}, r"^composition is 'lstm'; it must be one of rnn, tree_lstm\."),
        ({"hidden": 0}, r"^hidden is 0; it must be 1 or more\."),
        ({"num_classes": 0}, r"^num_classes is 0; it must be 1 or more\."),
        ({}, r"^inputs have 5 steps and the tree has 4 leaves; "),
    ],
)
def test_a_model_says_what_is_wrong_with_it(fields, message):
    model = TreeClassifier(**{"tree": quad_tree(2), "num_classes": C, **fields})
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((B, 5, F)))


def test_inputs_without_an_axis_of_leaves_are_refused():
    with pytest.raises(AssertionError, match="rank"):
        jax.eval_shape(model_of("rnn").init, jax.random.key(0), jnp.zeros((B, F)))
