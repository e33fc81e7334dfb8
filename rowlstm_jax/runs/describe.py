"""What a model or an optimiser is made of, as text that two starts of a program can compare."""

import copyreg
import dataclasses
import enum
import functools
import hashlib
import inspect
import itertools
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rowlstm_jax.config import Flags, free_on_resume
from rowlstm_jax.runs.manifest import Leaf
from rowlstm_jax.runs.source import code_text, definition, is_library, is_of_python, is_users, members, names_read

PLAIN = (bool, int, float, str, type(None))
WITHOUT_PARTS = (np.dtype, complex, bytes, bytearray, types.ModuleType, jax.tree_util.PyTreeDef)
LISTED = (functools.partial, list, tuple, Mapping, types.FunctionType)
BY_FLAX = {"parent", "name", "scope", "_state", "_parent_ref", "_compact_name_scope_methods", "_id"}
BY_OTHERS = {"_fun", "_jit_info", "_abc_impl"}  # by JAX and Python
NAMESPACES = (nn.initializers, nn, optax, jnp)  # where the name of a library's function is looked up, in this order
MOST, DEEPEST = 10_000, 100  # values whose parts are read, and levels of parts within parts


def describe(value: Any, name: str) -> dict[str, str]:
    """The text of each part of a value, by dotted name; the same in every process.

    A number or a string is described by itself, an array by its SHA-256, all else by the name of its function or class.

    Example:
      >>> description = describe(nn.Dense(3, kernel_init=nn.initializers.normal(0.5)), "model")
      >>> description["model"], description["model.features"], description["model.kernel_init.stddev"]
      ('Dense', '3', '0.5')
    """
    return {part: text for part, _, text, _ in walk(value, name)}


def opaque(value: Any, name: str) -> list[str]:
    """The names of the parts that can't be told apart from others, such as a generator or an object written in C."""
    return [part for part, _, _, known in walk(value, name) if not known]


def walk(value: Any, name: str) -> Iterator[tuple[str, Any, str, bool]]:
    """A value and its parts, each before its own parts. A value that contains itself is listed once.

    Yields:
      The dotted name of a part; the part; its text; whether text and parts tell it apart from any other.
    """
    seen: dict[int, tuple[str, Any]] = {}  # by id; it keeps the values alive, so that no id is used twice
    numbers = itertools.count()

    def visit(value: Any, name: str, around: frozenset[int], once: bool) -> Iterator[tuple[str, Any, str, bool]]:
        text = text_of(value)
        if once and id(value) in seen:
            yield name, value, f"{text}, as {seen[id(value)][0]}", True
            return
        in_bounds = isinstance(value, PLAIN) or (next(numbers) < MOST and len(around) < DEEPEST)
        if parts := parts_of(value) if in_bounds else None:
            seen.setdefault(id(value), (name, value))
        yield name, value, text, parts is not None
        around |= {id(value)}
        # Elements and closures are listed wherever they occur, as in version 0.1.0; all other parts only once.
        is_listed = not isinstance(value, type) and (isinstance(value, LISTED) or dataclasses.is_dataclass(value))
        for part, inner in (parts or {}).items():
            once = part.startswith("__") or not is_listed
            if once or id(inner) not in around:
                yield from visit(inner, f"{name}.{part}", around, once)

    return visit(value, name, frozenset(), once=False)


def text_of(value: Any) -> str:
    """Describes a value without its parts: `0.001`, `adam.<locals>.init_fn`, `float32(0.001)`."""
    kind = type(value).__qualname__
    if isinstance(value, PLAIN):
        return str(value)
    if isinstance(value, np.generic | np.dtype | complex | jax.tree_util.PyTreeDef):
        return f"{kind}({value!s})"
    if isinstance(value, bytes | bytearray):
        return f"{kind}({hashlib.sha256(value).hexdigest()})"
    if isinstance(value, enum.Enum | types.ModuleType):
        return f"{kind}({value.name if isinstance(value, enum.Enum) else value.__name__})"
    if (array := read_array(value)) is not None:
        leaf, weak = Leaf.of(array), ", weak" * bool(getattr(value, "weak_type", False))
        said = "" if array.dtype.hasobject else f"{leaf.sha256 if array.ndim else array[()]!s}, "
        return f"{kind}({said}{leaf}{weak})"
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else kind


def parts_of(value: Any) -> dict[str, Any] | None:
    """The parts of a value by name; None if they can't be read.

    An object has fields, elements and attributes; a function its closure and, if a user wrote it, defaults, code, and
    the globals that it reads; a user's class its body. What a library defines is identified by its name and version.
    """
    if type(value) in PLAIN or isinstance(value, WITHOUT_PARTS):
        return {"__class__": str} if type(value) is str and is_number(value) else {}
    if isinstance(value, type):
        return _of_class(value)
    if isinstance(value, types.FunctionType):
        return _of_function(value)
    if _is_identified(value):
        return _module(value)
    elements = _elements(value)
    kind = _module(type(value)) if _is_identified(type(value)) else {"__class__": type(value)}
    return None if elements is None else _attributes(value) | elements | kind


def is_number(text: str) -> bool:
    """Whether a text is that of a number, a truth value or None."""
    try:
        float(text)
    except ValueError:
        return text in ("True", "False", "None")
    return True


def read_array(value: Any) -> np.ndarray | None:
    """The values of an array; None if it is not an array, or is traced, deleted or in another process."""
    if not hasattr(type(value), "__array__"):
        return None
    try:
        is_key = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(value) if is_key else value)
    except Exception:
        return None


def _elements(value: Any) -> dict[str, Any] | None:
    """The parts of an object that are not attributes; None if they can't be read."""
    if hasattr(type(value), "__array__"):
        array = read_array(value)
        return None if array is None else _numbered(array.flat) if array.dtype.hasobject else {}
    if isinstance(value, PLAIN):
        return {}
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
        return {name: getattr(value, name) for name in names if not _is_left_out(name, type(value))}
    if isinstance(value, functools.partial):
        return {"function": value.func, **_numbered(value.args), **value.keywords}
    if isinstance(value, list | tuple):
        return dict(zip(map(str, getattr(value, "_fields", range(len(value)))), value, strict=True))
    if isinstance(value, Mapping):
        named = {str(key): inner for key, inner in value.items() if isinstance(key, PLAIN)}
        return named if len(named) == len(value) else _numbered(value.items())
    if isinstance(value, Set):  # its order differs between processes
        texts = {f"{text_of(i)} {[text_of(part) for part in (parts_of(i) or {}).values()]}": i for i in value}
        return _numbered(texts[text] for text in sorted(texts)) if len(texts) == len(value) else None
    if isinstance(value, Iterator):  # it does not tell what was taken from it
        return None
    inner = {name: getattr(value, name) for name in ("__self__", "__func__", "__wrapped__") if hasattr(value, name)}
    return inner or _pickled(value)


def _pickled(value: Any) -> dict[str, Any] | None:
    """What pickle would save of an object besides its attributes; None if it saves nothing and there are none."""
    has_attributes = not is_of_python(type(value).__module__) and object.__getstate__(value) is not None
    try:
        reduced: Any = copyreg.dispatch_table.get(type(value), lambda value: value.__reduce_ex__(2))(value)
    except Exception:
        return {} if has_attributes else None
    _, arguments, *saved = (None, (reduced,)) if isinstance(reduced, str) else reduced
    arguments = tuple(argument for argument in arguments if argument is not type(value)) or None
    parts = enumerate([arguments, *saved[has_attributes:]])  # saved: the attributes, and iterators of items
    return {f"__reduce__.{n}": [*part] if isinstance(part, Iterator) else part for n, part in parts if part is not None}


def _attributes(value: Any) -> dict[str, Any]:
    if isinstance(value, jax.Array) or is_of_python(type(value).__module__):
        return {}
    state: Any = object.__getstate__(value)  # its __dict__, or (its __dict__, what it keeps in __slots__)
    both = [part for part in (state if isinstance(state, tuple) else (state,)) if part]
    return {str(n): inner for part in both for n, inner in part.items() if not _is_left_out(n, type(value))}


def _of_function(function: types.FunctionType) -> dict[str, Any]:
    code, users, attributes = function.__code__, is_users(function), vars(function)
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    parts = {name: cell.cell_contents for name, cell in cells if cell != types.CellType()}
    parts = names_read(function, parts) if users else parts
    if users or "<locals>" in code.co_qualname:
        last = code.co_varnames[code.co_argcount - len(function.__defaults__ or ()) : code.co_argcount]
        defaults = dict(zip(last, function.__defaults__ or (), strict=True)) | (function.__kwdefaults__ or {})
        parts |= {f"__defaults__.{name}": value for name, value in defaults.items() if value is not None}
        parts |= {f"__dict__.{name}": value for name, value in attributes.items() if not _is_left_out(name)}
        parts |= {"__wrapped__": attributes["__wrapped__"]} if "__wrapped__" in attributes else {}
    if not users:
        return parts | _module(function)
    read = {f"__globals__.{name}": value for name, value in names_read(function, function.__globals__).items()}
    return parts | {"__code__": code_text(code)} | read


def _of_class(kind: type) -> dict[str, Any]:
    bases = [base for base in reversed(kind.__mro__) if not _is_identified(base)]
    if not bases:
        is_dtype = issubclass(kind, np.generic) or isinstance(getattr(kind, "dtype", None), np.dtype)
        return {} if is_dtype else _module(kind)
    body = [(name, part, base) for base in bases for name, part in members(base).items()]
    return {f"__dict__.{name}": part for name, part, base in body if _is_written(name, part, base)}


def _is_written(name: str, member: Any, kind: type) -> bool:
    """Whether a member stands in the source of a class; Python, dataclasses and Flax add others."""
    if not isinstance(member, types.FunctionType):
        return not (isinstance(member, types.MemberDescriptorType) or _is_left_out(name, kind))
    inner = inspect.unwrap(member)  # Flax wraps all methods
    is_written = is_users(inner) or (not is_users(kind) and "<locals>" in member.__code__.co_qualname)
    return is_written and not str(definition(inner)[1]).startswith("__create_fn__")


def _is_left_out(name: object, kind: type = object) -> bool:
    """Whether an attribute changes no result: Python, JAX or Flax made it, it is a cache, or a resume may change it."""
    of_flags = issubclass(kind, Flags) and free_on_resume(str(name))
    of_flax = issubclass(kind, nn.Module) and name in BY_FLAX
    is_cache = isinstance(getattr(kind, str(name), None), functools.cached_property)
    dunder = str(name).startswith("__") and str(name).endswith("__")
    return dunder or is_cache or of_flax or of_flags or name in BY_OTHERS


def _is_identified(value: Any) -> bool:
    """Whether a library's module has it under its name, as `jnp.tanh`; a class that `nn.scan` made is in no module."""
    module, name = definition(value)
    if not (isinstance(name, str) and is_library(module)):
        return False
    found = functools.reduce(lambda found, part: getattr(found, part, None), name.split("."), sys.modules.get(module))
    return found is value or (isinstance(value, type) and is_of_python(module))


def _module(value: Any) -> dict[str, Any]:
    """The module of a library's function or class, unless its name is enough to find it in `NAMESPACES`."""
    module, name = definition(value)[0], definition(value)[1].partition(".")[0]
    first = next((definition(vars(place)[name])[0] for place in NAMESPACES if name in vars(place)), None)
    is_clear = is_of_python(module) or module == first or module.partition(".")[0] == "rowlstm_jax"
    return {} if is_clear else {"__module__": module}


def _numbered(values: Iterable[Any]) -> dict[str, Any]:
    return {str(number): value for number, value in enumerate(values)}
