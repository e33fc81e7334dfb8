"""The source of functions and classes: where it stands, what it reads, and its digest."""

import ast
import builtins
import contextlib
import dis
import functools
import hashlib
import inspect
import linecache
import os
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OF_SOURCE = ("__code__", "__globals__", "__defaults__", "__kwdefaults__", "__dict__")  # what source code decides
PYTHON = f"{sys.implementation.cache_tag}{'-O' * sys.flags.optimize}"
FOLDERS = tuple(os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib", "scripts"))
OURS = str(Path(__file__).resolve().parents[1]) + os.sep
HEAP_TYPE = 1 << 9  # flag of a class that is not built in


def is_users(value: types.FunctionType | type) -> bool:
    """Whether a function or class is written outside of installed packages and of rowlstm_jax."""
    if isinstance(value, types.FunctionType):
        file = value.__code__.co_filename
        if not file.startswith("<"):
            return not is_installed(file)
        return not file.startswith("<frozen") and not is_library(value.__globals__.get("__name__"))
    if value.__module__ == "builtins":  # also that of classes that `exec` made in globals without a name
        return bool(value.__flags__ & HEAP_TYPE) and vars(builtins).get(value.__name__) is not value
    return not is_library(value.__module__)


@functools.cache
def is_installed(file: str) -> bool:
    """Whether a file belongs to Python, to an installed package or to rowlstm_jax."""
    path = Path(file).resolve()
    return str(path).startswith((*FOLDERS, OURS)) or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


def is_of_python(module: object) -> bool:
    """Whether a module, by its name, is one of Python's own."""
    return not isinstance(module, str) or module.partition(".")[0] in sys.stdlib_module_names | {"builtins"}


def is_library(module: object) -> bool:
    """Whether a module, by its name, belongs to Python, to an installed package or to rowlstm_jax."""
    if module == "__main__" or not isinstance(module, str):
        return False
    top = module.partition(".")[0]
    if top == "rowlstm_jax" or is_of_python(module):
        return True
    files = [getattr(sys.modules.get(name), "__file__", None) for name in (module, top)]
    return any(is_installed(file) for file in files if file)


def globals_read(function: types.FunctionType) -> dict[str, Any]:
    """The globals that a function reads, by name: `rate`, or `settings.rate` where only an attribute is read.

    A library's module is found under its own name, without what is read in it.
    """
    found, scope = {}, function.__globals__
    for first, *attributes in _chains(function.__code__):
        if first not in scope:
            continue  # one of Python's own
        value, names = scope[first], [first]
        for name in attributes:
            library = isinstance(value, types.ModuleType) and is_library(value.__name__)
            if library or isinstance(value, type) or name not in getattr(value, "__dict__", {}):
                break
            value = vars(value)[name]
            names.append(name)
        found[".".join(names)] = value
    return found


def code_text(code: types.CodeType) -> str:
    """The version of Python, a digest of a function's code, and its numbers; without docstrings and line numbers."""
    numbers = [value for value in _constants(code) if type(value) in (int, float, complex)]
    shown = ", ".join(map(repr, numbers)) if len(numbers) <= 8 else f"{len(numbers)} numbers"
    return f"{PYTHON}: {hashlib.sha256(repr(_operations(code)).encode()).hexdigest()[:16]} ({shown})"


def digest_of(value: types.FunctionType | type) -> str:
    """SHA-256 of the source of a function or class, as it reads without comments, docstrings and layout.

    Where there is no source, and of a lambda, that of its code, after the version of Python that made it.
    """
    if isinstance(value, type):
        methods = [inspect.unwrap(member) for member in body_of(value).values() if _is_function(member)]
        functions = [method for method in methods if is_users(method)]
        name, module = value.__qualname__, sys.modules.get(value.__module__)
        files = [*(method.__code__.co_filename for method in functions), getattr(module, "__file__", None) or ""]
    else:
        functions, name, files = [value], value.__code__.co_qualname, [value.__code__.co_filename]
    nodes: list[ast.stmt] = next(filter(None, (_definitions(_text(file)).get(name) for file in files)), [])
    if not isinstance(value, type):
        nodes = [node for node in nodes if _first_line(node) == value.__code__.co_firstlineno] or nodes
    if nodes:
        return digest(nodes[-1])
    text = "".join(f"{function.__name__} {code_text(function.__code__)}" for function in functions)
    return f"{PYTHON}: {hashlib.sha256(text.encode()).hexdigest()}"


def body_of(kind: type) -> dict[str, Any]:
    """What stands in the body of a class, by name; of methods, properties and the like the function."""
    found = {}
    for name, member in vars(kind).items():
        if isinstance(member, staticmethod | classmethod):
            member = member.__func__
        elif isinstance(member, property):
            member = member.fget
        elif isinstance(member, functools.cached_property):
            member = member.func
        found[name] = member
    return found


def digest_of_file(path: Path) -> str:
    """The same of a whole file; of its bytes if it is no Python."""
    content = path.read_bytes()
    try:
        return digest(ast.parse(content))
    except (SyntaxError, ValueError):
        return hashlib.sha256(content).hexdigest()


def digest(node: ast.AST) -> str:
    """SHA-256 of a part of a program, without comments, docstrings and layout; the same under any version of Python."""
    return hashlib.sha256(repr(_normal(node)).encode()).hexdigest()


def _chains(code: types.CodeType) -> Iterator[list[str]]:
    """[global, attribute, attribute of that, ...] for each global that code reads."""
    chain: list[str] = []
    for operation in dis.get_instructions(code):
        if chain and operation.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            chain.append(operation.argval)
            continue
        if chain:
            yield chain
        chain = [operation.argval] if operation.opname in ("LOAD_GLOBAL", "LOAD_NAME") else []
        if isinstance(operation.argval, types.CodeType):
            yield from _chains(operation.argval)


def _operations(code: types.CodeType) -> list[tuple[str, Any]]:
    found = []
    for operation in dis.get_instructions(code):
        value = operation.argval
        if isinstance(value, types.CodeType):
            value = _operations(value)
        elif isinstance(value, frozenset):
            value = sorted(map(repr, value))
        if operation.opname == "STORE_NAME" and value in ("__doc__", "__firstlineno__"):
            del found[-1]  # the constant that a class within a function stores there
        found.append((operation.opname, value))
    return found


def _constants(code: types.CodeType) -> Iterator[Any]:
    for value in code.co_consts:
        if isinstance(value, types.CodeType):
            yield from _constants(value)
        else:
            yield from value if isinstance(value, tuple | frozenset) else [value]


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType)


def _text(file: str) -> str:
    linecache.checkcache(file)
    return "".join(linecache.getlines(file))


@functools.lru_cache
def _definitions(text: str) -> dict[str, list[ast.stmt]]:
    """All functions and classes of a program by their qualified names."""
    found: dict[str, list[ast.stmt]] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.setdefault(prefix + child.name, []).append(child)
                inner = f"{prefix}{child.name}." + "<locals>." * (not isinstance(child, ast.ClassDef))
            visit(child, inner)

    with contextlib.suppress(SyntaxError):  # it has been changed since, or is no Python
        visit(ast.parse(text), "")
    return found


def _first_line(node: ast.stmt) -> int:
    return min(part.lineno for part in [node, *getattr(node, "decorator_list", [])])


def _normal(node: Any) -> Any:
    if isinstance(node, list):
        return [_normal(item) for item in node if not _says_nothing(item)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {
        name: _normal(value) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind", "type_comment")
    }
    return type(node).__name__, {name: value for name, value in fields.items() if value not in ("None", [])}


def _says_nothing(node: Any) -> bool:
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return text or isinstance(node, ast.Pass)
