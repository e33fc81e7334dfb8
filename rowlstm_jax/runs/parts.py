"""What Python's values are made of: elements, fields, attributes, closures, defaults, globals that are read, code."""

import copyreg
import dataclasses
import enum
import functools
import inspect
import operator
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.config import Flags, free_on_resume
from rowlstm_jax.runs.source import body_of, code_text, globals_read, is_library, is_of_python, is_users

PLAIN = (bool, int, float, str, type(None))
WITHOUT_PARTS = (np.dtype, complex, bytes, bytearray, types.ModuleType, jax.tree_util.PyTreeDef)
OF_FLAX = {"parent", "name", "scope", "_state", "_parent_ref", "_compact_name_scope_methods", "_id"}
OF_OTHERS = {"_fun", "_jit_info", "_abc_impl", "__annotate__", "__annotate_func__"}  # of JAX and Python


def parts_of(value: Any) -> dict[str, Any] | None:
    """The parts of a value by name; None if they can't be read.

    What belongs to installed packages or to rowlstm_jax is known by its name and their versions. Names that Python
    gives (`__self__`, `__globals__.rate`) stand for what Python keeps there, `__dict__` for the body of a class.
    """
    if type(value) is str:
        return {"__class__": str} if is_number(value) else {}
    if type(value) in PLAIN or isinstance(value, WITHOUT_PARTS):
        return {}
    if isinstance(value, type):
        return _of_class(value)
    if isinstance(value, types.FunctionType):
        return _of_function(value)
    if isinstance(value, types.MethodType):
        return {"__self__": value.__self__, "__func__": value.__func__}
    if _is_known_by_name(value):
        return _module(value.__module__)
    if isinstance(value, Iterator):  # what it gives depends on what was taken
        return None
    elements = _elements(value)
    return _of_object(value) if elements is None else _attributes(value) | elements | _kind(value)


def is_container(value: Any) -> bool:
    """Whether its parts are elements or a closure, and not attributes."""
    kinds = (functools.partial, list, tuple, Mapping, types.FunctionType)
    return isinstance(value, kinds) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def is_number(text: str) -> bool:
    """Whether a text is that of a number, a truth value or None."""
    try:
        float(text)
    except ValueError:
        return text in ("True", "False", "None")
    return True


def read_array(value: Any) -> np.ndarray | None:
    """The values of an array; None if it is none, or one that can't be read: traced, deleted, or of other processes."""
    if isinstance(value, type) or not hasattr(type(value), "__array__"):
        return None
    try:
        is_key = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(value) if is_key else value)
    except Exception:
        return None


def _elements(value: Any) -> dict[str, Any] | None:
    """The parts of a container, an array, or an object of a class derived from a plain one; None for anything else."""
    if isinstance(value, enum.Enum):
        return {"value": value.value}
    if isinstance(value, (*PLAIN, np.generic)):
        return {}
    if (array := read_array(value)) is not None:
        return _numbered(array.flat) if array.dtype.hasobject else {}
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        if isinstance(value, Flags):
            names = [name for name in names if not free_on_resume(name)]
        left_out = OF_FLAX if isinstance(value, nn.Module) else ()
        return {name: getattr(value, name) for name in names if name not in left_out and hasattr(value, name)}
    if isinstance(value, functools.partial):
        return {"function": value.func, **_numbered(value.args), **value.keywords}
    if isinstance(value, list | tuple):
        return dict(zip(map(str, getattr(value, "_fields", range(len(value)))), value, strict=True))
    if isinstance(value, Mapping):
        named = {str(key): inner for key, inner in value.items() if isinstance(key, PLAIN)}
        return named if len(named) == len(value) else _numbered(value.items())
    return _numbered(sorted(value, key=_order)) if isinstance(value, Set) else None


def _of_object(value: Any) -> dict[str, Any] | None:
    if hasattr(type(value), "__array__"):  # one that can't be read
        return None
    parts = {"__wrapped__": value.__wrapped__} if hasattr(value, "__wrapped__") else {}
    owner = getattr(value, "__self__", None)  # of a method written in C
    if owner is not None and not isinstance(owner, types.ModuleType):
        parts["__self__"] = owner
    parts = _attributes(value) | parts
    rest = {} if parts else _pickled(value)
    return None if rest is None else parts | rest | _kind(value)


def _pickled(value: Any) -> dict[str, Any] | None:
    """What pickle keeps of an object; for those that show no attributes, such as a regular expression."""
    try:
        kept: Any = copyreg.dispatch_table.get(type(value), lambda value: value.__reduce_ex__(2))(value)
    except Exception:
        return None
    found = {}
    for number, part in enumerate(() if isinstance(kept, str) else kept[1:]):
        of_class = number == 0 and len(part) == 1 and part[0] is type(value)
        of_attributes = number == 1 and isinstance(part, dict) and part.keys() == getattr(value, "__dict__", {}).keys()
        if not (part is None or of_class or of_attributes):
            found[f"__reduce__.{number}"] = list(part) if isinstance(part, Iterator) else part
    return found


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object that are no fields of a dataclass, if its class is not one of Python's own."""
    if isinstance(value, enum.Enum | jax.Array) or is_of_python(type(value).__module__):
        return {}
    found = {}
    for kind in type(value).__mro__:
        slots = {} if is_of_python(kind.__module__) else vars(kind)
        found |= {n: getattr(value, n) for n, s in slots.items() if _is_slot(s) and hasattr(value, n)}
    found |= getattr(value, "__dict__", {})
    left_out = {name for kind in type(value).__mro__ for name, of in vars(kind).items() if _is_cached(of)} | OF_OTHERS
    left_out |= OF_FLAX if isinstance(value, nn.Module) else set()
    if dataclasses.is_dataclass(value):
        left_out |= {field.name for field in dataclasses.fields(value)}
    return {str(name): part for name, part in found.items() if not (_is_dunder(name) or name in left_out)}


def _of_function(function: types.FunctionType) -> dict[str, Any]:
    code, cells, users = function.__code__, function.__closure__ or (), is_users(function)
    empty = types.CellType()
    parts = {n: cell.cell_contents for n, cell in zip(code.co_freevars, cells, strict=True) if cell != empty}
    if users or "<locals>" in code.co_qualname:
        defaults = function.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        given = [(name, default) for name, default in zip(names, defaults, strict=True) if default is not None]
        parts |= _under("__defaults__", given) | _under("__kwdefaults__", (function.__kwdefaults__ or {}).items())
        attributes = vars(function).items()
        parts |= _under("__dict__", [(n, a) for n, a in attributes if not (_is_dunder(n) or n in OF_OTHERS)])
        parts |= {"__wrapped__": vars(function)["__wrapped__"]} if "__wrapped__" in vars(function) else {}
    if users:
        return parts | {"__code__": code_text(code)} | _under("__globals__", globals_read(function).items())
    return parts | _module(function.__globals__.get("__name__"))


def _of_class(kind: type) -> dict[str, Any]:
    if not _has_source(kind):
        is_dtype = issubclass(kind, np.generic) or isinstance(getattr(kind, "dtype", None), np.dtype)
        return {} if is_dtype else _module(kind.__module__)
    body = {}
    for base in reversed(kind.__mro__):
        body |= body_of(base) if _has_source(base) else {}
    return _under("__dict__", [(name, part) for name, part in body.items() if _is_written(kind, name, part)])


def _has_source(kind: type) -> bool:
    """Whether a class is a user's, or was made by a library's function, such as `nn.scan`."""
    return is_users(kind) or not (is_of_python(kind.__module__) or _is_known_by_name(kind))


def _is_written(kind: type, name: str, member: Any) -> bool:
    """Whether a user wrote it into the body of a class: Python, dataclasses and Flax add much."""
    if name in OF_OTHERS or (name in OF_FLAX and issubclass(kind, nn.Module)):
        return False
    if isinstance(member, types.FunctionType):
        inner = inspect.unwrap(member)  # Flax wraps all methods
        written = is_users(inner) or (not is_users(kind) and "<locals>" in member.__code__.co_qualname)
        return written and not inner.__code__.co_qualname.startswith("__create_fn__")
    return not (_is_dunder(name) or isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType))


def _is_known_by_name(value: Any) -> bool:
    """Whether it is what a library's module has under its name, as `jnp.tanh` is."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str) and is_library(module)):
        return False
    try:
        return operator.attrgetter(name)(sys.modules[module]) is value
    except (AttributeError, KeyError):
        return False


def _kind(value: Any) -> dict[str, Any]:
    """The class of an object, if its source or its module tells it apart from others of the same name."""
    kind = type(value)
    if isinstance(value, np.generic | np.ndarray | jax.Array) and not isinstance(value, PLAIN) and not is_users(kind):
        return {}  # the text says it
    return {"__class__": kind} if _has_source(kind) else _module(kind.__module__)


def _module(name: object) -> dict[str, Any]:
    """Of a library; a user's module may be a script in one start and imported in the next."""
    return {"__module__": name} if not is_of_python(name) and not str(name).startswith("rowlstm_jax") else {}


def _order(value: Any, depth: int = 4) -> str:
    """A text that sorts the elements of a set in the same way in every process."""
    if isinstance(value, PLAIN):
        return repr(value)
    parts = {name: part for name, part in (parts_of(value) or {}).items() if depth and "__globals__" not in name}
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{name} {[(name, _order(part, depth - 1)) for name, part in parts.items()]}"


def _numbered(values: Iterable[Any]) -> dict[str, Any]:
    return {str(number): value for number, value in enumerate(values)}


def _under(name: str, parts: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    return {f"{name}.{part}": value for part, value in parts}


def _is_dunder(name: object) -> bool:
    return str(name).startswith("__") and str(name).endswith("__")


def _is_slot(member: object) -> bool:
    return isinstance(member, types.MemberDescriptorType)


def _is_cached(member: object) -> bool:
    return isinstance(member, functools.cached_property)
