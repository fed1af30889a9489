"""The stand-in for cython changes nothing, and offers only what Cython offers."""

from __future__ import annotations

import pytest

from moorings import _cython_stub as cython


def test_not_compiled() -> None:
    assert cython.compiled is False


def test_values_pass_through() -> None:
    value = object()
    assert cython.cast(object, value) is value
    assert cython.cast("Class", value, typecheck=True) is value
    assert cython.declare(object, value) is value
    assert cython.likely(value) is value
    assert cython.unlikely(value) is value


@pytest.mark.parametrize("name", ["cfunc", "ccall", "inline"])
def test_decorators(name: str) -> None:
    def function() -> int:
        return 1

    assert getattr(cython, name)(function) is function
    assert cython.locals(count=cython.Py_ssize_t, other="Operation")(function) is function
    assert cython.returns(cython.bint)(function) is function
    assert cython.exceptval(-1, check=True)(function) is function
    assert cython.boundscheck(False)(function) is function
    assert cython.nogil(function) is function


def test_class_decorators() -> None:
    class Plain:
        pass

    assert cython.cclass(Plain) is Plain
    assert cython.final(Plain) is Plain
    assert cython.freelist(8)(Plain) is Plain


def test_blocks() -> None:
    with cython.nogil, cython.gil:
        pass
    with pytest.raises(ValueError, match="through"), cython.nogil:
        raise ValueError("through")


def test_types_are_classes() -> None:
    for name in ("int", "Py_ssize_t", "bint", "double", "uchar", "p_char"):
        assert isinstance(getattr(cython, name), type)
    assert isinstance(cython.pointer(cython.char), type)


def test_each_name_exists_in_cython() -> None:
    genuine = pytest.importorskip("Cython.Shadow", reason="Cython is not installed")
    own = {name for name in vars(cython) if not name.startswith("_")}
    helpers = {"annotations", "builtins", "Any", "TYPE_CHECKING", "TypeVar"}
    assert own - helpers <= set(vars(genuine))
