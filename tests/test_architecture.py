"""The rules of the house, as design and doors state them: floors, doors, importers of heavy packages, sizes."""

import ast
import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowlstm_jax.config import RunConfig

ROOT = Path(__file__).parents[1]

# A floor may import the floors before it. Floors in one entry stand side by side and do not import each other.
FLOORS = [
    {"paths", "screen"},
    {"errors"},
    {"config"},
    {"data", "models"},
    {"tasks"},
    {"training"},
    {"parallel"},
    {"runs"},
    {"analysis"},
    {"interop"},
]
FLOORS += [{"cli"}, {"experiments"}]
HEIGHT = {floor: height for height, floors in enumerate(FLOORS) for floor in floors}
PURE = {"models", "data", "tasks", "training"}  # they know nothing of flags

# The only file or folder that may import a package; everything else goes through it.
ONLY = {
    "matplotlib": "rowlstm_jax/analysis/plots/",
    "orbax": "rowlstm_jax/runs/checkpoint.py",
    "rich": "rowlstm_jax/runs/console.py",
    "safetensors": "rowlstm_jax/interop/safetensors.py",
    "mlflow": "rowlstm_jax/runs/trackers.py",
    "onnx": "rowlstm_jax/interop/onnx.py",
    "onnxruntime": "rowlstm_jax/interop/onnx.py",
    "tensorboardX": "rowlstm_jax/runs/events.py",
    "tensorflow_datasets": "rowlstm_jax/data/builder.py",
    "tyro": "rowlstm_jax/cli.py",
    "wandb": "rowlstm_jax/runs/trackers.py",
}
STDLIB_ONLY = {
    "errors": {"collections", "contextlib", "re", "sys", "types", "rowlstm_jax"},
    "paths": {"pathlib", "re"},
    "screen": {"collections", "contextlib", "os", "pathlib", "sys", "typing", "unicodedata"},
    "config": {"collections", "contextlib", "dataclasses", "math", "os", "pathlib", "re", "typing", "rowlstm_jax"},
}
# Benchmarks time what lies behind a door, and say in their docstring why they need it.
BEHIND_DOORS = {
    "experiments/benchmarks/integrity.py": "it replaces the functions that make digests by timed ones",
}


def sources(root: Path) -> list[Path]:
    return sorted([*root.glob("rowlstm_jax/**/*.py"), *root.glob("experiments/**/*.py")])


def imports(path: Path, root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """(module, name) of each import, relative and by name in a string too; no name where a module is imported whole."""
    package = path.relative_to(root).parts[:-1]
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            yield from ((".".join((*above, *filter(None, [node.module]))), alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and re.search(r"\b(import_module|__import__)$", ast.unparse(node.func)):
            yield from ((str(argument.value), "") for argument in node.args[:1] if isinstance(argument, ast.Constant))


def floor_of(relative: Path) -> str:
    """The floor of a file; the public API in `rowlstm_jax/__init__.py` is the highest but the experiments."""
    top, *rest = relative.with_suffix("").parts
    return "experiments" if top == "experiments" else "cli" if rest == ["__init__"] else rest[0]


def names_of_door(root: Path, floor: str) -> set[str]:
    tree = ast.parse((root / "rowlstm_jax" / floor / "__init__.py").read_text())
    (names,) = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return set(ast.literal_eval(names))


def broken_rules(root: Path) -> list[str]:
    """One line for each import that breaks a rule of the house."""
    found = []
    for path in sources(root):
        relative = path.relative_to(root)
        own = floor_of(relative)
        for module, name in imports(path, root):
            package, *inside = module.split(".")
            if package in ONLY and not str(relative).startswith(ONLY[package]):
                found.append(f"{relative} imports {package}, which only {ONLY[package]} may import")
            if package == "experiments" and own != "experiments":
                found.append(f"{relative} imports an experiment")
            if package != "rowlstm_jax":
                continue
            other = inside[0] if inside else name if name in HEIGHT else "cli"
            if other == own or (own == "cli" and relative.name == "__init__.py"):
                continue
            if HEIGHT[other] >= HEIGHT[own] or (own in PURE and other == "config"):
                found.append(f"{relative} is on the floor {own}, and imports {module}.{name} of {other}")
            elif len(FLOORS[HEIGHT[other]]) and (root / "rowlstm_jax" / other).is_dir():
                cells = inside[:2] == ["models", "cells"]  # a door of its own
                behind = len(inside) > (2 if cells else 1) or (
                    not cells and inside and name not in names_of_door(root, other)
                )
                if behind and str(relative) not in BEHIND_DOORS:
                    found.append(f"{relative} imports {module}.{name} from behind the door of {other}")
    return found


def test_imports_respect_floors_doors_and_single_importers():
    assert not broken_rules(ROOT)


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("models/classifier.py", "from rowlstm_jax.training import Recipe", "is on the floor models, and imports"),
        ("models/classifier.py", "from rowlstm_jax.data import Examples", "is on the floor models, and imports"),
        ("training/step.py", "from rowlstm_jax.config import RunConfig", "is on the floor training, and imports"),
        ("data/sources.py", "import rowlstm_jax.runs", "is on the floor data, and imports"),
        ("parallel/mesh.py", "from rowlstm_jax.training.step import train_step", "from behind the door of training"),
        ("parallel/mesh.py", "from rowlstm_jax.training import loss", "from behind the door of training"),
        (
            "parallel/mesh.py",
            "from rowlstm_jax.models.cells.lstm import BasicLSTMCell",
            "from behind the door of models",
        ),
        ("parallel/mesh.py", "from ..training.step import train_step", "from behind the door of training"),
        ("models/classifier.py", "from .. import runs", "is on the floor models, and imports"),
        ("models/classifier.py", "import rowlstm_jax", "is on the floor models, and imports"),
        ("data/load.py", "importlib.import_module('rowlstm_jax.runs')", "is on the floor data, and imports"),
        ("runs/folder.py", "__import__('orbax.checkpoint')", "which only rowlstm_jax/runs/checkpoint.py may import"),
        ("runs/records.py", "import matplotlib.pyplot", "which only rowlstm_jax/analysis/plots/ may import"),
        ("analysis/report.py", "from experiments import mnist_rows", "imports an experiment"),
    ],
)
def test_a_planted_wrong_import_is_found(tmp_path, file, line, complaint):
    for folder in ("rowlstm_jax", "experiments"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    planted = tmp_path / "rowlstm_jax" / file
    planted.write_text(f"{planted.read_text()}\n{line}\n")
    (found,) = broken_rules(tmp_path)
    assert found.startswith(f"rowlstm_jax/{file}")
    assert complaint in found


@pytest.mark.parametrize("package", ONLY)
def test_each_heavy_package_is_used(package):
    assert any(module.split(".")[0] == package for path in sources(ROOT) for module, _ in imports(path))


@pytest.mark.parametrize("module", STDLIB_ONLY)
def test_errors_and_config_need_the_standard_library_only(module):
    found = {name.split(".")[0] for name, _ in imports(ROOT / "rowlstm_jax" / f"{module}.py")}
    assert found <= STDLIB_ONLY[module]


def test_lower_floors_do_not_name_flags():
    """They raise a ValueError about the value; the floor that knows the flag names it."""
    for floor in PURE:
        for path in sorted((ROOT / "rowlstm_jax" / floor).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Raise):
                    assert " --" not in ast.unparse(node), f"{path.name}:{node.lineno} names a flag"
                    assert "UserError" not in ast.unparse(node), f"{path.name}:{node.lineno} raises a UserError"


def test_scan_over_time_is_written_once():
    assert [path.name for path in sources(ROOT) if "nn.scan(" in path.read_text()] == ["over_time.py"]


@pytest.mark.parametrize("path", sources(ROOT), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_or_function_grows_too_long(path):
    text = path.read_text()
    short = floor_of(path.relative_to(ROOT)) == "experiments" and path.parent.name == "experiments"
    assert text.count("\n") <= (80 if short else 250)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            assert (node.end_lineno or 0) - body[0].lineno + 1 <= 40, node.name


def test_every_file_of_the_library_has_tests():
    """Those of rowlstm_jax/<floor>/<file>.py stand in tests/<floor>/test_<file>.py or in test_<file>_<part>.py."""
    for path in sources(ROOT):
        relative = path.relative_to(ROOT)
        if relative.parts[0] != "rowlstm_jax" or path.name == "__init__.py":
            continue
        folder = ROOT / "tests" / Path(*relative.parts[1:2] if len(relative.parts) > 2 else ())
        nested = path.parent.name if len(relative.parts) > 3 else path.stem  # cells/ and plots/ share theirs
        names = [found.stem for found in folder.glob("test_*.py")]
        assert any(name == f"test_{nested}" or name.startswith(f"test_{nested}_") for name in names), relative


def test_every_flag_is_read_somewhere():
    trees = {path: ast.parse(path.read_text()) for path in sources(ROOT)}
    config = trees.pop(ROOT / "rowlstm_jax" / "config.py")
    read = {
        node.attr
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] in ("config", "flags")
    }
    for method in ast.walk(config):  # a property that is read reads its fields
        if isinstance(method, ast.FunctionDef) and method.name in read:
            read |= {node.attr for node in ast.walk(method) if isinstance(node, ast.Attribute)}
    assert {field.name for field in dataclasses.fields(RunConfig)} <= read
