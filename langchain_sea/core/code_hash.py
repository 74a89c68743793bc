"""What tells two functions, or two callable objects, apart: for the keys of caches and of resumed jobs.

It imports neither torch nor transformers, so that a model can check its settings when it is made.
"""

from __future__ import annotations

import hashlib
import re
import threading
import types
import uuid
import weakref
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["hash_code"]

_MUTABLE = (list, set, dict)
_SIMPLE = (str, bytes, int, float, complex, bool, type(None))
_GENERATED = frozenset({"__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"})  # by dataclass
_identities: dict[int, str] = {}
"""A name for each object that was described by which one it is, by its address while it lives."""
_held: list[object] = []
"""Such objects that take no weak references: they are kept, so that no other object gets their address."""
_lock = threading.RLock()  # a finalizer may run in the thread that holds it


def hash_code(function: object) -> str:
    """Hash what a function or a callable object does.

    Of a function that is its code, defaults and closure, and the functions and plain values that it names. Of lists,
    sets and dicts outside the function the contents count if their names are in capitals; of other objects only the
    names. A frozen dataclass is described by its fields and methods, and a bound method or a `functools.partial` by its
    parts. Equal ones have one hash in every process of one Python version. Any other object that is called or is in a
    closure is equal to itself alone.
    """
    return hashlib.sha256("\n".join(_describe_value(function, set(), by_identity=True)).encode()).hexdigest()[:16]


def _describe_function(function: types.FunctionType, seen: set[int]) -> Iterator[str]:
    if id(function) in seen:
        return
    seen.add(id(function))
    code = function.__code__
    yield from _describe_code(code)
    yield from _describe_value(function.__defaults__, seen)
    yield from _describe_value(function.__kwdefaults__, seen)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield from (name, *_describe_value(cell.cell_contents, seen, by_identity=True))
        except ValueError:  # a function that names itself, and is not yet defined
            yield name
    for name in sorted(_list_names(code)):
        # a list that is no constant may be the function's own log, and a key must not change by each call
        if name in function.__globals__ and (name.isupper() or not isinstance(function.__globals__[name], _MUTABLE)):
            yield from (name, *_describe_value(function.__globals__[name], seen))


def _describe_code(code: types.CodeType) -> Iterator[str]:
    yield from (code.co_code.hex(), repr(code.co_names), repr(code.co_varnames), repr(code.co_freevars))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _describe_code(constant)
        else:
            yield from _describe_value(constant, set())


def _list_names(code: types.CodeType) -> set[str]:
    """Return the names that code and the code within it look up."""
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*map(_list_names, inner))


def _describe_value(value: object, seen: set[int], *, by_identity: bool = False) -> Iterator[str]:
    if isinstance(value, _SIMPLE):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, types.FunctionType):
        yield from _describe_function(value, seen)
    elif isinstance(value, (tuple, frozenset)) or (isinstance(value, _MUTABLE) and not by_identity):
        if id(value) in seen:
            return
        seen.add(id(value))
        parts = value.items() if isinstance(value, dict) else value
        described = ["|".join(_describe_value(part, seen, by_identity=by_identity)) for part in parts]
        # the order of a set differs from process to process
        yield from (type(value).__name__, *(sorted(described) if isinstance(value, (set, frozenset)) else described))
    else:
        yield from _describe_object(value, seen, by_identity=by_identity)


def _describe_object(value: object, seen: set[int], *, by_identity: bool) -> Iterator[str]:
    if isinstance(value, types.MethodType) and isinstance(value.__func__, types.FunctionType):
        yield from (*_describe_function(value.__func__, seen), *_describe_value(value.__self__, seen, by_identity=True))
    elif isinstance(value, partial):
        for part in (value.func, value.args, value.keywords):
            yield from _describe_value(part, seen, by_identity=not isinstance(part, _MUTABLE))
    elif isinstance(value, type):
        yield f"{value.__module__}.{value.__qualname__}"
    elif isinstance(value, re.Pattern):
        yield repr((value.pattern, value.flags))
    elif _is_frozen(value):
        yield from _describe_frozen(value, seen)
    elif by_identity:
        yield f"{type(value).__qualname__} {_identify(value)}"
    else:
        yield type(value).__qualname__


def _is_frozen(value: object) -> bool:
    parameters = getattr(type(value), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def _describe_frozen(value: Any, seen: set[int]) -> Iterator[str]:  # noqa: ANN401 - any frozen dataclass
    if id(value) in seen:
        return
    seen.add(id(value))
    yield f"{type(value).__module__}.{type(value).__qualname__}"
    for name, method in sorted(vars(type(value)).items()):
        if isinstance(method, types.FunctionType) and name not in _GENERATED:
            yield from (name, *_describe_function(method, seen))
    for each in fields(value):
        part = getattr(value, each.name)
        yield from (each.name, *_describe_value(part, seen, by_identity=not isinstance(part, _MUTABLE)))


def _identify(value: object) -> str:
    """Return a name that no other object has or will have; an address is used again once its object is freed."""
    with _lock:
        if id(value) not in _identities:
            try:
                weakref.finalize(value, _identities.pop, id(value), None)
            except TypeError:  # it takes no weak references
                _held.append(value)
            _identities[id(value)] = uuid.uuid4().hex
        return _identities[id(value)]
