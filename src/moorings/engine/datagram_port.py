"""One UDP descriptor in a hub: receiving in batches, errors of the network, and the end.

Theory of operation
-------------------
The descriptor is watched level-triggered, for reading only while somebody takes datagrams. One receive call brings up
to 16 messages into the loop's `Inbox`, each of them perhaps many datagrams of one sender (GRO, switched on where the
kernel has it); they are handed out one after the other before anything else is received. In pure mode each message is
a call of its own, and the last of them would find nothing: there, as many are asked for as came lately.

Who takes them: a *handler*, called as `handler(owner, datagram)` with a `Datagram` that serves again when nobody kept
it; or a *sink*, for everything slower (several handlers, worker threads); or *receivers*, operations that wait for a
datagram each, with a bounded queue behind them. What finds the queue full is dropped, as `drop_newest` says, and
counted.

Failures that the network reports (ICMP) come from the socket's error queue (IP_RECVERR, ip(7)), as datagrams with an
`error`, in the name of the peer they concern. They never end the port.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from select import EPOLLERR, EPOLLIN, EPOLLOUT
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine.datagram import Datagram
from moorings.engine.datagram_facts import coalesces, knows_segments
from moorings.engine.datagram_reports import report_error, report_in
from moorings.engine.datagram_sending import SendingPort
from moorings.engine.hub import Hub  # noqa: TC001 - Cython takes the name from the .pxd
from moorings.foundation.operation import Operation, cancelled_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from weakref import ref

    import cython
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import is_sole
    from moorings._pure_datagrams import Inbox
    from moorings.engine.datagram_steps import hand_out_simply

#: Datagrams that wait for `receive`, by default.
RECEIVE_QUEUE_LIMIT = 1024
#: Kernel messages that one turn takes, each up to 64 KiB.
RECEIVE_BURST = 16
#: Errors that one turn takes.
ERROR_BURST = 64
#: Receive calls in a row that brought all they asked for, before the next one asks for more.
_PATIENCE = 8

_BURST = RECEIVE_BURST
_READABLE = EPOLLIN
_WRITABLE = EPOLLOUT
_FAILED = EPOLLERR

_STARTED = 0
_COMPLETED = 1
_CANCELED = 2
_ERROR = 3

_OPEN = 0
_CLOSED = 2

_TAKEN = 1
_WRITE = 32
_FLUSH = 64

_OPERATION = 1

_ERROR_OPTIONS = ((int(socket.IPPROTO_IP), 11), (int(socket.IPPROTO_IPV6), 25))  # IP_RECVERR, IPV6_RECVERR
_ERROR_QUEUE = int(socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
_ERROR_CONTROL_SIZE = 512


class DatagramPort(SendingPort):
    """One UDP descriptor. Made from a non-blocking socket, which it takes over."""

    __slots__ = (
        "burst",
        "burst_filled",
        "bytes_received",
        "can_coalesce",
        "coalesced_received",
        "datagrams_dropped",
        "datagrams_received",
        "drop_newest",
        "errors_received",
        "filter",
        "handler",
        "handler_of_owner",
        "inbox",
        "make_datagram",
        "on_release",
        "owner",
        "pinned",
        "queue",
        "queue_length_limit",
        "receive_calls",
        "receive_head",
        "receive_tail",
        "report",
        "sink",
        "spare_datagram",
        "start",
    )

    def __init__(self, hub: Hub, plain_socket: socket.socket, label: object) -> None:
        """Take over a non-blocking socket. `label` names the port in errors, by its text."""
        SendingPort.__init__(self, hub, label)
        self.inbox: Inbox | None = None
        self.handler: Callable[[Any, Datagram], object] | None = None
        self.handler_of_owner = False
        self.owner: ref[Any] | None = None
        self.report: Any = None
        self.start: Any = None
        self.sink: Any = None
        self.filter: Any = None
        self.make_datagram: Callable[[], Datagram] = Datagram
        self.spare_datagram: Datagram | None = None
        self.queue: Any = None
        self.queue_length_limit = RECEIVE_QUEUE_LIMIT
        self.drop_newest = False
        self.receive_head: Operation | None = None
        self.receive_tail: Operation | None = None
        self.on_release: Any = None
        self.bytes_received = 0
        self.datagrams_received = 0
        self.datagrams_dropped = 0
        self.coalesced_received = 0
        self.errors_received = 0
        self.pinned = 0
        self.receive_calls = 0
        self.burst = _BURST if cython.compiled else 1
        self.burst_filled = 0
        self.can_segment = knows_segments(plain_socket)
        self.can_coalesce = coalesces(plain_socket)
        self.guessable = True
        hub.register(self, plain_socket.fileno(), 0)
        self.plain_socket = plain_socket

    # -- who takes the datagrams ---------------------------------------------------------------------------------------

    def serve(self, owner: ref[Any], handler: Any, report: Any, start: Any) -> None:
        """From now on call `handler(owner(), datagram)`; `report(error, handler)`, `start(handler, awaitable)`."""
        self.owner = owner
        self.handler = handler
        self.report = report
        self.start = start
        self.reading = True
        self.update_events()

    def serve_owner(self, owner: ref[Any], handler_of: Any, report: Any, start: Any) -> None:
        """As `serve`, with the handler that `handler_of(owner())` gives: the owner keeps it, and may be dropped."""
        self.handler_of_owner = True
        self.serve(owner, handler_of, report, start)

    def serve_sink(self, sink: Callable[[Datagram], object]) -> None:
        """From now on give each datagram, independent of the shared memory, to `sink`."""
        self.sink = sink
        self.reading = True
        self.update_events()

    def may_receive(self) -> bool:
        """True where `receive` works at once: nobody else takes the datagrams."""
        return self.handler is None and self.sink is None and self.usable_here()

    def receive(self) -> Operation:
        """Start waiting for one datagram; the operation gives a `Datagram`. Cancelling it takes nothing."""
        operation = self.spare
        if operation is None:
            operation = Operation(self.home, self, _OPERATION)
        else:
            self.spare = None
            operation.owner = self
            operation.kind = _OPERATION
        operation.options = 0
        operation.count = 0
        self.submit_receive(operation)
        return operation

    def submit_receive(self, operation: Operation) -> None:
        """Serve a receive operation from the queue, or let it wait."""
        if operation.state != _STARTED:
            return  # cancelled on its way here
        if self.phase != _OPEN:
            operation.finish(_ERROR, None, self.closed_error())
            return
        if self.queue is None:
            self.queue = deque()
        home = self.home
        if self.queue and self.receive_head is None and home.has_budget():
            home.immediate += 1
            if self._complete_receive(operation, self.queue.popleft()):
                home.resume()
        else:
            if self.receive_head is None:
                self.receive_head = operation
            else:
                assert self.receive_tail is not None
                self.receive_tail.next_operation = operation
            self.receive_tail = operation
            if self.queue and self.hub is not None:
                self.hub.defer(self)
        if not self.reading:
            self.reading = True
            self.update_events()

    def enter_receive(self, operation: Operation) -> None:
        """`submit_receive` as a callback."""
        self.submit_receive(operation)

    def take(self) -> Datagram | None:
        """The oldest datagram that waits to be received, or None; a report among them has its `error` set."""
        datagram: Datagram | None = self.queue.popleft() if self.queue and self.receive_head is None else None
        return datagram

    def take_back(self, operation: Operation) -> None:
        if operation.options == 0:
            self.put_back(operation.result_value)

    def put_back(self, datagram: Datagram) -> None:
        """Give back what `receive` gave and nobody took, because its task was cancelled: it is the next one again."""
        if self.phase != _OPEN or self.queue is None:
            return
        self.queue.appendleft(datagram)
        if self.receive_head is not None and self.hub is not None:
            self.hub.defer(self)

    def _complete_receive(self, operation: Operation, datagram: Datagram) -> bool:
        """Whether to call `home.resume()`, once nobody holds the operation any more: then it serves again."""
        if datagram.error is not None:
            return operation.settle(_ERROR, None, datagram.error.with_traceback(None))
        return operation.settle(_COMPLETED, datagram, None)

    def _complete_first(self, datagram: Datagram) -> None:
        """End the receive that waits longest."""
        operation = self.receive_head
        assert operation is not None
        self.receive_head = operation.next_operation
        operation.next_operation = None
        if self.receive_head is None:
            self.receive_tail = None
        resume = self._complete_receive(operation, datagram)
        operation = None
        if resume:
            self.home.resume()

    def _put(self, datagram: Datagram) -> None:
        """A datagram for whoever waits, or for the queue."""
        if self.receive_head is not None and not self.queue:
            self._complete_first(datagram)
            return
        if len(self.queue) >= self.queue_length_limit:
            self.datagrams_dropped += 1
            if self.drop_newest or not self.queue:
                return
            self.queue.popleft()
        self.queue.append(datagram)

    # -- events --------------------------------------------------------------------------------------------------------

    def on_events(self, mask: int) -> None:
        if mask & _FAILED:
            self.read_errors()
        if mask & _READABLE and self.reading and self.phase == _OPEN:
            if self.hub is not None:
                self.hub.learn(self)
            self._receive_batch()
        if mask & _WRITABLE and self.write_blocked and self.phase == _OPEN:
            self.write_blocked = False
            self._send_queue()
            if not self.write_blocked and self.phase == _OPEN:
                self.update_events()

    def on_guess(self) -> bool:
        if not self.reading or self.write_blocked or self.phase != _OPEN or not self._receive_batch():
            return False
        if self.hub is not None:
            self.hub.learn(self)
        return True

    def on_turn(self) -> None:
        if self.phase == _OPEN:
            self.on_flush()
        while self.queue and self.receive_head is not None and self.home.has_budget():
            self.home.immediate += 1
            self._complete_first(self.queue.popleft())
        if self.queue and self.receive_head is not None and self.hub is not None:
            self.hub.defer(self)

    def update_events(self) -> None:
        if self.hub is not None:
            self.hub.change(self, (_READABLE if self.reading else 0) | (_WRITABLE if self.write_blocked else 0))

    def _receive_batch(self) -> bool:
        """Receive and hand out; whether there was something."""
        owner: Any = None
        handler: Any = self.handler
        home = self.home
        if handler is not None:
            assert self.owner is not None
            owner = self.owner()
            if owner is None:
                # Dropped by the program: the port is about to be closed.
                self.reading = False
                self.update_events()
                return False
            handler = self._handler_for(owner)
        inbox = self.inbox
        if inbox is None or inbox.busy:
            inbox = self._find_inbox()
        count = inbox.receive(self.fd, self.plain_socket, self.burst)
        self.receive_calls += 1
        if count < 0:
            if -count == errno.EAGAIN:
                return False
            if self.take_reports(-count) == 0:
                self._tell(-count, None, 0)
            return True
        self._adapt_burst(count)
        if handler is not None or self.sink is not None:
            # The program's handlers run from here: what they complete must not resume a task on top of them.
            home.eager = False
        inbox.busy = True
        try:
            self._hand_out_all(inbox, count, handler, owner)
        finally:
            inbox.busy = False
        home.eager = home.in_callback
        return True

    def _hand_out_all(self, inbox: Inbox, count: int, handler: Any, owner: Any) -> None:
        """Each received message, as long as the port is open."""
        index = 0
        while index < count and self.phase == _OPEN:
            inbox.open(index)
            self.home.turn_bytes += inbox.size
            self.bytes_received += inbox.size
            if self.filter is None or self.filter(inbox):
                if cython.compiled or handler is None:
                    self._hand_out(inbox, index, handler, owner)
                else:
                    hand_out_simply(self, inbox, index, handler, owner)
                if inbox.is_viewed(index):
                    self.pinned += 1
            index += 1

    def _find_inbox(self) -> Inbox:
        """The memory that the ports of a loop share; another one where that is in use, below us on the stack."""
        assert self.hub is not None
        inbox: Inbox | None = self.hub.inbox
        if inbox is None:
            inbox = self.hub.inbox = Inbox()
        if inbox.busy:
            return Inbox()
        self.inbox = inbox
        return inbox

    def _adapt_burst(self, count: int) -> None:
        """Each message that is asked for and not there costs; a message too few only costs a look for events.

        Compiled, what is not there costs little: there is room for one, as in request and reply, or for all.
        """
        if cython.compiled:
            if count <= 1 and self.burst > 1:
                self.burst = 1
                return
            if self.burst > 1:
                return
            self.burst_filled += 1
            if self.burst_filled >= _PATIENCE:
                self.burst = _BURST
                self.burst_filled = 0
        elif count < self.burst:
            self.burst = count if count > 0 else 1
            self.burst_filled = 0
        elif self.burst < _BURST:
            self.burst_filled += 1
            if self.burst_filled >= _PATIENCE:
                self.burst = min(2 * self.burst, _BURST)
                self.burst_filled = 0

    def _hand_out(self, inbox: Inbox, index: int, handler: Any, owner: Any) -> None:
        """Each datagram of one received message."""
        offset = 0
        size = inbox.size
        segment = inbox.segment
        while True:
            datagram = self.spare_datagram
            self.spare_datagram = None
            if datagram is None:
                datagram = self.make_datagram()
            datagram.inbox = inbox
            datagram.index = index
            datagram.offset = offset
            datagram.size = segment if size - offset > segment else size - offset
            datagram.truncated = inbox.truncated and size - offset <= segment
            datagram.name = inbox.name
            datagram.destination = inbox.destination
            datagram.interface = inbox.interface
            datagram.hop_limit = inbox.hop_limit
            datagram.traffic_class = inbox.traffic_class
            datagram.timestamp_ns = inbox.timestamp_ns
            self.datagrams_received += 1
            if segment < size:
                self.coalesced_received += 1
            if handler is not None:
                self._call(handler, owner, datagram)
                if cython.compiled and is_sole(datagram):
                    datagram.clear()
                    self.spare_datagram = datagram
                else:
                    datagram.keep()
            else:
                datagram.keep()
                if self.sink is not None:
                    self.sink(datagram)
                else:
                    self._put(datagram)
                    # Whoever waited for it has run, and may be done with it.
                    if cython.compiled and is_sole(datagram) and self.phase == _OPEN:
                        datagram.clear()
                        self.spare_datagram = datagram
            datagram = None
            offset += segment
            if offset >= size or self.phase != _OPEN:
                return

    def _handler_for(self, owner: Any) -> Any:
        handler: Any = self.handler
        return handler(owner) if self.handler_of_owner else handler

    def _call(self, handler: Any, owner: Any, datagram: Datagram) -> None:
        report = self.report  # (the handler may close the port, which forgets them)
        start = self.start
        try:
            result = handler(owner, datagram)
        except Exception as error:  # noqa: BLE001 - the program's handler may raise anything; it is reported, once
            report(error, handler)
            return
        if result is not None:
            start(handler, result)

    # -- failures that the network reports -----------------------------------------------------------------------------

    def read_errors(self) -> int:
        """Take what the error queue holds, and tell the readers; the number of errors that they were told."""
        entries = told = 0
        while entries < ERROR_BURST and self.phase == _OPEN:
            try:
                _, controls, _, name = self.plain_socket.recvmsg(0, _ERROR_CONTROL_SIZE, _ERROR_QUEUE)
            except OSError:
                break
            entries += 1
            for level, kind, control in controls:
                if (level, kind) in _ERROR_OPTIONS:
                    told += self._told(control, name)
        if entries == 0 and self.phase == _OPEN:
            # Without the option, or with the queue full, the kernel keeps only the number.
            code = self.plain_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                told = 1
                self._tell(code, None, 0)
        return told

    def take_reports(self, code: int) -> int:
        told = self.read_errors()
        if told == 0 and code == errno.ECONNREFUSED and self.phase == _OPEN:
            # No send fails with this on its own account, and the kernel has told the call alone.
            told = 1
            self._tell(code, None, 0)
        return told

    def _told(self, control: bytes, name: Any) -> int:
        report = report_in(control)
        if report is None:
            return 0
        self._tell(report[0], name if type(name) is tuple else None, report[1], report[2])
        return 1

    def _tell(self, code: int, name: Any, information: int, v6: bool = False) -> None:
        self.errors_received += 1
        datagram = self.make_datagram()
        datagram.name = name
        datagram.error = report_error(self.label, code, name, information, v6)
        if self.handler is None and self.sink is None:
            if self.queue is not None:
                self._put(datagram)
            return
        owner = self.owner() if self.owner is not None else None
        home = self.home
        eager, home.eager = home.eager, False
        try:
            if self.handler is None:
                self.sink(datagram)
            elif owner is not None:
                self._call(self._handler_for(owner), owner, datagram)
        finally:
            home.eager = eager

    # -- ending --------------------------------------------------------------------------------------------------------

    def cancel_operation(self, operation: Operation, by_task: bool, message: object) -> None:
        """A queued write is not sent any more; a receive takes nothing; the port lives on."""
        if operation.options == _WRITE and operation.done_bytes == _TAKEN and not by_task:
            return  # the kernel has it, and it is about to be told
        self._unlink(operation)
        if by_task:
            operation.finish(_CANCELED, None, cancelled_error(message))
        elif operation.options == 0:
            operation.finish(_CANCELED, None, cancelled_error(None))
        else:
            operation.finish(_ERROR, None, errors.aborted(f"{self.label}: the operation was cancelled"))

    def _unlink(self, operation: Operation) -> None:
        writes = operation.options >= _WRITE
        previous: Operation | None = None
        current = self.write_head if writes else self.receive_head
        while current is not None and current is not operation:
            previous = current
            current = current.next_operation
        if current is None:
            return
        following = operation.next_operation
        operation.next_operation = None
        if previous is not None:
            previous.next_operation = following
        elif writes:
            self.write_head = following
        else:
            self.receive_head = following
        if following is None and writes:
            self.write_tail = previous
        elif following is None:
            self.receive_tail = previous
        if operation.options == _WRITE:
            self.forget_queued(operation)

    def cancel_io(self) -> None:
        """End all pending I/O with ERROR_OPERATION_ABORTED; the port lives on, and nothing received is lost."""
        error = errors.aborted(f"{self.label}: cancel_io_async() ended the operation")
        self._fail_writes(error)
        self._fail_receives(error)

    def _fail_receives(self, error: OSError) -> None:
        operation = self.receive_head
        self.receive_head = self.receive_tail = None
        while operation is not None:
            following = operation.next_operation
            operation.next_operation = None
            operation.finish(_ERROR, None, error.with_traceback(None))
            operation = following

    def close(self) -> None:
        """Send what is queued as far as the kernel takes it at once, fail the rest, release the descriptor."""
        if self.phase != _OPEN:
            return
        while self.write_head is not None and not self.write_blocked and self.phase == _OPEN:
            self._send_queue()  # (it ends early where the loop turn's budget does)
        self.abort()

    def abort(self) -> None:
        """Release the descriptor at once; pending operations fail."""
        if self.phase != _OPEN:
            return
        on_release, self.on_release = self.on_release, None
        if on_release is not None:
            on_release(self)
        self.phase = _CLOSED
        self.reading = False
        if self.hub is not None:
            self.hub.unregister(self)
        self.fd = -1
        self.plain_socket.close()
        self.handler = self.sink = self.owner = self.report = self.start = self.filter = None
        self.spare = self.spare_datagram = self.free_operations = None
        self.free_list.clear()
        self.free_count = 0
        error = errors.aborted(f"{self.label} was closed")
        self._fail_writes(error)
        self._fail_receives(error)
        self.queue = None

    def on_drop(self) -> None:
        """In a forked child: the parent keeps the port, our copy of the descriptor goes."""
        self.write_head = self.write_tail = self.receive_head = self.receive_tail = None
        self.abort()

    def is_open(self) -> bool:
        """True until `close` or `abort`."""
        return self.phase == _OPEN
