"""The messages of one WebSocket, in and out, over any of our streams.

Theory of operation
-------------------
The stream gives what arrives straight from the loop's block. While the parser works on the block nobody else may
receive into it, and so the methods by which it tells what it found only append to a queue. When it has returned,
`deliver` hands the messages out one by one: to the handler, inline, or to the receive operations that wait, each of
which may resume its task right there. What an ``async def`` handler returned runs as a task, and the next message waits
for it. What nobody takes is kept up to a limit; then the parser stops (`paused`), what it has not looked at of the
block is kept as bytes, and the stream receives no more: the peer has to wait.

Sending is writing frames to the stream: un-awaited ones go out in one system call. The stream's own operation is what
the program gets; `Operation.overhead` takes the frame's head out of its result.

Pings are answered when the parser has returned, all together in one write. As long as such a write has not gone out,
only the newest ping is remembered (RFC 6455 section 5.5.3): a flood of pings costs no memory.

Endings, and who is told of them, are `web_socket`'s.
"""

# pyright: reportPrivateUsage=false
# The stream's own judgement of its queue is asked for.

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine.tcp_stream import TcpStream  # noqa: TC001 - Cython knows it from the .pxd
from moorings.foundation.home import IMMEDIATE_LIMIT
from moorings.foundation.operation import Operation, cancelled_error
from moorings.protocols.sink import MessageTaker  # noqa: TC001 - Cython knows it from the .pxd
from moorings.protocols.web_socket_close import WebSocketProtocolError
from moorings.protocols.web_socket_frames import FRAME_LIMIT, MESSAGE_LIMIT, FrameReceiver
from moorings.protocols.web_socket_sending import FrameSender

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import cython

    from moorings.protocols.web_socket_deflate import Deflater, Inflater
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import Block, block_bytes

#: Messages that are kept for a program that does not take them; then receiving pauses.
RECEIVE_QUEUE_MESSAGES_LIMIT = 256
#: Bytes (of text: characters) of such messages, beside the last one.
RECEIVE_QUEUE_BYTES_LIMIT = 262144
#: Messages that are handed out in one go; then others run.
DELIVERY_BURST = 1024
#: Pings of one piece of received data that are all answered; of more only the newest is.
PONG_BURST = 32
#: Pings of ours that may wait for their pongs.
PING_LIMIT = 64

_MESSAGES_LIMIT = RECEIVE_QUEUE_MESSAGES_LIMIT
_BYTES_LIMIT = RECEIVE_QUEUE_BYTES_LIMIT
_BURST = DELIVERY_BURST
_PONG_BURST = PONG_BURST
_IMMEDIATE_LIMIT = IMMEDIATE_LIMIT
_HEAD_SIZE = 14  # bytes of the longest one
_ANY_SIZE = 0x7FFFFFFFFFFFFFFF

# Stages of a WebSocket: our close frame is out, and the peer's is awaited; both are out, a client waits for the server
# to end it; it failed, the peer was told, and nothing it sends is looked at any more; the stream is closed, or gone.
_OPEN = 0
_CLOSING = 1
_CLOSED = 2
_DEAF = 3
_ENDED = 4

_COMPLETED = 1
_CANCELED = 2
_ERROR = 3

_OPERATION = 1
_OPERATION_WITH_PROGRESS = 3

# What an operation asks for, in `Operation.options`.
_RECEIVE = 1
#: The same for `async for`, which a clean end ends.
_NEXT = 2
_WRITE = 32
#: A ping of ours that waits for its pong.
_PING = 33


class MessageFlow(FrameReceiver):
    """Receiving and sending. Home thread only."""

    __slots__ = (
        "close_received",
        "delivering",
        "first",
        "handler",
        "handling",
        "held",
        "held_start",
        "home",
        "make_part",
        "messages_discarded",
        "over",
        "ping_head",
        "pings_received",
        "pings_unanswered",
        "pings_waiting",
        "pong_write",
        "pongs_due",
        "queue",
        "queued_payload",
        "receive_head",
        "receive_tail",
        "receiving",
        "sender",
        "stage",
        "stream",
        "taker",
        "times_paused",
        "violation",
    )

    def __init__(
        self,
        stream: TcpStream,
        is_client: bool,
        *,
        partial: bool = False,
        frame_limit: int = FRAME_LIMIT,
        message_limit: int = MESSAGE_LIMIT,
        inflater: Inflater | None = None,
        deflater: Deflater | None = None,
    ) -> None:
        FrameReceiver.__init__(
            self, is_client, partial=partial, frame_limit=frame_limit, message_limit=message_limit, inflater=inflater
        )
        self.stream = stream
        self.home = stream.home
        self.sender = FrameSender(is_client, deflater=deflater)
        self.stage = _OPEN
        #: What is handed out: str or bytes, or in partial mode (kind, bytes, is_final); from `first` on.
        self.queue: list[Any] = []
        self.first = self.queued_payload = 0
        #: What came behind the message at which receiving paused.
        self.held: Any = None
        self.held_start = 0
        self.receiving = self.delivering = False
        self.receive_head: Operation | None = None
        self.receive_tail: Operation | None = None
        #: Called with each message; what it returns, if anything, is awaited before the next one.
        self.handler: Callable[[Any], Coroutine[Any, Any, object] | None] | None = None
        #: The same handler, where it is a MessageTaker.
        self.taker: MessageTaker | None = None
        self.handling = False
        #: Makes of (kind, bytes, is_final) what is handed out instead of it in partial mode: a tuple like it.
        self.make_part: Callable[[Any], Any] | None = None
        #: Whether nothing more will come behind what is queued.
        self.over = self.close_received = False
        #: What the parser found wrong, while what came before is handed out.
        self.violation: Any = None
        self.pongs_due: Any = None
        self.pong_write: Operation | None = None
        self.ping_head: Operation | None = None
        self.pings_waiting: int = 0
        self.messages_discarded: int = 0
        self.pings_received = self.pings_unanswered = self.times_paused = 0

    # -- what the parser tells ---------------------------------------------------------------------------------------

    def on_message(self, kind: int, payload: Any) -> None:  # noqa: ARG002 - of a whole message the type tells the kind
        if self.stage != _OPEN:
            self.messages_discarded += 1  # it crossed our close frame
            return
        self._keep(payload, len(payload))

    def on_part(self, kind: int, payload: bytes, is_final: bool) -> None:
        if self.stage != _OPEN:
            self.messages_discarded += is_final
            return
        entry: Any = (kind, payload, is_final)
        self._keep(entry if self.make_part is None else self.make_part(entry), len(payload))

    def _keep(self, entry: Any, size: int) -> None:
        self.queue.append(entry)
        self.queued_payload += size
        if len(self.queue) - self.first >= _MESSAGES_LIMIT or self.queued_payload >= _BYTES_LIMIT:
            self.paused = True

    def on_ping(self, payload: bytes) -> None:
        self.pings_received += 1
        if self.pongs_due is None:
            self.pongs_due = [payload]
        elif len(self.pongs_due) < _PONG_BURST:
            self.pongs_due.append(payload)
        else:
            self.pongs_due[-1] = payload
            self.pings_unanswered += 1

    def on_pong(self, payload: bytes) -> None:
        operation = self.ping_head
        while operation is not None and operation.buffer != payload:
            operation = operation.next_operation
        if operation is not None:
            self.note_pong(operation)

    def note_pong(self, last: Operation) -> None:
        """A pong came; `last` is the newest ping that it answers."""

    # -- receiving ---------------------------------------------------------------------------------------------------

    def take(self, block: Block, count: int) -> None:
        if self.stage >= _DEAF:
            return
        self.receiving = True
        try:
            used = self.receive_block(block, 0, count)
        except WebSocketProtocolError as error:
            self._broken(error)
            self.receiving = False
            return
        if used < count:
            self.held = block_bytes(block, used, count - used)
            self.held_start = 0
        self._taken()
        self.receiving = False

    def take_bytes(self, data: bytes) -> None:
        if self.stage >= _DEAF:
            return
        self.held = data
        self.held_start = 0
        self.receiving = True
        self._take_held()
        self.receiving = False

    def _take_held(self) -> None:
        data = self.held
        if data is None:  # more comes of what is being inflated
            data = b""
            self.held_start = 0
        try:
            self.held_start += self.receive_bytes(data, self.held_start)
        except WebSocketProtocolError as error:
            self.held = None
            self._broken(error)
            return
        if self.held_start >= len(data):
            self.held = None
        self._taken()

    def _broken(self, error: WebSocketProtocolError) -> None:
        """The peer broke the protocol: what came before is answered, as far as somebody takes it at once."""
        self.violation = error
        self._taken()

    def _taken(self) -> None:
        """The parser has returned: see to what it told. What ends it is told behind the messages that came before."""
        if self.pongs_due is not None:
            self.answer_pings()
        if self.first < len(self.queue):
            if self.paused:
                self.times_paused += 1
            if not self.delivering:
                self.deliver()
        elif not self.delivering:
            self._tell_end()

    def deliver(self) -> None:
        """Hand out what is queued, as far as somebody takes it; go on receiving where nothing is left."""
        if self.delivering:
            return
        left = _BURST
        self.delivering = True
        try:
            while True:
                while self.first < len(self.queue):
                    if self.receive_head is not None:
                        self._give()
                    elif self.handler is not None and not self.handling:
                        if left == 0:
                            self.home.loop.call_soon(self.deliver)
                            self.paused = True
                            return
                        left -= 1
                        self._call()
                    else:
                        return
                if self.over and not self.handling:
                    self.told_all()
                if not self.paused:
                    return
                self._go_on()
        finally:
            self.delivering = False
            if left > 0 or self.first == len(self.queue):
                self._tell_end()

    def _go_on(self) -> None:
        """Take what came behind the message at which receiving paused, then more."""
        self.paused = False
        if (self.held is not None or self.inflating) and self.stage < _DEAF and self.violation is None:
            self._take_held()
        if not self.paused and not self.receiving:
            self.stream.resume_sink()

    def _tell_end(self) -> None:
        """See to what came behind the messages."""
        error = self.violation
        if error is not None:
            self.violation = None
            self.violated(error)
        elif self.close_received:
            self.close_received = False
            self.peer_closed()

    def _pop(self) -> Any:
        queue = self.queue
        entry = queue[self.first]
        queue[self.first] = None
        self.first += 1
        if self.first == len(queue):
            queue.clear()
            self.first = 0
            self.queued_payload = 0
        else:
            self.queued_payload -= len(entry[1]) if self.partial else len(entry)
            if self.first >= _MESSAGES_LIMIT:
                del queue[: self.first]
                self.first = 0
        return entry

    def _give(self) -> None:
        """The next message for the operation that has waited longest."""
        operation = self.receive_head
        assert operation is not None
        self.receive_head = operation.next_operation
        operation.next_operation = None
        if self.receive_head is None:
            self.receive_tail = None
        resume = operation.settle(_COMPLETED, self._pop(), None)
        operation = None  # the awaiting task may then give it back for re-use
        if resume:
            self.home.resume()

    def _call(self) -> None:
        home = self.home
        handler = self.handler
        assert handler is not None
        eager = home.eager
        home.eager = False  # what the handler completes is not resumed on top of it
        try:
            taker = self.taker
            result = handler(self._pop()) if taker is None else taker.take_message(self._pop())
        finally:
            home.eager = eager
        if result is not None:
            self.handling = True
            home.run(self._attend(result))

    async def _attend(self, running: Coroutine[Any, Any, object]) -> None:
        try:
            await running
        finally:
            self.handling = False
            if not self.home.loop.is_closed():
                self.home.loop.call_soon(self.deliver)

    def receive(self, options: int) -> Operation:
        """An operation that gives the next message; `options` says who asks. Cancelling it takes nothing."""
        operation = self.spare
        if operation is None:
            operation = Operation(self.home, self, _OPERATION)
        else:
            self.spare = None
            operation.owner = self
            operation.kind = _OPERATION
        operation.face = True
        operation.options = options
        self.submit_receive(operation)
        return operation

    def submit_receive(self, operation: Operation) -> None:
        """Serve a receive operation now if possible, else queue it."""
        home = self.home
        if self.handler is not None:
            what = "receive() of a WebSocket whose messages go to a handler"
            operation.finish(_ERROR, None, errors.illegal_call(what, "use one or the other"))
            return
        if self.first < len(self.queue):
            if self.receive_head is None and home.immediate < _IMMEDIATE_LIMIT:
                home.immediate += 1
                operation.settle(_COMPLETED, self._pop(), None)
                if self.first == len(self.queue) and (self.paused or self.over) and not self.delivering:
                    home.loop.call_soon(self.deliver)
                return
            home.loop.call_soon(self._new_turn)
        elif self.over:
            operation.finish(_ERROR, None, self.end_of(operation))
            return
        if self.receive_tail is None:
            self.receive_head = operation
        else:
            self.receive_tail.next_operation = operation
        self.receive_tail = operation

    def _new_turn(self) -> None:
        self.home.new_turn()
        self.deliver()

    def take_back(self, operation: Operation) -> None:
        if operation.options not in (_RECEIVE, _NEXT):
            return
        entry = operation.result_value
        self.queue.insert(self.first, entry)
        self.queued_payload += len(entry[1]) if self.partial else len(entry)
        if not self.home.loop.is_closed():
            self.home.loop.call_soon(self.deliver)

    def cancel_operation(self, operation: Operation, by_task: bool, message: object) -> None:
        """Nothing has been taken: a receive leaves its place, a ping is not waited for any more."""
        if operation.options == _PING:
            self._unlink_ping(operation)
            operation.subject = None
        else:
            self._unlink(operation)
        operation.finish(_CANCELED, None, cancelled_error(message if by_task else None))

    def _unlink(self, operation: Operation) -> None:
        previous: Operation | None = None
        current = self.receive_head
        while current is not None and current is not operation:
            previous = current
            current = current.next_operation
        if current is None:
            return
        if previous is None:
            self.receive_head = operation.next_operation
        else:
            previous.next_operation = operation.next_operation
        if self.receive_tail is operation:
            self.receive_tail = previous
        operation.next_operation = None

    def _unlink_ping(self, operation: Operation) -> None:
        previous: Operation | None = None
        current = self.ping_head
        while current is not None and current is not operation:
            previous = current
            current = current.next_operation
        if current is None:
            return
        if previous is None:
            self.ping_head = operation.next_operation
        else:
            previous.next_operation = operation.next_operation
        operation.next_operation = None
        self.pings_waiting -= 1

    # -- sending -----------------------------------------------------------------------------------------------------

    def send(self, kind: int, payload: Any, face: bool) -> Operation:
        """Queue one whole message; the operation gives the number of bytes of its payload.

        E_INVALIDARG for text that is not UTF-8; E_ILLEGAL_METHOD_CALL while a fragmented message is open. `face`: the
        operation is of the Python face, and cancelling it leaves the message queued. A payload that is not bytes or
        str must not change until the operation has ended.
        """
        if self.stage != _OPEN:
            raise self.refusal()
        size = payload.nbytes if type(payload) is memoryview else len(payload)
        if self._is_full(size):
            return self._refused(face)
        frame = self.sender.message(kind, payload)
        if type(payload) is str and not payload.isascii():
            size = len(payload.encode())
        return self.submit(frame, size, face)

    def send_fragment(self, kind: int, payload: Any, is_final: bool, face: bool) -> Operation:
        """Queue one frame of a message of several; else as `send`."""
        if self.stage != _OPEN:
            raise self.refusal()
        size = payload.nbytes if type(payload) is memoryview else len(payload)
        if self._is_full(size):
            return self._refused(face)
        frame = self.sender.fragment(kind, payload, is_final)
        if type(payload) is str and not payload.isascii():
            size = len(payload.encode())
        return self.submit(frame, size, face)

    def _is_full(self, size: int) -> bool:
        """Whether the stream will refuse it: asked before the frame is made, which nobody could take back."""
        stream = self.stream
        if stream.refused_write is not None and stream.has_gap():
            return True
        return stream.queued_bytes + size + _HEAD_SIZE > stream.queue_limit and stream._has_waiting()

    def _refused(self, face: bool) -> Operation:
        """The operation of a message that is refused; so is what follows, until the program knows."""
        stream = self.stream
        operation = Operation(self.home, stream, _OPERATION_WITH_PROGRESS)
        operation.options = _WRITE
        operation.face = face
        reason = (
            f"{stream.label}: {stream.queued_bytes} bytes are queued, the limit is {stream.queue_limit}; await sends"
        )
        before = stream.refused_write
        stream._refuse(operation, errors.from_errno(errno.ENOBUFS, reason) if before is None else before.error)
        return operation

    def submit(self, frame: Any, size: int, face: bool) -> Operation:
        """Queue a frame, or its head and its payload, whose `size` is the result of the operation."""
        stream = self.stream
        # The frame is made, and the next one may need it to be understood: the limit was asked before.
        limit = stream.queue_limit
        stream.queue_limit = _ANY_SIZE
        try:
            if type(frame) is not bytes:  # head and payload
                self._queue(frame[0])
                frame = frame[1]
                if type(frame) is not bytes:
                    frame = memoryview(frame).cast("B")
            operation = stream.new_operation(_OPERATION_WITH_PROGRESS)
            count = len(frame)
            operation.buffer = frame
            operation.count = count
            operation.overhead = count - size
            operation.options = _WRITE
            operation.face = face
            stream.submit_write(operation)
        finally:
            stream.queue_limit = limit
        return operation

    def _queue(self, data: bytes) -> Operation:
        """Queue bytes that nobody waits for."""
        operation = Operation(self.home, self.stream, _OPERATION_WITH_PROGRESS)
        operation.buffer = data
        operation.count = len(data)
        operation.options = _WRITE
        operation.face = True
        self.stream.submit_write(operation)
        return operation

    def answer_pings(self) -> None:
        """Answer the pings that came, in one write; only the newest while the last answer has not gone out."""
        due = self.pongs_due
        if due is None:
            return
        if self.stage != _OPEN or self.stream.has_gap():
            self.pongs_due = None  # nothing may follow a close frame
            return
        if self.pong_write is not None and not self.pong_write.done():
            self.pings_unanswered += len(due) - 1
            self.pongs_due = [due[-1]]
            return
        self.pongs_due = None
        frames = b"".join([self.sender.pong(payload) for payload in due])
        operation = self._queue(frames)
        if not operation.done():
            operation.hook = self._pong_sent
            self.pong_write = operation

    def _pong_sent(self, _operation: Operation, state: int) -> None:
        self.pong_write = None
        if self.pongs_due is not None:
            if state == _COMPLETED and not self.home.loop.is_closed():
                self.home.loop.call_soon(self.answer_pings)
            else:
                self.pongs_due = None

    def prepare_wait(self, operation: Operation) -> None:
        """Somebody waits for a pong: the ping goes out at once."""
        write = operation.subject
        if write is not None and not write.done():
            self.stream.prepare_wait(write)

    # -- what `web_socket` does --------------------------------------------------------------------------------------

    def violated(self, error: WebSocketProtocolError) -> None:
        """The peer broke the protocol, or went over a limit."""

    def peer_closed(self) -> None:
        """The peer's close frame came, behind everything that is queued."""

    def told_all(self) -> None:
        """Nothing is queued, and nothing more will come."""

    def refusal(self) -> OSError:
        """The error of a send that comes too late."""
        raise NotImplementedError

    def end_of(self, operation: Operation) -> BaseException:
        """The error of a receive behind the last message."""
        raise NotImplementedError
