"""Making WebSocket frames.

A frame comes as one bytes object, or, where a server sends much at once, as a pair of head and payload: the payload is
the caller's own object then, not copied, and must stay as it is until it is sent. Clients mask each frame with four
fresh bytes of the system's random source.

Control frames may stand between the frames of a message: `ping`, `pong` and `close` may be called at any time.

Sources: RFC 6455 sections 5 and 6, RFC 7692 section 6.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.protocols.web_socket_close import check_close

if TYPE_CHECKING:
    import cython

    from moorings.protocols.web_socket_deflate import Deflater
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure_web_sockets import check_utf8, make_frame, make_head

__all__ = ["CONTROL_PAYLOAD_LIMIT", "SEPARATE_PAYLOAD_SIZE", "FrameSender", "encode_message"]

#: Bytes of payload that a ping, a pong or a close frame may have.
CONTROL_PAYLOAD_LIMIT = 125
#: An unmasked payload of this size or more, in bytes, is not copied behind its head.
SEPARATE_PAYLOAD_SIZE = 16384

_SEPARATE = SEPARATE_PAYLOAD_SIZE
_TEXT = 1
_BINARY = 2


def encode_message(kind: int, payload: Any) -> bytes:
    """A whole message as a server sends it, without compression: one object for any number of peers.

    ``kind``: 1 for text (str, or bytes of UTF-8, which are not checked here), 2 for binary.
    """
    return make_frame(0x80 | kind, payload, False)


class FrameSender:
    """The sending side of one WebSocket: frames, in the order in which they must go out.

    ``is_client``: whether this end is the client, which masks. ``deflater``: where permessage-deflate was agreed.
    ``kind`` is the kind of the message that `fragment` has left open, or 0.
    """

    __slots__ = (
        "close_sent",
        "compressed",
        "deflater",
        "frames_sent",
        "is_client",
        "kind",
        "messages_sent",
        "payload_sent",
        "state",
    )

    def __init__(self, is_client: bool, *, deflater: Deflater | None = None) -> None:
        self.is_client = is_client
        self.deflater: Any = deflater
        self.kind = 0
        self.close_sent = False
        self.frames_sent = 0
        self.messages_sent = 0
        self.payload_sent = 0
        self.state = 0
        self.compressed = False

    def message(self, kind: int, payload: Any) -> bytes | tuple[bytes, Any]:
        """One whole message in one frame: TEXT (1) with str or bytes-like UTF-8, BINARY (2) with anything bytes-like.

        E_INVALIDARG for text that is not UTF-8: nothing is sent then. E_ILLEGAL_METHOD_CALL while `fragment` has a
        message open, and after a close frame.
        """
        if self.kind:
            raise errors.illegal_call("a WebSocket message", "end the fragmented message first")
        if self.close_sent:
            self._check_open()
        if type(payload) is not bytes and type(payload) is not str:
            payload = _plain(payload)
        if kind == _TEXT:
            if isinstance(payload, str):
                if not self.is_client and len(payload) >= _SEPARATE:
                    payload = _utf8(payload)
            elif check_utf8(payload, 0) != 0:
                raise _no_text()
        elif kind != _BINARY:
            raise _no_kind(kind)
        if self.deflater is not None and self.deflater.wants(payload):
            compressed = self.deflater.compress(_utf8(payload) if isinstance(payload, str) else payload, True)
            self.messages_sent += 1
            return self._frame(0xC0 | kind, compressed)
        frame = self._frame(0x80 | kind, payload)
        self.messages_sent += 1
        return frame

    def fragment(self, kind: int, payload: Any, is_final: bool) -> bytes | tuple[bytes, Any]:
        """One frame of a message of several. ``kind`` counts for the first one only.

        E_INVALIDARG where the text is not UTF-8, over the whole message: this frame is not sent then, and the message
        stays open. E_ILLEGAL_METHOD_CALL after a close frame.
        """
        self._check_open()
        starts = self.kind == 0
        if starts and kind != _TEXT and kind != _BINARY:  # noqa: PLR1714 - a set is dearer in compiled code
            raise _no_kind(kind)
        payload = _utf8(payload) if isinstance(payload, str) else _plain(payload)
        state = 0
        if (kind if starts else self.kind) == _TEXT:
            state = check_utf8(payload, 0 if starts else self.state)
            if state < 0 or (is_final and state != 0):
                raise _no_text()
        first = 0
        if starts:
            self.kind = first = kind
            self.compressed = self.deflater is not None
            if self.compressed:
                first |= 0x40
        self.state = state
        if self.compressed:
            payload = self.deflater.compress(payload, is_final)
        if is_final:
            first |= 0x80
            self.kind = 0
            self.messages_sent += 1
        return self._frame(first, payload)

    def ping(self, payload: Any = b"") -> bytes:
        """A ping; E_INVALIDARG for more than 125 bytes."""
        return self._control(0x89, payload)

    def pong(self, payload: Any = b"") -> bytes:
        """A pong; E_INVALIDARG for more than 125 bytes."""
        return self._control(0x8A, payload)

    def close(self, code: int | None = None, reason: str = "") -> bytes:
        """The close frame, empty without a code; nothing may follow it.

        E_INVALIDARG for other codes than 1000 to 1003, 1007 to 1011 and 3000 to 4999, for a reason of more than 123
        bytes, and for a reason without a code.
        """
        if code is None:
            if reason:
                raise errors.invalid_argument("a close reason needs a close code")
            payload = b""
        else:
            payload = check_close(code, reason)
        frame = self._control(0x88, payload)
        self.close_sent = True
        return frame

    def close_answer(self, code: int) -> bytes:
        """The answer to the peer's close frame, with the code that it had; 1005 for none."""
        frame = self._control(0x88, b"" if code == 1005 else code.to_bytes(2, "big"))
        self.close_sent = True
        return frame

    def _control(self, first: int, payload: Any) -> bytes:
        self._check_open()
        payload = _utf8(payload) if isinstance(payload, str) else _plain(payload)
        if len(payload) > CONTROL_PAYLOAD_LIMIT:
            raise errors.invalid_argument(
                f"a control frame has {len(payload)} bytes, and {CONTROL_PAYLOAD_LIMIT} fit (RFC 6455 section 5.5)"
            )
        frame = make_frame(first, payload, self.is_client)
        self.frames_sent += 1
        return frame

    def _frame(self, first: int, payload: Any) -> bytes | tuple[bytes, Any]:
        size = len(payload)
        self.payload_sent += size
        self.frames_sent += 1
        if size >= _SEPARATE and not self.is_client:
            return make_head(first, size), payload
        if isinstance(payload, str):
            try:
                return make_frame(first, payload, self.is_client)
            except UnicodeEncodeError:
                self.frames_sent -= 1
                self.payload_sent -= size
                raise _no_text() from None
        return make_frame(first, payload, self.is_client)

    def _check_open(self) -> int:
        if self.close_sent:
            raise errors.illegal_call("a WebSocket frame", "the close frame has been sent, and nothing may follow it")
        return 0


def _plain(payload: Any) -> Any:
    """A payload whose length is its number of bytes: views of bigger items, and of none, are not what they seem."""
    if isinstance(payload, (bytes, bytearray, str)):
        return payload
    view = memoryview(payload)
    if view.nbytes == 0:
        return b""
    if not view.c_contiguous:
        raise BufferError("the payload does not lie in one piece")
    return payload if view.ndim == 1 and view.itemsize == 1 else view.cast("B")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _no_text() from None


def _no_text() -> OSError:
    return errors.invalid_argument("a text message has to be UTF-8")


def _no_kind(kind: int) -> OSError:
    return errors.invalid_argument(f"{kind} is no kind of message: 1 is text, 2 is binary")
