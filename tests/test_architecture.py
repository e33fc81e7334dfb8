"""The house has an order: imports point downwards only, and no room grows too large."""

import ast
import dataclasses
from pathlib import Path

import pytest

from rowlstm_jax.config import RunConfig

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("rowlstm_jax/**/*.py"), *ROOT.glob("experiments/**/*.py")])

# Each module may import those on lower levels; a package is one room.
LEVELS = [
    {"config"},
    {"augment", "cells", "data", "describe", "devices", "events", "files", "folder", "metrics", "permutations", "plots"}
    | {"recipe", "recompilation", "recurrence", "signals", "statistics"},
    {"console", "costs", "distributed", "environment", "insight", "lock", "manifest", "model", "records", "seeds"}
    | {"sequences"},
    {"checkpoint", "protocols", "results", "step"},
    {"comparison", "evaluate", "progress"},
    {"identity", "journal", "programs"},
    {"run"},
    {"resume"},
    {"train"},
    {"cli", "report"},
    {"grid"},
    {"experiments"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# The only module that may import a package; everything else goes through it.
ONLY = {
    "matplotlib": "rowlstm_jax/plots/",
    "orbax": "rowlstm_jax/checkpoint.py",
    "rich": "rowlstm_jax/console.py",
    "tensorboardX": "rowlstm_jax/events.py",
    "tensorflow_datasets": "rowlstm_jax/data/builder.py",
    "tyro": "rowlstm_jax/cli.py",
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def room(path: Path) -> str | None:
    top, *rest = path.relative_to(ROOT).with_suffix("").parts
    return None if rest == ["__init__"] else "experiments" if top == "experiments" else rest[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    own = room(path)
    imported = {name.split(".")[1] for name in imports(path) if name.startswith("rowlstm_jax.")}
    if any(name.split(".")[0] == "experiments" for name in imports(path)):
        imported.add("experiments")
    above = {other for other in imported if own != other and LEVEL[other] >= LEVEL.get(own or "", 0)}
    assert not above, f"{own} may not import {above}"


@pytest.mark.parametrize("package", ONLY)
def test_each_heavy_package_has_one_importer(package):
    importers = {
        str(path.relative_to(ROOT)) for path in SOURCES if package in {name.split(".")[0] for name in imports(path)}
    }
    assert importers
    assert all(importer.startswith(ONLY[package]) for importer in importers), importers


def test_scan_over_time_is_written_once():
    assert [path.name for path in SOURCES if "nn.scan(" in path.read_text()] == ["model.py"]


def test_there_is_no_utils_module_and_config_needs_the_standard_library_only():
    assert not [path for path in SOURCES if "util" in path.stem]
    allowed = {"dataclasses", "hashlib", "json", "math", "os", "pathlib", "re", "typing"}
    assert {name.split(".")[0] for name in imports(ROOT / "rowlstm_jax" / "config.py")} <= allowed


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_or_function_grows_too_long(path):
    text = path.read_text()
    assert text.count("\n") <= (80 if room(path) == "experiments" else 250)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            assert (node.end_lineno or 0) - body[0].lineno + 1 <= 40, node.name


def test_every_flag_is_read_somewhere():
    trees = {path: ast.parse(path.read_text()) for path in SOURCES}
    read = {
        node.attr
        for path, tree in trees.items()
        if room(path) != "config"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] == "config"
    }
    (config,) = [tree for path, tree in trees.items() if room(path) == "config"]
    for method in ast.walk(config):  # a property that is read reads its fields
        if isinstance(method, ast.FunctionDef) and method.name in read:
            read |= {node.attr for node in ast.walk(method) if isinstance(node, ast.Attribute)}
    assert {field.name for field in dataclasses.fields(RunConfig)} <= read
