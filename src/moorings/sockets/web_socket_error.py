"""`WebSocketError`: from the number in an exception of a WebSocket to a status that a program can switch on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorings.foundation.projection import check_int, final, not_constructible
from moorings.protocols.web_error_status import get_web_status

if TYPE_CHECKING:
    from moorings.protocols.web_error_status import WebErrorStatus

__all__ = ["WebSocketError"]


@final
@not_constructible
class WebSocketError:
    """Classifies failures of the WebSocket classes."""

    @staticmethod
    def get_status(hresult: int, /) -> WebErrorStatus:
        """Return the status for *hresult*, the signed `winerror` of an exception; UNKNOWN for all other numbers.

        Errors: TypeError when *hresult* is no integer; OverflowError when it is no Int32, and so for an unsigned
        HRESULT such as 0x80072EFE. Source: WinRT `WebSocketError.GetStatus`.
        """
        return get_web_status(check_int(hresult, 32, "hresult"))
