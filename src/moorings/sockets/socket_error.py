"""`SocketError`: from the number in an exception to a status that a program can switch on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorings import errors
from moorings.foundation.projection import check_int, final, not_constructible

if TYPE_CHECKING:
    from moorings.errors import SocketErrorStatus

__all__ = ["SocketError"]


@final
@not_constructible
class SocketError:
    """Classifies failures of StreamSocket, StreamSocketListener and DatagramSocket."""

    @staticmethod
    def get_status(hresult: int, /) -> SocketErrorStatus:
        """Return the status for *hresult*, the signed `winerror` of an exception; UNKNOWN for all other numbers.

        Errors: TypeError when *hresult* is no integer; OverflowError when it is no Int32, and so for an unsigned
        HRESULT such as 0x8007274D. Source: WinRT `SocketError.GetStatus`.
        """
        return errors.get_status(check_int(hresult, 32, "hresult"))
