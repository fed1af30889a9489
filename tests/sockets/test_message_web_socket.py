"""MessageWebSocket: states, settings, messages, endings; with our own server and with scripted ones as peers."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, turns, until
from tests.sockets.peers import plain_listener, port_of
from tests.sockets.web_socket_servers import accepting, code_of, connected, scripted, serving, status
from tests.sockets.web_socket_states import in_state

import moorings
from moorings import (
    ChainValidationResult,
    HandshakeRefusedError,
    MessageWebSocket,
    PasswordCredential,
    SocketMessageType,
    Uri,
    WebSocketCompression,
    errors,
)
from moorings.foundation.operation import Operation
from moorings.protocols.web_error_status import (
    INET_E_OPERATION_CANCELLED,
    INET_E_TIMEOUT,
)
from moorings.sockets.connection import State
from moorings.sockets.enums import MessageWebSocketReceiveMode
from moorings.sockets.message_web_socket import RULES
from winrt.windows.networking.sockets import (
    IWebSocket,
    IWebSocketControl,
    IWebSocketControl2,
    IWebSocketInformation,
    IWebSocketInformation2,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# -- what it is ------------------------------------------------------------------------------------------------------


def test_it_is_what_winrt_says() -> None:
    made = MessageWebSocket()
    assert isinstance(made, IWebSocket)
    assert isinstance(made.control, IWebSocketControl2)
    assert isinstance(made.control, IWebSocketControl)
    assert isinstance(made.information, IWebSocketInformation2)
    assert isinstance(made.information, IWebSocketInformation)
    assert made.control is made.control
    assert made.information is made.information
    assert made.output_stream is made.output_stream
    assert repr(made) == "<MessageWebSocket new>"
    made.close()
    made.close()
    assert repr(made) == "<MessageWebSocket closed>"


def test_information_before_the_connect() -> None:
    information = MessageWebSocket().information
    assert information.local_address is None
    assert information.protocol == ""
    assert information.server_certificate is None
    assert list(information.server_certificate_errors) == []
    assert list(information.server_intermediate_certificates) == []
    assert information.server_certificate_error_severity == 0
    assert information.bandwidth_statistics.outbound_bits_per_second == 0
    assert list(information.response_headers) == []


# -- states ----------------------------------------------------------------------------------------------------------


async def use(made: MessageWebSocket, member: str) -> None:
    """Use a member; the object is not needed afterwards."""
    token = made.add_closed(print)
    calls: dict[str, Callable[[], Any]] = {
        "connect_async": lambda: made.connect_async(Uri("ws://127.0.0.1:1/")),
        "set_request_header": lambda: made.set_request_header("X", "y"),
        "add_message_received": lambda: made.add_message_received(print),
        "remove_message_received": lambda: made.remove_message_received(token),
        "add_server_custom_validation_requested": lambda: made.add_server_custom_validation_requested(print),
        "send_final_frame_async": lambda: made.send_final_frame_async(b"x"),
        "send_nonfinal_frame_async": lambda: made.send_nonfinal_frame_async(b"x"),
        "send": lambda: made.send(b"x"),
        "receive": made.receive,
        "receive_part": made.receive_part,
        "ping": made.ping,
    }
    done = calls[member]()
    if isinstance(done, Operation):
        await done


USED = [name for name, states in RULES.items() if states != frozenset(State)]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("member", USED)
async def test_members_in_wrong_states(member: str, state: State) -> None:
    if state in RULES[member]:
        return
    async with serving() as url:
        made = await in_state(MessageWebSocket(), state, url)
        with pytest.raises(OSError) as caught:
            await use(made, member)
        closed = state == State.CLOSED and "message_received" not in member
        assert code_of(caught) == (errors.RO_E_CLOSED if closed else errors.E_ILLEGAL_METHOD_CALL)
        await made.aclose()
        assert repr(made.control)
        assert made.information.protocol == ""
        assert made.output_stream is made.output_stream


async def test_a_connect_that_failed_leaves_it_new_and_free_to_be_changed() -> None:
    async with scripted(status("401 No"), accepting()) as script:
        made = MessageWebSocket()
        made.control.max_message_size = 10
        with pytest.raises(HandshakeRefusedError):
            await connected(script.url, made)
        assert repr(made) == f"<MessageWebSocket to localhost:{script.port} new>"
        made.control.max_message_size = 20
        made.control.supported_protocols.append("a")
        made.add_message_received(print)
        made.set_request_header("X-Second", "yes")
        await connected(script.url, made)
        assert script.headers()["x-second"] == ["yes"]
        made.abort()


async def test_a_second_connect_is_refused() -> None:
    async with serving() as url:
        made = MessageWebSocket()
        first = made.connect_async(Uri(url))
        with pytest.raises(OSError, match="await the connect first") as caught:
            made.connect_async(Uri(url))
        assert code_of(caught) == errors.E_ILLEGAL_METHOD_CALL
        await first
        with pytest.raises(OSError, match="make a new one"):
            made.connect_async(Uri(url))
        await made.aclose()
        with pytest.raises(OSError, match="closed"):
            made.connect_async(Uri(url))


@pytest.mark.parametrize(
    "url",
    ["http://localhost/", "ws://user@localhost/", "ws://localhost/#fragment", "wss://user:secret@localhost/"],
)
async def test_uris_that_are_none_of_a_web_socket(url: str) -> None:
    made = MessageWebSocket()
    with pytest.raises(OSError) as caught:
        made.connect_async(Uri(url))
    assert code_of(caught) == errors.E_INVALIDARG
    made.set_request_header("Still", "new")


async def test_wrong_arguments_are_refused_before_anything_starts() -> None:
    made = MessageWebSocket()
    for wrong in ("ws://localhost/", 1, b""):
        with pytest.raises(TypeError):
            made.connect_async(wrong)  # type: ignore[arg-type]
    with pytest.raises(OSError) as caught:
        made.connect_async(None)  # type: ignore[arg-type]
    assert code_of(caught) == errors.E_INVALIDARG
    for name, value in (
        ("Host", "x"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Upgrade", "websocket"),
        ("X", "a\r\nY: b"),
        ("", "x"),
        ("X Y", "x"),
        ("X", "\ud800"),
    ):
        with pytest.raises(OSError) as caught:
            made.set_request_header(name, value)
        assert code_of(caught) == errors.E_INVALIDARG
    with pytest.raises(TypeError):
        made.set_request_header("X", 1)  # type: ignore[arg-type]
    for protocols in (["a", "a"], ["a b"], [""]):
        made.control.supported_protocols[:] = protocols
        with pytest.raises(OSError) as caught:
            made.connect_async(Uri("ws://localhost:1/"))
        assert code_of(caught) == errors.E_INVALIDARG
    made.control.supported_protocols.clear()
    made.control.ignorable_server_certificate_errors.append(ChainValidationResult.REVOKED)
    with pytest.raises(OSError, match="REVOKED") as caught:
        made.connect_async(Uri("wss://localhost:1/"))
    assert code_of(caught) == errors.E_INVALIDARG
    assert repr(made) == "<MessageWebSocket new>"


# -- control ---------------------------------------------------------------------------------------------------------


def test_settings_and_their_defaults() -> None:
    control = MessageWebSocket().control
    assert control.message_type == SocketMessageType.BINARY
    assert control.max_message_size == 0xFFFFFFFF
    assert control.receive_mode == MessageWebSocketReceiveMode.FULL_MESSAGE
    assert control.desired_unsolicited_pong_interval == timedelta(seconds=30)
    assert control.actual_unsolicited_pong_interval == timedelta()
    assert control.client_certificate is None
    assert control.server_credential is None
    assert control.proxy_credential is None
    assert control.outbound_buffer_size_in_bytes == 0
    assert list(control.supported_protocols) == []
    assert control.supported_protocols is control.supported_protocols
    assert list(control.ignorable_server_certificate_errors) == []
    assert control.compression is False
    assert (control.ping_interval, control.ping_timeout) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("max_message_size", 0, errors.E_INVALIDARG),
        ("receive_mode", 7, errors.E_INVALIDARG),
        ("desired_unsolicited_pong_interval", timedelta(seconds=-1), errors.E_INVALIDARG),
        ("outbound_buffer_size_in_bytes", 2**31, errors.E_INVALIDARG),
        ("compression", WebSocketCompression(window_bits=3), errors.E_INVALIDARG),
        ("ping_interval", -1, errors.E_INVALIDARG),
        ("ping_timeout", float("nan"), errors.E_INVALIDARG),
    ],
)
def test_settings_out_of_range(name: str, value: Any, code: int) -> None:
    with pytest.raises(OSError) as caught:
        setattr(MessageWebSocket().control, name, value)
    assert code_of(caught) == code


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("message_type", "UTF8"),
        ("max_message_size", "1"),
        ("max_message_size", -1),
        ("max_message_size", 2**32),
        ("receive_mode", None),
        ("desired_unsolicited_pong_interval", 30),
        ("client_certificate", "cert.pem"),
        ("server_credential", ("user", "password")),
        ("proxy_credential", "user"),
        ("compression", 1),
        ("ping_interval", "1"),
    ],
)
def test_settings_of_the_wrong_type(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        setattr(MessageWebSocket().control, name, value)


LATE = {
    "max_message_size": 5,
    "receive_mode": MessageWebSocketReceiveMode.FULL_MESSAGE,
    "client_certificate": None,
    "server_credential": PasswordCredential("a", "b", "c"),
    "proxy_credential": None,
    "compression": True,
    "ping_interval": 1.0,
    "ping_timeout": 1.0,
    "trust_anchors": None,
    "server_name": "localhost",
    "pin_sha256": None,
    "revocation": None,
    "key_log": None,
}


async def test_late_changes() -> None:
    """As the table of the reference has it: an error, no effect, or at any time."""
    async with serving() as url:
        made = MessageWebSocket()
        made.control.outbound_buffer_size_in_bytes = 50_000
        connecting = made.connect_async(Uri(url))
        for busy in (True, False):
            for name, value in LATE.items():
                with pytest.raises(OSError) as caught:
                    setattr(made.control, name, value)
                assert code_of(caught) == errors.E_ILLEGAL_METHOD_CALL, name
            made.control.outbound_buffer_size_in_bytes = 60_000
            made.control.desired_unsolicited_pong_interval = timedelta(seconds=99)
            assert made.control.outbound_buffer_size_in_bytes == 50_000
            assert made.control.desired_unsolicited_pong_interval == timedelta(seconds=30)
            made.control.supported_protocols.append("late")
            made.control.ignorable_server_certificate_errors.append(ChainValidationResult.EXPIRED)
            made.control.message_type = SocketMessageType.UTF8
            if busy:
                await connecting
        assert made.information.protocol == ""
        await made.aclose()
        for name, value in LATE.items():
            with pytest.raises(OSError) as caught:
                setattr(made.control, name, value)
            assert code_of(caught) == errors.RO_E_CLOSED, name


@pytest.mark.parametrize(("wanted", "used"), [(30, 30), (1, 15), (0, 0), (3600, 3600)])
async def test_the_interval_of_unsolicited_pongs(wanted: int, used: int) -> None:
    async with serving() as url:
        made = MessageWebSocket()
        made.control.desired_unsolicited_pong_interval = timedelta(seconds=wanted)
        await connected(url, made)
        assert made.control.actual_unsolicited_pong_interval == timedelta(seconds=used)
        assert made._link.life is not None
        assert made._link.life.pong_interval == used
        await made.aclose()


async def test_a_silent_server_is_given_up() -> None:
    async with asyncio.timeout(PATIENCE), scripted(accepting()) as script:
        made = MessageWebSocket()
        made.control.ping_interval = 0.01
        made.control.ping_timeout = 0.02
        await connected(script.url, made)
        with pytest.raises(TimeoutError) as caught:
            await made.receive()
        assert code_of(caught) == INET_E_TIMEOUT
        made.abort()


# -- ending ----------------------------------------------------------------------------------------------------------


async def test_close_ends_what_is_pending_and_tells_closed_once() -> None:
    async with serving() as url:
        made = MessageWebSocket()
        closed: list[Any] = []
        made.add_closed(lambda _sender, args: closed.append((args.code, args.reason)))
        await connected(url, made)
        receiving = made.receive()
        made.close(4000, "bye")
        made.close(4001, "not said")
        with pytest.raises(OSError) as caught:
            await receiving
        assert code_of(caught) == INET_E_OPERATION_CANCELLED
        with pytest.raises(OSError) as caught:
            await made.receive()
        assert code_of(caught) == errors.RO_E_CLOSED
        await made.aclose()
        await until(lambda: bool(closed))
        assert closed == [(4000, "")]


async def test_wrong_arguments_of_close_change_nothing() -> None:
    async with serving() as url:
        for made in (MessageWebSocket(), await connected(url)):
            with pytest.raises(TypeError, match=r"use close\(\) or close\(code, reason\)"):
                made.close(1000)
            with pytest.raises(TypeError):
                made.close(1000, None)
            for code, reason in ((999, ""), (1005, ""), (1000, "x" * 124), (2999, "")):
                with pytest.raises(OSError) as caught:
                    made.close(code, reason)
                assert code_of(caught) == errors.E_INVALIDARG
            assert made._connection.state in {State.NEW, State.OPEN}
            with pytest.warns(DeprecationWarning, match="close"):
                made.close_with_status(1000, "")
            await made.aclose()


async def test_close_before_and_while_connecting() -> None:
    made = MessageWebSocket()
    made.close(1000, "never said")
    with pytest.raises(OSError) as caught:
        made.connect_async(Uri("ws://localhost:1/"))
    assert code_of(caught) == errors.RO_E_CLOSED
    with plain_listener() as listening:
        for end in (MessageWebSocket.close, MessageWebSocket.abort):
            made = MessageWebSocket()
            connecting = made.connect_async(Uri(f"ws://127.0.0.1:{port_of(listening)}/"))
            await asyncio.sleep(0)
            end(made)
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert repr(made).endswith("closed>")
        made = MessageWebSocket()
        connecting = made.connect_async(Uri(f"ws://127.0.0.1:{port_of(listening)}/"))
        async with asyncio.timeout(PATIENCE):
            await made.aclose()
        assert connecting.status == moorings.AsyncStatus.CANCELED


async def test_closing_from_another_thread() -> None:
    with plain_listener() as listening:
        made = MessageWebSocket()
        connecting = made.connect_async(Uri(f"ws://127.0.0.1:{port_of(listening)}/"))
        await asyncio.to_thread(made.close)
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert repr(made).endswith("closed>")
    async with serving() as url:
        made = await connected(url)
        await asyncio.to_thread(made._end_unopened)  # as if it had opened only after the look at its link
        with pytest.raises(OSError):
            await made.receive()
        assert repr(made).endswith("closed>")


async def test_one_that_is_dropped_while_it_is_open_warns() -> None:
    async with scripted(accepting()) as script:
        kept = [await connected(script.url)]
        with pytest.warns(ResourceWarning, match=r"unclosed MessageWebSocket .*web_socket_servers.py"):
            kept.clear()


async def test_cancelling_a_write_takes_the_connection_down() -> None:
    async with scripted(accepting()) as script:
        made = await connected(script.url)
        writing = made.output_stream.write_async(b"x" * 50_000_000)
        assert writing.status == moorings.AsyncStatus.STARTED
        writing.cancel()
        with pytest.raises(OSError):
            await made.receive()
        assert repr(made).endswith("closed>")
        made.close()


# -- cancelling the connect ------------------------------------------------------------------------------------------


async def test_cancel_at_every_turn_leaves_it_new() -> None:
    """Descriptors that are left are found by the suite."""
    async with asyncio.timeout(PATIENCE), scripted(accepting(rest=b"\x81\x02hi")) as script:
        made = MessageWebSocket()
        for turn in range(200):
            connecting = made.connect_async(Uri(script.url))
            await turns(turn)
            connecting.cancel()
            try:
                await connecting
            except asyncio.CancelledError:
                assert made._connection.state == State.NEW
                assert made.information.local_address is None
            else:
                break
        assert turn > 5
        assert await made.receive() == "hi"
        made.abort()


async def test_cancelling_the_awaiting_task_at_every_turn_leaves_it_new() -> None:
    async with asyncio.timeout(PATIENCE), scripted(accepting()) as script:
        for turn in range(200):
            made = MessageWebSocket()
            task = asyncio.create_task(connected(script.url, made))
            await turns(turn)
            if not task.cancel():
                break
            with pytest.raises(asyncio.CancelledError):
                await task
            # When the cancelling came between the success and the wake-up, it is open.
            assert made._connection.state in {State.NEW, State.OPEN}
            made.abort()
        assert turn > 5
        made.abort()


async def test_cancelling_while_the_server_is_silent() -> None:
    with plain_listener() as listening:
        made = MessageWebSocket()
        url = f"ws://127.0.0.1:{port_of(listening)}/"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await made.connect_async(Uri(url))
        assert made._connection.state == State.NEW
        peer, _ = listening.accept()
        with peer:
            peer.settimeout(PATIENCE)
            peer.recv(65536)
            with pytest.raises(ConnectionResetError):
                peer.recv(65536)
            connecting = made.connect_async(Uri(url))
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
        made.close()
