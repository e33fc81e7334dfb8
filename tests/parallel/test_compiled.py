import functools

import chex
import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from rowlstm_jax.data.batches import batch_indices
from rowlstm_jax.models.cells import CELLS, BasicLSTMCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.models.layers import LAYERS, LRU, RNN, Block, MinGRU
from rowlstm_jax.parallel import compiled as compiled_module
from rowlstm_jax.parallel.compiled import CompiledSteps, rows_at_a_time
from rowlstm_jax.parallel.mesh import make_mesh
from rowlstm_jax.parallel.seeds import Seeds
from rowlstm_jax.tasks.augmentation import Affine
from rowlstm_jax.tasks.preprocessing import Preprocessing
from rowlstm_jax.training.optimizers import params_ema
from rowlstm_jax.training.recipe import Recipe
from rowlstm_jax.training.state import RunState

B, STEPS = 4, 9
SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)
PLAIN = SequenceClassifier(BasicLSTMCell(8), num_classes=3, num_layers=2)
AS_IT_IS = Preprocessing(lambda images: images)
SHIFTED = Preprocessing(lambda images: images, Affine(shift=2, rotation=0.2))


def described(train, model=PLAIN, reading=SHIFTED, *, batch_size=B, devices=1, num_seeds=1, one_by_one=None, **options):
    optimizer = optax.chain(optax.adam(1e-2), params_ema(0.9))
    seeds = Seeds(num_seeds, make_mesh(batch_size, devices, num_seeds), one_by_one)
    return CompiledSteps(Recipe(model, optimizer), reading, train, batch_size, STEPS, seeds, **options)


def compiled(*arguments, **options) -> CompiledSteps:
    return described(*arguments, **options).compile()


def steps_alone(*arguments, **options) -> CompiledSteps:
    """Can train and nothing else, which takes less time to compile."""
    programs = described(*arguments, **options)
    programs._compile_steps(np.zeros((programs.seeds.number, STEPS, options.get("batch_size", B)), np.int32))
    return programs


def batches(train, seeds, batch_size=B, count=STEPS):
    return np.stack([batch_indices(seed, len(train), batch_size, 0, count) for seed in seeds])


def trained(programs, train, seeds, batch_size=B) -> RunState:
    return programs.train(programs.begin(np.array(seeds, np.uint32)), batches(train, seeds, batch_size))


def test_the_second_call_of_every_function_compiles_nothing(tiny_data, tiny_model, compilations):
    programs = compiled(tiny_data.train, tiny_model, devices=2, select_best=True, measure_memory=True)

    def call_all(seed: int, count: int, examples) -> None:
        indices = batches(tiny_data.train, [seed], count=count)
        progress = programs.train(programs.begin(np.array([seed], np.uint32)), indices)
        params = progress.state.params
        programs.evaluate_minibatch(params, indices[:, -1])
        health = programs.gradient_diagnostics(params, indices[:, -1])
        evaluation = programs.evaluate(params, examples)
        progress = programs.select(progress, params, count, evaluation.accuracy)
        jax.block_until_ready((progress, health))

    call_all(0, 3, tiny_data.validation)
    assert compilations
    compilations.clear()
    call_all(1, 1, tiny_data.validation[:5])
    assert compilations == []


@pytest.mark.slow
def test_a_batch_of_another_shape_is_refused_rather_than_compiled(tiny_data):
    programs = compiled(tiny_data.train)
    with pytest.raises(TypeError, match=r"shape|differ|int32\[1,9,6\]"):
        programs.train(programs.begin(np.zeros(1, np.uint32)), np.zeros((1, STEPS, 6), np.int32))


@pytest.mark.parametrize(("recurrence", "numbers"), [("fused", (1, 2)), SLOW("fused", (1, 4)), SLOW("scan", (1, 2, 4))])
def test_two_devices_compute_what_one_computes(tiny_data, recurrence, numbers):
    results = []
    for devices in numbers:
        model = PLAIN.clone(recurrence=recurrence)
        programs = compiled(tiny_data.train, model, batch_size=8, devices=devices)
        progress = trained(programs, tiny_data.train, [0], 8)
        after = programs.evaluate_minibatch(progress.state.params, batches(tiny_data.train, [0], 8)[:, -1])
        evaluation = programs.evaluate(progress.state.params, tiny_data.validation)
        results.append((progress.state.params, progress.metrics, after, evaluation.metrics, evaluation.outputs))
    for several in results[1:]:
        chex.assert_trees_all_close(*jax.device_get((results[0], several)), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("devices", "one_by_one"),
    [SLOW(2, True), SLOW(1, False), SLOW(1, True), SLOW(4, True), SLOW(2, False), SLOW(4, False)],
)
def test_seeds_in_one_program_are_those_of_runs_of_their_own(tiny_data, devices, one_by_one):
    """Weights, optimiser, averages, sums and evaluations; jax 0.10.2 has miscomputed vmapped products in silence."""
    train, seeds = tiny_data.train, [5, 6, 7, 8]
    together = compiled(train, devices=devices, num_seeds=4, one_by_one=one_by_one)
    progress = trained(together, train, seeds)
    evaluation = together.evaluate(progress.state.params, tiny_data.validation)
    alone = compiled(train)
    for position, seed in enumerate(seeds):
        single = trained(alone, train, [seed])
        of_seed = jax.tree.map(
            lambda x, at=position: x[at : at + 1], jax.device_get((progress.state.opt_state, progress.metrics))
        )
        expected = jax.device_get((single.state.opt_state, single.metrics))
        chex.assert_trees_all_close(of_seed, expected, rtol=1e-4, atol=1e-6)
        logits = alone.evaluate(single.state.params, tiny_data.validation).outputs
        np.testing.assert_allclose(evaluation.outputs[position], logits[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("devices", "num_seeds", "devices_to_a_batch"), [(1, 2, 1), SLOW(2, 4, 1), SLOW(2, 3, 2)])
def test_seeds_one_by_one_have_the_bits_of_runs_of_their_own(tiny_data, devices, num_seeds, devices_to_a_batch):
    train, seeds = tiny_data.train, range(3, 3 + num_seeds)
    together = trained(steps_alone(train, devices=devices, num_seeds=num_seeds, one_by_one=True), train, seeds)
    alone = steps_alone(train, devices=devices_to_a_batch)
    for position, seed in enumerate(seeds):
        params = together.state.params, trained(alone, train, [seed]).state.params
        for several, one in zip(*map(jax.tree.leaves, params), strict=True):
            np.testing.assert_array_equal(several[position], one[0])


@pytest.mark.slow
@pytest.mark.parametrize("one_by_one", [True, False])
def test_after_100_steps_seeds_are_close_to_runs_whose_batches_are_split(tiny_data, one_by_one):
    train, seeds = tiny_data.train, [5, 6]

    def after_100_steps(programs, seeds):
        progress = programs.begin(np.array(seeds, np.uint32))
        for step in range(0, 100, 5):
            indices = np.stack([batch_indices(seed, len(train), B, step, 5) for seed in seeds])
            progress = programs.train(progress, indices)
        return jax.device_get(progress.state.params)

    together = after_100_steps(steps_alone(train, devices=2, num_seeds=2, one_by_one=one_by_one), seeds)
    alone = steps_alone(train, devices=2)
    for position, seed in enumerate(seeds):
        of_seed = jax.tree.map(lambda x, at=position: x[at : at + 1], together)
        chex.assert_trees_all_close(of_seed, after_100_steps(alone, [seed]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.slow
def test_every_cell_trains_the_same_under_vmap(tiny_data, cell):
    model = SequenceClassifier(CELLS[cell](6), num_classes=3)
    seeds = [1, 2]
    together, one_by_one = (
        trained(steps_alone(tiny_data.train, model, AS_IT_IS, num_seeds=2, one_by_one=way), tiny_data.train, seeds)
        for way in (False, True)
    )
    states = jax.device_get((together.state.params, one_by_one.state.params))
    chex.assert_trees_all_close(*states, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_devices_draw_different_dropout_masks(tiny_data):
    """With one mask for both, two devices with the same four examples would compute what one does with these."""
    model = PLAIN.clone(dropout=0.5)

    def loss(indices, devices):
        programs = steps_alone(tiny_data.train, model, AS_IT_IS, batch_size=len(indices), devices=devices)
        start = programs.begin(np.zeros(1, np.uint32))
        return float(programs.train(start, np.array([[indices]], np.int32)).metrics.mean_loss[0])

    assert abs(loss([0, 1, 2, 3], 1) - loss([0, 1, 2, 3, 0, 1, 2, 3], 2)) > 1e-3


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_each_seed_keeps_its_own_best_weights_and_stops_for_itself(tiny_data, devices):
    optimizer = optax.sgd(1e-2)
    seeds = Seeds(2, make_mesh(B, devices, 2))
    recipe = Recipe(PLAIN, optimizer, patience=2)
    programs = CompiledSteps(recipe, SHIFTED, tiny_data.train, B, STEPS, seeds, select_best=True).compile()
    progress = programs.begin(np.array([0, 1], np.uint32))
    leaf = jax.tree.leaves(progress.state.params)[0]

    def weights(value):
        return jax.tree.map(
            lambda x: jax.device_put(np.full(x.shape, value, x.dtype), x.sharding), progress.state.params
        )

    history = [(0.5, 0.5), (0.6, 0.4), (0.6, 0.3), (0.5, 0.9), (0.4, 0.9)]
    stopped = []
    for step, accuracy in enumerate(history, start=1):
        progress = programs.select(progress, weights(step), step, np.array(accuracy))
        stopped.append(programs.all_stopped(progress))
    assert leaf.shape[0] == 2
    # The first seed's best is its third evaluation, the later of equals; the second one had stopped after its third.
    for leaf in jax.tree.leaves(progress.best):
        assert (np.asarray(leaf)[0] == 3).all()
        assert (np.asarray(leaf)[1] == 1).all()
    assert progress.scores is not None
    assert np.asarray(progress.scores.step).tolist() == [3, 1]
    assert stopped == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("cell", "steps", "rows", "weights", "platform", "expected"),
    [
        (BasicLSTMCell(128), 28, 256, 82_000, "cpu", 32),
        (BasicLSTMCell(128), 28, 100, 82_000, "cpu", 25),
        (BasicLSTMCell(128), 28, 64, 82_000, "cpu", 64),
        (BasicLSTMCell(128), 28, 67, 82_000, "cpu", 67),  # a prime
        (BasicLSTMCell(256), 28, 256, 290_000, "cpu", 256),
        (BasicLSTMCell(128), 28, 256, 82_000, "gpu", 256),
        (nn.GRUCell(128), 28, 256, 62_000, "cpu", 256),
        (Block(LRU(64)), 784, 25, 51_000, "cpu", 1),
        (Block(LRU(64)), 28, 50, 51_000, "cpu", 25),
        (MinGRU(64), 28, 67, 51_000, "cpu", 1),  # a prime
        (MinGRU(64), 28, 20, 51_000, "cpu", 20),
        (Block(LRU(256)), 28, 50, 400_000, "cpu", 50),
        (Block(LRU(64)), 784, 25, 51_000, "gpu", 25),
        (Block(RNN(nn.GRUCell(64))), 784, 100, 51_000, "cpu", 100),
    ],
)
def test_a_large_part_of_a_batch_is_worked_through_in_blocks(cell, steps, rows, weights, platform, expected):
    assert rows_at_a_time(SequenceClassifier(cell, 10), steps, rows, weights, platform) == expected


@pytest.mark.slow
@pytest.mark.parametrize("cell", [BasicLSTMCell(8), Block(LRU(8))], ids=["lstm", "lru"])
def test_blocks_compute_what_the_whole_computes(tiny_data, monkeypatch, cell):
    """On two devices, each with two blocks of the rows of its batch."""
    found, model = [], PLAIN.clone(cell=cell)
    for one_block, values in ((8, 1_000), (4, 4 * 5 * 8)):
        monkeypatch.setattr(compiled_module, "ONE_BLOCK", one_block)
        monkeypatch.setattr(compiled_module, "LEAST_ROWS", 4)
        monkeypatch.setattr(compiled_module, "MOST_ROWS", 4)
        monkeypatch.setattr(compiled_module, "MOST_VALUES", values)
        programs = steps_alone(tiny_data.train, model, devices=2, batch_size=16)
        progress = trained(programs, tiny_data.train, [3], batch_size=16)
        found.append(jax.device_get((progress.state.params, progress.metrics)))
    chex.assert_trees_all_close(*found, rtol=2e-5, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LAYERS, "rnn"])
def test_layers_train_eight_seeds_in_one_program_and_on_two_devices(tiny_data, name):
    """Both as one seed on one device: the weights after some steps."""
    layer = Block(RNN(nn.GRUCell(6))) if name == "rnn" else LAYERS[name](6)
    model = SequenceClassifier(layer, 3, readout="mean")
    train, of = tiny_data.train, (tiny_data.train, model, AS_IT_IS)
    alone = trained(steps_alone(*of), train, [3])
    seeds = trained(steps_alone(*of, num_seeds=8, one_by_one=False), train, range(8))
    split = trained(steps_alone(*of, devices=2), train, [3])
    expected, several, on_two = jax.device_get((alone.state.params, seeds.state.params, split.state.params))
    chex.assert_trees_all_close(on_two, expected, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[3:4], several), expected, rtol=1e-3, atol=1e-4)
