"""Receiving WebSocket frames: memory in, calls out.

Theory of operation
-------------------
`FrameReceiver` is fed with pieces of memory as they come, cut anywhere, and calls its own methods for what is in them;
a class that derives from it overrides these. It takes all it is given, unless a method sets `paused`: then it stops
behind the frame (or the part) that was told, and the caller keeps the rest and brings it again. What must be kept
between two pieces it keeps itself: the beginning of a head, a control frame, a message so far. None of that is bigger
than what has arrived, whatever a head claims.

A frame of a whole message that lies in the memory as a whole, which is nearly every frame, goes straight from there
into the object that is handed out: one copy, with the mask off and the text checked in passing.

While a method runs the memory is still in use: nobody may receive into the block, and the receiver takes nothing more.
An exception of a method comes out of the receiving call, with `position` behind the frame that was told.

A violation raises `WebSocketProtocolError` as soon as the first wrong byte is there, again at each later call.

Sources: RFC 6455 sections 5 to 8, RFC 7692 section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from moorings import errors
from moorings.protocols.receive_position import ReceivePosition
from moorings.protocols.sink import Sink
from moorings.protocols.web_socket_close import CloseCode, WebSocketProtocolError, may_be_received

if TYPE_CHECKING:
    import cython

    from moorings.protocols.web_socket_deflate import Inflater
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import Block  # noqa: TC001 - Cython knows it from the .pxd
    from moorings._pure_web_sockets import MessageMemory, key_at, key_bytes, key_of, unmask, unmask_text, utf8_state

__all__ = ["BINARY", "FRAME_LIMIT", "MESSAGE_LIMIT", "UNLIMITED", "TEXT", "FrameReceiver", "ReceivePosition"]

#: Bytes of payload that one frame may have.
FRAME_LIMIT = 67108864
#: Bytes of payload that all frames of one message may have together, as they come over the wire.
MESSAGE_LIMIT = 67108864
#: What stands for "as many as a frame can have".
UNLIMITED = 0x7FFFFFFFFFFFFFFF

#: Kinds of messages: the opcodes of their first frames.
TEXT = 1
BINARY = 2

_TEXT = 1
_BINARY = 2
_INFLATE_PIECE = 4096  # compressed bytes that are copied in one go
_CLOSE = 8
_PING = 9


class FrameReceiver(Sink):
    """Takes frames apart. Derive from it and override `on_message` and its sisters.

    ``is_client``: whether this end is the client, which gets its frames unmasked. ``partial``: tell messages in parts
    as they come. ``decode_text``: hand whole text messages out as str, not as bytes that have been checked; parts are
    always bytes. ``inflater``: where permessage-deflate was agreed.
    """

    __slots__ = (
        "bytes_received",
        "closed",
        "compressed",
        "control",
        "decode_text",
        "expects_mask",
        "failure",
        "frame_limit",
        "frames_received",
        "head",
        "in_frame",
        "inflater",
        "inflating",
        "is_final",
        "key",
        "kind",
        "memory",
        "message_limit",
        "message_size",
        "messages_received",
        "opcode",
        "parsing",
        "partial",
        "payload_received",
        "position",
        "remaining",
        "state",
        "taken",
    )

    def __init__(
        self,
        is_client: bool,
        *,
        partial: bool = False,
        decode_text: bool = True,
        frame_limit: int = FRAME_LIMIT,
        message_limit: int = MESSAGE_LIMIT,
        inflater: Inflater | None = None,
    ) -> None:
        Sink.__init__(self)
        self.expects_mask = not is_client
        self.partial = partial
        self.decode_text = decode_text
        self.frame_limit = frame_limit
        self.message_limit = message_limit
        self.inflater: Any = inflater
        self.closed = False
        self.failure: WebSocketProtocolError | None = None
        self.bytes_received = 0
        self.frames_received = 0
        self.messages_received = 0
        self.payload_received = 0
        self.position = 0
        self.parsing = False
        self.head = b""
        self.in_frame = False
        self.opcode = 0
        self.is_final = False
        self.remaining = 0
        self.taken = 0
        self.key = key_of(b"")
        self.kind = 0
        self.compressed = False
        self.inflating = False
        self.message_size = 0
        self.state = 0
        self.memory = MessageMemory()
        self.control = b""

    # -- what happens ------------------------------------------------------------------------------------------------

    def on_message(self, kind: int, payload: Any) -> None:
        """A whole message: TEXT with str (bytes without `decode_text`), or BINARY with bytes."""

    def on_part(self, kind: int, payload: bytes, is_final: bool) -> None:
        """The next bytes of a message, in partial mode. Only the last part may be empty."""

    def on_ping(self, payload: bytes) -> None:
        """A ping, which wants a pong with the same payload."""

    def on_pong(self, payload: bytes) -> None:
        """A pong."""

    def on_close(self, code: int, reason: str) -> None:
        """The peer's close frame; 1005 where it was empty. Nothing that follows is looked at."""

    # -- feeding -----------------------------------------------------------------------------------------------------

    def receive_block(self, block: Block, start: int, count: int) -> int:
        """Take bytes from the block of a loop; how many were taken: all, unless `paused` is set.

        Raises WebSocketProtocolError.
        """
        if start < 0 or count < 0 or start + count > block.size:
            raise ValueError("there is no such part of the block")
        self._begin()
        self.position = start
        try:
            if cython.compiled:
                self._parse(cython.cast("const unsigned char *", block.data), start, start + count)
            else:
                self._parse(block.view, start, start + count)
        finally:
            self._ended(start)
        return self.position - start

    def receive_bytes(self, data: bytes, start: int = 0, count: int = -1) -> int:
        """The same from a bytes object, or from a copy of anything bytes-like; ``count`` -1: to its end."""
        whole = data if type(data) is bytes else bytes(memoryview(data))
        if count < 0:
            count = len(whole) - start
        if start < 0 or count < 0 or start + count > len(whole):
            raise ValueError("there is no such part of the data")
        self._begin()
        self.position = start
        try:
            self._parse(whole, start, start + count)
        finally:
            self._ended(start)
        return self.position - start

    def _begin(self) -> int:
        if self.parsing:
            raise RuntimeError("the receiver is already taking bytes: one of its methods fed it again")
        if self.failure is not None:
            raise self.failure.again()
        self.parsing = True
        return 0

    def _ended(self, begin: int) -> int:
        self.parsing = False
        self.bytes_received += self.position - begin
        return 0

    def frame_begun(self) -> bool:
        """Whether a frame has begun whose last byte has not come: what the timer for the rest of a frame asks."""
        return self.in_frame or len(self.head) > 0

    def message_begun(self) -> int:
        """The kind of the message whose end has not come; 0 between messages."""
        return self.kind

    def unfinished_bytes(self) -> int:
        """Bytes that are kept here because their message or frame is not complete."""
        return self.memory.size + len(self.control) + len(self.head)

    def fail(self, code: int, text: str, limit: str = "") -> NoReturn:
        """Raise the violation, and remember it for every later call. What was gathered is let go."""
        self.failure = WebSocketProtocolError(code, text, limit)
        self.memory = MessageMemory()
        self.control = b""
        if self.inflater is not None:
            self.inflater.let_go()
        raise self.failure.again()

    def _parse(self, data: Any, position: int, end: int) -> int:  # noqa: C901, PLR0912 - one loop per message
        while not self.paused:
            if self.closed:
                self.position = end
                return 0
            if not self.in_frame:
                if position >= end:
                    return 0
                if len(self.head):
                    position = self._go_on_with_head(data, position, end)
                else:
                    used = self._read_head(data, position, end - position)
                    if used == 0:
                        self.head = unmask(data, position, end - position, key_of(b""), 0)
                        position = end
                    position += used
                self.position = position
                if not self.in_frame:
                    continue
                count = self.remaining
                if count <= end - position and self.is_final and 1 <= self.opcode <= 2 and not self.compressed:
                    self.position = position + count
                    self._whole(data, position, count)
                    position += count
                    continue
            elif self.inflating:
                if self._drain() and self.remaining == 0:
                    self._end_frame()
                continue
            elif position >= end:
                return 0
            count = self.remaining
            count = min(count, end - position)
            if self.compressed:
                count = min(count, _INFLATE_PIECE)
            self.position = position + count
            self._take(data, position, count)
            position += count
        return 0

    # -- heads -------------------------------------------------------------------------------------------------------

    def _go_on_with_head(self, data: Any, position: int, end: int) -> int:
        """Join the beginning of a head that came before with what has come now; the new position."""
        old = len(self.head)
        more = end - position
        if more > 14 - old:
            more = 14 - old
        joined = self.head + unmask(data, position, more, key_of(b""), 0)
        self.head = b""
        used = self._read_head(joined, 0, len(joined))
        if used == 0:
            self.head = joined
            return position + more
        return position + used - old

    def _read_head(self, data: Any, position: int, available: int) -> int:
        """Take a head; its size, or 0 where more of it must come. Each byte is judged as soon as it is there."""
        first = data[position]
        opcode = first & 15
        if (first != 0x81 and first != 0x82) or self.kind:  # noqa: PLR1714 - a set is dearer in compiled code
            self._check_first(first, opcode)
        if available < 2:
            return 0
        second = data[position + 1]
        if (second >= 128) != self.expects_mask:
            self.fail(
                CloseCode.PROTOCOL_ERROR,
                "a frame of the client is not masked" if self.expects_mask else "a frame of the server is masked",
            )
        size = second & 127
        need = 2
        if size >= 126:
            need = 4 if size == 126 else 10
            size = self._long_size(data, position, available, opcode, size)
            if size < 0:
                return 0
        elif opcode == _CLOSE and size == 1:
            self.fail(CloseCode.PROTOCOL_ERROR, "a close frame has half a code")
        if opcode < _CLOSE and (size > self.frame_limit or size > self.message_limit - self.message_size):
            self._check_limits(size)
        if self.expects_mask:
            place = position + need
            need += 4
            if available < need:
                return 0
            self.key = key_at(data, place)
        self.opcode = opcode
        self.is_final = first >= 128
        self.remaining = size
        self.taken = 0
        self.in_frame = True
        self.frames_received += 1
        if opcode < _CLOSE:
            self.message_size += size
            if opcode:
                self.kind = opcode
                self.state = 0
                self.compressed = (first & 0x40) != 0
        return need

    def _check_first(self, first: int, opcode: int) -> int:
        """Reserved bits, opcodes, and whether a frame may stand here."""
        if first & 0x30:
            self.fail(CloseCode.PROTOCOL_ERROR, "a reserved bit is set that no extension uses")
        if first & 0x40 and (self.inflater is None or opcode not in {_TEXT, _BINARY}):
            self.fail(
                CloseCode.PROTOCOL_ERROR,
                "RSV1 is set, and no compression was agreed"
                if self.inflater is None
                else "RSV1 is set in a frame that begins no message",
            )
        if opcode >= _CLOSE:
            if opcode > 10:
                self.fail(CloseCode.PROTOCOL_ERROR, f"opcode {opcode} is reserved")
            if first < 128:
                self.fail(CloseCode.PROTOCOL_ERROR, "a control frame is fragmented")
        elif opcode > _BINARY:
            self.fail(CloseCode.PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        elif opcode == 0 and not self.kind:
            self.fail(CloseCode.PROTOCOL_ERROR, "a continuation without a message")
        elif opcode and self.kind:
            self.fail(CloseCode.PROTOCOL_ERROR, "a new message begins before the last one has ended")
        return 0

    def _long_size(self, data: Any, position: int, available: int, opcode: int, size: int) -> int:
        """The length in 2 or 8 bytes; -1 where more of it must come."""
        if opcode >= _CLOSE:
            self.fail(CloseCode.PROTOCOL_ERROR, "a control frame has more than 125 bytes")
        if size == 126:
            if available < 4:
                return -1
            size = data[position + 2] * 256 + data[position + 3]
            if size < 126:
                self.fail(CloseCode.PROTOCOL_ERROR, "a length is written with more bytes than it needs")
            return size
        if available >= 3 and data[position + 2] >= 128:
            self.fail(CloseCode.PROTOCOL_ERROR, "a length has 64 bits")
        if available < 10:
            return -1
        size = 0
        for place in range(position + 2, position + 10):
            size = size * 256 + data[place]
        if size < 65536:
            self.fail(CloseCode.PROTOCOL_ERROR, "a length is written with more bytes than it needs")
        return size

    def _check_limits(self, size: int) -> int:
        if size > self.frame_limit:
            self.fail(
                CloseCode.MESSAGE_TOO_BIG, f"a frame has {size} bytes, and {self.frame_limit} are allowed", "frame"
            )
        self.fail(
            CloseCode.MESSAGE_TOO_BIG,
            f"a message has at least {self.message_size + size} bytes, and {self.message_limit} are allowed",
            "message",
        )
        return 0

    # -- payloads ----------------------------------------------------------------------------------------------------

    def _whole(self, data: Any, position: int, count: int) -> int:
        """A message of one frame that is all there."""
        kind = self.kind
        self.in_frame = False
        self.kind = 0
        self.message_size = 0
        self.messages_received += 1
        self.payload_received += count
        if kind == _TEXT and self.decode_text and not self.partial:
            text = unmask_text(data, position, count, self.key)
            if text is None:
                self._bad_text()
            self.on_message(_TEXT, text)
            return 0
        payload = unmask(data, position, count, self.key, 0)
        if kind == _TEXT and utf8_state(payload, 0, count, 0) != 0:
            self._bad_text()
        if self.partial:
            self.on_part(kind, payload, True)
        else:
            self.on_message(kind, payload)
        return 0

    def _bad_text(self) -> int:
        self.fail(CloseCode.INVALID_PAYLOAD, "a text message is not UTF-8")
        return 0

    def _take(self, data: Any, position: int, count: int) -> int:
        """The next bytes of a frame's payload, perhaps none, perhaps the last."""
        phase = self.taken
        self.taken += count
        self.remaining -= count
        if self.opcode >= _CLOSE:
            self.control = self.control + unmask(data, position, count, self.key, phase)
            if self.remaining == 0:
                self.in_frame = False
                self._control_frame()
            return 0
        self.payload_received += count
        if not self.compressed:
            return self._take_plain(data, position, count)
        self.inflater.feed(unmask(data, position, count, self.key, phase))
        if self.remaining == 0 and self.is_final:
            self.inflater.feed_end()
        if self._drain() and self.remaining == 0:
            self._end_frame()
        return 0

    def _take_plain(self, data: Any, position: int, count: int) -> int:
        phase = self.taken - count
        if not self.partial:
            # More frames may follow one that is not the last: then memory grows by doubling, not frame by frame.
            announced = count + self.remaining if self.is_final else self.message_limit
            self.memory.add(data, position, count, self.key, phase, announced)
            if self.kind == _TEXT:
                self.state = self.memory.check_last(count, self.state)
                if self.state < 0:
                    self._bad_text()
            if self.remaining == 0:
                self._end_frame()
            return 0
        payload = unmask(data, position, count, self.key, phase)
        if self.kind == _TEXT:
            self.state = utf8_state(payload, 0, count, self.state)
            if self.state < 0:
                self._bad_text()
        if self.remaining == 0:
            if self.is_final:
                self._finish_part(payload)
                return 0
            self.in_frame = False
        if count:
            self.on_part(self.kind, payload, False)
        return 0

    def _drain(self) -> bool:
        """Bring out what is inflated, in slices; False where a part was told and nobody wants more now."""
        self.inflating = True
        while True:
            try:
                piece = self.inflater.read()
            except WebSocketProtocolError as error:
                self.fail(error.close_code, error.text, error.limit)
            if not piece:
                break
            if self.kind == _TEXT:
                self.state = utf8_state(piece, 0, len(piece), self.state)
                if self.state < 0:
                    self._bad_text()
            if not self.partial:
                self.memory.add_bytes(piece, self.inflater.room() + len(piece))
                continue
            self.on_part(self.kind, piece, False)
            if self.paused:
                return False
        self.inflating = False
        return True

    def _end_frame(self) -> int:
        """Behind the last byte of a data frame."""
        self.in_frame = False
        if not self.is_final:
            return 0
        if self.compressed:
            self.inflater.end_message()
        if self.partial:
            return self._finish_part(b"")
        if self.kind == _TEXT and self.state != 0:
            self._bad_text()
        kind = self._end_message()
        if kind == _TEXT and self.decode_text:
            self.on_message(_TEXT, self.memory.take_text())
        else:
            self.on_message(kind, self.memory.take())
        return 0

    def _finish_part(self, payload: bytes) -> int:
        if self.kind == _TEXT and self.state != 0:
            self._bad_text()
        self.in_frame = False
        self.on_part(self._end_message(), payload, True)
        return 0

    def _end_message(self) -> int:
        kind = self.kind
        self.kind = 0
        self.message_size = 0
        self.compressed = False
        self.messages_received += 1
        return kind

    def _control_frame(self) -> int:
        payload = self.control
        self.control = b""
        if self.opcode == _CLOSE:
            return self._close_frame(payload)
        if self.opcode == _PING:
            self.on_ping(payload)
        else:
            self.on_pong(payload)
        return 0

    def _close_frame(self, payload: bytes) -> int:
        code = 1005
        reason = ""
        if payload:
            code = payload[0] * 256 + payload[1]
            if not may_be_received(code):
                self.fail(CloseCode.PROTOCOL_ERROR, f"{code} is no close code that may be sent")
            try:
                reason = payload[2:].decode()
            except UnicodeDecodeError:
                self.fail(CloseCode.INVALID_PAYLOAD, "a close reason is not UTF-8")
        self.closed = True
        self.memory = MessageMemory()
        self.on_close(code, reason)
        return 0

    # -- giving the position away ------------------------------------------------------------------------------------

    def detach(self) -> ReceivePosition:
        """Where the receiver stands, for `adopt` elsewhere; this one takes nothing more.

        Bytes that were not taken, because of `paused`, are the caller's. Raises ERROR_NOT_SUPPORTED where compressed
        data cannot be understood without what came before: in a compressed message, or with a kept context.
        """
        if self.parsing:
            raise errors.illegal_call("FrameReceiver.detach", "one of its methods is running")
        if self.failure is not None:
            raise self.failure.again()
        if self.inflater is not None and not self.inflater.may_detach():
            raise errors.not_supported("giving a compressed WebSocket away", "the peer's compression context")
        position = ReceivePosition(
            self.head,
            self.in_frame,
            self.opcode,
            self.is_final,
            self.remaining,
            self.taken,
            key_bytes(self.key),
            self.kind,
            self.message_size,
            self.state,
            self.memory.take(),
            self.control,
            self.closed,
        )
        self.closed = True
        return position

    def adopt(self, position: ReceivePosition) -> None:
        """Go on where another receiver stood; before the first byte."""
        if self.bytes_received or self.frame_begun():
            raise errors.illegal_call("FrameReceiver.adopt", "it has already received")
        (
            self.head,
            self.in_frame,
            self.opcode,
            self.is_final,
            self.remaining,
            self.taken,
            key,
            self.kind,
            self.message_size,
            self.state,
            memory,
            self.control,
            self.closed,
        ) = position
        self.key = key_of(key)
        self.memory.add_bytes(memory, len(memory))
