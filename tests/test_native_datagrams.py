"""The leaf functions for datagrams: both twins, and that they give the same answers."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fuzz import datagram_control
from hypothesis import given
from hypothesis import strategies as st

from moorings import Buffer
from moorings._native_switch import native_mode

if TYPE_CHECKING:
    from collections.abc import Iterator

PURE: Any = import_module("moorings._pure_datagrams")
TWINS: list[Any] = [PURE, import_module("moorings._native_datagrams")] if native_mode()[0] else [PURE]
BOTH = pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__.rpartition("_")[0][-6:].strip("._"))
CORPUS = sorted((Path(__file__).parents[1] / "fuzz" / "corpus" / "datagram_control").iterdir())

V4 = ("127.0.0.1", 9)
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104


@contextmanager
def sockets(family: int = socket.AF_INET) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A sender and a receiver, bound."""
    with socket.socket(family, socket.SOCK_DGRAM) as sender, socket.socket(family, socket.SOCK_DGRAM) as receiver:
        for end in (sender, receiver):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            end.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
            end.setblocking(False)
        yield sender, receiver


def arriving(receiver: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(receiver.recv(65536))
        except BlockingIOError:
            return found


def answer_of(function: Any, *arguments: Any) -> Any:
    """What a call gives, or the class of its exception."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001
        return type(error)


# -- Target ----------------------------------------------------------------------------------------------------------

ODD_NAMES: list[Any] = [
    (),
    ("127.0.0.1",),
    ("127.0.0.1", 1, 0),
    ("::1", 1, 0, 0, 0),
    ["127.0.0.1", 1],
    "127.0.0.1",
    7,
    ("127.0.0.1", -1),
    ("127.0.0.1", 65536),
    ("127.0.0.1", 1.0),
    ("127.0.0.1", "1"),
    (b"127.0.0.1", 1),
    (None, 1),
    ("", 1),
    ("localhost", 1),
    ("127.0.0.256", 1),
    ("127.0.0.1\0", 1),
    ("127.0.0.\u0661", 1),
    ("::1", 1),
    ("127.0.0.1", 1, 0, 0),
    ("::1", 1, -1, 0),
    ("::1", 1, 1 << 20, 0),
    ("::1", 1, 0, 1 << 32),
    ("::1", 1, 0, -1),
    ("::1", 1, "0", 0),
    ("fe80::1%lo", 1, 0, 0),
]


@BOTH
@pytest.mark.parametrize("name", ODD_NAMES, ids=repr)
def test_odd_names(twin: Any, name: Any) -> None:
    with pytest.raises(ValueError, match=r"no numeric address|null character"):
        twin.Target(name)


@BOTH
@pytest.mark.parametrize(
    "name", [None, V4, ("0.0.0.0", 0), ("::1", 65535, 0xFFFFF, 0xFFFFFFFF), ("::ffff:1.2.3.4", 1, 0, 0)]
)
def test_names(twin: Any, name: Any) -> None:
    target = twin.Target(name)
    assert (target.name, target.segment_limit) == (name, 65535)
    target.segment_limit = 0
    assert target.segment_limit == 0


# -- Outbox ----------------------------------------------------------------------------------------------------------


def filled(twin: Any, sizes: list[int], plain: bool = False, target: Any = None) -> tuple[Any, int]:
    """An outbox with datagrams of these sizes, and how many it took."""
    outbox = twin.Outbox()
    target = target or twin.Target(V4)
    for number, size in enumerate(sizes):
        if not outbox.add(bytes(size), size, target, plain):
            return outbox, number
    return outbox, len(sizes)


@BOTH
@pytest.mark.parametrize(
    ("sizes", "first"),
    [
        ([], 0),
        ([100], 1),
        ([100, 100, 100], 3),
        ([100, 100, 50, 100], 3),
        ([100, 101], 1),
        ([0, 0], 1),
        ([100, 0], 1),
        ([100] * 100, 64),
        ([1300] * 51, 50),
        ([32500, 32500, 1], 2),
        ([32500, 32501], 1),
        ([65001, 1], 1),
        ([65000, 1], 1),
    ],
)
def test_what_goes_together(twin: Any, sizes: list[int], first: int) -> None:
    outbox, taken = filled(twin, sizes)
    assert taken == len(sizes)
    assert outbox.first_count() == first


@BOTH
def test_what_does_not_go_together(twin: Any) -> None:
    outbox = twin.Outbox()
    one, other, short = twin.Target(V4), twin.Target(V4), twin.Target(V4, 99)
    for first, second in ((one, other), (short, short)):
        outbox.clear()
        assert outbox.add(bytes(100), 100, first, False)
        assert outbox.add(bytes(100), 100, second, False)
        assert outbox.first_count() == 1
    for plain in ((True, False), (False, True)):
        outbox.clear()
        assert [outbox.add(bytes(9), 9, one, kind) for kind in plain] == [True, True]
        assert outbox.first_count() == 1
    outbox.clear()
    assert outbox.first_count() == 0


@BOTH
def test_limits_of_an_outbox(twin: Any) -> None:
    assert filled(twin, [5] * 2000)[1] == 1024
    assert filled(twin, [5] * 2000, plain=True)[1] == 64
    assert filled(twin, [0] * 2000)[1] == 64
    assert filled(twin, list(range(1, 200)))[1] == 64


@BOTH
def test_odd_data(twin: Any) -> None:
    target = twin.Target(V4)
    released = memoryview(b"abc")
    released.release()
    cases: list[tuple[Any, int, Any]] = [
        (b"abc", 4, BufferError),
        (b"abc", -1, BufferError),
        (b"", 1, BufferError),
        (memoryview(b"abc"), 4, BufferError),
        (memoryview(b"abcdef")[::2], 3, BufferError),
        (memoryview(b"abcdef")[::-1], 3, BufferError),
        (released, 3, ValueError),
        (bytearray(b"abc"), 3, TypeError),
        ("abc", 3, TypeError),
        (None, 0, TypeError),
        (memoryview(b"abcdefgh").cast("I"), 8, True),
        (memoryview(b"abcdefgh").cast("I"), 9, BufferError),
        (b"abc", 0, True),
    ]
    for data, size, expected in cases:
        outbox = twin.Outbox()
        assert answer_of(outbox.add, data, size, target, False) == expected, (data, size)
        assert outbox.first_count() == (expected is True)


@BOTH
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def test_sending(twin: Any, family: int) -> None:
    with sockets(family) as (sender, receiver):
        target = twin.Target(receiver.getsockname())
        data: list[Any] = [
            b"a" * 100,
            b"b" * 100,
            b"c" * 7,
            b"d" * 100,
            b"",
            b"",
            memoryview(b"xyz")[1:],
            b"long" * 9000,
        ]
        outbox = twin.Outbox()
        for piece in data:
            assert outbox.add(piece, len(piece), target, False)
        assert outbox.send(sender.fileno(), sender) == len(data)
        assert outbox.segmented == 3
        assert arriving(receiver) == [bytes(piece) for piece in data]
        outbox.clear()
        assert outbox.send(sender.fileno(), sender) == 0
        sender.connect(receiver.getsockname())
        outbox.add(b"connected", 4, twin.Target(None), False)
        assert outbox.send(sender.fileno(), sender) == 1
        assert outbox.segmented == 0
        assert arriving(receiver) == [b"conn"]


def test_sending_a_buffer() -> None:
    twin = TWINS[-1]
    buffer = Buffer(100)
    buffer._put(0, b"content")
    buffer.length = 7
    with sockets() as (sender, receiver):
        outbox = twin.Outbox()
        assert outbox.add(buffer, 7, twin.Target(receiver.getsockname()), False)
        assert answer_of(outbox.add, buffer, 8, twin.Target(receiver.getsockname()), False) is BufferError
        assert outbox.send(sender.fileno(), sender) == 1
        assert arriving(receiver) == [b"content"]


@BOTH
def test_what_the_kernel_refuses(twin: Any) -> None:
    with sockets() as (sender, receiver):
        target = twin.Target(receiver.getsockname())
        outbox = twin.Outbox()
        outbox.add(bytes(70000), 70000, target, False)
        assert outbox.send(sender.fileno(), sender) == -errno.EMSGSIZE
        outbox.clear()
        outbox.add(b"good", 4, target, False)
        outbox.add(bytes(70000), 70000, target, False)
        outbox.add(b"behind", 6, target, False)
        assert outbox.send(sender.fileno(), sender) == 1
        assert arriving(receiver) == [b"good"]
        outbox.clear()
        outbox.add(b"no peer", 7, twin.Target(None), False)
        assert outbox.send(sender.fileno(), sender) == -errno.EDESTADDRREQ
        outbox.clear()
        outbox.add(b"v6", 2, twin.Target(("::1", 1, 0, 0)), False)
        assert outbox.send(sender.fileno(), sender) < 0


# -- Inbox -----------------------------------------------------------------------------------------------------------


@BOTH
def test_messages_and_their_places(twin: Any) -> None:
    with sockets() as (sender, receiver):
        inbox = twin.Inbox()
        assert inbox.receive(receiver.fileno(), receiver, 16) == -errno.EAGAIN
        assert inbox.count == 0
        for number in range(20):
            sender.sendto(bytes([number]) * number, receiver.getsockname())
        assert inbox.receive(receiver.fileno(), receiver, 3) == 3
        assert inbox.receive(receiver.fileno(), receiver, 99) == 16
        for index in range(16):
            inbox.open(index)
            assert (inbox.size, inbox.segment, inbox.truncated) == (index + 3, index + 3, False)
            assert inbox.name == sender.getsockname()
            assert (
                inbox.copy(index, 0, inbox.size)
                == bytes(inbox.view(index, 0, inbox.size))
                == bytes([index + 3]) * (index + 3)
            )
            assert inbox.copy(index, 1, 2) == bytes([index + 3]) * 2
        assert inbox.receive(receiver.fileno(), receiver, 16) == 1


@BOTH
def test_places_beyond_what_was_received(twin: Any) -> None:
    """Also: nothing of an earlier message can be seen behind the end of a shorter one."""
    with sockets() as (sender, receiver):
        inbox = twin.Inbox()
        for call in (inbox.copy, inbox.view):
            assert answer_of(call, 0, 0, 0) is IndexError
        assert answer_of(inbox.open, 0) is IndexError
        for data in (b"secret" * 10, b"short"):
            sender.sendto(data, receiver.getsockname())
            assert inbox.receive(receiver.fileno(), receiver, 1) == 1
        for index in (-1, 1, 15, 16, 1 << 30):
            assert answer_of(inbox.open, index) is IndexError
        for place in [
            (0, 0, 6),
            (0, -1, 1),
            (0, 0, -1),
            (0, 6, 0),
            (0, 5, 1),
            (0, sys.maxsize, 1),
            (0, 1, sys.maxsize),
        ]:
            for call in (inbox.copy, inbox.view):
                assert answer_of(call, *place) is IndexError, place
        for index in (-1, 1, 16):
            assert answer_of(inbox.copy, index, 0, 0) is IndexError
        assert inbox.copy(0, 5, 0) == b""


@BOTH
@pytest.mark.parametrize("limit", [0, -1])
def test_receiving_nothing(twin: Any, limit: int) -> None:
    with sockets() as (sender, receiver):
        sender.sendto(b"abc", receiver.getsockname())
        assert twin.Inbox().receive(receiver.fileno(), receiver, limit) == 0
        assert arriving(receiver) == [b"abc"]


@BOTH
def test_a_view_pins_its_memory(twin: Any) -> None:
    with sockets() as (sender, receiver):
        inbox = twin.Inbox()
        views = []
        for number in range(5):
            sender.sendto(b"%d" % number * 9, receiver.getsockname())
            assert inbox.receive(receiver.fileno(), receiver, 1) == 1
            assert not inbox.is_viewed(0)
            if number != 3:
                views.append(inbox.view(0, 0, 9))
                assert inbox.is_viewed(0)
            assert not inbox.is_viewed(1)
            assert not inbox.is_viewed(-1)
        assert [bytes(view) for view in views] == [b"%d" % number * 9 for number in (0, 1, 2, 4)]
        assert all(view.readonly for view in views)
        assert inbox.pinned == 3  # the last one is noticed with the next call
        views.clear()
        sender.sendto(b"last", receiver.getsockname())
        assert inbox.receive(receiver.fileno(), receiver, 1) == 1
        assert inbox.pinned == 3


@BOTH
def test_coalesced_messages(twin: Any) -> None:
    with sockets() as (sender, receiver):
        receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
        inbox = twin.Inbox()
        for segments in ([b"a" * 100] * 3, [b"b" * 100, b"c" * 100, b"d" * 9]):
            control = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", 100))]
            sender.sendmsg(segments, control, 0, receiver.getsockname())
            assert inbox.receive(receiver.fileno(), receiver, 16) == 1
            inbox.open(0)
            assert (inbox.size, inbox.segment) == (sum(map(len, segments)), 100)
        sender.sendto(b"alone", receiver.getsockname())
        assert inbox.receive(receiver.fileno(), receiver, 16) == 1
        inbox.open(0)
        assert (inbox.size, inbox.segment) == (5, 5)


@BOTH
def test_a_coalesced_message_is_split_whatever_came_before(twin: Any) -> None:
    """A message of one segment carries the same control message as one of many."""
    inbox = twin.Inbox()
    controls = [(SOL_UDP, UDP_GRO, struct.pack("=i", 100))]
    for size, segment in ((100, 100), (300, 100), (50, 50), (0, 0), (101, 100)):
        inbox.examine(size, controls)
        assert inbox.segment == segment


@BOTH
def test_names_of_both_families(twin: Any) -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver,
        sockets() as (v4, _),
        sockets(socket.AF_INET6) as (v6, _),
    ):
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        receiver.bind(("::", 0))
        receiver.setblocking(False)
        port = receiver.getsockname()[1]
        inbox = twin.Inbox()
        for _ in range(2):
            v4.sendto(b"4", ("127.0.0.1", port))
            v6.sendto(b"6", ("::1", port))
        assert inbox.receive(receiver.fileno(), receiver, 16) == 4
        names = []
        for index in range(4):
            inbox.open(index)
            names.append(inbox.name)
        assert names == [("::ffff:127.0.0.1", v4.getsockname()[1], 0, 0), v6.getsockname()] * 2


@BOTH
def test_names_of_more_peers_than_are_remembered(twin: Any) -> None:
    """Peers by the thousand, in turn and twice: whatever pushes whatever out, each message has its own sender."""
    inbox = twin.Inbox()
    with sockets() as (_, receiver):
        to = receiver.getsockname()
        for _ in range(2):
            for number in range(3000):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                    peer.bind((f"127.0.{number // 250}.{1 + number % 250}", 40000 + number))
                    peer.sendto(b"x", to)
                    assert inbox.receive(receiver.fileno(), receiver, 1) == 1
                    inbox.open(0)
                    assert inbox.name == peer.getsockname()


@BOTH
def test_a_unix_socket_has_no_names(twin: Any) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.send(b"abc")
        inbox = twin.Inbox()
        assert inbox.receive(ours.fileno(), ours, 16) == 1
        inbox.open(0)
        assert (inbox.name, inbox.size) == (None, 3)


@BOTH
def test_what_ipv4_tells_besides(twin: Any) -> None:
    with sockets() as (sender, receiver):
        for level, option in ((0, 8), (0, socket.IP_RECVTOS), (0, 12), (socket.SOL_SOCKET, 35)):
            receiver.setsockopt(level, option, 1)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 77)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x2E << 2)
        sender.sendto(b"abc", receiver.getsockname())
        inbox = twin.Inbox()
        assert inbox.receive(receiver.fileno(), receiver, 16) == 1
        inbox.open(0)
        assert (inbox.destination, inbox.interface) == (("127.0.0.1", 0), socket.if_nametoindex("lo"))
        assert (inbox.hop_limit, inbox.traffic_class) == (77, 0x2E << 2)
        assert inbox.timestamp_ns > 10**18


@BOTH
def test_what_ipv6_tells_besides(twin: Any) -> None:
    with sockets(socket.AF_INET6) as (sender, receiver):
        for option in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS):
            receiver.setsockopt(socket.IPPROTO_IPV6, option, 1)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 77)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x2E << 2)
        sender.sendto(b"abc", receiver.getsockname())
        inbox = twin.Inbox()
        assert inbox.receive(receiver.fileno(), receiver, 16) == 1
        inbox.open(0)
        assert (inbox.destination, inbox.interface) == (("::1", 0, 0, 0), socket.if_nametoindex("lo"))
        assert (inbox.hop_limit, inbox.traffic_class, inbox.timestamp_ns) == (77, 0x2E << 2, 0)


@BOTH
@pytest.mark.parametrize("length", range(24))
def test_control_messages_that_were_cut(twin: Any, length: int) -> None:
    """Where there was no room the kernel cuts the last one (MSG_CTRUNC)."""
    inbox = twin.Inbox()
    for level, kind, whole in ((0, 8, 12), (0, 2, 4), (0, 1, 1), (41, 50, 20), (41, 52, 4), (41, 67, 4), (1, 35, 16)):
        inbox.examine(9, [(level, kind, b"\1" * length)])
        told = (inbox.destination, inbox.interface, inbox.hop_limit, inbox.traffic_class, inbox.timestamp_ns)
        if length < whole:
            assert told == (None, 0, -1, -1, 0)
        elif kind != 35:  # that one's numbers are no time
            assert told != (None, 0, -1, -1, 0)


@BOTH
def test_more_control_messages_than_there_is_room_for(twin: Any) -> None:
    if twin is PURE:
        return  # the socket module keeps the room
    with pytest.raises(ValueError, match="too many"):
        twin.Inbox().examine(9, [(0, 2, bytes(4))] * 11)


# -- fuzzing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus_cut_anywhere(path: Path) -> None:
    data = path.read_bytes()
    for end in range(len(data) + 1):
        datagram_control.one_input(data[:end])


@given(st.sampled_from([path.read_bytes() for path in CORPUS]), st.integers(0, 200), st.binary(max_size=8))
def test_changed_corpus(data: bytes, position: int, change: bytes) -> None:
    datagram_control.one_input(data[:position] + change + data[position:])
    datagram_control.one_input(data[:position] + change + data[position + len(change) :])


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    datagram_control.one_input(data)


def test_the_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram_control, "_INBOXES", [PURE.Inbox(), PURE.Inbox()])
    monkeypatch.setattr(datagram_control, "_FIELDS", ("pinned",))
    datagram_control._INBOXES[0].pinned = 1
    with pytest.raises(AssertionError, match="differ"):
        datagram_control.one_input(b"abc")


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 7, 100, 1200, 32500, 65000]), st.integers(0, 1), st.booleans()), max_size=80
    )
)
def test_twins_group_alike(traffic: list[tuple[int, int, bool]]) -> None:
    """The same datagrams arrive, in the same order, the same number of them segmented."""
    seen = []
    for twin in TWINS:
        with sockets() as (sender, receiver):
            targets = [twin.Target(receiver.getsockname()) for _ in range(2)]
            outbox = twin.Outbox()
            taken = [outbox.add(bytes(size), size, targets[target], plain) for size, target, plain in traffic]
            first = outbox.first_count()
            sent = outbox.send(sender.fileno(), sender)
            seen.append((taken, first, sent, outbox.segmented, [len(data) for data in arriving(receiver)]))
    assert seen[1:] in ([], seen[:1])
