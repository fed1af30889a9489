"""System calls that fail on demand, for tests in pure mode.

The pure leaf functions make their system calls through the `socket.socket` that each stream holds, a listener through
its listening socket, and the hub through its epoll object. `faulty` puts a stand-in there which follows a `FaultPlan`
and counts calls, and takes it away again:

    plan = FaultPlan()
    plan.fail("send", errno.ECONNRESET, on=3)
    with faulty(stream_socket, plan):
        ...
    assert plan.calls["send"] == 3

Compiled modules make their system calls in C, where nothing can stand in between: `faulty` then raises
ERROR_NOT_SUPPORTED, but for listeners. A library in `LD_PRELOAD` can do it there; the project's own tests have one.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from moorings import errors
from moorings._native_switch import native_mode
from moorings.engine.datagram_port import DatagramPort
from moorings.engine.hub import Hub
from moorings.engine.listener import Acceptor
from moorings.engine.tcp_stream import TcpStream

if TYPE_CHECKING:
    from collections.abc import Generator

    from moorings.sockets.stream_socket import StreamSocket
    from moorings.sockets.stream_socket_listener import StreamSocketListener

#: The system calls that a plan may name.
CALLS = (
    "recv",
    "send",
    "sendmsg",
    "shutdown",
    "accept",
    "epoll_ctl",
    "epoll_wait",
    "sendmmsg",
    "recvmmsg",
    "recvmsg",
    "sendto",
)


class _Fault(NamedTuple):
    first: int
    last: float
    code: int
    limit: int | None


class FaultPlan:
    """Which system calls fail or are short, and how many there were (`calls`, by name). May be changed at any time."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._faults: dict[str, list[_Fault]] = {name: [] for name in CALLS}

    def fail(self, call: str, code: int, *, on: int = 1, times: float = 1) -> None:
        """Let the `on`-th call from now, and `times` - 1 after it, fail with the errno `code`."""
        self._add(call, on, times, code, None)

    def shorten(self, call: str, limit: int, *, on: int = 1, times: float = float("inf")) -> None:
        """Let the `on`-th call from now, and `times` - 1 after it, move at most `limit` bytes."""
        self._add(call, on, times, 0, limit)

    def clear(self) -> None:
        """Let everything go well again."""
        for faults in self._faults.values():
            faults.clear()

    def _add(self, call: str, on: int, times: float, code: int, limit: int | None) -> None:
        if call not in self._faults:
            raise ValueError(f"{call!r} is not one of {', '.join(CALLS)}")
        first = self.calls[call] + on
        self._faults[call].append(_Fault(first, first + times - 1, code, limit))

    def count(self, call: str) -> int | None:
        """Note a call: raises its failure, or returns the number of bytes that it may move, None for no limit."""
        self.calls[call] += 1
        number = self.calls[call]
        for fault in self._faults[call]:
            if fault.first <= number <= fault.last:
                if fault.limit is not None:
                    return fault.limit
                raise OSError(fault.code, os.strerror(fault.code))
        return None


class _FaultySocket:
    """A socket whose calls follow a plan."""

    def __init__(self, real: Any, plan: FaultPlan) -> None:
        self._real = real
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def recv_into(self, buffer: Any, count: int = 0) -> int:
        limit = self._plan.count("recv")
        wanted = count or memoryview(buffer).nbytes
        received: int = self._real.recv_into(buffer, wanted if limit is None else min(limit, wanted))
        return received

    def send(self, data: Any, flags: int = 0) -> int:
        limit = self._plan.count("send")
        sent: int = self._real.send(data if limit is None else memoryview(data)[:limit], flags)
        return sent

    def sendmsg(self, pieces: Any, control: Any = (), flags: int = 0, *address: Any) -> int:
        limit = self._plan.count("sendmsg")
        if limit is not None:
            pieces = [b"".join(pieces)[:limit]]
        sent: int = self._real.sendmsg(pieces, control, flags, *address)
        return sent

    def recvmsg_into(self, buffers: Any, control_size: int = 0, flags: int = 0) -> Any:
        self._plan.count("recvmsg")
        return self._real.recvmsg_into(buffers, control_size, flags)

    def shutdown(self, how: int) -> None:
        self._plan.count("shutdown")
        self._real.shutdown(how)

    def accept(self) -> Any:
        self._plan.count("accept")
        return self._real.accept()


class _FaultyEpoll:
    """An epoll object whose calls follow a plan."""

    def __init__(self, real: Any, plan: FaultPlan) -> None:
        self._real = real
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def register(self, fd: int, events: int) -> None:
        self._plan.count("epoll_ctl")
        self._real.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        self._plan.count("epoll_ctl")
        self._real.modify(fd, events)

    def unregister(self, fd: int) -> None:
        self._plan.count("epoll_ctl")
        self._real.unregister(fd)

    def poll(self, timeout: float, maximum: int) -> Any:
        self._plan.count("epoll_wait")
        return self._real.poll(timeout, maximum)


@contextmanager
def faulty(
    target: StreamSocket | StreamSocketListener | TcpStream | DatagramPort | Acceptor | Hub, plan: FaultPlan
) -> Generator[FaultPlan]:
    """Let the system calls of `target` follow `plan` inside the block.

    Of a socket or stream that is recv, send, sendmsg and shutdown; of a datagram port sendmsg and recvmsg, one of each
    for one message (compiled, also sendmmsg and recvmmsg); of a listener accept; of a hub, once something is registered
    (`moorings.engine.hub.current_hub()`), epoll_ctl and epoll_wait.

    Errors: ERROR_NOT_SUPPORTED in compiled mode, but for listeners; E_ILLEGAL_METHOD_CALL for a target without a
    descriptor.
    """
    holder, name = _seam(target)
    real = getattr(holder, name)
    if real is None:
        raise errors.illegal_call(f"faulty: {target!r} has no descriptor", "connect or bind it first")
    stand_in = _FaultyEpoll(real, plan) if isinstance(target, Hub) else _FaultySocket(real, plan)
    setattr(holder, name, stand_in)
    try:
        yield plan
    finally:
        if getattr(holder, name) is stand_in:
            setattr(holder, name, real)


def _seam(target: Any) -> tuple[Any, str]:
    """The object that holds what makes the system calls, and the attribute."""
    if not isinstance(target, (TcpStream, DatagramPort, Acceptor, Hub)):
        accepting = getattr(target, "_accepting", None)
        target = accepting.acceptor if accepting is not None else target._connection.stream
    if target is None:
        raise errors.illegal_call("faulty: the target has no descriptor", "connect or bind it first")
    if isinstance(target, Acceptor):
        return target, "_socket"
    if native_mode()[0]:
        raise errors.not_supported("faults in compiled mode", "a seam in front of C code; use MOORINGS_NATIVE=off")
    if isinstance(target, Hub):
        if target.epoll is None:
            raise errors.illegal_call("faulty: nothing is registered in the hub", "open a socket first")
        return target.epoll, "epoll"
    return target, "plain_socket"
