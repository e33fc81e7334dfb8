"""Code: a changed equation is found, other changes of a file are not; the script."""

import importlib
import sys
import types
from collections.abc import Callable

import flax.linen as nn
import jax
import optax
import pytest

from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.runs.environment import script_file
from rowlstm_jax.runs.identity import changed_code, code_of
from rowlstm_jax.training import Recipe, adamw_cosine

OWN = '''
"""Own parts of a recipe."""
import functools, flax.linen as nn, jax, jax.numpy as jnp, optax

def squash(x):  # read by the cell's method
    return jnp.tanh(x)

class Base(nn.Module):
    features: int = 3

    def decay(self):
        return 0.5

class Cell(Base):
    """A cell."""

    @nn.compact
    def __call__(self, carry, x):
        carry = squash(carry * self.decay() + nn.Dense(self.features)(x))
        return carry, carry

def loss(logits, labels):
    """The loss."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

def scaled(factor):
    def loss_of_two(a, b):
        return factor * a + b
    return loss_of_two

def schedule(step, rate):
    return rate * 0.9 ** step

def mask(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)

def order(rows, columns):
    return jnp.arange(rows * columns)

class Noise:
    def __call__(self, updates):
        return updates + 0.1

RECIPE = (
    Cell(), jax.jit(loss), scaled(2.0), Noise().__call__, lambda x: x + 1.5,
    optax.chain(optax.masked(optax.sgd(functools.partial(schedule, rate=0.1)), mask), optax.MultiSteps(
        optax.stateless(lambda updates, params: updates), 2).gradient_transformation()),
)
'''
NAMES = ["Cell", "Base", "squash", "loss", "scaled.<locals>.loss_of_two", "Noise", "<lambda>", "schedule", "mask"]


@pytest.fixture
def own(tmp_path, monkeypatch) -> Callable[[str], dict[str, str]]:
    """The `code_of` a recipe that a module of this text makes."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def own(text: str) -> dict[str, str]:
        (tmp_path / "own_parts.py").write_text(text)
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, "own_parts", raising=False)
        module = importlib.import_module("own_parts")
        return code_of(module.RECIPE, extra=(None, module.order))

    return own


def notebook(text: str) -> dict[str, str]:
    """The same where the text is typed: there is no file."""
    scope: dict[str, object] = {"__name__": "__main__"}
    exec(text, scope)
    return code_of(scope["RECIPE"], extra=(scope["order"],))


def test_the_functions_and_classes_of_the_user_are_named(own):
    names = {name.removeprefix("own_parts.") for name in own(OWN)}
    assert {*NAMES, "order"} <= names
    assert names - {*NAMES, "order"} == {"<lambda> (2)"}
    recipe = Recipe(SequenceClassifier(BasicLSTMCell(8), 3), adamw_cosine(1e-3, 9, warmup=3, weight_decay=0.1))
    assert code_of(recipe) == {}


EQUATIONS = [
    ("carry * self", "carry - self", ["Cell"]),
    ("return 0.5", "return 0.25", ["Base"]),
    ("jnp.tanh(x)", "jnp.sin(x)", ["squash"]),
    (".mean()", ".sum()", ["loss"]),
    ("factor * a + b", "factor * b + a", ["scaled.<locals>.loss_of_two"]),
    ("updates + 0.1", "updates - 0.1", ["Noise"]),
    ("x + 1.5", "x - 1.5", ["<lambda>"]),
    ("rate * 0.9", "rate / 0.9", ["schedule"]),
    ("p.ndim > 1", "p.size > 1", ["mask"]),
    ("(rows * columns)", "(rows * columns)[::-1]", ["order"]),
]


@pytest.mark.parametrize(("old", "new", "names"), EQUATIONS)
def test_a_changed_equation_is_found(own, old, new, names):
    changed = changed_code(own(OWN), own(OWN.replace(old, new)), same_version=True)
    assert [name.removeprefix("own_parts.") for name in changed] == names


@pytest.mark.parametrize(("old", "new", "names"), EQUATIONS)
def test_a_changed_equation_is_found_in_a_notebook(old, new, names):
    assert notebook(OWN) == notebook(OWN)
    changed = changed_code(notebook(OWN), notebook(OWN.replace(old, new)), same_version=True)
    assert [name.removeprefix("__main__.") for name in changed] == names


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# read by the cell's method", "# used"),
        ('"""The loss."""', '"""Cross-entropy.\n\n    Of each example.\n    """'),
        ('    """A cell."""\n', ""),
        ("import functools,", "# Imports.\n\nimport functools,"),
        ("rate * 0.9 ** step", "(rate\n            * 0.9**step)"),
    ],
)
def test_comments_docstrings_and_layout_are_no_change(own, old, new):
    assert own(OWN) == own(OWN.replace(old, new))
    assert notebook(OWN) == notebook(OWN.replace(old, new))


def test_a_script_and_the_module_that_it_is_have_the_same_names(own, tmp_path, monkeypatch):
    imported = own(OWN)
    path = tmp_path / "own_parts.py"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(path), raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    scope: dict[str, object] = {"__name__": "__main__"}
    exec(compile(OWN, str(path), "exec"), scope)
    script = code_of(scope["RECIPE"], extra=(scope["order"],))
    assert script.pop("script own_parts.py")
    assert script.keys() == imported.keys()
    assert changed_code(imported, script, same_version=True) == []
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", types.SimpleNamespace(name="tasks.own_parts"))
    package = code_of(scope["RECIPE"])
    assert "tasks.own_parts.Cell" in package
    changed = {name: digest[::-1] if name.endswith("Cell") else digest for name, digest in imported.items()}
    assert changed_code(changed, package, same_version=True) == ["tasks.own_parts.Cell"]


def test_the_script_counts(tmp_path, monkeypatch):
    def script(text: str) -> dict[str, str]:
        (tmp_path / "train.py").write_text(text)
        monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "train.py"), raising=False)
        return code_of(())

    first = script("rate = 0.1\n")
    assert list(first) == ["script train.py"]
    assert changed_code(first, script("# The rate.\nrate = 0.1"), same_version=True) == []
    assert changed_code(first, script("rate = 0.2"), same_version=True) == ["script train.py"]
    assert changed_code(first, script("rate = 0.2"), same_version=False) == ["script train.py"]
    arguments = script("main(Config(steps=5, hidden=4))")
    assert changed_code(arguments, script("main(Config(hidden=4, steps=9, resume=True))"), same_version=True) == []
    assert changed_code(arguments, script("main(Config(steps=5, hidden=8))"), same_version=True) == ["script train.py"]
    ours = {"script experiments.mnist_rows": "1"}
    assert changed_code(ours, {"script experiments.mnist_rows": "2"}, same_version=False) == []
    assert changed_code(first, script("rate = "), same_version=True) == ["script train.py"]  # no Python any more
    monkeypatch.setattr(sys.modules["__main__"], "__file__", pytest.__file__)
    assert script_file() is None
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    assert script_file() is None


@pytest.mark.parametrize(
    ("saved", "now", "same_version", "changed"),
    [
        ({}, {"mine.f": "1"}, True, []),  # saved by version 0.1.0, which kept no digests
        ({"mine.f": "1"}, {}, True, []),
        ({"mine.f": "1"}, {"mine.f": "2"}, True, ["mine.f"]),
        ({"mine.f": "1"}, {"mine.f": "2"}, False, ["mine.f"]),
        ({"experiments.mnist_rows.f": "1"}, {"experiments.mnist_rows.f": "2"}, False, []),
        ({"experiments.mnist_rows.f": "1"}, {"experiments.mnist_rows.f": "2"}, True, ["experiments.mnist_rows.f"]),
        ({"script a.py": "1"}, {"script b.py": "2"}, True, []),
        ({"__main__.f": "1"}, {"mine.f": "2"}, True, ["mine.f"]),
        ({"mine.f": "1"}, {"mine.g.f": "2", "other.f": "2"}, True, []),
        ({"mine.f": "cpython-311: 1"}, {"mine.f": "cpython-312: 2"}, True, []),
        ({"mine.f": "cpython-311: 1"}, {"mine.f": "2"}, True, []),
        ({"mine.f": "cpython-311: 1"}, {"mine.f": "cpython-311: 2"}, True, ["mine.f"]),
    ],
)
def test_what_counts_as_a_change(saved, now, same_version, changed):
    assert changed_code(saved, now, same_version) == changed


def test_a_cell_of_the_users_is_found_in_the_model():
    class Cell(nn.RNNCellBase):
        features: int = 3

        def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
            return carry, inputs

    found = code_of(Recipe(SequenceClassifier(Cell(), 3), optax.sgd(0.1)))
    assert list(found) == [f"{__name__}.test_a_cell_of_the_users_is_found_in_the_model.<locals>.Cell"]
