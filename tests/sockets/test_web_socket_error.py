"""`WebSocketError.get_status`."""

from __future__ import annotations

import pytest

from moorings import WebSocketError, errors
from moorings.protocols.web_error_status import WebErrorStatus


@pytest.mark.parametrize(
    ("hresult", "status"),
    [
        (0x80072EFE, WebErrorStatus.CONNECTION_ABORTED),
        (0x80072EFF, WebErrorStatus.CONNECTION_RESET),
        (0x80072F83, WebErrorStatus.DISCONNECTED),
        (0x80190194, WebErrorStatus.NOT_FOUND),
        (0x80070057, WebErrorStatus.UNKNOWN),
    ],
)
def test_statuses(hresult: int, status: WebErrorStatus) -> None:
    assert WebSocketError.get_status(errors.signed(hresult)) == status


def test_wrong_arguments() -> None:
    with pytest.raises(OverflowError):
        WebSocketError.get_status(0x80072EFE)
    with pytest.raises(TypeError):
        WebSocketError.get_status("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        WebSocketError()
