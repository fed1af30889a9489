"""WebSocketListener: routes, handlers, limits; `websockets` and plain sockets are clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from typing import Any

import pytest
import websockets
from tests.engine.pairs import PATIENCE, RST, receive, receive_ending, until
from tests.engine.tls_pairs import authority, server_certificate
from tests.sockets.web_socket_peers import (
    REQUEST,
    answer_to,
    asking,
    bound,
    client_of,
    closing_of,
    echo,
    plain_client,
    refused_with,
)

import moorings
from moorings import Certificate, HostName, ServerStreamWebSocket, WebSocketListener, errors
from moorings.sockets import web_socket_accepting

# -- who gets the WebSockets -----------------------------------------------------------------------------------------


async def test_routes_have_their_handlers_and_parameters() -> None:
    async def chat(web_socket: Any) -> None:
        request = web_socket.information.request
        await web_socket.send(f"chat {request.parameters['room']} {request.query} {request.header('x-one')}")

    def set_up(listener: WebSocketListener) -> None:
        listener.add_route("/chat/{room}", chat)
        listener.add_route("/echo", echo)

    async with bound(set_up) as (listener, port):
        async with client_of(port, "/chat/a%20b?x=1&y=&x=2", additional_headers={"X-One": "1"}) as client:
            assert await client.recv() == "chat a b {'x': '1', 'y': ''} 1"
            assert await closing_of(client) == (1000, "")
        async with client_of(port, "/echo") as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        assert await refused_with(port, "/nowhere") == 404
        assert await refused_with(port, "/chat/..") == 404
        await until(lambda: listener.open_connections == 0)
        counters = listener.information.counters
        assert (counters.opened, counters.open, counters.half_open, counters.answers) == (2, 0, 0, {404: 2})


@pytest.mark.parametrize("kind", ["async", "plain", "blocking"])
async def test_connection_received_gets_socket_and_request(kind: str) -> None:
    seen: list[Any] = []

    def plain(sender: Any, args: Any) -> None:
        seen.append((sender, args.request.path, args.socket is args.socket))
        args.socket.add_message_received(lambda web_socket, message: web_socket.send(message.data))
        kept.append(args.socket)

    async def asynchronous(sender: Any, args: Any) -> None:
        plain(sender, args)

    kept: list[Any] = []
    handler = {"async": asynchronous, "plain": plain, "blocking": moorings.blocking(plain)}[kind]
    async with bound(lambda listener: listener.add_connection_received(handler)) as (listener, port):
        async with client_of(port, "/any/path") as client:
            await client.send(b"\0")
            assert await client.recv() == b"\0"
        assert seen == [(listener, "/any/path", True)]


async def test_routes_of_bytes() -> None:
    async def copy(web_socket: Any) -> None:
        assert isinstance(web_socket, ServerStreamWebSocket)
        assert web_socket.information.user == "me"
        while data := await web_socket.read(65536):
            await web_socket.write(data)

    def approve(approval: Any) -> bool:
        approval.user = "me"
        return True

    def set_up(listener: WebSocketListener) -> None:
        listener.approve = approve
        listener.add_route("/bytes", copy, stream=True)
        listener.add_route("/messages", echo)

    async with bound(set_up) as (listener, port):
        async with client_of(port, "/bytes") as client:
            await client.send(b"x" * 100_000)
            received = 0
            while received < 100_000:
                received += len(await client.recv())
        async with client_of(port, "/messages") as client:
            await client.send("text")
            assert await client.recv() == "text"
        async with client_of(port, "/bytes") as client:
            await client.send("text")
            assert (await closing_of(client))[0] == 1003
        await until(lambda: listener.open_connections == 0)
        assert listener.information.counters.opened == 3


async def test_async_for_takes_them_and_ends_with_the_listener() -> None:
    async with bound() as (listener, port):
        taken: list[Any] = []

        async def take() -> None:
            async for web_socket in listener:
                taken.append(web_socket)
                await web_socket.send("hello")

        taking = asyncio.ensure_future(take())
        async with client_of(port) as client:
            assert await client.recv() == "hello"
            with pytest.raises(OSError, match="beside") as caught:
                listener.add_connection_received(lambda _sender, _args: None)
            assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
            listener.close()
            await taking
            (web_socket,) = taken
            await web_socket.send("still open")
            assert await client.recv() == "still open"
            await web_socket.aclose()


async def test_what_async_for_does_not_take_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_socket_accepting, "ITERATION_QUEUE", 2)
    async with bound() as (listener, port), AsyncExitStack() as stack:
        iterator = listener.__aiter__()
        clients = [await stack.enter_async_context(client_of(port)) for _ in range(2)]
        assert await refused_with(port) == 503
        first = await iterator.__anext__()
        await first.send("you")
        assert await clients[0].recv() == "you"
        listener.stop_accepting()
        assert await closing_of(clients[1]) == (1001, "")
        with pytest.raises(StopAsyncIteration):
            await iterator.__anext__()
        await first.aclose()


async def test_without_anybody_for_them_connections_wait() -> None:
    async with bound() as (listener, port):
        with plain_client(port) as client:
            client.sendall(REQUEST)
            await asyncio.sleep(0)
            assert listener.information.counters.half_open == 0
            token = listener.add_connection_received(lambda _sender, args: args.socket.close(3000, "seen"))
            answer = await receive(client, 12)
            assert answer == b"HTTP/1.1 101"
            listener.remove_connection_received(token)


# -- how they end ----------------------------------------------------------------------------------------------------


async def test_a_handler_that_raises_is_reported_once_and_the_client_told_1011(expect_loop_errors: Any) -> None:
    def plain(_web_socket: Any) -> None:
        raise ValueError("plain mistake")

    async def asynchronous(_web_socket: Any) -> None:
        raise ValueError("async mistake")

    def set_up(listener: WebSocketListener) -> None:
        listener.add_route("/plain", plain)
        listener.add_route("/async", asynchronous)

    async with bound(set_up) as (_, port):
        for path in ("plain", "async"):
            async with client_of(port, f"/{path}") as client:
                assert await closing_of(client) == (1011, "")
    assert [str(context["exception"]) for context in expect_loop_errors] == ["plain mistake", "async mistake"]


@pytest.mark.parametrize("how", ["reset", "closed", "group", "violation"])
async def test_a_handler_that_only_says_that_it_ended_is_not_reported(how: str) -> None:
    ended = asyncio.Event()

    async def handle(web_socket: Any) -> None:
        try:
            await web_socket.send("ready")
            if how == "group":

                async def receive_there() -> None:
                    await web_socket.receive()

                async with asyncio.TaskGroup() as group:
                    group.create_task(receive_there())
            while True:
                await web_socket.receive()
        finally:
            ended.set()

    async with bound(lambda listener: listener.add_route("/chat", handle)) as (_, port):
        with plain_client(port) as client:
            client.sendall(REQUEST)
            await receive(client, 12)
            if how == "closed":
                client.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
            elif how == "violation":
                client.sendall(b"\xff\xff\xff\xff")
            else:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()
            await ended.wait()


async def test_listener_settings_reach_the_web_sockets() -> None:
    def set_up(listener: WebSocketListener) -> None:
        listener.control.max_message_size = 10
        listener.control.subprotocols = ["b", "a"]
        listener.add_route("/", echo)
        listener.add_route("/long", echo, max_message_size=20, subprotocols=[])

    offered: Any = ["a", "b"]
    async with bound(set_up) as (_, port):
        async with client_of(port, subprotocols=offered) as client:
            assert client.subprotocol == "b"
            await client.send("x" * 11)
            assert (await closing_of(client))[0] == 1009
        async with client_of(port, "/long", subprotocols=offered) as client:
            assert client.subprotocol is None
            await client.send("x" * 20)
            assert len(await client.recv()) == 20


# -- limits ----------------------------------------------------------------------------------------------------------


async def test_beyond_max_connections_clients_are_told_to_come_again() -> None:
    def set_up(listener: WebSocketListener) -> None:
        listener.control.max_connections = 2
        listener.http = lambda _head: "healthy"
        listener.add_route("/chat", echo)

    async with bound(set_up) as (listener, port):
        async with client_of(port, "/chat"), client_of(port, "/chat"):
            status, headers, _, _ = await answer_to(port, asking())
            assert (status, headers["retry-after"]) == (503, str(web_socket_accepting.RETRY_AFTER))
            assert (await answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
        await until(lambda: listener.open_connections == 0)
        assert await refused_with(port, "/chat") == 101
        listener.control.max_connections = None


async def test_a_request_that_does_not_come_is_answered_with_408() -> None:
    def set_up(listener: WebSocketListener) -> None:
        listener.control.request_timeout = 0.05
        listener.add_route("/chat", echo)

    async with bound(set_up) as (listener, port):
        assert (await answer_to(port, REQUEST[:-2]))[0] == 408
        assert (await answer_to(port, b""))[0] == 408
        assert listener.information.counters.answers == {408: 2}


async def test_half_open_connections_are_bounded_and_the_oldest_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_socket_accepting, "HALF_OPEN_LIMIT", 3)
    async with bound(lambda listener: listener.add_route("/chat", echo)) as (listener, port):
        with plain_client(port) as first:
            first.sendall(REQUEST[:20])
            await until(lambda: listener.information.counters.half_open == 1)
            with plain_client(port) as second, plain_client(port):
                await until(lambda: listener.information.counters.half_open == 3)
                async with client_of(port, "/chat"):
                    assert (await receive_ending(first))[1] == RST
                    counters = listener.information.counters
                    assert (counters.evicted, counters.half_open, counters.opened) == (1, 2, 1)
                second.sendall(REQUEST)
                assert await receive(second, 12) == b"HTTP/1.1 101"
        await until(lambda: listener.information.counters.half_open == 0)
        counters = listener.information.counters
        assert (counters.incomplete, counters.evicted) == (1, 1)


async def test_those_who_never_read_hurt_nobody_else() -> None:
    async def flood(web_socket: Any) -> None:
        async for message in web_socket:
            for _ in range(message.count("x")):
                await web_socket.send(bytes(4096))

    async with (
        bound(lambda listener: listener.add_route("/chat", flood)) as (listener, port),
        AsyncExitStack() as stack,
    ):
        deaf = []
        for _ in range(3):
            client = stack.enter_context(plain_client(port, receive_buffer=4096))
            client.sendall(REQUEST + b"\x81\xfe\x10\x00\0\0\0\0" + b"x" * 4096)  # an answer of 16 MiB
            deaf.append(client)
        clients = [await stack.enter_async_context(client_of(port, "/chat")) for _ in range(10)]
        for client in clients:
            for _ in range(20):
                await client.send("x")
                assert len(await client.recv()) == 4096
        links = [link for link, _ in listener._core.links.values()]
        # Each awaited send waits, and so no queue holds more than the message that waits.
        assert sum(link.stream.queued_bytes > 0 for link in links) == 3
        assert max(link.stream.queued_bytes for link in links) <= 2 * 4096 + 100
        report = await listener.drain(2)
        assert (report.told, report.finished) == (13, 10)
        assert report.aborted == 3


# -- TLS, settings, states -------------------------------------------------------------------------------------------


async def test_over_tls() -> None:
    leaf = server_certificate()
    pem = leaf.private_key_and_cert_chain_pem.bytes()

    def set_up(listener: WebSocketListener) -> None:
        listener.control.server_certificate = Certificate.from_pem(pem)
        listener.add_route("/chat", echo)

    context = ssl.create_default_context()
    authority().configure_trust(context)
    async with bound(set_up) as (listener, port):
        url = f"wss://127.0.0.1:{port}/chat"
        async with websockets.connect(url, ssl=context, compression=None) as client:
            await client.send("x" * 100_000)
            assert await client.recv() == "x" * 100_000
        assert (await answer_to(port, REQUEST))[0] in {0, 400}  # plain text to a TLS port
        assert listener.information.counters.opened == 1


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("max_connections", 0, ValueError),
        ("max_connections", "1", TypeError),
        ("max_message_size", 0, ValueError),
        ("subprotocols", "chat", TypeError),
        ("subprotocols", ["a b"], OSError),
        ("subprotocols", ["a", "a"], OSError),
        ("origins", [7], TypeError),
        ("origins", ["foo"], OSError),
        ("origins", ["https://"], OSError),
        ("origins", ["example.com:443"], OSError),
        ("origins", ["https://example.com/page"], OSError),
        ("origins", ["https://ann@example.com"], OSError),
        ("origins", ["https://a.example,https://b.example"], OSError),
        ("request_timeout", 0, ValueError),
        ("ping_interval", -1, ValueError),
        ("ping_timeout", 0, ValueError),
        ("ping_timeout", float("nan"), ValueError),
    ],
)
def test_wrong_settings(name: str, value: Any, error: type[Exception]) -> None:
    control = WebSocketListener().control
    before = getattr(control, name)
    with pytest.raises(error):
        setattr(control, name, value)
    assert getattr(control, name) == before


async def test_states_and_wrong_arguments() -> None:
    listener = WebSocketListener()
    assert listener.control is listener.control
    assert listener.information is listener.information
    with pytest.raises(OSError, match="bind it first") as caught:
        listener.__aiter__()
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    for wrong in ({"approve": 7}, {"http": 7}):
        for name, value in wrong.items():
            with pytest.raises(TypeError, match=name):
                setattr(listener, name, value)
    with pytest.raises(TypeError):
        listener.add_route("/", 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        listener.add_handler(None)  # type: ignore[arg-type]
    assert await listener.drain(0) == (0, 0, 0, 0, 0)
    with pytest.raises(OSError, match="WebSocketListener") as caught:
        listener.add_route("/", echo)
    assert caught.value.winerror == errors.RO_E_CLOSED
    with pytest.raises(OSError, match="WebSocketListener"):
        await listener.bind_service_name_async("0")


async def test_one_that_is_dropped_gives_its_port_back_with_a_warning() -> None:
    kept = [WebSocketListener()]
    kept[0].add_route("/chat", echo)
    await kept[0].bind_service_name_async("")
    port = int(kept[0].information.local_port)
    with pytest.warns(ResourceWarning, match="unclosed WebSocketListener") as caught:
        kept.clear()
    assert "test_web_socket_listener.py" in str(caught[0].message)
    with pytest.raises(ConnectionRefusedError), plain_client(port):
        pass


def test_in_a_plain_script() -> None:
    """Handlers run on worker threads, and may block."""
    import threading

    seen: list[Any] = []
    done = threading.Event()

    def handle(web_socket: Any) -> None:
        seen.append(threading.current_thread() is not threading.main_thread())
        web_socket.send(web_socket.receive().get()).get()
        seen.append(web_socket.receive().get())
        done.set()

    def approve(approval: Any) -> bool:
        seen.append(approval.request.path)
        return True

    with WebSocketListener() as listener:
        listener.approve = approve
        listener.add_route("/chat", handle)
        listener.bind_endpoint_async(HostName("127.0.0.1"), "").get()
        port = int(listener.information.local_port)

        async def talk() -> None:
            async with client_of(port, "/chat") as client:
                await client.send("one")
                assert await client.recv() == "one"
                await client.send("two")
                assert await closing_of(client) == (1000, "")

        asyncio.run(talk())
        assert done.wait(PATIENCE)
    assert seen == ["/chat", True, "two"]
