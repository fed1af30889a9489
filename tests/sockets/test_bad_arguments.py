"""Every bad argument has a clear error, is found before anything starts, and leaves the object usable."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import receive, socket_and_peer
from tests.sockets.peers import client_of, plain_listener, port_of

import moorings
from moorings import errors
from winrt.windows.networking import EndpointPair, HostName, HostNameSortOptions
from winrt.windows.networking.sockets import SocketProtectionLevel, StreamSocket, StreamSocketListener
from winrt.windows.storage.streams import Buffer

if TYPE_CHECKING:
    from collections.abc import Callable

Level = SocketProtectionLevel
LOCALHOST = HostName("127.0.0.1")
BLUETOOTH = HostName("(AA:BB:CC:DD:EE:FF)")
PLAIN = Level.PLAIN_SOCKET
BAD = errors.E_INVALIDARG
LATER = errors.E_NOTIMPL

Expected = type[Exception] | int

BAD_SERVICES: list[tuple[Any, Expected]] = [
    ("65536", BAD),
    ("-1", BAD),
    ("99999999999999999999", BAD),
    ("8 0", BAD),
    (" 80", BAD),
    ("80 ", BAD),
    ("+80", BAD),
    ("0x50", BAD),
    ("²", BAD),
    ("http/tcp", BAD),
    ("a" * 300, BAD),
    ("80\n", BAD),
    ("\0", BAD),
    (None, TypeError),
    (80, TypeError),
    (b"80", TypeError),
]
BAD_HOSTS: list[tuple[Any, Expected]] = [(None, BAD), ("127.0.0.1", TypeError), (80, TypeError), (object(), TypeError)]

BAD_LEVELS: list[tuple[Any, Expected]] = [
    (Level.UNSPECIFIED, BAD),
    (Level.BLUETOOTH_ENCRYPTION_ALLOW_NULL_AUTHENTICATION, BAD),
    (Level.BLUETOOTH_ENCRYPTION_WITH_AUTHENTICATION, BAD),
    (11, BAD),
    (-1, BAD),
    (None, TypeError),
    ("PLAIN_SOCKET", TypeError),
    (1.0, TypeError),
    (1 << 40, OverflowError),
]
IMPOSSIBLE_LEVELS: list[tuple[Any, Expected]] = [
    (Level.SSL3_ALLOW_WEAK_ENCRYPTION, errors.ERROR_NOT_SUPPORTED),
]
TLS_LEVELS = [Level.SSL, Level.SSL_ALLOW_NULL_ENCRYPTION, Level.TLS10, Level.TLS11, Level.TLS12, Level.TLS13]


def pair(**changes: Any) -> EndpointPair:
    result = EndpointPair(None, "", LOCALHOST, "80")
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def connect_cases() -> list[tuple[tuple[Any, ...], Expected]]:
    found: list[tuple[tuple[Any, ...], Expected]] = [
        ((), TypeError),
        ((LOCALHOST, "80", PLAIN, None, None), TypeError),
        ((None,), BAD),
        ((LOCALHOST,), TypeError),
        ((LOCALHOST, ""), BAD),
        ((LOCALHOST, "80", PLAIN, None), BAD),
        ((LOCALHOST, "80", PLAIN, "lo"), TypeError),
        ((pair(remote_service_name=""),), BAD),
        ((pair(remote_service_name="65536"),), BAD),
        ((pair(local_service_name="65536"),), BAD),
        ((pair(local_service_name="-1"),), BAD),
        ((pair(remote_host_name=BLUETOOTH),), LATER),
        ((pair(local_host_name=BLUETOOTH),), LATER),
        ((BLUETOOTH, ""), BAD),
        ((BLUETOOTH, None), TypeError),
        ((BLUETOOTH, "{00001101-0000-1000-8000-00805F9B34FB}"), LATER),
    ]
    found += [((host, "80"), error) for host, error in BAD_HOSTS]
    found += [((LOCALHOST, service), error) for service, error in BAD_SERVICES]
    found += [((LOCALHOST, "80", level), error) for level, error in BAD_LEVELS + IMPOSSIBLE_LEVELS]
    return found


def refused(call: Callable[[], object], expected: Expected) -> str:
    """Check that a call fails at once and as it should; the error's text."""
    with pytest.raises(OSError if isinstance(expected, int) else expected) as caught:
        call()
    if isinstance(expected, int):
        assert caught.value.winerror == expected, caught.value
    text = str(caught.value)
    assert len(text) > 10
    assert "\n" not in text
    return text


@pytest.mark.parametrize(("arguments", "expected"), connect_cases())
async def test_connect(arguments: tuple[Any, ...], expected: Expected) -> None:
    ours = StreamSocket()
    refused(lambda: ours.connect_async(*arguments), expected)
    with plain_listener() as listening:
        await ours.connect_async(LOCALHOST, port_of(listening))
    ours.abort()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), TypeError),
        ((pair(),), TypeError),
        ((None, PLAIN), BAD),
        ((LOCALHOST, PLAIN), TypeError),
        ((pair(remote_service_name=""), PLAIN), BAD),
        *(((pair(), level), error) for level, error in BAD_LEVELS + IMPOSSIBLE_LEVELS),
    ],
)
def test_connect_with_pair_and_level(arguments: tuple[Any, ...], expected: Expected) -> None:
    refused(lambda: StreamSocket().connect_with_endpoint_pair_and_protection_level_async(*arguments), expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), TypeError),
        ((LOCALHOST,), TypeError),
        ((LOCALHOST, "80", 0, 0), TypeError),
        ((LOCALHOST, ""), BAD),
        ((BLUETOOTH, "80"), BAD),
        ((LOCALHOST, "80", None), TypeError),
        ((LOCALHOST, "80", "NONE"), TypeError),
        *(((host, "80"), error) for host, error in BAD_HOSTS),
        *(((LOCALHOST, service), error) for service, error in BAD_SERVICES),
        *(((LOCALHOST, service, HostNameSortOptions.NONE), error) for service, error in BAD_SERVICES),
    ],
)
def test_get_endpoint_pairs(arguments: tuple[Any, ...], expected: Expected) -> None:
    refused(lambda: StreamSocket.get_endpoint_pairs_async(*arguments), expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), TypeError),
        ((Level.TLS12,), TypeError),
        ((PLAIN, LOCALHOST), BAD),
        ((Level.TLS12, None), BAD),
        ((Level.TLS12, "localhost"), TypeError),
        *(((level, LOCALHOST), error) for level, error in BAD_LEVELS + IMPOSSIBLE_LEVELS),
    ],
)
async def test_upgrade(arguments: tuple[Any, ...], expected: Expected) -> None:
    with plain_listener() as listening:
        ours = StreamSocket()
        await ours.connect_async(LOCALHOST, port_of(listening))
        refused(lambda: ours.upgrade_to_ssl_async(*arguments), expected)
        theirs, _ = listening.accept()
        with theirs:
            theirs.setblocking(False)
            await ours.write(b"still there")
            assert await receive(theirs, 11) == b"still there"
        ours.abort()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), TypeError),
        ((LOCALHOST,), TypeError),
        (("127.0.0.1", ""), TypeError),
        ((80, ""), TypeError),
        ((BLUETOOTH, ""), LATER),
        *(((LOCALHOST, service), error) for service, error in BAD_SERVICES),
    ],
)
async def test_bind_endpoint(arguments: tuple[Any, ...], expected: Expected) -> None:
    listener = StreamSocketListener()
    refused(lambda: listener.bind_endpoint_async(*arguments), expected)
    await listener.bind_endpoint_async(LOCALHOST, "")
    client_of(listener).close()
    listener.close()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), TypeError),
        (("", PLAIN, None, None), TypeError),
        (("", PLAIN, None), BAD),
        (("", PLAIN, "lo"), TypeError),
        *(((service,), error) for service, error in BAD_SERVICES),
        *((("", level), error) for level, error in BAD_LEVELS),
        *((("", level), BAD) for level in [*TLS_LEVELS, Level.SSL3_ALLOW_WEAK_ENCRYPTION]),
    ],
)
async def test_bind_service_name(arguments: tuple[Any, ...], expected: Expected) -> None:
    listener = StreamSocketListener()
    refused(lambda: listener.bind_service_name_async(*arguments), expected)
    await listener.bind_service_name_async("")
    listener.close()


@pytest.mark.parametrize("handler", [None, 5, "handler"])
def test_handler_that_cannot_be_called(handler: Any) -> None:
    listener = StreamSocketListener()
    refused(lambda: listener.add_connection_received(handler), TypeError)
    assert not listener._event


@pytest.mark.parametrize(("token", "expected"), [(None, BAD), ("1", TypeError), (1.0, TypeError)])
def test_token_that_is_none(token: Any, expected: Expected) -> None:
    listener = StreamSocketListener()
    listener.add_connection_received(print)
    refused(lambda: listener.remove_connection_received(token), expected)
    listener.remove_connection_received(1 << 60)  # type: ignore[arg-type]  # unknown tokens do nothing, as in WinRT
    assert listener._event


@pytest.mark.parametrize(("value", "expected"), [(0, ValueError), (-1, ValueError), ("5", TypeError), (1.5, TypeError)])
def test_max_connections(value: Any, expected: Expected) -> None:
    listener = StreamSocketListener()
    listener.max_connections = 3
    refused(lambda: setattr(listener, "max_connections", value), expected)
    assert listener.max_connections == 3
    listener.max_connections = None


async def test_drain_timeout() -> None:
    listener = StreamSocketListener()
    await listener.bind_service_name_async("")
    with pytest.raises(ValueError, match="seconds"):
        await listener.drain(float("nan"))
    with pytest.raises(TypeError):
        await listener.drain("5")  # type: ignore[arg-type]
    client_of(listener).close()
    listener.close()


async def test_iterating_before_it_listens() -> None:
    with pytest.raises(OSError, match="does not listen yet: use it with 'async with', or await it") as caught:
        aiter(moorings.listen("tcp://127.0.0.1:0"))
    assert getattr(caught.value, "winerror", None) == errors.E_ILLEGAL_METHOD_CALL


def test_members_of_the_broker() -> None:
    for cls in (StreamSocket, StreamSocketListener):
        refused(lambda: cls().enable_transfer_ownership("not a guid"), TypeError)  # noqa: B023
        refused(lambda: cls().enable_transfer_ownership(), TypeError)  # noqa: B023
        refused(lambda: cls().transfer_ownership(5), TypeError)  # noqa: B023
        refused(lambda: cls().transfer_ownership(), TypeError)  # noqa: B023


# -- reading and writing ---------------------------------------------------------------------------------------------


READS: list[tuple[Callable[[StreamSocket], Any], Expected]] = [
    (lambda ours: ours.read(-1), ValueError),
    (lambda ours: ours.read("5"), TypeError),
    (lambda ours: ours.read(None), TypeError),
    (lambda ours: ours.read_exactly(-1), ValueError),
    (lambda ours: ours.read_exactly(b"5"), TypeError),
    (lambda ours: ours.read_until(b""), ValueError),
    (lambda ours: ours.read_until("\n"), TypeError),
    (lambda ours: ours.read_until(None), TypeError),
    (lambda ours: ours.read(1.5), TypeError),
    (lambda ours: ours.read_until(b"x", "5"), TypeError),
    (lambda ours: anext(ours.lines(limit="5")), TypeError),
]


@pytest.mark.parametrize(("call", "expected"), READS)
async def test_python_reads(call: Callable[[StreamSocket], Any], expected: Any) -> None:
    async with socket_and_peer() as (ours, peer):
        with pytest.raises(expected):
            await asyncio.wait_for(call(ours), 20)  # before anything has arrived
        peer.send(b"kept")
        with pytest.raises(expected):
            await call(ours)
        assert await ours.read_exactly(4) == b"kept"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), TypeError),
        ((Buffer(4),), TypeError),
        ((Buffer(4), 5, 0), BAD),
        ((Buffer(4), -1, 0), ValueError),
        ((Buffer(4), 1 << 32, 0), OverflowError),
        ((Buffer(4), "4", 0), TypeError),
        ((Buffer(4), 4, 4), BAD),
        ((Buffer(4), 4, -1), BAD),
        ((Buffer(4), 4, None), TypeError),
        ((b"read only", 4, 0), TypeError),
        ((None, 4, 0), TypeError),
        (("text", 4, 0), TypeError),
    ],
)
async def test_read_async(arguments: tuple[Any, ...], expected: Expected) -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"kept")
        refused(lambda: ours.input_stream.read_async(*arguments), expected)
        assert bytes(await ours.input_stream.read_async(Buffer(4), 4, 0)) == b"kept"


@pytest.mark.parametrize("data", [None, "text", 5, object(), [1, 2]])
@pytest.mark.parametrize("face", ["winrt", "python"])
async def test_writes(data: Any, face: str) -> None:
    async with socket_and_peer() as (ours, peer):
        write = ours.output_stream.write_async if face == "winrt" else ours.write
        refused(lambda: write(data), TypeError)
        await write(b"good")
        assert await receive(peer, 4) == b"good"


# -- sockets of somebody else ----------------------------------------------------------------------------------------


async def test_from_socket() -> None:
    made: list[socket.socket] = [
        socket.socket(),
        socket.socket(type=socket.SOCK_DGRAM),
        *socket.socketpair(),
    ]
    listening = socket.create_server(("127.0.0.1", 0))
    made.append(listening)
    closed = socket.socket()
    closed.close()
    for other in made:
        descriptor = other.fileno()
        text = refused(lambda: StreamSocket.from_socket(other), BAD)  # noqa: B023
        assert str(descriptor) in text
        refused(lambda: StreamSocket.from_socket(descriptor), BAD)  # noqa: B023
        assert other.fileno() == descriptor
        assert other.gettimeout() is None
        other.close()
    for wrong, expected in (
        (closed, BAD),
        (-1, BAD),
        (9999, BAD),
        (None, TypeError),
        ("3", TypeError),
        (True, TypeError),
        (3.0, TypeError),
    ):
        refused(lambda: StreamSocket.from_socket(wrong), expected)  # type: ignore[arg-type]  # noqa: B023


@pytest.mark.parametrize("unread", [5, "text", None])
async def test_unread_bytes_of_a_wrong_kind(unread: Any) -> None:
    with plain_listener() as listening, socket.create_connection(listening.getsockname()) as other:
        refused(lambda: StreamSocket.from_socket(other, unread=unread), TypeError)
        assert other.fileno() >= 0
        assert other.gettimeout() is None


def test_host_names_say_what_is_wrong_with_them() -> None:
    for text in ("", " ", "a b", "exa mple.com", "-", "a..b", "[::1", "1.2.3.4.5:", "\0", "x" * 300, "http://a"):
        with pytest.raises(OSError) as caught:
            HostName(text)
        assert caught.value.winerror == BAD
        assert re.search(r"[a-z]{4}", str(caught.value))
