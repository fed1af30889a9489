"""Every member of every TCP class in every state, enumerated from the state tables; a refused call harms nothing.

A member that the table allows must not fail for the state; one that it forbids fails with RO_E_CLOSED on a closed
object (and in a forked child), else with E_ILLEGAL_METHOD_CALL.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import uuid
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, receive
from tests.sockets.peers import client_of, code, plain_listener, port_of
from tests.sockets.web_socket_peers import client_of as web_socket_client

from moorings import WebSocketListener, errors
from moorings.sockets import stream_socket, stream_socket_listener, web_socket_listener
from moorings.sockets.connection import State
from winrt.windows.networking import EndpointPair, HostName
from winrt.windows.networking.sockets import SocketProtectionLevel, StreamSocket, StreamSocketListener

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOCALHOST = HostName("127.0.0.1")
PLAIN = SocketProtectionLevel.PLAIN_SOCKET
TLS = SocketProtectionLevel.TLS12
TASK = uuid.UUID(int=1)
NOT_BUILT = {"E_NOTIMPL"}
#: The peer speaks no TLS, and has sent something that nobody has read: an upgrade fails, and closes the socket.
FAILS = {"upgrade_to_ssl_async": "SEC_E_ILLEGAL_MESSAGE"}
WRONG_TIME = {"RO_E_CLOSED", "E_ILLEGAL_METHOD_CALL"}

#: How to call each member of a StreamSocket with good arguments. The port is one that listens.
SOCKET_CALLS: dict[str, Callable[[StreamSocket, str], Any]] = {
    "connect_async": lambda ours, port: ours.connect_async(LOCALHOST, port),
    "connect_with_endpoint_pair_and_protection_level_async": lambda ours, port: (
        ours.connect_with_endpoint_pair_and_protection_level_async(EndpointPair(None, "", LOCALHOST, port), PLAIN)
    ),
    "upgrade_to_ssl_async": lambda ours, _: ours.upgrade_to_ssl_async(TLS, LOCALHOST),
    "add_server_custom_validation_requested": lambda ours, _: ours.add_server_custom_validation_requested(print),
    "remove_server_custom_validation_requested": lambda ours, _: ours.remove_server_custom_validation_requested(
        StreamSocket().add_server_custom_validation_requested(print)
    ),
    "input_stream": lambda ours, _: ours.input_stream,
    "output_stream": lambda ours, _: ours.output_stream,
    "control": lambda ours, _: ours.control,
    "information": lambda ours, _: ours.information.local_port,
    "cancel_io_async": lambda ours, _: ours.cancel_io_async(),
    "close": lambda ours, _: ours.close(),
    "enable_transfer_ownership": lambda ours, _: ours.enable_transfer_ownership(TASK),
    "transfer_ownership": lambda ours, _: ours.transfer_ownership("id"),
    "read": lambda ours, _: ours.read(1),
    "read_exactly": lambda ours, _: ours.read_exactly(1),
    "read_until": lambda ours, _: ours.read_until(b"\n"),
    "lines": lambda ours, _: anext(ours.lines()),
    "write": lambda ours, _: ours.write(b"x"),
    "flush": lambda ours, _: ours.flush(),
    "end_writing": lambda ours, _: ours.end_writing(),
    "aclose": lambda ours, _: ours.aclose(),
    "abort": lambda ours, _: ours.abort(),
    "detach": lambda ours, _: socket.close(ours.detach().fd),
    "limits": lambda ours, _: ours.limits,
    "counters": lambda ours, _: ours.counters,
    "end_reason": lambda ours, _: ours.end_reason,
}

LISTENER_CALLS: dict[str, Callable[[StreamSocketListener], Any]] = {
    "bind_endpoint_async": lambda listener: listener.bind_endpoint_async(LOCALHOST, ""),
    "bind_service_name_async": lambda listener: listener.bind_service_name_async(""),
    "add_connection_received": lambda listener: listener.add_connection_received(print),
    "remove_connection_received": lambda listener: listener.remove_connection_received(
        StreamSocketListener().add_connection_received(print)
    ),
    "control": lambda listener: listener.control,
    "information": lambda listener: listener.information.local_port,
    "cancel_io_async": lambda listener: listener.cancel_io_async(),
    "close": lambda listener: listener.close(),
    "enable_transfer_ownership": lambda listener: listener.enable_transfer_ownership(TASK),
    "transfer_ownership": lambda listener: listener.transfer_ownership("id"),
    "async for": aiter,
    "stop_accepting": lambda listener: listener.stop_accepting(),
    "drain": lambda listener: listener.drain(0),
    "max_connections": lambda listener: setattr(listener, "max_connections", 5),
    "open_connections": lambda listener: listener.open_connections,
    "handshakes_failed": lambda listener: listener.handshakes_failed,
}

WEB_SOCKET_LISTENER_CALLS: dict[str, Callable[[WebSocketListener], Any]] = {
    "bind_endpoint_async": lambda listener: listener.bind_endpoint_async(HostName("127.0.0.1"), ""),
    "bind_service_name_async": lambda listener: listener.bind_service_name_async(""),
    "add_route": lambda listener: listener.add_route("/", print),
    "add_handler": lambda listener: listener.add_handler(print),
    "add_connection_received": lambda listener: listener.add_connection_received(lambda _sender, _args: None),
    "remove_connection_received": lambda listener: listener.remove_connection_received(1),  # type: ignore[arg-type]
    "async for": aiter,
    "approve": lambda listener: setattr(listener, "approve", None),
    "http": lambda listener: setattr(listener, "http", None),
    "control": lambda listener: listener.control.origins,
    "information": lambda listener: listener.information.counters,
    "open_connections": lambda listener: listener.open_connections,
    "stop_accepting": lambda listener: listener.stop_accepting(),
    "drain": lambda listener: listener.drain(0),
    "close": lambda listener: listener.close(),
}

MODULES = {
    "StreamSocket": stream_socket,
    "StreamSocketListener": stream_socket_listener,
    "WebSocketListener": web_socket_listener,
}


def cases(rules: Mapping[str, frozenset[State]]) -> list[tuple[str, State]]:
    return [(member, state) for member in rules for state in State]


async def outcome(call: Callable[[], Any]) -> str:
    """The name of the error of a call, at once or through what it returns; "" for none."""
    try:
        result = call()
        if inspect.isawaitable(result):
            async with asyncio.timeout(PATIENCE):
                await result
    except OSError as error:
        return code(error)
    except asyncio.CancelledError:
        return "cancelled"
    return ""


def expected(rules: Mapping[str, frozenset[State]], member: str, state: State) -> str:
    if state in rules[member]:
        return ""
    return "RO_E_CLOSED" if state == State.CLOSED else "E_ILLEGAL_METHOD_CALL"


def test_the_tables_name_every_public_member() -> None:
    for name, module in MODULES.items():
        cls = getattr(module, name)
        members = {member for member in dir(cls) if not member.startswith("_")}
        aliases = {member for member in members if hasattr(getattr(cls, member), "__deprecated__")}
        other = {"as_", "from_socket", "get_endpoint_pairs_async"}
        assert members - aliases - other == set(module.RULES) - {"async for"}
    assert set(SOCKET_CALLS) == set(stream_socket.RULES)
    assert set(LISTENER_CALLS) == set(stream_socket_listener.RULES)
    assert set(WEB_SOCKET_LISTENER_CALLS) == set(web_socket_listener.RULES)


# -- StreamSocket ----------------------------------------------------------------------------------------------------


class SocketInState:
    """A StreamSocket that was brought into a state, with its peer."""

    def __init__(self) -> None:
        self.ours = StreamSocket()
        self.connecting: Any = None
        self.peer: socket.socket | None = None

    async def bring(self, state: State, listening: socket.socket) -> None:
        if state == State.CLOSED:
            self.ours.close()
        if state in {State.BUSY, State.OPEN}:
            self.connecting = self.ours.connect_async(LOCALHOST, port_of(listening))
        if state == State.OPEN:
            await self.connecting
            self.accept(listening)
            assert self.peer is not None
            self.peer.send(b"a line\n")

    def accept(self, listening: socket.socket) -> None:
        self.peer, _ = listening.accept()
        self.peer.setblocking(False)

    async def check_that_nothing_is_lost(self, state: State, listening: socket.socket) -> None:
        """What the state allowed before the refused call, it allows after it."""
        if state == State.NEW:
            self.connecting = self.ours.connect_async(LOCALHOST, port_of(listening))
        if state in {State.NEW, State.BUSY}:
            await self.connecting
            self.accept(listening)
            assert self.peer is not None
            self.peer.send(b"a line\n")
        if state == State.CLOSED:
            assert await outcome(lambda: self.ours.connect_async(LOCALHOST, "1")) == "RO_E_CLOSED"
        else:
            assert self.peer is not None
            assert await self.ours.read_until(b"\n") == b"a line\n"
            await self.ours.write(b"answer")
            assert await receive(self.peer, 6) == b"answer"

    async def end(self) -> None:
        self.ours.abort()
        if self.connecting is not None:
            await asyncio.wait([asyncio.ensure_future(outcome(lambda: self.connecting))])
        if self.peer is not None:
            self.peer.close()


@pytest.mark.parametrize(("member", "state"), cases(stream_socket.RULES))
async def test_stream_socket(member: str, state: State) -> None:
    rules = stream_socket.RULES
    with plain_listener() as listening:
        subject = SocketInState()
        await subject.bring(state, listening)
        found = await outcome(lambda: SOCKET_CALLS[member](subject.ours, port_of(listening)))
        if state in rules[member]:
            assert found not in WRONG_TIME
            assert found in {FAILS.get(member, "")} | NOT_BUILT
            if found in NOT_BUILT:
                await subject.check_that_nothing_is_lost(state, listening)
        else:
            assert found == expected(rules, member, state)
            await subject.check_that_nothing_is_lost(state, listening)
        await subject.end()


async def test_streams_of_a_closed_socket() -> None:
    """The streams that a program has kept say that the socket is closed; those of an aborted one too."""
    for end in ("close", "abort", "detach"):
        with plain_listener() as listening:
            subject = SocketInState()
            await subject.bring(State.OPEN, listening)
            reader, writer = subject.ours.input_stream, subject.ours.output_stream
            given_away = getattr(subject.ours, end)()
            if given_away is not None:
                socket.close(given_away.fd)
            for call in (
                lambda: reader.read_async(bytearray(4), 4, 0),  # noqa: B023
                lambda: writer.write_async(b"x"),  # noqa: B023
                writer.flush_async,
            ):
                assert await outcome(call) == "RO_E_CLOSED"
            reader.close()
            writer.close()
            await subject.end()


async def test_closed_streams_of_an_open_socket() -> None:
    with plain_listener() as listening:
        subject = SocketInState()
        await subject.bring(State.OPEN, listening)
        ours, peer = subject.ours, subject.peer
        assert peer is not None
        ours.output_stream.close()
        assert await outcome(lambda: ours.output_stream.write_async(b"x")) == "RO_E_CLOSED"
        assert await outcome(ours.output_stream.flush_async) == "RO_E_CLOSED"
        assert await outcome(lambda: ours.write(b"x")) == "RO_E_CLOSED"
        await ours.flush()
        assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
        assert bytes(await ours.input_stream.read_async(bytearray(7), 7, 0)) == b"a line\n"
        peer.send(b"kept")
        ours.input_stream.close()
        assert await outcome(lambda: ours.input_stream.read_async(bytearray(4), 4, 0)) == "RO_E_CLOSED"
        assert await ours.read_exactly(4) == b"kept"
        await subject.end()


# -- StreamSocketListener --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("member", "state"), cases(stream_socket_listener.RULES))
async def test_stream_socket_listener(member: str, state: State) -> None:
    rules = stream_socket_listener.RULES
    listener = StreamSocketListener()
    binding: Any = None
    if state == State.CLOSED:
        listener.close()
    if state in {State.BUSY, State.OPEN}:
        binding = listener.bind_service_name_async("")
    if state == State.OPEN:
        await binding
    found = await outcome(lambda: LISTENER_CALLS[member](listener))
    if state in rules[member]:
        assert found in {""} | NOT_BUILT
    else:
        assert found == expected(rules, member, state)
        await check_that_listener_works(listener, state, binding)
    listener.close()
    if binding is not None:
        await outcome(lambda: binding)


async def check_that_listener_works(listener: StreamSocketListener, state: State, binding: Any) -> None:
    if state == State.CLOSED:
        assert await outcome(lambda: listener.bind_service_name_async("")) == "RO_E_CLOSED"
        return
    await (listener.bind_service_name_async("") if state == State.NEW else binding or asyncio.sleep(0))
    with client_of(listener):
        (await anext(aiter(listener))).abort()


# -- WebSocketListener -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("member", "state"), cases(web_socket_listener.RULES))
async def test_web_socket_listener(member: str, state: State) -> None:
    listener = WebSocketListener()
    binding: Any = None
    if state == State.CLOSED:
        listener.close()
    if state in {State.BUSY, State.OPEN}:
        binding = listener.bind_service_name_async("")
    if state == State.OPEN:
        await binding
    found = await outcome(lambda: WEB_SOCKET_LISTENER_CALLS[member](listener))
    assert found == expected(web_socket_listener.RULES, member, state)
    if found and state != State.CLOSED:  # a refused call harms nothing
        await (listener.bind_service_name_async("") if state == State.NEW else binding or asyncio.sleep(0))
        taking = aiter(listener)
        async with web_socket_client(int(listener.information.local_port)) as client:
            (await anext(taking)).close()
            await client.wait_closed()
    listener.close()
    if binding is not None:
        await outcome(lambda: binding)


# -- forked ----------------------------------------------------------------------------------------------------------


def in_forked_child(work: Callable[[], Any]) -> Any:
    """What `work` returns, as JSON, when it runs in a forked child; the child does nothing else."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads of the test runner, from 3.12 on
        child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer)


def sync_outcome(call: Callable[[], Any]) -> str:
    """As `outcome`, for a forked child, where no loop runs: a coroutine is driven to its first wait."""
    try:
        result = call()
        if inspect.isawaitable(result):
            result.__await__().send(None)
    except StopIteration:
        return ""
    except OSError as error:
        return code(error)
    except RuntimeError as error:
        return f"RuntimeError {error}"
    return ""


FREE_AFTER_FORK = {
    "remove_server_custom_validation_requested",
    "control",
    "information",
    "close",
    "aclose",
    "abort",
    "counters",
    "end_reason",
}
FREE_LISTENER_AFTER_FORK = {
    "remove_connection_received",
    "control",
    "information",
    "close",
    "max_connections",
    "open_connections",
    "handshakes_failed",
}


@pytest.mark.parametrize("state", [State.BUSY, State.OPEN])
async def test_stream_socket_in_a_forked_child(state: State) -> None:
    """It is the parent's: its use says so, what is for looking and ending works, and the parent notices nothing."""
    with plain_listener() as listening:
        subject = SocketInState()
        await subject.bring(state, listening)
        port = port_of(listening)

        def child() -> dict[str, str]:
            return {member: sync_outcome(lambda: call(subject.ours, port)) for member, call in SOCKET_CALLS.items()}  # noqa: B023

        found = in_forked_child(child)
        assert found == {member: "" if member in FREE_AFTER_FORK else "RO_E_CLOSED" for member in SOCKET_CALLS}
        await subject.check_that_nothing_is_lost(state, listening)
        await subject.end()


async def test_listener_in_a_forked_child() -> None:
    listener = StreamSocketListener()
    await listener.bind_service_name_async("")

    def child() -> dict[str, str]:
        return {member: sync_outcome(lambda: call(listener)) for member, call in LISTENER_CALLS.items()}  # noqa: B023

    found = in_forked_child(child)
    assert found == {m: "" if m in FREE_LISTENER_AFTER_FORK else "RO_E_CLOSED" for m in LISTENER_CALLS}
    with client_of(listener):
        (await anext(aiter(listener))).abort()
    listener.close()


async def test_the_error_in_a_forked_child_says_what_to_do() -> None:
    with plain_listener() as listening:
        subject = SocketInState()
        await subject.bring(State.OPEN, listening)

        def child() -> str:
            try:
                subject.ours.write(b"x")
            except OSError as error:
                return str(error)
            return ""

        message = in_forked_child(child)
        assert "parent process" in message
        assert "fork" in message
        assert errors.hresult_name(errors.RO_E_CLOSED) in message
        await subject.end()
