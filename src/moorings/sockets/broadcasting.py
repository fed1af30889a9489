"""One message for many WebSockets: `broadcast`, and `Broadcaster`, which remembers for whom.

Theory of operation
-------------------
A server does not mask, so that the frame of a message is the same bytes for all of its clients: it is made once, and
the queues of all of them hold that one object. Nothing is awaited, and there is no task for a peer: the kernel gets
what is queued when the loop turn ends. A peer that does not keep up must not fill the memory, and must not hold up the
others; so its queue is looked at first, and the program says what becomes of a peer whose queue is too long.

With permessage-deflate a message is compressed once for all peers with the same parameters, where these keep no context
(our servers agree on that unless told otherwise). For a peer whose context is kept the compressed bytes would depend on
what it got before; it gets the message as it is, which RFC 7692 section 6 allows for any message.

A client masks each frame anew: such WebSockets get a frame each.
"""

# pyright: reportPrivateUsage=false
# The engine's link belongs to the public object.

from __future__ import annotations

import sys
from asyncio import get_running_loop
from contextlib import contextmanager
from operator import index
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from moorings import errors
from moorings.foundation.operation import OPERATION
from moorings.foundation.projection import check_object
from moorings.foundation.task_operation import start_operation
from moorings.protocols.web_socket_close import CloseCode
from moorings.protocols.web_socket_sending import encode_message
from moorings.sockets.message_face import MessageFace
from moorings.sockets.message_parts import octets_of

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator

    from moorings.engine.web_socket import WebSocketLink
    from moorings.foundation.home import Home
    from moorings.foundation.scalars import ReadableBuffer

__all__ = ["BROADCAST_QUEUE_MARK", "BroadcastResult", "Broadcaster", "broadcast"]

#: Bytes that may be queued for a peer that is to get a broadcast message, that message among them.
BROADCAST_QUEUE_MARK = 1048576

_TEXT: Final = 1
_BINARY: Final = 2
_OPEN: Final = 0
#: How many members a `Broadcaster` may have more than at the last look before it looks for closed ones.
_GROWTH: Final = 64


class BroadcastResult(NamedTuple):
    """What became of one message for many WebSockets; each of them is counted once."""

    sent: int
    """It is queued for so many, and goes out when the loop turn ends."""
    skipped: int
    """So many do not get it: too much is queued for them, or a message in several frames is open there."""
    closed: int
    """So many were closed because too much is queued for them."""
    gone: int
    """So many had ended before."""
    behind: tuple[Any, ...]
    """The WebSockets that were skipped or closed."""


class _Shared:
    """One message, and its frames, each made once."""

    __slots__ = ("_compressed", "_plain", "kind", "payload")

    def __init__(self, message: str | ReadableBuffer) -> None:
        if isinstance(message, str):
            self.kind = _TEXT
            try:
                self.payload = message.encode()
            except UnicodeEncodeError:
                raise errors.invalid_argument("a text message has to be UTF-8") from None
        else:
            self.kind = _BINARY
            self.payload = message if type(message) is bytes else octets_of(message)
        self._plain = b""
        self._compressed: dict[tuple[int, int, int], tuple[bytes, int]] = {}

    def frame(self, deflater: Any) -> bytes:
        """The frame for a server's WebSocket, which has this deflater, or None."""
        if deflater is not None and not deflater.keeps_context and deflater.wants(self.payload):
            parameters = (deflater.window_bits, deflater.level, deflater.memory_level)
            made = self._compressed.get(parameters)
            if made is None:
                compressed = deflater.compress(self.payload, True)
                made = encode_message(self.kind | 0x40, compressed), len(compressed)
                self._compressed[parameters] = made
            else:
                deflater.bytes_in += len(self.payload)
                deflater.bytes_out += made[1]
            return made[0]
        if not self._plain:
            self._plain = encode_message(self.kind, self.payload)
        return self._plain


class _Count:
    """What becomes of one message on one thread."""

    def __init__(self, closes: bool, mark: int) -> None:
        self.closes = closes
        self.mark = mark
        self.sent = self.skipped = self.closed = self.gone = 0
        self.behind: list[MessageFace] = []

    def send(self, web_sockets: Iterable[MessageFace], message: _Shared) -> None:
        """Queue it for each, or not (home thread)."""
        size = len(message.payload)
        for each in web_sockets:
            link = each._link
            stream = link.stream
            if link.stage != _OPEN or stream.write_error is not None:
                self.gone += 1
            elif stream.queued_bytes > 0 and stream.queued_bytes + size > min(self.mark, stream.queue_limit):
                self.behind.append(each)
                if self.closes:
                    self.closed += 1
                    link.close(int(CloseCode.POLICY_VIOLATION), "too slow for what is sent")
                else:
                    self.skipped += 1
            elif link.sender.kind or stream.has_gap():
                # Nothing may come between the frames of a message, nor behind one that was refused unnoticed.
                self.behind.append(each)
                self.skipped += 1
            else:
                self._queue(link, message, size)
                self.sent += 1

    def _queue(self, link: WebSocketLink, message: _Shared, size: int) -> None:
        sender = link.sender
        if sender.is_client:
            link.send(message.kind, message.payload, True)
            return
        link.submit(message.frame(sender.deflater), size, True)
        sender.frames_sent += 1
        sender.messages_sent += 1
        sender.payload_sent += size

    def result(self) -> BroadcastResult:
        """The counts."""
        return BroadcastResult(self.sent, self.skipped, self.closed, self.gone, tuple(self.behind))


def broadcast(
    web_sockets: Iterable[Any],
    message: str | ReadableBuffer,
    *,
    overflow: Literal["skip", "close"] = "skip",
    mark: int = BROADCAST_QUEUE_MARK,
) -> BroadcastResult:
    """Send one message to many WebSockets, text for str and binary for anything bytes-like; never waits for a peer.

    The frame is made once. It goes out when the loop turn ends, behind what was sent before. `overflow` is what becomes
    of a peer for which then more than `mark` bytes (default 1 MiB) would be queued: it does not get this message
    ("skip", the default), or it is closed with 1008 ("close"). Gives the counts, and the peers that are behind.

    With permessage-deflate it is compressed once for each set of parameters, and goes uncompressed to peers that keep
    the context. From a thread without a loop it blocks until the loops of the WebSockets have done it.

    Errors: E_INVALIDARG for text that is not UTF-8; E_ILLEGAL_METHOD_CALL for a client that is not open yet, and on an
    asyncio loop for WebSockets of another one, since two loops could wait for each other; TypeError and ValueError for
    other arguments. Nothing is sent then.
    """
    if overflow not in {"skip", "close"}:
        raise ValueError(f"overflow must be 'skip' or 'close', not {overflow!r}")
    number = index(mark)
    if not 0 <= number <= sys.maxsize:
        raise ValueError("mark must be a number of bytes from 0")
    shared = _Shared(message)
    count = _Count(overflow == "close", number)
    here: list[MessageFace] = []
    elsewhere: dict[Home, list[MessageFace]] = {}
    for each in web_sockets:
        home = check_object(each, MessageFace, "each of web_sockets")._link.home
        if home.dropped or home.loop.is_closed():
            count.gone += 1
        elif home.on_home_thread():
            here.append(each)
        else:
            elsewhere.setdefault(home, []).append(each)
    if elsewhere and _on_a_loop():
        hint = "broadcast on the loop that they belong to, with loop.call_soon_threadsafe"
        raise errors.illegal_call("broadcast to WebSockets of another loop would block this one", hint)
    count.send(here, shared)
    for home, members in elsewhere.items():
        _send_there(home, members, shared, count)
    return count.result()


def _on_a_loop() -> bool:
    """Whether this thread runs an asyncio loop, which must not wait."""
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


def _send_there(home: Home, members: list[MessageFace], shared: _Shared, count: _Count) -> None:
    async def send() -> None:
        count.send(members, shared)

    start_operation(home, send(), OPERATION).get()


class Broadcaster:
    """The WebSockets that get what is broadcast: a room of a chat, the subscribers of a feed.

    It forgets those that have ended by itself. `overflow` and `mark` are those of `broadcast`. Use it on the thread of
    its WebSockets.
    """

    __slots__ = ("_checked_at", "_members", "closed", "mark", "overflow", "sent", "skipped")

    def __init__(self, *, overflow: Literal["skip", "close"] = "skip", mark: int = BROADCAST_QUEUE_MARK) -> None:
        #: What becomes of members for which more than `mark` bytes are queued.
        self.overflow: Literal["skip", "close"] = overflow
        self.mark = mark
        #: Counts over all messages: those that were queued, left out, and the members closed for being behind.
        self.sent = 0
        self.skipped = 0
        self.closed = 0
        self._members: dict[Any, None] = {}
        self._checked_at = 0
        broadcast((), b"", overflow=overflow, mark=mark)  # says what is wrong with the arguments

    def add(self, web_socket: Any) -> None:
        """Let it get what is broadcast from now on; once, however often it is added, and not where it has ended.

        Errors: TypeError for other objects; E_ILLEGAL_METHOD_CALL for a client that is not open yet.
        """
        if check_object(web_socket, MessageFace, "web_socket")._link.stage != _OPEN:
            return
        self._members[web_socket] = None
        if len(self._members) >= 2 * self._checked_at + _GROWTH:
            self._forget_ended()

    def discard(self, web_socket: Any) -> None:
        """It gets nothing any more; nothing happens where it is no member."""
        self._members.pop(web_socket, None)

    @contextmanager
    def joined(self, web_socket: Any) -> Generator[None]:
        """A member for the time of a `with` block."""
        self.add(web_socket)
        try:
            yield
        finally:
            self.discard(web_socket)

    def send(self, message: str | ReadableBuffer, *, without: Collection[Any] = ()) -> BroadcastResult:
        """`broadcast` to all members but those in `without`."""
        members = [each for each in self._members if each not in without] if without else list(self._members)
        result = broadcast(members, message, overflow=self.overflow, mark=self.mark)
        self.sent += result.sent
        self.skipped += result.skipped
        self.closed += result.closed
        if result.gone or result.closed:
            self._forget_ended()
        return result

    def _forget_ended(self) -> None:
        for each in [each for each in self._members if _has_ended(each)]:
            del self._members[each]
        self._checked_at = len(self._members)

    def __len__(self) -> int:
        self._forget_ended()
        return len(self._members)

    def __iter__(self) -> Iterator[Any]:
        self._forget_ended()
        return iter(tuple(self._members))

    def __contains__(self, web_socket: object) -> bool:
        return web_socket in self._members and not _has_ended(web_socket)

    def __repr__(self) -> str:
        return f"<Broadcaster to {len(self)}>"


def _has_ended(web_socket: Any) -> bool:
    link = web_socket._link
    return link.stage != _OPEN or link.stream.write_error is not None
