"""Descriptions tell apart every value that decides the numbers, whatever holds it, and keep their old texts."""

import argparse
import collections
import dataclasses
import enum
import functools
import operator
import random
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.config import RunConfig, differences
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.runs.describe import describe, opaque


def model(**fields):
    return SequenceClassifier(BasicLSTMCell(8), num_classes=3, **fields)


class Schedule:
    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, step: int) -> float:
        return self.rate * 0.5**step

    def at(self, step: int) -> float:
        return self.rate


class Slotted:
    __slots__ = ("__hidden", "rate")

    def __init__(self, rate: float):
        self.rate, self.__hidden = 0.0, rate


class Pair(NamedTuple):
    rate: float


class Rates(dict):
    """A container with an attribute."""


class Queue(collections.deque):
    """A container of Python's that has an attribute."""


class Rate(float):
    pass


@dataclasses.dataclass
class Settings:
    name: str
    rate: float = dataclasses.field(default=0.0)


class Late(nn.Module):
    features: int = 1

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def program(code: str, **scope: object) -> Any:
    """What a script or a notebook's cell of these lines calls `it`."""
    scope = {"__name__": "notebook", "jax": jax, "jnp": jnp, "nn": nn, **scope}
    exec(code, scope)
    return scope["it"]


def with_attribute(holder: Any, value: object) -> Any:
    holder.rate = value
    return holder


def of_class(code: str, **scope: object) -> Any:
    return program(f"class Own:\n    {code}\nit = Own()", **scope)


def by_keyword(value: object) -> Callable[[], object]:
    def function(*, rate: object = value) -> object:
        return rate

    return function


def wrapped(value: object) -> Any:
    return functools.update_wrapper(program("def it(): ..."), lambda: value)


def subscript(value: object) -> Any:
    array = np.array([None], dtype=object)
    array[0] = value
    return array


# Whatever holds a number x.
HOLDERS: dict[str, Callable[[float], Any]] = {
    "number": lambda x: x,
    "numpy scalar": np.float32,
    "numpy double": np.float64,
    "jax scalar": jnp.float32,
    "bfloat16": lambda x: jnp.bfloat16(x),
    "numpy array": lambda x: np.full((2, 3), x),
    "jax array": lambda x: jnp.full((2, 3), x),
    "array of objects": subscript,
    "key": lambda x: jax.random.key(int(1000 * x)),
    "subclass of float": Rate,
    "complex": complex,
    "bytes": lambda x: str(x).encode(),
    "text": str,
    "lambda's constant": lambda x: program(f"it = lambda step: {x}"),
    "constant of an inner function": lambda x: program(f"def it(s):\n    return [{x} * i for i in s]"),
    "global": lambda x: program("def it(step):\n    return rate", rate=x),
    "global of an inner function": lambda x: program("def it(s):\n    return lambda: rate", rate=x),
    "global's attribute": lambda x: program("it = lambda step: conf.rate", conf=types.SimpleNamespace(rate=x)),
    "module's attribute": lambda x: program("it = lambda: m.rate", m=with_attribute(types.ModuleType("mine"), x)),
    "global of a global": lambda x: program("def f():\n    return rate\nit = lambda: f()", rate=x),
    "default": lambda x: lambda rate=x: rate,
    "keyword default": by_keyword,
    "closure": lambda x: lambda: x,
    "function's attribute": lambda x: with_attribute(program("def it(): it.rate"), x),
    "wrapped function": wrapped,
    "jitted function": lambda x: jax.jit(lambda: x),
    "jitted function of a notebook": lambda x: program(f"it = jax.jit(lambda: {x})"),
    "function with a derivative of its own": lambda x: jax.custom_jvp(lambda y: y * x),
    "callable object": Schedule,
    "slots": Slotted,
    "bound method": lambda x: Schedule(x).at,
    "method in C": lambda x: {"rate": x}.get,
    "class attribute": lambda x: of_class("rate = r", r=x),
    "constant of a method": lambda x: of_class(f"def __call__(self): return {x}"),
    "global of a method": lambda x: of_class("def __call__(self): return r", r=x),
    "property": lambda x: of_class(f"rate = property(lambda self: {x})"),
    "static method": lambda x: of_class(f"rate = staticmethod(lambda: {x})"),
    "constant of a module's method": lambda x: program(
        f"class it(nn.Module):\n    @nn.compact\n    def __call__(self, y): return y * {x}"
    ),
    "property of a module": lambda x: program(
        f"class it(nn.Module):\n    @property\n    def rate(self): return {x}"
    ),
    "attribute of a closure": lambda x: (lambda s: lambda: s.rate)(types.SimpleNamespace(rate=x, resume=x > 1)),
    "constant of a base class": lambda x: program(f"class B:\n    def f(self): return {x}\nclass it(B): pass"),
    "module's default": lambda x: functools.partial(program("class it(nn.Module):\n    rate: float = r", r=x)),
    "dataclass": lambda x: Settings("a", x),
    "attribute of a dataclass": lambda x: with_attribute(Settings("a"), x),
    "attribute of a module": lambda x: (late := Late(), object.__setattr__(late, "rate", x))[0],
    "named tuple": Pair,
    "partial": lambda x: functools.partial(max, x),
    "partial's keyword": lambda x: functools.partial(max, default=x),
    "list": lambda x: [1, [x]],
    "set": lambda x: {"a", x},
    "frozen set": lambda x: frozenset({(1, x)}),
    "mapping": lambda x: {"rate": x},
    "mapping's key": lambda x: {(x, 1): None},
    "ordered mapping": lambda x: collections.OrderedDict(rate=x),
    "attribute of a mapping": lambda x: with_attribute(Rates(), x),
    "deque": lambda x: collections.deque([x]),
    "elements of a deque with attributes": lambda x: with_attribute(Queue([x]), "a"),
    "namespace": lambda x: types.SimpleNamespace(rate=x),
    "flags of a script": lambda x: argparse.Namespace(rate=x),
    "random state": lambda x: random.Random(int(1000 * x)),
    "range": lambda x: range(int(1000 * x)),
    "object of Python's in C": lambda x: operator.itemgetter(x),
    "pattern": lambda x: re.compile(str(x)),
    "random generator": lambda x: np.random.default_rng(int(1000 * x)),
    "path": lambda x: Path(str(x)),
    "enum": lambda x: enum.Enum("Rates", {"one": x})(x),
    "initialiser": nn.initializers.normal,
    "mask function": lambda x: optax.masked(optax.sgd(1.0), program(f"it = lambda p: (lambda y: y.ndim > {x})")),
    "schedule": lambda x: optax.sgd(program(f"it = lambda step: {x}")),
    "accumulated": lambda x: optax.MultiSteps(optax.sgd(x), 4).gradient_transformation(),
    "hyperparameter": lambda x: optax.inject_hyperparams(optax.sgd)(learning_rate=x),
    "by label": lambda x: optax.multi_transform({"a": optax.sgd(x)}, "a"),
    "module": lambda x: model(kernel_init=nn.initializers.normal(x)),
}  # fmt: skip


def all_holders() -> dict[str, str]:
    return describe([make(0.001) for make in HOLDERS.values()], "it")


@pytest.mark.parametrize("holder", HOLDERS)
def test_numbers_are_told_apart_whatever_holds_them(holder):
    make = HOLDERS[holder]
    first, same, other = (describe(make(x), "it") for x in (0.001, 0.001, 0.01))
    assert first == same
    assert first != other
    assert not any(" at 0x" in text for text in [*first, *first.values()])
    assert not opaque(make(0.001), "it")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (0.5, np.float64(0.5)),
        (0.5, Rate(0.5)),
        (1, "1"),
        (None, "None"),
        (np.float32(0.5), np.float64(0.5)),
        (jnp.float32(0.5), jnp.bfloat16(0.5)),
        (jnp.asarray(0.5), jnp.float32(0.5)),  # weak: it takes the other operand's type
        (np.zeros(3), np.zeros((3, 1))),
        (np.zeros(3, np.int32), np.zeros(3, np.float32)),
        (np.dtype("float32"), np.dtype("bfloat16")),
        (jnp.float32, jnp.bfloat16),
        (jnp.tanh, jax.nn.sigmoid),
        (nn.initializers.zeros, jnp.zeros),  # of one name
        (np, jnp),
        (lambda p: p.ndim, lambda p: p.size),
        (optax.MultiSteps(optax.adam(1e-3), 4), optax.MultiSteps(optax.adam(1e-3), 2)),
        (Schedule(0.1).at, Schedule(0.1).__call__),
        (range(3), range(0, 3, 2)),
        (program("it = lambda y: act(y)", act=jnp.tanh), program("it = lambda y: act(y)", act=jnp.sin)),
        (program("it = lambda y: jnp.abs(y)"), program("it = lambda y: jnp.abs(y)", jnp=np)),
    ],
)  # fmt: skip
def test_kinds_are_told_apart(first, second):
    assert describe(first, "it") != describe(second, "it")


def test_multi_steps_are_told_apart_by_optimiser_and_by_number():
    def steps(rate: float, every: int) -> dict[str, str]:
        return describe(optax.MultiSteps(optax.adam(rate), every).gradient_transformation(), "it")

    assert steps(1e-3, 4) == steps(1e-3, 4)
    assert any(
        "step_size was -0.001 and is now -0.1" in phrase for phrase in differences(steps(1e-3, 4), steps(1e-1, 4))
    )
    assert steps(1e-3, 4) != steps(1e-3, 2)
    assert steps(1e-3, 4)["it.update.__self__"] == "MultiSteps, as it.init.__self__"


def test_texts_of_version_0_1_stay_as_they_were():
    """Its runs are compared with them; what is new stands in names of its own, or begins with the old text."""
    description = describe(model(dtype=jnp.bfloat16, kernel_init=nn.initializers.normal(0.5)), "model")
    expected = {
        "model": "SequenceClassifier",
        "model.cell": "BasicLSTMCell",
        "model.cell.features": "8",
        "model.cell.param_dtype": "float32",
        "model.cell.bias_init": "zeros",
        "model.dtype": "bfloat16",
        "model.readout": "last",
        "model.kernel_init": "normal.<locals>.init",
        "model.kernel_init.stddev": "0.5",
    }
    assert expected.items() <= description.items()
    assert describe(np.float32(0.1), "x")["x"] == "float32(0.1)"
    assert describe(jnp.float32(0.1), "x")["x"].startswith("ArrayImpl(0.1, float32")
    assert describe(functools.partial(max, 3, default=None), "x") == {
        "x": "partial", "x.function": "max", "x.0": "3", "x.default": "None",
    }  # fmt: skip


def test_differences_are_told_by_name():
    first, second = (describe(model(kernel_init=nn.initializers.normal(std)), "model") for std in (1.0, 0.1))
    assert differences(first, second) == ["model.kernel_init.stddev was 1.0 and is now 0.1"]

    def chain(b1: float, decay_steps: int) -> dict[str, str]:
        schedule = optax.cosine_decay_schedule(0.1, decay_steps)
        return describe(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b1=b1)), "optimizer")

    (difference,) = differences(chain(0.9, 100), chain(0.8, 100))
    assert difference.endswith(".b1 was 0.9 and is now 0.8")
    (difference,) = differences(chain(0.9, 100), chain(0.9, 200))
    assert difference.endswith(".decay_steps was 100 and is now 200")
    (difference,) = differences(*(describe(program(f"it = lambda step: {x}"), "it") for x in (0.001, 0.01)))
    assert re.fullmatch(r"it.__code__ was .* \(0.001\) and is now .* \(0.01\)", difference)


def test_comments_docstrings_and_lines_do_not_count():
    first = program("def it(x):\n    return x * 2")
    second = program('# new\n\n\ndef it(x):\n    """Doubles."""\n\n    return (x\n            * 2)  # twice')
    assert describe(first, "f") == describe(second, "f")


def test_how_a_run_is_computed_does_not_count_where_a_function_reads_the_flags():
    def rate(config: RunConfig) -> dict[str, str]:
        return describe(lambda step: config.learning_rate, "rate")

    assert rate(RunConfig(steps=5)) == rate(RunConfig(steps=9, resume=True, run_dir=Path("x")))
    assert rate(RunConfig(learning_rate=0.5)) != rate(RunConfig())


def test_what_is_left_out_of_objects():
    """Flax's names, and results that are kept once computed."""

    class Kept:
        @functools.cached_property
        def result(self) -> float:
            return 0.5

    it = Kept()
    before = describe(it, "it")
    assert (describe(it, "it"), it.result) == (before, 0.5)
    assert describe(it, "it") == before
    assert describe(nn.Dense(3, name="a"), "it") == describe(nn.Dense(3, name="b"), "it")
    assert describe(Settings("a"), "it") != describe(Settings("b"), "it")


def test_values_that_hold_themselves_come_to_an_end():
    def outer() -> Callable[[], Any]:
        def recursive() -> Any:
            return recursive

        return recursive

    assert describe(outer(), "f") == describe(outer(), "f")
    ring: list[Any] = [1]
    ring.append(ring)
    assert describe(ring, "ring") == {"ring": "list", "ring.0": "1"}
    chain: Any = None
    for _ in range(5000):
        chain = [chain]
    assert opaque(chain, "chain") == ["chain" + ".0" * 100]
    assert opaque([[i] for i in range(10_001)], "many") == ["many.9999", "many.10000"]
    twice: Any = [0.1]
    for _ in range(40):
        twice = [twice, twice]
    assert len(opaque(twice, "twice")) < len(describe(twice, "twice")) < 50_000
    doubled = optax.sgd(0.1)
    for _ in range(40):  # 2**40 paths lead to the first
        doubled = optax.MultiSteps(doubled, 2).gradient_transformation()
    assert len(describe(doubled, "it")) < 5000


def test_what_cannot_be_told_apart_is_named():
    held = {"a": [1, (i for i in range(3))], "b": sys.stdout.write, "c": iter([1]), "d": object()}
    assert opaque(held, "it") == ["it.a.1", "it.b.__self__", "it.c"]
    seen = []
    jax.jit(lambda x: seen.append(opaque(x, "x")))(1.0)
    assert seen == [["x"]]


def test_another_process_describes_alike():
    program = "from tests.runs.test_describe import *; print(sorted(all_holders().items()))"
    command, root = [sys.executable, "-c", program], Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{sorted(all_holders().items())}\n"
