"""One TCP connection to one address, on any event loop.

`connect_socket` is what `race` runs for each candidate. It uses nothing of the loop but `add_writer`, so stock asyncio
and uvloop behave alike, and at every moment the descriptor has exactly one owner: this coroutine until it returns,
then the caller.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine.waiting import until_writable
from moorings.names.endpoints import endpoint_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorings.names.endpoints import Candidate

# SYN retransmissions until the kernel gives up: 7 wait for 255 s, beyond our own limit of 180 s, where its default of 6
# would end the attempt after 127 s (tcp(7), TCP_SYNCNT).
_SYN_RETRANSMISSIONS = 7
# Not in the socket module before Python 3.12. Source: linux/in.h, ip(7).
_IP_BIND_ADDRESS_NO_PORT = 24
_STARTED = frozenset((errno.EINPROGRESS, errno.EINTR))


async def connect_socket(
    candidate: Candidate,
    *,
    local: tuple[Any, ...] | None = None,
    prepare: Callable[[socket.socket], object] | None = None,
    timeout: float | None = None,
) -> socket.socket:
    """Connect a new, non-blocking stream socket to `candidate`, and return it. The caller then owns it.

    `local` is the address to bind before, as the socket module takes it. `prepare` may set options; it is called with
    the new socket before bind and connect. `timeout` is in seconds; None leaves it to the kernel (some 4 minutes).

    Raises OSError with a WinRT code and a reason that names the endpoints: WSAECONNREFUSED, WSAETIMEDOUT,
    WSAENETUNREACH, ... Cancelling: *nothing happened*, *retry safe*; the other side may see a connection that is reset.
    """
    with_type = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    try:
        sock = socket.socket(candidate.family, with_type)
    except OSError as error:
        raise _failed(error, candidate, "no socket could be made") from error
    try:
        _prepare(sock, candidate, local, prepare)
        await _connect(sock, candidate, timeout)
    except BaseException:
        sock.close()
        raise
    return sock


def _prepare(
    sock: socket.socket,
    candidate: Candidate,
    local: tuple[Any, ...] | None,
    prepare: Callable[[socket.socket], object] | None,
) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, _SYN_RETRANSMISSIONS)
    if prepare is not None:
        prepare(sock)
    if local is None:
        return
    try:
        if not local[1]:
            # The port is chosen at connect, for this destination: many more connections fit one address.
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind(local)
    except OSError as error:
        raise _failed(error, candidate, f"binding to {endpoint_text(local[0], local[1])} failed") from error


async def _connect(
    sock: socket.socket,
    candidate: Candidate,
    timeout: float | None,
) -> None:
    code = sock.connect_ex(candidate.sockaddr)
    if code in _STARTED:
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await until_writable(sock.fileno())
        except TimeoutError as error:
            if not limit.expired():
                raise
            reason = f"connecting to {candidate}: no answer within {timeout:g} s; is the host up and reachable?"
            raise errors.make(errors.WSAETIMEDOUT, reason) from error
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise errors.from_errno(code, f"connecting to {candidate}: {_explain(code)}")
    if sock.getsockname()[:2] == candidate.sockaddr[:2]:
        # Nobody listened, and the kernel happened to pick the destination's own port: a TCP simultaneous open with
        # oneself (RFC 9293 section 3.5).
        raise errors.from_errno(errno.ECONNREFUSED, f"connecting to {candidate}: {_explain(errno.ECONNREFUSED)}")


_EXPLANATIONS = {
    errno.ECONNREFUSED: "refused; nothing listens there, or a firewall rejects it",
    errno.ETIMEDOUT: "no answer; is the host up and reachable?",
    errno.ENETUNREACH: "this machine has no route to that network",
    errno.EHOSTUNREACH: "the host cannot be reached; is it up, and on this network?",
    errno.EADDRNOTAVAIL: "no local address or port is available for it",
    errno.EACCES: "not permitted; a firewall or the system's policy forbids it",
    errno.EPERM: "not permitted; a firewall or the system's policy forbids it",
    errno.EINVAL: "not an address to connect to; a link-local one needs its interface, as in fe80::1%eth0",
    errno.EMFILE: "this process has too many open files; raise its limit (ulimit -n) or close some",
    errno.ENFILE: "this machine has too many open files",
}


def _explain(code: int) -> str:
    return _EXPLANATIONS.get(code, os.strerror(code))


def _failed(error: OSError, candidate: Candidate, what: str) -> OSError:
    detail = _explain(error.errno) if error.errno else str(error)
    return errors.from_os_error(error, f"connecting to {candidate}: {what}: {detail}")
