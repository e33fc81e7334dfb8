"""Optimisers that ask for more than a gradient, through a whole run; and the records of step sizes."""

import jax
import numpy as np
import optax
import pytest

from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.loop import fit
from rowlstm_jax.runs.records import learning_rate, without_update
from rowlstm_jax.training.recipe import Recipe
from tests.runs.test_loop import weights
from tests.runs.test_loop_metrics import Mean, kernel
from tests.trials import journal, train

pytestmark = pytest.mark.usefixtures("quick_compiler")

PLATEAU = optax.chain(optax.adam(1e-2), optax.contrib.reduce_on_plateau(factor=0.5, patience=1, accumulation_size=2))
LBFGS = optax.lbfgs(memory_size=3)
SCHEDULE = optax.linear_schedule(1e-2, 0.0, 100)


def losses(run) -> list[float]:
    return [record["train_loss"] for record in journal(run.config).records() if "train_loss" in record]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [PLATEAU, LBFGS], ids=["plateau", "lbfgs"])
def test_one_device_and_two_train_alike(make_run, tiny_data, optimizer):
    found = []
    for devices in (1, 2):
        run = make_run(f"on{devices}", recipe=Recipe(Mean(), optimizer), devices=devices, steps=6, batch_size=40)
        found.append(kernel(train(run, tiny_data)))
        assert losses(run)[-1] < losses(run)[0]
    np.testing.assert_allclose(*found, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [1, 2])
def test_lbfgs_resumes_to_the_same_bits_also_where_steps_may_be_skipped(make_run, tiny_data, num_seeds):
    fields = {"num_seeds": num_seeds, "on_nonfinite": "skip", "batch_size": 20, "log_every": 5}
    recipe = Recipe(Mean(), LBFGS)
    whole = make_run("whole", recipe=recipe, **fields)
    train(whole, tiny_data)
    train(make_run("parts", recipe=recipe, steps=5, **fields), tiny_data)
    parts = make_run("parts", recipe=recipe, resume=True, **fields)
    train(parts, tiny_data)
    assert weights(whole) == weights(parts)
    assert journal(whole.config).records() == journal(parts.config).records()


def test_a_plateau_makes_steps_smaller(make_run, tiny_data):
    optimizer = optax.chain(optax.sgd(0.0), optax.contrib.reduce_on_plateau(factor=0.5, patience=1))
    run = make_run(recipe=Recipe(Mean(), optimizer), batch_size=40, steps=9)
    with RunFolder(run) as folder:
        fit(run, tiny_data, folder)
    saved = weights(run)
    (scale,) = [np.frombuffer(value, np.float32) for name, value in saved.items() if "scale" in name]
    assert scale[0] < 0.1, "all of the data, never better"


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_schedule_free_weights_are_evaluated_where_optax_says(make_run, tiny_data, num_seeds):
    optimizer = optax.contrib.schedule_free_adamw(1e-2, warmup_steps=2)
    run = make_run(recipe=Recipe(Mean(), optimizer), num_seeds=num_seeds)
    fitted = train(run, tiny_data)
    by_path = weights(run)
    name = "['Dense_0']['kernel']"
    y, z = (
        np.frombuffer(next(v for k, v in by_path.items() if k.endswith(name) and part in k), np.float32)
        for part in ("['state']['params']", "['z']")
    )
    (b1,) = [np.frombuffer(v, np.float32) for k, v in by_path.items() if k.endswith("['b1']")]
    expected = [
        optax.contrib.schedule_free_eval_params(
            optax.contrib.ScheduleFreeState(b1[n], 0.0, 0, 0.0, (), z.reshape(num_seeds, -1)[n]),
            y.reshape(num_seeds, -1)[n],
        )
        for n in range(num_seeds)
    ]
    found = kernel(fitted).reshape(num_seeds, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(found - y.reshape(num_seeds, -1)).max() > 1e-4, "it would be no test"


INJECTED = optax.inject_hyperparams(optax.adam)(learning_rate=SCHEDULE)


@pytest.mark.parametrize(
    ("optimizer", "said", "at_3", "at_12"),
    [
        (optax.adam(1e-2), None, None, None),
        (optax.adam(1e-2), 1e-2, 0.01, 0.01),
        pytest.param(optax.adam(SCHEDULE), SCHEDULE, 0.0098, 0.0089, marks=pytest.mark.slow),
        (optax.MultiSteps(optax.adam(SCHEDULE), 4).gradient_transformation(), SCHEDULE, 0.01, 0.0098),
        pytest.param(INJECTED, None, 0.0098, 0.0089, marks=pytest.mark.slow),
    ],
    ids=["unknown", "constant", "schedule", "accumulated", "injected"],
)
def test_the_learning_rate_of_each_logged_step_is_recorded(make_run, tiny_data, optimizer, said, at_3, at_12):
    for num_seeds in (1, 2):
        run = make_run(str(num_seeds), recipe=Recipe(Mean(), optimizer, learning_rate=said), num_seeds=num_seeds)
        train(run, tiny_data)
        records = {record["step"]: record for record in journal(run.config).records()}
        if at_3 is None:
            assert "learning_rate" not in records[3]
            continue
        for step, rate in ((3, at_3), (12, at_12)):
            expected = rate if num_seeds == 1 else [rate] * 2
            assert records[step]["learning_rate"] == pytest.approx(expected, rel=1e-5), step


def test_steps_that_fill_no_group_are_said(make_run, tiny_data, capsys):
    optimizer = optax.MultiSteps(optax.adam(1e-2), 5).gradient_transformation()
    train(make_run(recipe=Recipe(Mean(), optimizer), on_nonfinite="skip"), tiny_data)
    assert "The last 2 steps did not fill a group of optax.MultiSteps: their gradients" in capsys.readouterr().out
    train(make_run("full", recipe=Recipe(Mean(), optimizer), steps=10), tiny_data)
    assert "MultiSteps" not in capsys.readouterr().out


def test_an_optimiser_without_groups_or_a_schedule_has_no_records_of_them():
    opt_state = jax.vmap(optax.adam(1e-2).init)(np.zeros((2, 3), np.float32))
    assert without_update(opt_state) == 0
    assert learning_rate(Recipe(Mean(), optax.adam(1e-2)), opt_state, 5, 2) is None
    assert learning_rate(Recipe(Mean(), optax.sgd(1.0), learning_rate=SCHEDULE), opt_state, 11, 2) == pytest.approx(
        [0.009] * 2
    )
