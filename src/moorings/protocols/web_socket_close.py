"""Close codes, what a close frame may say, and the violations that end a WebSocket.

Sources: RFC 6455 sections 5.5.1 and 7.4; the IANA registry of WebSocket close codes (1012 to 1014 came later).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from moorings import errors

__all__ = ["CLOSE_REASON_LIMIT", "CloseCode", "WebSocketProtocolError", "check_close", "may_be_received"]

#: Bytes of a close reason as UTF-8: a control frame has 125, two of which are the code.
CLOSE_REASON_LIMIT: Final = 123


class CloseCode(IntEnum):
    """Why a WebSocket is closed."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RECEIVED = 1005
    """Never sent: the peer's close frame was empty."""
    ABNORMAL_CLOSURE = 1006
    """Never sent: no close frame came."""
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


class WebSocketProtocolError(Exception):
    """The peer broke the protocol, or went over a limit: nothing it sends is looked at any more.

    `close_code` is what it should be told, `limit` the name of the limit (``"frame"``, ``"message"``,
    ``"inflated message"``, ``"inflation ratio"``) or "".
    """

    def __init__(self, close_code: int, text: str, limit: str = "") -> None:
        super().__init__(close_code, text, limit)
        self.close_code = close_code
        self.text = text
        self.limit = limit

    def again(self) -> WebSocketProtocolError:
        """The same anew: what is kept of a failure must not keep the frames in which it was raised."""
        return WebSocketProtocolError(self.close_code, self.text, self.limit)

    def __str__(self) -> str:
        return f"{self.text} (close code {int(self.close_code)})"


def may_be_received(code: int) -> bool:
    """Whether a peer's close frame may carry this code."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def check_close(code: int, reason: str) -> bytes:
    """The payload of a close frame that the program asks for.

    Codes: 1000 to 1003, 1007 to 1011, 3000 to 4999; the reason at most 123 bytes of UTF-8. Else E_INVALIDARG.
    """
    if not (1000 <= code <= 1003 or 1007 <= code <= 1011 or 3000 <= code <= 4999):
        raise errors.invalid_argument(
            f"{code} is no close code to send: 1000 to 1003, 1007 to 1011 and 3000 to 4999 are (RFC 6455 section 7.4)"
        )
    try:
        text = reason.encode()
    except UnicodeEncodeError as error:
        raise errors.invalid_argument(f"the close reason is no text that UTF-8 can carry: {error}") from None
    if len(text) > CLOSE_REASON_LIMIT:
        raise errors.invalid_argument(f"the close reason has {len(text)} bytes of UTF-8, and {CLOSE_REASON_LIMIT} fit")
    return code.to_bytes(2, "big") + text
