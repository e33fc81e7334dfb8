"""Parts: their names; which values are not looked into. tests/runs/test_describe.py tells values apart by them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.config import RunConfig
from rowlstm_jax.runs.describe import is_number, parts_of, read_array


def typed(code: str, **scope: object) -> object:
    exec(code, {"__name__": "notebook", "nn": nn}, scope)
    return scope["it"]


def test_parts_of_a_function():
    inner, rate = functools.partial(max, 2), 0.1

    def function(x: float, factor: float = 0.5, nothing: None = None, *, power: int = 2) -> object:
        return inner(x * rate * factor**power)

    parts = parts_of(function)
    assert parts is not None
    code = parts.pop("__code__")
    assert "(2)" not in code
    assert parts == {"inner": inner, "rate": 0.1, "__defaults__.factor": 0.5, "__defaults__.power": 2}


def test_an_empty_closure_is_none():
    def function() -> object:
        return later

    assert "later" not in (parts_of(function) or {})
    later = 1
    assert (parts_of(function) or {})["later"] == 1


def test_parts_of_a_class_are_what_its_user_wrote():
    cell = typed(
        "class it(nn.Module):\n    rate: float = 0.5\n    kind = 'a'\n    @nn.compact\n    def __call__(self): ..."
    )
    assert list(parts_of(cell) or {}) == ["__dict__.rate", "__dict__.kind", "__dict__.__call__"]
    assert parts_of(nn.Dense) == {}
    assert parts_of(jnp.float32) == parts_of(np.float32) == parts_of(int) == {}


def test_what_a_library_defines_is_known_by_its_name_and_where_that_has_two_meanings_also_by_its_module():
    assert parts_of(jnp.tanh) == parts_of(nn.initializers.zeros) == parts_of(optax.sgd) == {}
    assert list(parts_of(jnp.zeros) or {}) == ["__module__"]
    assert parts_of(np.tanh) == {"__module__": "numpy"}
    assert "__module__" not in (parts_of(optax.sgd(0.1).update) or {})
    assert list(parts_of(jax.jit(lambda: 0)) or {}) == ["__wrapped__", "__module__"]


def test_flags_that_are_free_on_resume_are_no_parts():
    parts = parts_of(RunConfig())
    assert parts is not None
    assert {"seed", "learning_rate"} <= parts.keys()
    assert parts.keys().isdisjoint({"steps", "resume", "run_dir", "devices"})


def test_parts_that_cannot_be_read():
    array = jnp.zeros(3)
    array.delete()
    assert parts_of(array) is None
    assert read_array(array) is None
    assert parts_of(iter([1])) is None
    assert parts_of(object()) == {}


@pytest.mark.parametrize(
    ("text", "number"), [("1e-3", True), ("None", True), ("nan", True), ("adam", False), ("", False)]
)
def test_texts_of_numbers(text, number):
    assert is_number(text) == number
