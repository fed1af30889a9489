"""`moorings.listen("ws://...")`: URLs, options, handlers, the drain."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
import websockets
from tests.engine.pairs import PATIENCE
from tests.engine.tls_pairs import authority, server_certificate
from tests.sockets.web_socket_peers import answer_to, asking, client_of, closing_of, echo, refused_with

import moorings
from moorings import ListeningWebSockets, WebSocketDrainReport, errors


@pytest.mark.parametrize(
    ("path", "served", "other"),
    [
        ("", ["/", "/any/thing"], None),
        ("/", ["/", "/any"], None),
        ("/chat", ["/chat", "/chat?a=b"], "/"),
        ("/{room}", ["/x"], "/x/y"),
    ],
)
async def test_the_path_of_the_url_is_what_is_served(path: str, served: list[str], other: str | None) -> None:
    async with asyncio.timeout(PATIENCE), moorings.listen(f"ws://127.0.0.1:0{path}", echo) as listening:
        for each in served:
            async with client_of(listening.port, each) as client:
                await client.send("hello")
                assert await client.recv() == "hello"
        if other is not None:
            assert await refused_with(listening.port, other) == 404


async def test_routes_and_hooks() -> None:
    async def ticks(web_socket: Any) -> None:
        await web_socket.send("tick")

    listening = moorings.listen(
        "WS://127.0.0.1:",
        routes={"/echo": echo, "/ticks": ticks},
        http=lambda head: "yes" if head.path == "/health" else None,
        approve=lambda approval: approval.request.query.get("token") == "7",
        origins=["https://here.example", None],
        subprotocols=["a"],
        max_message_size=5,
        ping_interval=0,
        compression=True,
    )
    async with asyncio.timeout(PATIENCE), listening:
        assert repr(listening).startswith("<ListeningWebSockets <WebSocketListener on port ")
        port = listening.port
        async with client_of(port, "/ticks?token=7") as client:
            assert await client.recv() == "tick"
        async with client_of(port, "/echo?token=7") as client:
            await client.send("123456")
            assert (await closing_of(client))[0] == 1009
        assert await refused_with(port, "/echo?token=8") == 403
        assert await refused_with(port, "/echo?token=7", origin="https://there.example") == 403
        assert (await answer_to(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"))[2] == b"yes"
        async with websockets.connect(f"ws://127.0.0.1:{port}/echo?token=7") as client:
            assert client.response is not None
            assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("ws://127.0.0.1:0/chat?query", {}),
        ("ws://127.0.0.1:0/#part", {}),
        ("ws://user@127.0.0.1:0", {}),
        ("ws://127.0.0.1:0/{", {}),
        ("ws:///chat", {}),
        ("ws://127.0.0.1:0", {"certificate": "x.pem"}),
        ("ws://127.0.0.1:0", {"transferable": True}),
        ("ws://127.0.0.1:0", {"alpn": ["x"]}),
        ("ws://127.0.0.1:0", {"routes": {"/": echo}}),
        ("ws://127.0.0.1:0", {"subprotocols": ["a b"]}),
        ("wss://127.0.0.1:0", {}),
    ],
)
def test_wrong_urls_and_options(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(OSError) as caught:
        moorings.listen(url, echo, **options)
    assert caught.value.winerror == errors.E_INVALIDARG


@pytest.mark.parametrize(
    ("url", "option"),
    [("ws://127.0.0.1:0", {"nonsense": 1}), ("tcp://127.0.0.1:0", {"origins": []}), ("ws://:", {"approve": 7})],
)
def test_unknown_options(url: str, option: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(option))):
        moorings.listen(url, echo, **option)


async def test_over_tls_with_certificates_of_clients_and_a_new_certificate(tmp_path: Any) -> None:
    leaf, ca = server_certificate(), authority()
    pem = tmp_path / "server.pem"
    pem.write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    context = ssl.create_default_context()
    ca.configure_trust(context)
    ca.issue_cert("client@localhost").configure_cert(context)

    async def tell(web_socket: Any) -> None:
        await web_socket.send(web_socket.information.user)

    def approve(approval: Any) -> bool:
        certificate = approval.information.client_certificate
        approval.user = "nobody" if certificate is None else "somebody"
        return True

    serving = moorings.listen(
        "wss://127.0.0.1:0/chat", tell, certificate=pem, client_ca=ca.cert_pem.bytes(), approve=approve
    )
    async with asyncio.timeout(PATIENCE), serving as listening:
        listening.replace_certificate(pem)
        url = f"wss://127.0.0.1:{listening.port}/chat"
        async with websockets.connect(url, ssl=context, compression=None) as client:
            assert await client.recv() == "somebody"


@pytest.mark.parametrize("blocking", [False, True])
async def test_handlers_that_are_no_coroutines(blocking: bool) -> None:
    kept: list[Any] = []

    def handle(web_socket: Any) -> None:
        if blocking:
            web_socket.send(web_socket.receive().get()).get()
        else:
            web_socket.send("gone")
            kept.append(web_socket)

    handler = moorings.blocking(handle) if blocking else handle
    serving = moorings.listen("ws://127.0.0.1:0", handler)
    async with asyncio.timeout(PATIENCE), serving as listening, client_of(listening.port) as client:
        if blocking:
            await client.send("gone")
        assert await client.recv() == "gone"
        assert await closing_of(client) == (1000, "")


async def test_a_blocking_handler_whose_client_leaves_is_not_reported() -> None:
    async with asyncio.timeout(PATIENCE):
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def handle(web_socket: Any) -> None:
            try:
                while True:
                    web_socket.send(web_socket.receive().get()).get()
            finally:
                loop.call_soon_threadsafe(ended.set)

        async with moorings.listen("ws://127.0.0.1:0", moorings.blocking(handle)) as listening:
            async with client_of(listening.port) as client:
                await client.send("hello")
                assert await client.recv() == "hello"
            await ended.wait()


async def test_without_a_handler_it_is_iterated_over() -> None:
    listening = moorings.listen("ws://127.0.0.1:0")
    with pytest.raises(OSError, match="async with"):
        listening.__aiter__()
    async with asyncio.timeout(PATIENCE), listening:
        iterator = listening.__aiter__()
        async with client_of(listening.port) as client:
            web_socket: Any = await iterator.__anext__()
            await web_socket.send("hello")
            assert await client.recv() == "hello"
            web_socket.close()
            await web_socket.aclose()


async def test_leaving_the_block_tells_clients_and_waits_for_handlers() -> None:
    left = asyncio.Event()

    async def handle(web_socket: Any) -> None:
        await web_socket.send("ready")
        async for _ in web_socket:
            pass
        with pytest.raises(OSError, match="closed"):
            await web_socket.send("too late")
        left.set()
        await web_socket.send("too late")  # says only that it has ended: not reported

    async with asyncio.timeout(PATIENCE):
        async with moorings.listen("ws://127.0.0.1:0", handle) as listening:
            assert isinstance(listening, ListeningWebSockets)
            client = await websockets.connect(f"ws://127.0.0.1:{listening.port}", compression=None)
            assert await client.recv() == "ready"
            serving = asyncio.ensure_future(listening.serve_forever())
        assert left.is_set()
        await serving
        assert await closing_of(client) == (1001, "")
        assert listening.report == WebSocketDrainReport(opened=1, told=1, finished=1, aborted=0)


async def test_leaving_the_block_through_an_exception_does_not_wait() -> None:
    async def handle(web_socket: Any) -> None:
        await web_socket.send("ready")
        await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE):
        listening = await moorings.listen("ws://127.0.0.1:0", handle)
        client = await websockets.connect(f"ws://127.0.0.1:{listening.port}", compression=None)
        assert await client.recv() == "ready"
        error = ValueError("a mistake")
        await listening.__aexit__(ValueError, error, None)
        assert await closing_of(client) == (1001, "")  # the close frame goes out all the same
        assert listening.report is not None
        assert listening.report.told == 1


@pytest.mark.parametrize(("code", "reason"), [(1005, ""), (999, ""), (1000, "x" * 124)])
async def test_a_drain_with_a_code_that_may_not_be_sent_changes_nothing(code: int, reason: str) -> None:
    async with asyncio.timeout(PATIENCE), moorings.listen("ws://127.0.0.1:0", echo) as listening:
        with pytest.raises(OSError, match="close") as caught:
            await listening.drain(code=code, reason=reason)
        assert caught.value.winerror == errors.E_INVALIDARG
        assert (await answer_to(listening.port, asking("/"), end=True))[0] == 101
