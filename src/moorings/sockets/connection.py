"""What the public objects of one connection share.

`Connection` holds state, settings and endpoints; StreamSocket, its control and its information all refer to it, and so
does the engine's stream, for names in errors and for a last look before the descriptor goes. None of these refers back
to the public object, which the program may drop: the *lifeline*, shared by the socket and its two streams, notices.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import warnings
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from moorings import errors
from moorings.engine import tcp_info
from moorings.engine.descriptor import borrowed, local_address
from moorings.engine.interface import BROKEN, EndReason
from moorings.foundation.gate import Gate
from moorings.names.endpoints import endpoint_text
from moorings.names.host_name import host_name_from_sockaddr
from moorings.sockets.enums import SocketProtectionLevel, SocketQualityOfService
from moorings.sockets.tls_settings import DEFAULT_TLS, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moorings.certificates.certificate import Certificate
    from moorings.engine.tcp_stream import TcpStream
    from moorings.foundation.home import Home
    from moorings.names.host_name import HostName
    from moorings.sockets.tls_settings import TlsFacts

# SO_PRIORITY 6 is the interactive band of the default queueing discipline (tc-prio(8)); IPTOS_LOWDELAY from ip(7).
_INTERACTIVE_PRIORITY = 6
_LOW_DELAY = 0x10
_LOW_LATENCY = SocketQualityOfService.LOW_LATENCY

_PACKAGE = str(Path(__file__).parents[1]) + os.sep


class State(IntEnum):
    """Life of a socket."""

    NEW = 0
    BUSY = 1
    OPEN = 2
    CLOSED = 3


# Up to Python 3.11, looking a member of an enumeration up costs as much as ten other look-ups.
_NEW = State.NEW
_OPEN = State.OPEN
_CLOSED = State.CLOSED


@dataclass(slots=True)
class Settings:
    """Values of a control object. Connections of a listener share its settings, which no longer change then."""

    quality_of_service: SocketQualityOfService = SocketQualityOfService.NORMAL
    outbound_unicast_hop_limit: int = 128
    outbound_buffer_size: int | None = None
    no_delay: bool = True
    keep_alive: bool = False
    serialize_connection_attempts: bool = False
    client_certificate: Certificate | None = None
    tls: TlsSettings = DEFAULT_TLS
    min_protection_level: SocketProtectionLevel = SocketProtectionLevel.UNSPECIFIED

    def apply(self, plain_socket: socket.socket) -> None:
        """Set the socket options; what a listening socket accepts inherits them (socket(7), tcp(7)), but for one."""
        plain_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, self.no_delay)
        if self.keep_alive:
            plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.outbound_buffer_size is not None:
            plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.outbound_buffer_size)
        low_latency = self.quality_of_service is _LOW_LATENCY
        # A socket for both families needs the IPv4 options too, for its mapped peers.
        plain_socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self.outbound_unicast_hop_limit)
        if low_latency:
            plain_socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _LOW_DELAY)
        if plain_socket.family == socket.AF_INET6:
            plain_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, self.outbound_unicast_hop_limit)
            if low_latency:
                plain_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _LOW_DELAY)
        self.apply_to_accepted(plain_socket)

    def apply_to_accepted(self, connected: socket.socket | int) -> None:
        """Set what is not inherited: the kernel gives an accepted socket priority 0. (IP_TOS changes it too.)"""
        if self.quality_of_service is not _LOW_LATENCY:
            return
        with borrowed(connected if isinstance(connected, int) else connected.fileno()) as plain_socket:
            plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _INTERACTIVE_PRIORITY)


def settings_of(plain_socket: socket.socket) -> Settings:
    """The settings that somebody else made on a connected socket."""
    v6 = plain_socket.family == socket.AF_INET6
    level, hops = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if v6 else (socket.IPPROTO_IP, socket.IP_TTL)
    low_latency = plain_socket.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) >= _INTERACTIVE_PRIORITY
    return Settings(
        quality_of_service=SocketQualityOfService.LOW_LATENCY if low_latency else SocketQualityOfService.NORMAL,
        outbound_unicast_hop_limit=plain_socket.getsockopt(level, hops),
        no_delay=bool(plain_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)),
        keep_alive=bool(plain_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
    )


def require(
    state: State, rules: Mapping[str, frozenset[State]], member: str, what: object, hints: Mapping[State, str]
) -> None:
    """Check a member against its class's state table; `what` names the object, by its text.

    Errors: RO_E_CLOSED 0x80000013 on a closed object, E_ILLEGAL_METHOD_CALL 0x8000000E in any other wrong state.
    """
    if state in rules[member]:
        return
    if state is _CLOSED:
        raise errors.closed(str(what))
    raise errors.illegal_call(f"{what}: {member} while it is {state.name.lower()}", hints.get(state, ""))


def require_new(state: State, what: str, hint: str) -> None:
    """Check that a setting may still be made: RO_E_CLOSED on a closed object, else E_ILLEGAL_METHOD_CALL."""
    if state == State.CLOSED:
        raise errors.closed(f"{what} cannot be set: the object")
    if state != State.NEW:
        raise errors.illegal_call(f"{what} cannot be set any more", hint)


#: Two threads may start a connect or bind on one object at the same moment: one of them must lose.
_start_gate = Gate()
#: Two threads may ask for a stream of one object at the same moment: both must get the same.
first_use = Gate()


class HasState(Protocol):
    """What has a state that `start` may change."""

    state: State


def start(subject: HasState, check: Callable[[], None]) -> None:
    """Move from NEW to BUSY; `check` raises where that is not allowed."""
    with _start_gate.lock:
        check()
        subject.state = State.BUSY


class Connection:
    """State, settings, endpoints and statistics of one TCP connection."""

    #: The class of the public object, for names in errors.
    kind = "StreamSocket"

    __slots__ = (
        "__weakref__",
        "accepted",
        "final_info",
        "home",
        "host_name",
        "ignorable_errors",
        "local_sockaddr",
        "on_finished",
        "on_last_look",
        "opened_at",
        "peak_rtt",
        "rates",
        "remote_sockaddr",
        "service_name",
        "settings",
        "state",
        "stream",
        "tls",
    )

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state: State = _NEW
        self.accepted = False
        self.stream: TcpStream | None = None
        self.host_name: HostName | None = None
        self.service_name = ""
        self.home: Home | None = None
        self.remote_sockaddr: Any = None
        self.local_sockaddr: Any = None
        self.final_info: bytes | None = None
        self.ignorable_errors: Any = None
        self.opened_at = 0.0
        self.peak_rtt = 0
        self.rates: Any = None
        self.on_finished: Callable[[Connection], object] | None = None
        #: Called with the stream before its descriptor goes.
        self.on_last_look: Callable[[TcpStream], object] | None = None
        #: What is known of the last TLS handshake.
        self.tls: TlsFacts | None = None

    def opened(self, stream: TcpStream, remote_sockaddr: Any, local_sockaddr: Any = None) -> None:
        """The connection stands. The local address, where it is not known, is asked from the kernel when needed."""
        self.stream = stream
        self.home = stream.home
        self.remote_sockaddr = remote_sockaddr
        self.local_sockaddr = local_sockaddr
        self.final_info = None
        self.opened_at = time.monotonic()
        self.state = _OPEN
        stream.on_release = self.finished

    def back_to_new(self) -> None:
        """A connect failed or was cancelled, perhaps in the very turn in which it succeeded."""
        if self.state == State.OPEN:
            stream, self.stream = self.stream, None
            if stream is not None:
                stream.on_release = None
                stream.abort()
            self.remote_sockaddr = self.local_sockaddr = None
        if self.tls is not None:  # (the server's certificate can still be asked for)
            self.tls = self.tls._replace(level=SocketProtectionLevel.PLAIN_SOCKET)
        if self.state != State.CLOSED:
            self.state = State.NEW

    def finished(self, stream: TcpStream) -> None:
        """The descriptor is about to go: keep what can be asked only now."""
        self.state = _CLOSED
        self.local_address_of(stream.fd)
        on_last_look = self.on_last_look
        self.on_last_look = None
        if on_last_look is not None:
            on_last_look(stream)
        self.final_info = tcp_info.read_raw(stream.fd)
        # The stream must not refer back to us: what refers to each other stays until the garbage collector comes.
        stream.label = Name(self)
        on_finished = self.on_finished
        self.on_finished = None
        if on_finished is not None:
            on_finished(self)

    def local_address_of(self, fd: int) -> Any:
        """The local socket address, asked from the kernel once."""
        if self.local_sockaddr is None and fd >= 0:
            answer = local_address(fd)
            # On another thread: the home thread may have closed it meanwhile, and its number be somebody else's.
            if self.local_sockaddr is None:
                self.local_sockaddr = answer
        return self.local_sockaddr

    def local(self) -> Any:
        """The local socket address, or None."""
        return self.local_address_of(self.stream.fd if self.stream is not None else -1)

    def info(self) -> tcp_info.TcpInfo:
        """TCP_INFO: of now, or of the moment before the end."""
        answer = b""
        if self.final_info is None and self.stream is not None:
            answer = tcp_info.read_raw(self.stream.fd)
        # On another thread: the home thread may have ended the connection meanwhile.
        return tcp_info.parse(answer if self.final_info is None else self.final_info)

    def end_reason(self) -> EndReason:
        """Why the connection ended."""
        return EndReason.OPEN if self.stream is None else EndReason(self.stream.end_reason)

    def broke_with(self, error: BaseException) -> bool:
        """Whether `error` only says that this very connection broke: the peer reset it, or is heard of no more.

        A group of such errors, as `asyncio.TaskGroup` raises it, says no more than one of them.
        """
        if isinstance(error, BaseExceptionGroup):
            return all(self.broke_with(each) for each in error.exceptions)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
        stream = self.stream
        if stream is None or stream.end_reason not in BROKEN:
            return False
        return error is stream.read_error or error is stream.write_error

    def __str__(self) -> str:
        """The connection as errors name it."""
        self.local()
        return str(Name(self))


class Name:
    """A connection as errors name it; the text is made when somebody asks."""

    __slots__ = ("accepted", "kind", "local", "remote", "state", "target")

    def __init__(self, connection: Connection) -> None:
        self.kind = connection.kind
        self.accepted = connection.accepted
        self.state = connection.state
        self.local = connection.local_sockaddr
        self.remote = connection.remote_sockaddr
        host = connection.host_name
        self.target = None if host is None else (host.display_name, connection.service_name)

    def __str__(self) -> str:
        if self.remote is None:
            return self.kind if self.target is None else f"{self.kind} to {endpoint_text(*self.target)}"
        return f"{self.kind} {_text(self.local)} {'<-' if self.accepted else '->'} {_text(self.remote)}"


def _text(sockaddr: Any) -> str:
    if not sockaddr:
        return "?"
    return endpoint_text(host_name_from_sockaddr(sockaddr).display_name, sockaddr[1])


def creation_place() -> tuple[str, int]:
    """File and line of the program's code that made an object, for the warning that it was not closed."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # the documented way to a caller's place
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


class Lifeline:
    """Held by the public objects of a connection, and by nothing else: when it goes, nobody can use the connection."""

    __slots__ = ("place", "stream")

    def __init__(self, stream: TcpStream, place: tuple[str, int] | None) -> None:
        self.stream = stream
        self.place = place

    def __del__(self) -> None:
        stream = self.stream
        home = stream.home
        if home.dropped:
            return
        if not stream.is_open() or stream.is_closing():  # a protocol on it may be taking leave
            if home.loop.is_closed():
                stream.abort()  # nobody will go on with closing it
            return
        if getattr(stream.label, "state", None) is _CLOSED:
            return  # closed from another thread: the home loop has not got to it yet
        made = "accepted by the listener made" if getattr(stream.label, "accepted", False) else "made"
        origin = "" if self.place is None else f", {made} at {self.place[0]}:{self.place[1]}"
        message = f"unclosed {stream.label}{origin}; close() it or use 'async with'"
        try:
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
        finally:
            if home.on_home_thread() or not post(home, stream.tear_down):
                stream.tear_down()


def post(home: Home, function: Callable[[], object]) -> bool:
    """Let the home loop call `function`, from any thread; False when that loop is closed, or closes at this moment."""
    try:
        home.loop.call_soon_threadsafe(function)
    except RuntimeError:
        return False
    return True
