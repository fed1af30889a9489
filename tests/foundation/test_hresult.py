from __future__ import annotations

import pytest

from moorings.foundation import hresult
from moorings.foundation.hresult import HResult


def test_hresult_is_a_signed_integer() -> None:
    code = HResult(hresult.E_FAIL)
    assert code == -2147467259
    assert isinstance(code, int)
    assert repr(code) == "HResult(0x80004005, E_FAIL)"
    assert repr(HResult(0x1234)) == "HResult(0x00001234)"
    with pytest.warns(DeprecationWarning, match="HResult.value"):
        assert code.value == code


@pytest.mark.parametrize(("value", "error"), [(0x80004005, OverflowError), ("1", TypeError), (None, TypeError)])
def test_bad_values(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        HResult(value)  # type: ignore[arg-type]


def test_final() -> None:
    with pytest.raises(TypeError, match="subclassed"):
        type("Sub", (HResult,), {})


def test_constants() -> None:
    assert hresult.WIN32_ERROR_CANCELLED == -2147023673
    assert hresult.PYWINRT_E_UNRAISABLE_PYTHON_EXCEPTION == -1594998779
    assert hresult.RPC_E_WRONG_THREAD == -2147417842
