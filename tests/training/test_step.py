from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.data import Splits
from rowlstm_jax.data.batches import batch_indices
from rowlstm_jax.tasks import Affine, Preprocessing, augment, scale
from rowlstm_jax.training.batch import Batch, read_batch
from rowlstm_jax.training.metrics import Metrics
from rowlstm_jax.training.recipe import Recipe
from rowlstm_jax.training.state import TrainState, init_state
from rowlstm_jax.training.step import eval_step, loss_fn, step_keys, train_step, train_steps, training_batch

STEPS, B = 7, 4


def rows(images):
    return images


@pytest.fixture
def state(tiny_model) -> TrainState:
    return jax.jit(lambda seed: init_state(Recipe(tiny_model, optax.adam(1e-2)), jnp.zeros((1, 5, 7)), seed))(0)


@pytest.fixture
def batches(tiny_data: Splits) -> list[Batch]:
    indices = batch_indices(0, len(tiny_data.train), B, 0, STEPS)
    images, labels = jnp.asarray(tiny_data.train.inputs), jnp.asarray(tiny_data.train.targets)
    return [read_batch((images[chosen], labels[chosen]), jnp.ones(B, bool), scale) for chosen in indices]


def test_the_loss_of_a_step_has_smoothed_labels_if_the_recipe_asks(state, batches):
    @jax.jit
    def losses(state):
        loss, (metrics, _) = loss_fn(state.params, state.replace(label_smoothing=0.3), batches[0])
        dropout, _ = step_keys(state)
        logits = state.apply_fn({"params": state.params}, batches[0].inputs, train=True, rngs={"dropout": dropout})
        labels = jax.nn.one_hot(batches[0].targets, 3)
        both = labels, optax.smooth_labels(labels, 0.3)
        of_labels = (optax.softmax_cross_entropy(logits, each).mean() for each in both)
        return loss, metrics.mean_loss, *of_labels

    smoothed, plain, expected_plain, expected_smoothed = losses(state)
    np.testing.assert_allclose(smoothed, expected_smoothed, rtol=1e-5)
    np.testing.assert_allclose(plain, expected_plain, rtol=1e-5)  # metrics do not change


def test_training_images_are_augmented_by_a_key_of_the_step(state, tiny_data):
    pixels, indices = (tiny_data.train.inputs, tiny_data.train.targets), jnp.array([3, 1, 4])
    plain = training_batch(state, pixels, indices, Preprocessing(rows), None)
    np.testing.assert_array_equal(plain.inputs, scale(tiny_data.train.inputs[indices]))
    varied = training_batch(state, pixels, indices, Preprocessing(rows, Affine(shift=2)), None)
    expected = augment(scale(tiny_data.train.inputs[indices]), step_keys(state)[1], Affine(shift=2))
    np.testing.assert_array_equal(varied.inputs, expected)
    np.testing.assert_array_equal(varied.targets, plain.targets)
    later = training_batch(state.replace(step=1), pixels, indices, Preprocessing(rows, Affine(shift=2)), None)
    assert (later.inputs != varied.inputs).any()


def test_a_step_is_one_adam_update_of_the_mean_loss(state, batches):
    after, metrics = jax.jit(train_step)(state, batches[0])
    (loss, (before, _)), gradients = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(state.params, state, batches[0])
    np.testing.assert_allclose(metrics.loss / B, loss, rtol=1e-5)
    assert (metrics.examples, metrics.steps, after.step) == (B, 1, 1)
    assert metrics.correct == before.correct
    squares = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradients))
    np.testing.assert_allclose(metrics.gradient_norm, np.sqrt(squares), rtol=1e-5)
    # The first update of Adam is its step size times g / (|g| + epsilon), epsilon 1e-8.
    expected = jax.tree.map(lambda p, g: p - 1e-2 * g / (jnp.abs(g) + 1e-8), state.params, gradients)
    chex.assert_trees_all_close(after.params, expected, rtol=1e-3, atol=1e-5)


def test_a_step_block_by_block_is_the_step_of_the_whole_batch(state, batches):
    plain = state.replace(apply_fn=state.apply_fn.__self__.clone(dropout=0.0).apply)

    def step(state: TrainState, block: int | None):
        after, metrics = jax.jit(partial(train_step, block=block))(state, batches[0])
        return jax.device_get((after.params, metrics))

    chex.assert_trees_all_close(step(plain, 2), step(plain, None), rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_equal(step(state, B), step(state, None))


@pytest.mark.slow
def test_each_block_has_dropout_masks_of_its_own(state, batches):
    twice = jax.tree.map(lambda x: jnp.concatenate([x[:2], x[:2]]), batches[0])
    compiled = jax.jit(loss_fn, static_argnums=(3, 5))
    first, second = (compiled(state.params, state, twice, None, n, 2)[1][0] for n in (0, 1))
    assert first.loss != second.loss
    np.testing.assert_allclose(loss_fn(state.params, state, twice, None, 0, 2)[0], first.mean_loss / 2, rtol=1e-5)


def test_dropout_depends_on_the_step_and_on_nothing_else(state, batches):
    loss = jax.jit(lambda state: loss_fn(state.params, state, batches[0])[0])
    assert loss(state) == loss(state)
    assert loss(state) != loss(state.replace(step=state.step + 1))
    assert loss(state) != loss(state.replace(key=jax.random.key(9)))


def test_evaluation_ignores_dropout_and_padding(state, batches, tiny_model):
    recipe = Recipe(tiny_model, optax.adam(1e-2))
    evaluate = jax.jit(lambda state, batch: eval_step(recipe, state.params, batch))
    metrics, logits = evaluate(state, batches[0])
    chex.assert_shape(logits, (B, 3))
    again, _ = evaluate(state.replace(key=jax.random.key(9)), batches[0])
    chex.assert_trees_all_equal(metrics, again)
    padded = batches[0].replace(mask=jnp.array([True, False, True, False]))
    half, _ = evaluate(state, padded)
    rest, _ = evaluate(state, padded.replace(mask=~padded.mask))
    chex.assert_trees_all_close(half.merge(rest), metrics, rtol=1e-6)


@pytest.mark.parametrize("parts", [[7], [1] * 7, [3, 4]])
def test_steps_in_one_dispatch_or_many_or_one_by_one_give_the_same_bits(state, batches, tiny_data, parts):
    chex.clear_trace_counter()
    several = jax.jit(chex.assert_max_traces(lambda *args: train_steps(*args, preprocessing=Preprocessing(rows)), n=1))
    indices = batch_indices(0, len(tiny_data.train), B, 0, STEPS)
    pixels = jnp.asarray(tiny_data.train.inputs), jnp.asarray(tiny_data.train.targets)
    fused, sums, done = state, Metrics.zeros(), 0
    for count in parts:
        rows_left = np.pad(indices[done:], ((0, done), (0, 0)))
        fused, sums = several(fused, sums, pixels, rows_left, np.int32(count))
        done += count
    single, single_sums, step = state, Metrics.zeros(), jax.jit(train_step)
    for batch in batches:
        single, metrics = step(single, batch)
        single_sums = single_sums.merge(metrics)
    chex.assert_trees_all_equal((fused.params, fused.opt_state), (single.params, single.opt_state))
    chex.assert_trees_all_equal(sums, single_sums)


def test_seeds_start_differently_and_the_same_seed_alike(tiny_model):
    init = jax.jit(lambda seed: init_state(Recipe(tiny_model, optax.adam(1e-2)), jnp.zeros((1, 5, 7)), seed))
    first, again, other = init(np.uint32(0)), init(np.uint32(0)), init(np.uint32(2**32 - 1))
    chex.assert_trees_all_equal(first.params, again.params)
    kernels = [s.params["layer_0_forward"]["kernel"] for s in (first, other)]
    assert (kernels[0] != kernels[1]).all()


def test_a_start_from_given_parameters_keeps_them_and_the_random_keys_of_the_seed(tiny_model, state):
    recipe, params = Recipe(tiny_model, optax.adam(1e-2)), jax.tree.map(jnp.ones_like, state.params)
    given = jax.jit(lambda params: init_state(recipe, jnp.zeros((1, 5, 7)), 0, params))(params)
    chex.assert_trees_all_equal(given.params, params)
    chex.assert_trees_all_equal(step_keys(given), step_keys(state))
