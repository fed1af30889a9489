"""wss: certificates that are accepted, refused and ignored, the program's own say, and certificates of ours."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, turns
from tests.sockets.peers import plain_listener, port_of
from tests.sockets.tls_servers import (
    VERSIONS,
    authority,
    bad_leaf,
    client_identity,
    server_context,
    trusts,
    trusts_nobody,
)
from tests.sockets.web_socket_servers import accepting, code_of, connected, scripted, status

import moorings
from moorings import ChainValidationResult as Result
from moorings import MessageWebSocket, WebSocketError, errors
from moorings.protocols.web_error_status import (
    INET_E_INVALID_CA,
    INET_E_SEC_CERT_DATE_INVALID,
    INET_E_SEC_CERT_ERRORS,
    INET_E_SECURITY_CHANNEL_ERROR,
    INET_E_TIMEOUT,
    WebErrorStatus,
)
from moorings.sockets.connection import State
from moorings.sockets.enums import SocketSslErrorSeverity
from winrt.windows.networking.sockets import WebSocketServerCustomValidationRequestedEventArgs as Args

if TYPE_CHECKING:
    from collections.abc import Callable

HELLO = b"\x81\x02hi"


def trusting(**settings: Any) -> MessageWebSocket:
    made = MessageWebSocket()
    made.control.trust_anchors = trusts()
    for name, value in settings.items():
        setattr(made.control, name, value)
    return made


def bad_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    bad_leaf().configure_cert(context)
    return context


async def refused(url: str, made: MessageWebSocket) -> Any:
    with pytest.raises(OSError) as caught:
        await connected(url, made)
    assert made._connection.state == State.NEW
    return caught.value


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_good_certificate(version: str) -> None:
    async with scripted(accepting(rest=HELLO), context=server_context(version)) as script:
        made = await connected(script.url, trusting())
        assert await made.receive() == "hi"
        information = made.information
        assert information.server_certificate is not None
        assert information.server_certificate_error_severity == SocketSslErrorSeverity.NONE
        assert information.protection_level.name == version.replace(" ", "").replace(".", "")
        assert information.cipher
        made.abort()
        assert information.server_certificate is not None


async def test_a_bad_certificate_and_what_is_ignored_of_it() -> None:
    async with scripted(accepting(rest=HELLO), context=bad_context()) as script:
        made = trusting()
        error = await refused(script.url, made)
        assert error.winerror == INET_E_SEC_CERT_DATE_INVALID
        assert WebSocketError.get_status(error.winerror) == WebErrorStatus.CERTIFICATE_EXPIRED
        assert set(error.certificate_errors) == {Result.EXPIRED, Result.INVALID_NAME}
        assert f"MessageWebSocket to localhost:{script.port}" in error.reason
        assert "control.ignorable_server_certificate_errors" in error.reason
        assert made.information.server_certificate is not None
        assert set(made.information.server_certificate_errors) == {Result.EXPIRED, Result.INVALID_NAME}
        made.control.ignorable_server_certificate_errors.append(Result.EXPIRED)
        assert set((await refused(script.url, made)).certificate_errors) == {Result.EXPIRED, Result.INVALID_NAME}
        made.control.ignorable_server_certificate_errors.append(Result.INVALID_NAME)
        await connected(script.url, made)
        assert made.information.server_certificate_error_severity == SocketSslErrorSeverity.IGNORABLE
        assert await made.receive() == "hi"
        made.abort()


async def test_an_authority_that_nobody_knows() -> None:
    async with scripted(accepting(), context=server_context()) as script:
        made = MessageWebSocket()
        made.control.trust_anchors = trusts_nobody()
        error = await refused(script.url, made)
        assert error.winerror == INET_E_INVALID_CA
        assert script.requests == []
        made.close()


async def test_pins_and_names_are_those_of_the_control() -> None:
    async with scripted(accepting(rest=HELLO), context=server_context()) as script:
        made = trusting(server_name="other.example")
        assert (await refused(script.url, made)).certificate_errors == (Result.INVALID_NAME,)
        made.control.server_name = ""
        made.control.pin_sha256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        assert isinstance(await refused(script.url, made), errors.PinMismatchError)
        certificate = made.information.server_certificate
        assert certificate is not None
        made.control.pin_sha256 = certificate.pin_sha256
        await connected(script.url, made)
        made.abort()


async def test_a_certificate_of_ours() -> None:
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    seen: list[Any] = []

    async def look(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert")["subjectAltName"])
        await accepting()(head, reader, writer)

    async with scripted(look, context=context) as script:
        made = await connected(script.url, trusting(client_certificate=client_identity()))
        assert seen == [(("email", "client@example.org"),)]
        made.abort()


async def test_a_server_without_tls_and_one_that_says_nothing() -> None:
    async with scripted(status("400 Bad Request")) as script:
        made = trusting()
        made._connection.connect_timeout = 5.0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(status("400 Bad Request"))
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as plain:
            port = plain.sockets[0].getsockname()[1]
            error = await refused(f"wss://127.0.0.1:{port}/", made)
            assert error.winerror == INET_E_SECURITY_CHANNEL_ERROR
        assert script.requests == []
        made.close()
    with plain_listener() as listening:
        made = trusting()
        made._connection.connect_timeout = 0.05
        error = await refused(f"wss://127.0.0.1:{port_of(listening)}/", made)
        assert error.winerror == INET_E_TIMEOUT
        assert isinstance(error, TimeoutError)
        assert "the TLS handshake, or the request" in error.reason
        made.close()


# -- the program's own say -------------------------------------------------------------------------------------------


async def test_a_handler_sees_the_server_before_the_request() -> None:
    seen: list[Any] = []
    async with scripted(accepting(), context=bad_context()) as script:
        made = trusting()
        made.control.ignorable_server_certificate_errors.extend([Result.EXPIRED, Result.INVALID_NAME])

        def look(sender: Any, args: Any) -> None:
            assert sender is made
            assert isinstance(args, Args)
            assert script.requests == []
            assert args.server_certificate_error_severity == SocketSslErrorSeverity.IGNORABLE
            assert list(args.server_intermediate_certificates) == []
            assert set(args.server_certificate_errors) == {Result.EXPIRED, Result.INVALID_NAME}
            seen.append(args)

        token = made.add_server_custom_validation_requested(print)
        made.remove_server_custom_validation_requested(token)
        made.add_server_custom_validation_requested(look)
        await connected(script.url, made)
        (args,) = seen
        assert repr(args.server_certificate) == repr(made.information.server_certificate)
        for late in (args.reject, args.get_deferral):
            with pytest.raises(OSError) as caught:
                late()
            assert code_of(caught) == errors.E_ILLEGAL_METHOD_CALL
        made.abort()


def raises(_sender: Any, _args: Any) -> None:
    raise KeyError("no")


async def rejects_later(_sender: Any, args: Any) -> None:
    await asyncio.sleep(0)
    args.reject()


@pytest.mark.parametrize("handler", [lambda _sender, args: args.reject(), raises, rejects_later])
async def test_a_handler_refuses(handler: Callable[[Any, Any], Any]) -> None:
    async with scripted(accepting(), context=server_context()) as script:
        made = trusting()
        token = made.add_server_custom_validation_requested(handler)
        error = await refused(script.url, made)
        assert error.winerror == INET_E_SEC_CERT_ERRORS
        assert WebSocketError.get_status(error.winerror) == WebErrorStatus.CERTIFICATE_CONTAINS_ERRORS
        assert "refused" in error.reason
        assert script.requests == []
        made.remove_server_custom_validation_requested(token)
        await connected(script.url, made)
        made.abort()


async def test_connecting_waits_for_deferrals_and_its_time_does_not_run() -> None:
    loop = asyncio.get_running_loop()

    def ask(_sender: Any, args: Any) -> None:
        deferral = args.get_deferral()
        second = args.get_deferral()
        second.complete()
        loop.call_later(0.6, deferral.complete)

    async with scripted(accepting(rest=HELLO), context=server_context()) as script:
        made = trusting()
        made._connection.connect_timeout = 0.5
        made.add_server_custom_validation_requested(ask)
        await connected(script.url, made)
        assert await made.receive() == "hi"
        made.abort()


async def test_close_and_cancel_while_the_program_is_asked() -> None:
    async with scripted(accepting(), context=server_context()) as script:
        for ends in (True, False):
            made = trusting()
            asked = asyncio.Event()
            deferrals: list[Any] = []

            def ask(_sender: Any, args: Any, asked: asyncio.Event = asked, kept: list[Any] = deferrals) -> None:
                kept.append(args.get_deferral())
                asked.set()

            made.add_server_custom_validation_requested(ask)
            connecting = made.connect_async(moorings.Uri(script.url))
            async with asyncio.timeout(PATIENCE):
                await asked.wait()
            if ends:
                made.close()
            else:
                connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert made._connection.state == (State.CLOSED if ends else State.NEW)
            deferrals.pop().complete()
            made.close()
        assert script.requests == []


async def test_cancel_at_every_turn() -> None:
    """Descriptors that are left are found by the suite."""
    async with asyncio.timeout(PATIENCE), scripted(accepting(rest=HELLO), context=server_context()) as script:
        made = trusting()
        for turn in range(0, 400, 3):
            connecting = made.connect_async(moorings.Uri(script.url))
            await turns(turn)
            connecting.cancel()
            try:
                await connecting
            except asyncio.CancelledError:
                assert made._connection.state == State.NEW
            else:
                break
        assert turn > 5
        assert await made.receive() == "hi"
        made.abort()


# -- tunnels, and the Python face ------------------------------------------------------------------------------------


async def test_tls_through_a_tunnel() -> None:
    async with scripted(accepting(rest=HELLO), context=server_context()) as script:
        kept: list[Any] = []

        async def tunnel(_host: str, _port: int) -> Any:
            kept.append(await moorings.connect(f"tcp://127.0.0.1:{script.port}"))
            return kept[-1]._stream("tunnel")

        made = trusting()
        made._connection.tunnel = tunnel
        await connected("wss://localhost/", made)
        assert await made.receive() == "hi"
        made.abort()
        made = MessageWebSocket()
        made.control.trust_anchors = trusts_nobody()
        made._connection.tunnel = tunnel
        assert (await refused("wss://localhost/", made)).winerror == INET_E_INVALID_CA
        for each in kept:
            each.abort()


async def test_moorings_connect() -> None:
    async with scripted(accepting(rest=HELLO), context=bad_context()) as script:
        ignore = (Result.EXPIRED, Result.INVALID_NAME)
        async with moorings.connect(script.url, ca=trusts(), ignore=ignore, approve=lambda _server: True) as made:
            assert await made.receive() == "hi"
            made.abort()
        with pytest.raises(OSError, match="the program refused") as caught:
            await moorings.connect(script.url, ca=trusts(), ignore=ignore, approve=lambda _server: False)
        assert code_of(caught) == INET_E_SEC_CERT_ERRORS
        with pytest.raises(OSError, match="not accepted"):
            await moorings.connect(script.url, ca=trusts())
