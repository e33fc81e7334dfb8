"""Source code: whether a user or a library wrote it, which globals it reads, and its digest."""

import ast
import contextlib
import dis
import functools
import hashlib
import inspect
import itertools
import linecache
import os
import sys
import sysconfig
import tokenize
import types
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

PYTHON = f"{sys.implementation.cache_tag}{'-O' * sys.flags.optimize}"
INSTALLED = [os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "scripts")]
INSTALLED += [str(Path(__file__).resolve().parents[1])]
READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
HEAP_TYPE = 1 << 9  # flag of a class that is not built in


def definition(value: Any) -> tuple[Any, Any]:
    """The module that defines a function or class, and the qualified name there; None if there is none."""
    if isinstance(value, types.FunctionType):  # `functools.wraps` changes its other names
        return value.__globals__.get("__name__"), value.__code__.co_qualname
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    is_typed = module == "builtins" and isinstance(value, type) and value.__flags__ & HEAP_TYPE
    return None if is_typed else module, name


def is_users(value: Any) -> bool:
    """Whether a function or class is written outside of installed packages and of rowlstm_jax."""
    return not is_library(definition(value)[0])


@functools.cache
def is_installed(file: str) -> bool:
    """Whether a file belongs to Python, to an installed package or to rowlstm_jax."""
    path = Path(file).resolve()
    return any(map(path.is_relative_to, INSTALLED)) or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


def is_of_python(module: object) -> bool:
    """Whether a module, by its name, is one of Python's own."""
    return not isinstance(module, str) or module.partition(".")[0] in sys.stdlib_module_names | {"builtins"}


def is_library(module: object) -> bool:
    """Whether a module, by its name, belongs to Python, to an installed package or to rowlstm_jax."""
    if module == "__main__" or not isinstance(module, str):
        return False
    found = [getattr(sys.modules.get(name), "__file__", None) for name in (module, module.partition(".")[0])]
    files = [file for file in found if file]  # a user's may have the name of one of Python's
    return any(map(is_installed, files)) if files else is_of_python(module)


def names_read(function: types.FunctionType, scope: Mapping[str, Any]) -> dict[str, Any]:
    """What a function reads of its globals or its closure: `rate`, or `settings.rate` if it reads only that attribute.

    A module that it imports itself is part of what it reads.
    """
    imported = {name: sys.modules.get(name) for name in _imports(function.__code__) if not is_library(name)}
    found: dict[str, Any] = {name: module for name, module in imported.items() if module}
    for first, *attributes in (chain for chain in _chains(function.__code__) if chain[0] in scope):
        name, value = first, scope[first]
        for attribute in attributes:
            is_whole = isinstance(value, type) or (isinstance(value, types.ModuleType) and is_library(value.__name__))
            if is_whole or attribute not in getattr(value, "__dict__", {}):
                break
            name, value = f"{name}.{attribute}", vars(value)[attribute]
        found[name] = value
    return found


def code_text(code: types.CodeType) -> str:
    """The version of Python, a digest of a function's compiled code, and the numbers in it."""
    operations = list(_operations(code))
    constants = [value for name, value in operations if name in ("LOAD_CONST", "RETURN_CONST")]
    numbers = [v for c in constants for v in (c if isinstance(c, tuple) else [c]) if type(v) in (int, float, complex)]
    shown = ", ".join(map(repr, numbers)) if len(numbers) <= 8 else f"{len(numbers)} numbers"
    return f"{PYTHON}: {hashlib.sha256(repr(operations).encode()).hexdigest()[:16]} ({shown})"


def digest_of(value: types.FunctionType | type) -> str:
    """The `digest` of the source of a function or class.

    A lambda, and code without source as in a console, has the version of Python and the SHA-256 of its compiled code.
    """
    with contextlib.suppress(OSError, TypeError, SyntaxError, tokenize.TokenError):
        if source := inspect.getsource(value) if isinstance(value, type) else _source_of(value.__code__):
            return digest((f"if 1:\n{source}" if source[0].isspace() else source).encode())
    functions = [inspect.unwrap(member) for member in members(value).values()] if isinstance(value, type) else [value]
    own = [each for each in functions if isinstance(each, types.FunctionType) and is_users(each)]
    text = "".join(f"{each.__name__} {code_text(each.__code__)}" for each in own)
    return f"{PYTHON}: {hashlib.sha256(text.encode()).hexdigest()}"


def _source_of(code: types.CodeType) -> str:
    linecache.checkcache(code.co_filename)  # faster than `inspect.getsource`, which searches all modules
    lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :]
    return "".join(inspect.getblock(lines)) if lines and code.co_name != "<lambda>" else ""


def digest(source: bytes, without: Collection[str] = ()) -> str:
    """SHA-256 of a program without comments, docstrings and layout, in any version of Python; or of any other text.

    Args:
      source: of the program.
      without: names of keyword arguments that are left out of all calls.
    """
    with contextlib.suppress(SyntaxError, ValueError):
        tree = ast.parse(source)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            call.keywords = [keyword for keyword in call.keywords if keyword.arg not in without]
        source = repr(_normal(tree)).encode()
    return hashlib.sha256(source).hexdigest()


def members(kind: type) -> dict[str, Any]:
    """What stands in the body of a class, by name, with the functions of properties, static and class methods."""
    found = {name: getattr(member, "wrapped", member) for name, member in vars(kind).items()}  # Flax wraps properties
    for name, member in found.items():
        if isinstance(member, staticmethod | classmethod | property | functools.cached_property):
            found[name] = next(getattr(member, of) for of in ("__func__", "fget", "func") if hasattr(member, of))
    return found


def _chains(code: types.CodeType) -> Iterator[list[str]]:
    """[name, attribute, attribute of that, ...] for each name of the globals or of the closure that code reads."""
    chain: list[str] = []
    for operation in dis.get_instructions(code):
        if operation.opname in ("EXTENDED_ARG", "CACHE"):
            continue
        if chain and operation.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            chain.append(operation.argval)
            continue
        if chain:
            yield chain
        chain = [operation.argval] if operation.opname in READS else []
        if isinstance(operation.argval, types.CodeType):
            yield from _chains(operation.argval)


def _imports(code: types.CodeType) -> Iterator[str]:
    """The modules that code imports itself."""
    for operation in dis.get_instructions(code):
        if operation.opname == "IMPORT_NAME":
            yield operation.argval
        if isinstance(operation.argval, types.CodeType):
            yield from _imports(operation.argval)


def _operations(code: types.CodeType) -> Iterator[tuple[str, Any]]:
    """What code does, with the code of inner functions; without docstrings and line numbers."""
    operations = list(dis.get_instructions(code))
    for operation, after in itertools.zip_longest(operations, operations[1:]):
        name, value = operation.opname, operation.argval
        if isinstance(value, types.CodeType):
            yield from _operations(value)
        elif not after or after.opname != "STORE_NAME" or after.argval not in ("__doc__", "__firstlineno__"):
            yield name, sorted(map(repr, value)) if isinstance(value, frozenset) else value


def _normal(node: Any) -> Any:
    """A syntax tree as tuples and dictionaries, without docstrings, `pass` and what differs between versions."""
    if isinstance(node, list):
        return [_normal(item) for item in node if not _says_nothing(item)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: _normal(value) for name, value in ast.iter_fields(node)}
    left_out = ("ctx", "kind", "type_comment")
    return type(node).__name__, {n: v for n, v in fields.items() if n not in left_out and v not in ("None", [])}


def _says_nothing(node: Any) -> bool:
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return text or isinstance(node, ast.Pass)
