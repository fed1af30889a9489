from __future__ import annotations

import pytest

from moorings import errors
from moorings.errors import SocketErrorStatus
from moorings.sockets.socket_error import SocketError


def test_signed_hresults_have_a_status() -> None:
    error = errors.make(0x8007274D, "refused")
    assert SocketError.get_status(error.winerror) is SocketErrorStatus.CONNECTION_REFUSED
    assert SocketError.get_status(0) is SocketErrorStatus.UNKNOWN
    assert SocketError.get_status(-1) is SocketErrorStatus.UNKNOWN


def test_the_parameter_is_an_int32() -> None:
    with pytest.raises(OverflowError):
        SocketError.get_status(0x8007274D)
    with pytest.raises(TypeError):
        SocketError.get_status("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        SocketError.get_status(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        SocketError.get_status(hresult=1)  # type: ignore[call-arg]


def test_static_class() -> None:
    with pytest.raises(TypeError, match="cannot create"):
        SocketError()
    with pytest.raises(TypeError, match="subclassed"):
        type("Sub", (SocketError,), {})
