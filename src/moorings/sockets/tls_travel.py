"""TLS connections that move: what is known of them travels as a small record, beside the descriptor.

The record has no secrets. It is JSON, and is checked like everything that comes from outside.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar, cast

from moorings import errors
from moorings.certificates.enums import ChainValidationResult
from moorings.engine.kernel_tls import kernel_tls_of
from moorings.engine.kernel_tls_stream import KernelTlsStream
from moorings.engine.tcp_stream import TcpStream
from moorings.engine.tls_detaching import settle
from moorings.engine.tls_stream import TlsStream
from moorings.engine.waiting import until_readable, until_writable
from moorings.names.host_name import HostName
from moorings.sockets.enums import SocketProtectionLevel
from moorings.sockets.tls_settings import TlsFacts, level_of_version

if TYPE_CHECKING:
    import socket

    from moorings.engine.hub import Hub
    from moorings.sockets.connection import Connection

__all__ = ["check_travelled", "decode_facts", "encode_facts", "kernel_stream", "until_movable"]

#: Bytes of the record that travels with a TLS connection; certificates are most of it.
TLS_RECORD_LIMIT = 262144
#: Seconds that `cancel_io_async` waits for the rest of a record, and for what is still to be sent.
MOVE_TIMEOUT = 5.0
_FORMAT = 1

E = TypeVar("E", bound=IntEnum)


def encode_facts(connection: Connection) -> bytes:
    """What travels with a connection; b"" without TLS."""
    facts = connection.tls
    if facts is None:
        return b""
    host = connection.host_name
    record = {
        "moorings_tls": _FORMAT,
        "level": int(facts.level),
        "cipher": facts.cipher,
        "alpn": facts.alpn,
        "requested_name": facts.requested_name,
        "resumed": facts.resumed,
        "errors": [int(each) for each in facts.errors],
        "chain": [base64.b64encode(der).decode() for der in facts.chain],
        "accepted": connection.accepted,
        "host": None if host is None else host.raw_name,
        "service": connection.service_name,
    }
    return json.dumps(record).encode()


class Travelled:
    """What a record says."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.facts = TlsFacts(
            _member(SocketProtectionLevel, _of(record, "level", int)),
            tuple(_der(each) for each in _list(record, "chain")),
            tuple(_member(ChainValidationResult, each) for each in _list(record, "errors")),
            _of(record, "cipher", str),
            _of(record, "alpn", str),
            _of(record, "requested_name", str),
            _of(record, "resumed", bool),
        )
        host = record["host"]
        self.host = None if host is None else _host(_of(record, "host", str))
        self.service: str = _of(record, "service", str)
        self.accepted: bool = _of(record, "accepted", bool)

    def apply(self, connection: Connection) -> None:
        """Let a connection know it."""
        connection.tls = self.facts
        connection.accepted = self.accepted
        if self.host is not None:
            connection.host_name = self.host
            connection.service_name = self.service


def _of(record: dict[str, Any], name: str, kind: type[Any]) -> Any:
    value = record[name]
    if type(value) is not kind:
        raise TypeError(name)
    return value


def _list(record: dict[str, Any], name: str) -> list[Any]:
    return cast("list[Any]", _of(record, name, list))


def _host(text: str) -> HostName:
    try:
        return HostName(text)
    except OSError as error:
        raise ValueError(str(error)) from error


def _member(kind: type[E], number: Any) -> E:
    found = [each for each in kind if type(number) is int and each == number]
    if not found:
        raise ValueError(f"{kind.__name__} {number!r}")
    return found[0]


def _der(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError("chain")
    return base64.b64decode(text, validate=True)


def decode_facts(octets: Any, member: str) -> Travelled:
    """What `encode_facts` made. Errors: TypeError for what has no octets; E_INVALIDARG for another record."""
    data = memoryview(octets).tobytes()
    if len(data) > TLS_RECORD_LIMIT:
        raise errors.invalid_argument(f"{member}: tls has {len(data)} bytes, the limit is {TLS_RECORD_LIMIT}")
    try:
        record: Any = json.loads(data)
        if not isinstance(record, dict) or cast("dict[str, Any]", record).get("moorings_tls") != _FORMAT:
            raise errors.invalid_argument(f"{member}: tls is not of this version of the library")
        return Travelled(cast("dict[str, Any]", record))
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise errors.invalid_argument(f"{member}: tls is no record that detach() made ({error})") from error


def check_travelled(plain_socket: socket.socket, octets: Any, member: str) -> tuple[str, Travelled | None]:
    """The TLS version that the kernel carries on a socket, "" for none; and what travelled with it.

    Errors: as `decode_facts`; E_INVALIDARG where record and socket do not fit, or one direction only is in the kernel.
    """
    travelled = decode_facts(octets, member) if len(octets) else None
    try:
        kernel = kernel_tls_of(plain_socket)
    except ValueError as error:
        reason = f"{member}: the kernel carries one direction of TLS only; the other one's state is in another process"
        raise errors.invalid_argument(reason) from error
    if kernel is None:
        if travelled is not None:
            raise errors.invalid_argument(f"{member}: tls is given, but the kernel carries no TLS on this socket")
        return "", None
    if travelled is None:
        return kernel.version, None
    if kernel.version and level_of_version(kernel.version) != travelled.facts.level:
        raise errors.invalid_argument(f"{member}: tls says {travelled.facts.level.name}, the kernel {kernel.version}")
    return kernel.version, travelled


def kernel_stream(hub: Hub, taken: socket.socket, connection: Connection, octets: Any) -> TcpStream:
    """The stream of an adopted socket on which the kernel carries TLS. Errors: as `check_travelled`."""
    version, travelled = check_travelled(taken, octets, "adopt")
    if not version:  # some other layer
        return TcpStream(hub, taken, connection)
    stream = KernelTlsStream(hub, taken, connection, version)
    if travelled is None:
        connection.tls = TlsFacts(level_of_version(version))
    else:
        travelled.apply(connection)
    return stream


async def until_movable(stream: TcpStream) -> None:
    """Wait until no record is half received or half sent, for at most `MOVE_TIMEOUT` seconds."""
    if not isinstance(stream, TlsStream):
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(MOVE_TIMEOUT):
            while direction := settle(stream):
                await (until_writable if direction > 0 else until_readable)(stream.fd)
