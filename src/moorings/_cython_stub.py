"""Stands in for ``cython`` when a hot module runs as plain Python, and types ``cython`` for the type checkers.

Hot modules import it like this::

    if TYPE_CHECKING:
        import cython
    else:
        from moorings import _cython_stub as cython

Cython reads the first branch at compile time and resolves ``cython.compiled`` and the rest as constants and
declarations. Plain Python takes the second one, so that pure mode is the same with and without Cython installed. The
type checkers see this file through ``typings/cython.pyi``.

Everything here does nothing: decorators return what they get, types are the nearest Python types, ``cast`` and
``declare`` return the value. Add a name when a hot module needs it.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

compiled: bool = False

_T = TypeVar("_T")
_C = TypeVar("_C", bound="Callable[..., Any]")
_K = TypeVar("_K", bound="type[Any]")

# Types. Pointers exist only in compiled code; here they are names for annotations.
char = schar = uchar = short = ushort = uint = long = ulong = longlong = ulonglong = builtins.int
Py_ssize_t = ssize_t = size_t = ptrdiff_t = Py_hash_t = builtins.int
int = builtins.int
bint = builtins.bool
float = double = builtins.float
void = p_void = p_char = p_uchar = p_int = object
NULL: Any = None


def pointer(_base: object) -> type[object]:
    """The type of a pointer to ``_base``."""
    return object


# Values.
def cast(_type: type[_T] | str, value: Any, *, typecheck: bool = False) -> _T:
    """``value``, read as ``_type``. Compiled code checks the type only with ``typecheck=True``."""
    del typecheck
    return value  # type: ignore[no-any-return]


def declare(_type: type[_T], value: Any = None) -> _T:
    """``value`` for a local variable that has the C type ``_type`` in compiled code."""
    return value  # type: ignore[no-any-return]


def likely(condition: _T) -> _T:
    """``condition``, which compiled code expects to be true."""
    return condition


unlikely = likely


# Decorators without arguments.
def _unchanged(function: _C) -> _C:
    return function


def _unchanged_class(class_: _K) -> _K:
    return class_


cfunc = ccall = inline = _unchanged
cclass = final = internal = no_gc = no_gc_clear = _unchanged_class


# Decorators with arguments.
def locals(**_types: object) -> Callable[[_C], _C]:
    """C types of local variables and arguments, by name; a class may be given as a string."""
    return _unchanged


def returns(_type: object) -> Callable[[_C], _C]:
    """C type of the result."""
    return _unchanged


def exceptval(_value: object = None, *, check: bool = True) -> Callable[[_C], _C]:
    """The result that announces an exception."""
    del check
    return _unchanged


def _directive(_value: object) -> Callable[[_C], _C]:
    return _unchanged


boundscheck = wraparound = nonecheck = initializedcheck = cdivision = overflowcheck = infer_types = _directive
annotation_typing = iterable_coroutine = _directive


def freelist(_size: int) -> Callable[[_K], _K]:
    """Number of dead instances kept for reuse."""
    return _unchanged_class


class _Lock:
    """``nogil`` and ``gil``: a decorator and a context manager that leave the interpreter lock alone."""

    __slots__ = ()

    def __call__(self, function: _C) -> _C:
        return function

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        return None


nogil = gil = _Lock()
