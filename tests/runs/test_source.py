"""Source: whose it is, what it reads, and digests that only its meaning changes."""

import ast
import collections
import dataclasses
import enum
import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.runs.describe import describe
from rowlstm_jax.runs.source import code_text, digest, digest_of, is_installed, is_users, names_read


@dataclasses.dataclass
class Mine:
    rate: float = 0.1


class Named(NamedTuple):
    rate: float


class Cell(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def typed(code: str, **scope: object) -> Any:
    """What a console's lines call `it`."""
    exec(code, scope)
    return scope["it"]


USERS = [Mine, Named, Cell, typed, Mine.__init__, lambda: 0, typed("def it(): pass"), typed("class it: pass")]
NAMED = [typed("class it: pass", __name__="__main__"), typed("it = lambda: 0", __name__="notebook")]
PYTHONS = [int, type(None), types.FunctionType, enum.Enum, collections.OrderedDict, ast.parse, os.path.join]
PACKAGES = [np.float32, np.random.Generator, jax.Array, type(jnp.zeros(())), jnp.zeros, nn.Dense, pytest.raises]
PACKAGES += [optax.adam, optax.GradientTransformation, optax.adam(1.0).init, BasicLSTMCell, describe]


@pytest.mark.parametrize("value", USERS + NAMED)
def test_what_users_write(value):
    assert is_users(value)


@pytest.mark.parametrize("value", PYTHONS + PACKAGES)
def test_what_libraries_have(value):
    assert not is_users(value)


def test_installed_files(tmp_path):
    assert is_installed(ast.__file__)
    assert is_installed(jax.__file__)
    assert is_installed(f"{Path(sys.executable).parent}/pytest")
    assert is_installed(describe.__code__.co_filename)
    assert is_installed(str(tmp_path / "python3.12/dist-packages/x.py"))
    assert not is_installed(__file__)
    assert not is_installed(str(tmp_path / "train.py"))


def test_a_users_file_may_have_the_name_of_one_of_pythons(tmp_path, monkeypatch):
    mine = types.ModuleType("profile")
    mine.__file__ = str(tmp_path / "profile.py")
    monkeypatch.setitem(sys.modules, "profile", mine)
    assert is_users(typed("it = lambda: 0", __name__="profile"))
    assert is_users(typed("class it: pass", __name__="profile"))


def test_globals_that_are_read():
    settings, module = types.SimpleNamespace(rate=0.1, steps=3), types.ModuleType("mine")
    module.__dict__["decay"] = 0.5
    code = "def it(x):\n    y = lambda: settings.rate\n    return [mine.decay * jnp.abs(len(z)) * other for z in x.T]"
    scope = {"settings": settings, "mine": module, "jnp": jnp, "other": Mine, "unread": 1, "T": 2}
    read = names_read(typed(code, **scope), scope)
    assert read == {"settings.rate": 0.1, "mine.decay": 0.5, "jnp": jnp, "other": Mine}


def test_a_closure_is_read_by_attribute_and_an_imported_module_is_part_of_it(monkeypatch):
    settings, mine = types.SimpleNamespace(rate=0.1, resume=False), types.ModuleType("mine_of_the_test")
    monkeypatch.setitem(sys.modules, "mine_of_the_test", mine)
    inner = "        import mine_of_the_test\n        return lambda: settings.rate"
    code = f"def make(settings):\n    def it(x):\n{inner}\n    return it"
    assert names_read(typed(f"{code}\nit = make(s)", s=settings), {"settings": settings}) == {
        "settings.rate": 0.1,
        "mine_of_the_test": mine,
    }


def test_names_after_many_others_are_read():
    """From the 256th name on, Python writes an operation more."""
    many = "\n".join(f"    a{n}" for n in range(300))
    scope = dict.fromkeys((f"a{n}" for n in range(300)), 0) | {"settings": types.SimpleNamespace(rate=0.5)}
    read = names_read(typed(f"def it():\n{many}\n    return settings.rate", **scope), scope)
    assert read["settings.rate"] == 0.5


def test_code_says_its_numbers_and_neither_lines_nor_docstrings():
    def text(code: str) -> str:
        return code_text(typed(code).__code__)

    assert text("it = lambda x: x * 0.5 ** 3").endswith("(0.125)")
    documented = "\n\ndef it(x):\n  'Doc.'\n  return x in {'a', 'b', 'c'}"
    assert text("def it(x): return x in {'a', 'b', 'c'}") == text(documented)
    assert text("def it():\n  class A:\n    'One.'\n") == text("def it():\n  class A:\n    'Two.'\n")
    assert text("it = lambda x: x.ndim") != text("it = lambda x: x.size")
    assert text("it = lambda x: lambda: 1") != text("it = lambda x: lambda: 2")
    assert text(f"it = lambda: [{list(range(20))}]").endswith("(20 numbers)")


@pytest.mark.parametrize(
    "other",
    [
        "# c\ndef f(x: int = 1):\n    'Doc.'\n\n    return (x +\n        2)  # c",
        "def f(x: int = 1):\n    pass\n    return x + 2",
    ],
)
def test_layout_comments_and_docstrings_do_not_count(other):
    assert digest(b"def f(x: int = 1):\n    return x + 2") == digest(other.encode())


@pytest.mark.parametrize("other", ["return x + 3", "return x - 2", "return 2 + x", "return y + 2", "return x + 2.0"])
def test_what_is_computed_counts(other):
    assert digest(b"return x + 2") != digest(other.encode())


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a module of the user's and imports it anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> types.ModuleType:
        (tmp_path / "own_cells.py").write_text(text)
        importlib.invalidate_caches()
        sys.modules.pop("own_cells", None)
        return importlib.import_module("own_cells")

    yield write
    sys.modules.pop("own_cells", None)


MODULE = """
import functools
import flax.linen as nn

class Cell(nn.Module):
    def decay(self):
        return 0.5

    @nn.compact
    def __call__(self, x):
        return x * self.decay()

def make(rate):
    def loss(x):
        return x * rate
    return loss

if make(1):
    def loss(x):
        return x
else:
    def loss(x):
        return 2 * x

short = lambda x: x * 3
"""


def test_definitions_are_found_in_their_file(write):
    def digests(text: str) -> dict[str, str]:
        module = write(text)
        values = {"Cell": module.Cell, "inner": module.make(1), "loss": module.loss, "short": module.short}
        return {name: digest_of(value) for name, value in values.items()}

    first = digests(MODULE)
    assert digests(f"# A comment.\n\n{MODULE}".replace("x * self", "x  *  self")) == first

    def changed(old: str, new: str) -> list[str]:
        now = digests(MODULE.replace(old, new))
        return [name for name in now if now[name] != first[name]]

    assert changed("0.5", "0.25") == ["Cell"]
    assert changed("x * rate", "x + rate") == ["inner"]
    assert changed("return x\n", "return -x\n") == ["loss"]
    assert changed("x * 3", "x / 3") == ["short"]
    assert changed("2 * x", "3 * x") == []


def test_code_without_source_has_the_digest_of_what_python_made_of_it():
    def cell(factor: float, note: str = "") -> str:
        return digest_of(typed(f"class it:\n    '''{note}'''\n    def f(self, x):\n        return x * {factor}"))

    assert cell(0.5).startswith(f"{sys.implementation.cache_tag}")
    assert cell(0.5) == cell(0.5, "Doc.") != cell(0.25)
    assert digest_of(typed("it = lambda x: x * 1")) != digest_of(typed("it = lambda x: x * 2"))
