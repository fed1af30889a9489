"""The pure twin of `_native.pyx`: the same names, for installations without compiled modules."""

# pyright: reportPrivateUsage=false
# The functions are the C-level friends of the memory class, and their names are those of the compiled twin.

from __future__ import annotations

import select
import sys
from asyncio import Task
from contextlib import contextmanager, suppress
from socket import MSG_NOSIGNAL, SHUT_WR, socket
from sys import getrefcount
from threading import get_ident as thread_ident
from types import BuiltinMethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextvars import Context

__all__ = [
    "MAXIMUM_EVENTS",
    "REFERENCES_IN_AWAIT",
    "REFERENCES_OF_ONE",
    "Block",
    "BufferBase",
    "Epoll",
    "accept_by_socket",
    "accept_connection",
    "block_bytes",
    "block_fills_buffer",
    "block_to_buffer",
    "block_to_stash",
    "buffer_set_used",
    "getrefcount",
    "is_sole",
    "is_task_callback",
    "receive_block",
    "receive_buffer",
    "run_task_callback",
    "send_many",
    "send_one",
    "shut_down_writing",
    "socket_name",
    "socket_option",
    "stash_to_buffer",
    "thread_ident",
]

_MAXIMUM_VECTOR = 256
MAXIMUM_EVENTS = 128


def is_task_callback(callback: object) -> bool:
    """True for the wake-up callback of an exact C task, which may be called with any completed future."""
    return type(callback) is BuiltinMethodType and type(callback.__self__) is Task


def is_sole(value: object) -> bool:
    """Whether the caller's variable is the only reference. Pure code cannot say."""
    return False


def run_task_callback(context: Context, callback: Callable[[Any], object], argument: object) -> bool:
    """Call it inside `context`; False, without calling, where that context is entered already."""
    try:
        context.run(callback, argument)
    except RuntimeError as error:
        # A task's wake-up raises no RuntimeError of its own.
        if "already entered" not in str(error):
            raise
        return False
    return True


def _references_in_await() -> int:
    """What `getrefcount(self)` says in the `__await__` of an awaited object that only the awaiting frame holds."""
    seen: list[int] = []

    class Probe:
        def __await__(self) -> Generator[None]:
            seen.append(getrefcount(self))
            return
            yield

    async def wait() -> None:
        await Probe()

    with suppress(StopIteration):
        wait().send(None)
    return seen[0]


REFERENCES_IN_AWAIT = _references_in_await()


def _references_of_one() -> int:
    """What `getrefcount(value)` says of an object that only the caller's variable holds."""
    value = object()
    return getrefcount(value)


REFERENCES_OF_ONE = _references_of_one()


def accept_by_socket(fd: int, plain_socket: socket) -> tuple[Any, Any] | None:
    """Accept on a listening socket: (socket, non-blocking; address), or None when nobody waits. OSError."""
    try:
        connection, address = plain_socket.accept()
    except BlockingIOError:
        return None
    connection.setblocking(False)
    return connection, address


accept_connection = accept_by_socket


@contextmanager
def _borrowed(fd: int) -> Generator[socket]:
    borrowed_socket = socket(fileno=fd)
    try:
        yield borrowed_socket
    finally:
        borrowed_socket.detach()


def socket_name(fd: int) -> Any:
    """The local address of a socket. OSError."""
    with _borrowed(fd) as borrowed_socket:
        return borrowed_socket.getsockname()


def socket_option(fd: int, level: int, name: int, size: int) -> bytes:
    """A socket option as bytes, as many as the kernel knows. OSError."""
    with _borrowed(fd) as borrowed_socket:
        return borrowed_socket.getsockopt(level, name, size)


class Block:
    """Memory that every receiving stream of a loop shares: data is copied out before anybody else runs."""

    __slots__ = ("size", "view")

    def __init__(self, size: int) -> None:
        self.view = memoryview(bytearray(size))
        self.size = size


class _BufferMemory:
    """Memory of a `Buffer` where a class can export its memory from Python (3.12 on)."""

    __slots__ = ("__weakref__", "filled", "limit", "store", "used")

    store: bytearray | memoryview
    limit: int
    used: int
    filled: int

    def _allocate(self, capacity: int) -> None:
        self.store = bytearray()
        self.limit = capacity
        self.used = self.filled = 0

    def _wrap(self, source: Any) -> None:
        self.store = memoryview(source).cast("B")
        if self.store.readonly:
            raise BufferError("the object is read-only")
        self.limit = self.filled = self.store.nbytes
        self.used = 0

    def _put(self, offset: int, source: Any) -> None:
        count = len(source) if isinstance(source, (bytes, bytearray)) else memoryview(source).nbytes
        end = offset + count
        if offset < 0 or end > self.limit:
            raise BufferError("the data does not fit into the buffer")
        self._reserve(end)
        self.store[offset:end] = source
        self.filled = max(self.filled, end)

    def _fill(self, source: memoryview) -> None:
        count = len(source)
        if count > len(self.store):
            self._reserve(count)
        self.store[:count] = source
        self.filled = max(self.filled, count)
        self.used = count

    def _reserve(self, size: int) -> None:
        missing = size - len(self.store)
        if missing > 0 and isinstance(self.store, bytearray):
            try:
                self.store.extend(bytes(missing))
            except BufferError:  # viewed: the views keep the old storage
                self.store = self.store + bytes(missing)

    def _set_used(self, used: int) -> None:
        if used < 0 or used > self.limit:
            raise BufferError("length beyond capacity")
        self._reserve(used)
        self.filled = max(self.filled, used)
        self.used = used

    def _used(self) -> int:
        return self.used

    def _limit(self) -> int:
        return self.limit

    def _storage_size(self) -> int:
        return len(self.store)

    def _stored(self, count: int) -> bytes:
        """The first `count` bytes, also behind the length."""
        return bytes(self.store[:count])

    def _region(self, offset: int, count: int) -> memoryview:
        self._reserve(offset + count)
        return memoryview(self.store)[offset : offset + count]

    def _mark(self, end: int) -> None:
        self.filled = max(self.filled, end)

    def __len__(self) -> int:
        return self.used

    def __buffer__(self, _flags: int) -> memoryview:
        return memoryview(self.store)[: self.used]


class _ByteArrayMemory(bytearray):
    """The same on 3.11, where only a built-in type can export its memory: the valid bytes are the bytearray's own.

    Bytes between the length and the highest length so far are kept aside, so that shrinking and growing again shows
    them, as memory would.
    """

    limit: int
    rest: bytes
    source: Any

    def _allocate(self, capacity: int) -> None:
        self.limit = capacity
        self.rest = b""
        self.source = None

    def _wrap(self, source: Any) -> None:
        view = memoryview(source).cast("B")
        if view.readonly:
            raise BufferError("the object is read-only")
        self.limit = view.nbytes
        self.rest = bytes(view)
        self.source = view

    def _put(self, offset: int, source: Any) -> None:
        if offset == 0 and len(source) == len(self) and self.source is None:
            self[:] = source
            return
        data = bytes(source)
        end = offset + len(data)
        if offset < 0 or end > self.limit:
            raise BufferError("the data does not fit into the buffer")
        length = len(self)
        whole = bytes(self) + self.rest
        whole = whole[:offset].ljust(offset, b"\0") + data + whole[end:]
        self[:] = whole[:length]
        self.rest = whole[length:]
        if self.source is not None:
            self.source[offset:end] = data

    def _fill(self, source: memoryview) -> None:
        """`_put` and `_set_used` in one; where somebody views it, and it cannot grow, only the first."""
        if len(source) == len(self) and self.source is None:
            self[:] = source
        else:
            self._put(0, source)
            with suppress(BufferError):
                self._set_used(len(source))

    def _set_used(self, used: int) -> None:
        if used < 0 or used > self.limit:
            raise BufferError("length beyond capacity")
        if used != len(self):
            whole = bytes(self) + self.rest
            self[:] = whole[:used].ljust(used, b"\0")
            self.rest = whole[used:]

    def _used(self) -> int:
        return len(self)

    def _limit(self) -> int:
        return self.limit

    def _storage_size(self) -> int:
        return len(self) + len(self.rest)

    def _stored(self, count: int) -> bytes:
        """The first `count` bytes, also behind the length."""
        return (bytes(self) + self.rest)[:count]

    def _region(self, offset: int, count: int) -> memoryview:
        return memoryview(bytearray(count))

    def _mark(self, end: int) -> None:
        """Nothing to note: `_put` did."""


if TYPE_CHECKING or sys.version_info >= (3, 12):
    BufferBase = _BufferMemory
else:
    BufferBase = _ByteArrayMemory


def buffer_set_used(target: BufferBase, used: int) -> int:
    """Set the number of valid bytes."""
    target._set_used(used)
    return 0


def block_bytes(block: Block, start: int, count: int) -> bytes:
    """A copy of part of the block."""
    return bytes(block.view[start : start + count])


def block_to_buffer(block: Block, count: int, target: BufferBase, offset: int) -> int:
    """Copy the first `count` bytes of the block into a buffer."""
    target._put(offset, block.view[:count])
    return 0


def block_fills_buffer(block: Block, count: int, target: BufferBase) -> int:
    """Make the first `count` bytes of the block the contents of a buffer."""
    target._fill(block.view[:count])
    return 0


def block_to_stash(block: Block, start: int, count: int, stash: bytearray) -> int:
    """Append part of the block to a stash."""
    stash += block.view[start : start + count]
    return 0


def stash_to_buffer(stash: bytes | bytearray, start: int, count: int, target: BufferBase, offset: int) -> int:
    """Copy part of a stash into a buffer."""
    target._put(offset, stash[start : start + count])
    return 0


def receive_block(fd: int, plain_socket: socket, block: Block, limit: int) -> int:
    """Receive up to `limit` bytes into the block; the count, or a negative errno."""
    try:
        return plain_socket.recv_into(block.view, min(limit, block.size))
    except OSError as error:
        return -(error.errno or 5)


def receive_buffer(fd: int, plain_socket: socket, target: BufferBase, offset: int, limit: int) -> int:
    """Receive straight into a buffer's own memory; the count, or a negative errno."""
    region = target._region(offset, min(limit, target._limit() - offset))
    try:
        count = plain_socket.recv_into(region)
    except OSError as error:
        return -(error.errno or 5)
    if isinstance(target, _ByteArrayMemory):
        target._put(offset, region[:count])
    else:
        target._mark(offset + count)
    return count


def send_one(fd: int, plain_socket: socket, data: Any, offset: int, length: int) -> int:
    """Send bytes [offset, length) of a bytes-like object; the count, or a negative errno."""
    try:
        if offset == 0 and length == len(data):
            return plain_socket.send(data, MSG_NOSIGNAL)
        return plain_socket.send(memoryview(data)[offset:length], MSG_NOSIGNAL)
    except OSError as error:
        return -(error.errno or 5)


def send_many(fd: int, plain_socket: socket, pieces: list[Any], offset: int) -> int:
    """Send several bytes-like objects in one system call, the first one from `offset` on."""
    pieces = pieces[:_MAXIMUM_VECTOR]
    if offset:
        pieces[0] = memoryview(pieces[0])[offset:]
    try:
        return plain_socket.sendmsg(pieces, (), MSG_NOSIGNAL)
    except OSError as error:
        return -(error.errno or 5)


def shut_down_writing(fd: int, plain_socket: socket) -> int:
    """Send FIN behind what is queued in the kernel; 0, or a negative errno."""
    try:
        plain_socket.shutdown(SHUT_WR)
    except OSError as error:
        return -(error.errno or 5)
    return 0


class Epoll:
    """One epoll set. A slot and a serial number come back with each event; the caller closes it."""

    __slots__ = ("epoll", "events", "tokens")

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.events: list[tuple[int, int]] = []
        self.tokens: dict[int, tuple[int, int]] = {}

    def add(self, fd: int, events: int, slot: int, serial: int) -> int:
        try:
            self.epoll.register(fd, events)
        except OSError as error:
            return -(error.errno or 5)
        self.tokens[fd] = (slot, serial)
        return 0

    def modify(self, fd: int, events: int, slot: int, serial: int) -> int:
        try:
            self.epoll.modify(fd, events)
        except OSError as error:
            return -(error.errno or 5)
        self.tokens[fd] = (slot, serial)
        return 0

    def remove(self, fd: int) -> int:
        self.tokens.pop(fd, None)
        try:
            self.epoll.unregister(fd)
        except OSError as error:
            return -(error.errno or 5)
        return 0

    def poll(self) -> int:
        """Fetch what is ready now; the number of events, or a negative errno."""
        try:
            self.events = self.epoll.poll(0, MAXIMUM_EVENTS)
        except OSError as error:
            return -(error.errno or 5)
        return len(self.events)

    def slot(self, index: int) -> int:
        return self.tokens.get(self.events[index][0], (0, 0))[0]

    def serial(self, index: int) -> int:
        return self.tokens.get(self.events[index][0], (0, 0))[1]

    def mask(self, index: int) -> int:
        return self.events[index][1]

    def fileno(self) -> int:
        return self.epoll.fileno()

    def close(self) -> None:
        self.epoll.close()
