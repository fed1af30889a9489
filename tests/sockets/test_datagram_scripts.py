"""DatagramSocket in programs without asyncio: `.get()`, handlers on worker threads, many threads, the end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE
from tests.sockets.datagram_peers import plain_peer, port_of, unused_port
from tests.sockets.peers import code
from tests.sockets.scripts import until

from moorings.foundation.background import background_home
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import DatagramSocket
from winrt.windows.storage.streams import DataWriter

LOCALHOST = HostName("127.0.0.1")


@pytest.fixture(autouse=True)
def background() -> None:
    """The background loop keeps its descriptors for the rest of the process: they are no test's leak."""
    background_home()


class Kept:
    """A handler that keeps datagrams, and the threads on which it was called."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.threads: set[str] = set()

    def __call__(self, _socket: DatagramSocket, args: Any) -> None:
        self.items.append(bytes(args.data))
        self.threads.add(threading.current_thread().name)


def bound(handler: Any) -> DatagramSocket:
    ours = DatagramSocket()
    ours.add_message_received(handler)
    ours.bind_endpoint_async(LOCALHOST, "").get()
    return ours


def test_every_operation_with_get() -> None:
    kept = Kept()
    server = bound(kept)
    client = DatagramSocket()
    client.connect_async(LOCALHOST, server.information.local_port).get()
    assert client.output_stream.write_async(b"one").get() == 3
    writer = DataWriter(client.output_stream)
    writer.write_string("two")
    assert writer.store_async().get() == 3
    writer.detach_stream()
    for word in (b"three", b"four"):
        client.output_stream.write_async(word)
    assert client.output_stream.flush_async().get() is True
    assert client.send(b"five").get() == 4
    unbound = DatagramSocket()
    stream = unbound.get_output_stream_async(LOCALHOST, server.information.local_port).get()
    assert stream.flush_async().get() is True
    assert stream.write_async(b"six").get() == 3
    until(lambda: len(kept.items) == 6)
    assert kept.items == [b"one", b"two", b"three", b"four", b"five", b"six"]
    assert kept.threads == {"moorings-worker"}
    pairs = DatagramSocket.get_endpoint_pairs_async(LOCALHOST, "53").get()
    assert [str(pair.remote_host_name) for pair in pairs] == ["127.0.0.1"]
    client.cancel_io_async().get()
    for ours in (server, client, unbound):
        ours.close()


def test_handlers_run_in_order_and_may_block() -> None:
    """A handler calls `.get()`, and answers; the next datagram waits."""
    order: list[bytes] = []

    def answer(_socket: DatagramSocket, args: Any) -> None:
        data = bytes(args.data)
        order.append(data)
        assert args.reply(data).get() == len(data)

    server = bound(answer)
    with plain_peer() as peer:
        words = [b"%d" % number for number in range(100)]
        for word in words:
            peer.sendto(word, ("127.0.0.1", port_of(server)))
        assert [peer.recv(10) for _ in words] == words
    assert order == words
    server.close()


def test_async_handlers_run_on_the_home_loop() -> None:
    names: list[str] = []

    async def handle(_socket: DatagramSocket, args: Any) -> None:
        names.append(threading.current_thread().name)
        await args.reply(b"answer")

    server = bound(handle)
    with plain_peer() as peer:
        peer.sendto(b"x", ("127.0.0.1", port_of(server)))
        assert peer.recv(10) == b"answer"
    assert names == ["moorings-home"]
    server.close()


def test_a_failing_handler_is_reported_once(expect_loop_errors: list[dict[str, Any]]) -> None:
    kept = Kept()

    def fail(sender: DatagramSocket, args: Any) -> None:
        raise ValueError("on a worker")

    ours = DatagramSocket()
    ours.add_message_received(fail)
    ours.add_message_received(kept)
    ours.bind_endpoint_async(LOCALHOST, "").get()
    with plain_peer() as peer:
        for word in (b"1", b"2"):
            peer.sendto(word, ("127.0.0.1", port_of(ours)))
        until(lambda: len(kept.items) == 2)
    until(lambda: len(expect_loop_errors) == 2)
    assert {str(context["exception"]) for context in expect_loop_errors} == {"on a worker"}
    expect_loop_errors.clear()
    ours.close()


@pytest.mark.parametrize("policy", ["oldest", "newest"])
def test_a_slow_handler_lets_datagrams_drop(policy: Any) -> None:
    gate = threading.Event()
    running = threading.Event()
    seen: list[bytes] = []

    def slow(_socket: DatagramSocket, args: Any) -> None:
        seen.append(bytes(args.data))
        running.set()
        gate.wait(PATIENCE)

    ours = DatagramSocket()
    ours.limits.receive_queue_limit = 2
    ours.limits.drop_policy = policy
    ours.add_message_received(slow)
    ours.bind_endpoint_async(LOCALHOST, "").get()
    with plain_peer() as peer:
        to = ("127.0.0.1", port_of(ours))
        peer.sendto(b"0", to)
        running.wait(PATIENCE)
        for number in range(1, 6):
            peer.sendto(b"%d" % number, to)
        until(lambda: ours.counters.datagrams_received == 6)
        gate.set()
        until(lambda: len(seen) == 3)
    assert seen == ([b"0", b"4", b"5"] if policy == "oldest" else [b"0", b"1", b"2"])
    assert ours.counters.dropped == 3
    ours.close()


def test_errors_with_get_and_as_events() -> None:
    found: list[BaseException] = []

    def handle(_socket: DatagramSocket, args: Any) -> None:
        try:
            args.get_data_reader()
        except OSError as error:
            found.append(error)

    ours = DatagramSocket()
    ours.add_message_received(handle)
    ours.connect_async(LOCALHOST, str(unused_port())).get()
    ours.send(b"anybody?").get()
    until(lambda: bool(found))
    assert isinstance(found[0], ConnectionResetError)
    with pytest.raises(OSError) as caught:
        ours.output_stream.write_async(bytes(70_000)).get()
    assert code(caught.value) == "WSAEMSGSIZE"
    with pytest.raises(OSError) as caught:
        ours.connect_async(LOCALHOST, "1")
    assert code(caught.value) == "E_ILLEGAL_METHOD_CALL"
    ours.close()


def test_many_threads_send_on_one_socket() -> None:
    kept = Kept()
    server = bound(kept)
    client = DatagramSocket()
    client.connect_async(LOCALHOST, server.information.local_port).get()

    def send(number: int) -> None:
        for index in range(20):
            client.output_stream.write_async(b"%d:%d" % (number, index)).get()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(kept.items) == 160)
    for number in range(8):
        own = [item for item in kept.items if item.startswith(b"%d:" % number)]
        assert own == [b"%d:%d" % (number, index) for index in range(20)]
    client.close()
    server.close()


def test_no_handler_starts_after_close() -> None:
    gate = threading.Event()
    running = threading.Event()
    seen: list[bytes] = []

    def slow(_socket: DatagramSocket, args: Any) -> None:
        seen.append(bytes(args.data))
        running.set()
        gate.wait(PATIENCE)

    ours = bound(slow)
    with plain_peer() as peer:
        for _ in range(5):
            peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        running.wait(PATIENCE)
        until(lambda: ours.counters.datagrams_received == 5)
    ours.close()
    gate.set()
    delivery = ours._link.delivery
    assert delivery is not None
    until(lambda: not delivery._working)
    assert seen == [b"x"]


PROGRAM = """
    import sys
    from winrt.windows.networking import HostName
    from winrt.windows.networking.sockets import DatagramSocket
    ours = DatagramSocket()
    ours.connect_async(HostName("127.0.0.1"), sys.argv[1]).get()
    for number in range(100):
        ours.output_stream.write_async(b"%d" % number)
    ours.close()
"""


def test_what_was_written_goes_out_at_the_end_of_the_program() -> None:
    with plain_peer() as peer:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PROGRAM), str(peer.getsockname()[1])],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert [int(peer.recv(10)) for _ in range(100)] == list(range(100))
