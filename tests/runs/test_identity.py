"""What a resumed run must have in common with the run before."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.config import RunConfig, differences
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.runs import environment
from rowlstm_jax.runs.identity import comparable, identity, require_same, without_optimizer
from rowlstm_jax.runs.manifest import newest
from rowlstm_jax.runs.run import different_arrays
from rowlstm_jax.tasks import Protocol
from rowlstm_jax.training import Recipe

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
MODEL = SequenceClassifier(BasicLSTMCell(2), num_classes=3)
PROTOCOL = Protocol("tiny", "mnist", 13, "rows")
NOW = environment.versions()


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """As a script's: it sets defaults, and adds a flag."""

    steps: int = 10
    batch_size: int = 4
    learning_rate: float = 1e-2
    eval_every: int = 5
    warmup: int = 0


def of(optimizer: Any = None, model: nn.Module = MODEL, **flags: Any) -> dict[str, Any]:
    config = Config(**flags)
    return identity("tiny", config, PROTOCOL, Recipe(model, optimizer or optax.adam(config.learning_rate)))


def resume(saved: dict[str, Any], now: dict[str, Any], *, versions: dict[str, Any] = NOW, reset: bool = False) -> None:
    require_same("here", {"identity": saved, "versions": versions}, now, lambda: "", reset_optimizer=reset)


def typed(code: str, **scope: object) -> Any:
    exec(code, {"__name__": "notebook", "nn": nn} | scope, scope)
    return scope["it"]


def as_version_0_1_wrote(identity: dict[str, Any]) -> dict[str, Any]:
    """Without the names that are new, and with the type alone where the value is told now."""
    kept = {name: text for name, text in identity.items() if ".__" not in name}
    return {name: text.partition("(")[0] if isinstance(text, str) else text for name, text in kept.items()}


def test_an_identity_is_the_same_each_time_and_is_json():
    assert of() == of() == json.loads(json.dumps(of()))
    resume(of(), of())


@pytest.mark.parametrize(
    "flags",
    [
        {"steps": 20, "log_every": 3, "checkpoint_every": 7, "resume": True, "devices": 1, "strict_compile": True},
        {"run_dir": Path("x"), "data_dir": Path("y"), "from_checkpoint": Path("z"), "profile": True},
        {"recurrence": "scan", "memory_health": True, "distributed": True},
    ],
)
def test_where_and_how_a_run_is_computed_may_change(flags):
    resume(of(), of(**flags))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"batch_size": 8}, "batch_size was 4 and is now 8"),
        ({"eval_every": 6}, "eval_every was 5 and is now 6"),
        ({"warmup": 1}, "warmup was 0 and is now 1"),
        ({"learning_rate": 0.5}, "learning_rate was 0.01 and is now 0.5"),
        ({"on_nonfinite": "skip"}, "on_nonfinite was halt and is now skip"),
    ],
)
def test_what_is_computed_may_not_change(flags, words):
    with pytest.raises(UserError, match=words):
        resume(of(), of(**flags))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda x: optax.adam(np.float32(x)),
        lambda x: optax.adam(jnp.float32(x)),
        lambda x: optax.sgd(typed(f"it = lambda step: {x}")),
        lambda x: optax.sgd(typed("it = lambda step: rate", rate=x)),
        lambda x: optax.sgd(typed(f"def it(step, rate={x}): return rate")),
        lambda x: optax.MultiSteps(optax.adam(x), 4).gradient_transformation(),
        lambda x: optax.masked(optax.sgd(1.0), typed(f"it = lambda params: params > {x}")),
        lambda x: optax.sgd(typed("it = lambda step: 1e-3") if x == 1e-3 else x),
        lambda x: optax.sgd(1e-3 if x == 1e-3 else typed("it = lambda step: 0.1")),
    ],
)
def test_another_optimiser_is_refused_or_reset(optimizer: Callable[[float], Any]):
    saved, now = of(optimizer(1e-3)), of(optimizer(1e-1))
    resume(saved, of(optimizer(1e-3)))
    with pytest.raises(UserError, match=r"(?s)with other settings: recipe\.optimizer.* --reset-optimizer"):
        resume(saved, now)
    resume(saved, now, reset=True)
    with pytest.raises(UserError, match="seed was 0 and is now 1"):
        resume(saved, of(optimizer(1e-1), seed=1), reset=True)


def test_what_is_of_the_optimiser():
    assert without_optimizer(of()) == without_optimizer(of(optax.sgd(1.0), learning_rate=1.0, on_nonfinite="skip"))
    left = without_optimizer(of())
    assert {"experiment", "seed", "protocol.order", "recipe.model.cell"} <= left.keys()
    assert left.keys().isdisjoint({"warmup", "learning_rate", "on_nonfinite", "recipe.optimizer"})


CELL = "class it(nn.RNNCellBase):\n    features: int = 2\n    def __call__(self, carry, x): return carry, x * {}"


def test_changed_code_may_be_accepted():
    def model(factor: float, features: int = 2) -> nn.Module:
        return MODEL.clone(cell=typed(CELL.format(factor))(features))

    saved = of(model=model(0.5))
    with pytest.raises(
        UserError, match=r"__call__.*was .*\(0.5\) and is now .*\(0.25\)(?s:.)* add --accept-changed-code"
    ):
        resume(saved, of(model=model(0.25)))
    accepted = of(model=model(0.25), resume=True, accept_changed_code=True)
    resume(saved, accepted)
    resume(accepted, of(model=model(0.25)))
    with pytest.raises(UserError, match=r"recipe\.model\.cell\.features was 2 and is now 3"):
        resume(saved, of(model=model(0.25, 3), resume=True, accept_changed_code=True))
    with pytest.raises(UserError, match="__call__"):  # what was accepted once is compared the next time
        resume(accepted, of(model=model(0.5)))


def test_code_of_another_version_of_python_is_not_compared():
    def by(python: str, digest: str) -> dict[str, Any]:
        return of() | {"recipe.optimizer.f.__code__": f"{python}: {digest} (0.5)"}

    resume(by("cpython-311", "aa"), by("cpython-312", "bb"))
    with pytest.raises(UserError, match="__code__"):
        resume(by("cpython-311", "aa"), by("cpython-311", "bb"))


def test_runs_of_version_0_1_can_be_resumed():
    """The golden run has no flag `warmup`: one that only a script has is not compared with a run that had none."""
    saved = json.loads((GOLDEN / "config.json").read_text())
    for versions in (saved["versions"], NOW | {"rowlstm_jax": "0.1.0"}):
        resume(saved["identity"], of(), versions=versions)
        before, now = comparable(saved["identity"], of(), versions)
        assert before == now
        assert {"seed", "recipe.model.cell.features", "recipe.model.readout"} <= now.keys()
        with pytest.raises(UserError, match=r"recipe\.model\.cell\.features was 2 and is now 3"):
            resume(saved["identity"], of(model=MODEL.clone(cell=BasicLSTMCell(3))), versions=versions)
        with pytest.raises(UserError, match=r"step_size was -0\.01 and is now -0\.02"):
            resume(saved["identity"], of(optax.adam(0.02)), versions=versions)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adamw(optax.cosine_decay_schedule(np.float32(0.1), 10), mask=lambda params: params),
        optax.MultiSteps(optax.adam(jnp.float32(0.1)), 4).gradient_transformation(),
        optax.inject_hyperparams(optax.sgd)(learning_rate=0.1),
    ],
)
def test_what_version_0_1_did_not_say_is_not_held_against_it(optimizer):
    model = MODEL.clone(dtype=jnp.bfloat16, kernel_init=nn.initializers.normal(np.float32(0.5)))
    now = of(optimizer, model)
    before, after = comparable(as_version_0_1_wrote(now), now, NOW | {"rowlstm_jax": "0.1.0"})
    assert differences(before, after) == []
    assert "recipe.model.dtype" in after


def test_with_other_packages_what_both_say_is_compared():
    old = NOW | {"optax": "0.0"}
    saved = of(optax.adam(np.float32(0.1)))
    resume(saved | {"recipe.optimizer.new": "1", "recipe.optimizer.__module__": "optax.moved"}, saved, versions=old)
    with pytest.raises(UserError, match=r"step_size was .*0\.1"):
        resume(saved, of(optax.adam(np.float32(0.2))), versions=old)
    with pytest.raises(UserError, match=r"optax\.moved"):
        resume(saved | {"recipe.optimizer.__module__": "optax.moved"}, saved)
    resume(saved | {"recipe.optimizer.__module__": "optax.moved"}, saved, versions=NOW | {"jax": "0.0"})


def test_a_flag_that_is_new_was_at_its_default():
    saved = of()
    del saved["on_nonfinite"]
    resume(saved, of())
    with pytest.raises(UserError, match="on_nonfinite was absent and is now skip"):
        resume(saved, of(on_nonfinite="skip"))


def test_long_refusals_are_cut():
    with pytest.raises(UserError, match=r"and [0-9]+ more"):
        resume(of(), of(optax.chain(*[optax.adam(x) for x in (1.0, 2.0, 3.0, 4.0)])))


def test_the_newest_checkpoint_and_its_arrays(tmp_path):
    found = newest(GOLDEN / "checkpoints")
    assert found is not None
    assert found.step == 10
    assert newest(tmp_path) is None
    assert different_arrays(tmp_path, PROTOCOL, Recipe(MODEL, optax.adam(1.0)), 1) == ""
    wider = Recipe(MODEL.clone(cell=BasicLSTMCell(3)), optax.adam(1.0))
    assert "layer_0_forward/kernel" in different_arrays(GOLDEN / "checkpoints", PROTOCOL, wider, 1)
