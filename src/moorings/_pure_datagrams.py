"""The pure twin of `_native_datagrams.pyx`: the same names, by the socket module.

Without `sendmmsg` each group is a call of its own; segmenting (UDP_SEGMENT, UDP_GRO) works all the same.
"""

from __future__ import annotations

import errno
import socket
import struct
from sys import getrefcount
from typing import Any

from moorings._pure import BufferBase

PIECES = 1024
GROUPS = 64
SLOTS = 16
SEGMENTS = 64
SEGMENTED_BYTES = 65000
SEND_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_SLAB = 65536
_CONTROL_SIZE = 256
_SOL_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104
_IP_PKTINFO = 8
_SO_TIMESTAMPNS = 35
_SOL_SOCKET = int(socket.SOL_SOCKET)
_IPPROTO_IP = int(socket.IPPROTO_IP)
_IPPROTO_IPV6 = int(socket.IPPROTO_IPV6)
_MSG_TRUNC = int(socket.MSG_TRUNC)
_MSG_DONTWAIT = int(socket.MSG_DONTWAIT)
_UINT16 = struct.Struct("=H")
_INT = struct.Struct("=i")
_UINT = struct.Struct("=I")
_TIMESPEC = struct.Struct("=qq")


class Target:
    """Where datagrams go: an address, or None for the peer of a connected socket.

    `segment_limit`: datagrams of at most this size may be sent segmented on this way; 0 for none.
    """

    __slots__ = ("name", "segment_limit")

    def __init__(self, name: Any, segment_limit: int = 65535) -> None:
        if name is not None and not (isinstance(name, tuple) and _is_numeric(*name)):  # pyright: ignore[reportUnknownArgumentType]
            raise ValueError(f"{name!r} is no numeric address")
        self.name: Any = name
        self.segment_limit = segment_limit


def _is_numeric(*name: Any) -> bool:
    if len(name) not in {2, 4} or not isinstance(name[0], str) or not all(isinstance(part, int) for part in name[1:]):
        return False
    if any(not 0 <= part <= limit for part, limit in zip(name[1:], (0xFFFF, 0xFFFFF, 0xFFFFFFFF), strict=False)):
        return False
    try:
        socket.inet_pton(socket.AF_INET if len(name) == 2 else socket.AF_INET6, name[0])
    except OSError:
        return False
    return True


def segment_control(size: int) -> tuple[tuple[int, int, bytes]]:
    """The control message that cuts what is sent into datagrams of `size` bytes."""
    return ((_SOL_UDP, _UDP_SEGMENT, _UINT16.pack(size)),)


def send_group(plain_socket: Any, pieces: list[Any], size: int, name: Any) -> int:
    """Send datagrams for one target, several as a segmented one; 0, or a negative errno."""
    control = segment_control(size) if len(pieces) > 1 else ()
    try:
        if name is None:
            plain_socket.sendmsg(pieces, control, SEND_FLAGS)
            return 0
        try:
            plain_socket.sendmsg(pieces, control, SEND_FLAGS, name)
        except socket.gaierror:
            # An IPv4 target of a socket for both families, which the kernel would take as it is.
            plain_socket.sendmsg(pieces, control, SEND_FLAGS, ("::ffff:" + name[0], name[1], 0, 0))
    except OSError as error:
        # (The numbers of a gaierror are negative, and no errno.)
        return -(errno.EINVAL if isinstance(error, socket.gaierror) else error.errno or errno.EIO)
    except TypeError:
        return -errno.EAFNOSUPPORT  # an IPv6 target of an IPv4 socket: the socket module looks before the kernel does
    return 0


class _Group:
    __slots__ = ("pieces", "size", "target")

    def __init__(self, piece: Any, size: int, target: Target) -> None:
        self.pieces = [piece]
        self.size = size
        self.target = target


class Outbox:
    """What goes out together. `add` until it says no, `send`, `clear`; it keeps nothing alive.

    After `send`, `segmented` is the number of its datagrams that went as parts of segmented ones.
    """

    __slots__ = ("_bytes", "_groups", "_open", "_pieces", "segmented")

    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._pieces = 0
        self._bytes = 0
        self._open = False
        self.segmented = 0

    def clear(self) -> None:
        """Forget everything."""
        self._groups.clear()
        self._pieces = 0
        self._open = False
        self.segmented = 0

    def add(self, whole: Any, size: int, target: Target, plain: bool) -> bool:
        """Take a datagram of `size` bytes along; `plain`: not in a segmented one. False when there is no room."""
        if self._pieces == PIECES:
            return False
        if size < 0:
            raise BufferError("a negative size")
        if isinstance(whole, memoryview):
            if not whole.c_contiguous:
                raise BufferError("a memoryview with gaps")
            length = whole.nbytes
        elif isinstance(whole, (bytes, BufferBase)):
            length = len(whole)
        else:
            raise TypeError("bytes, a Buffer or a memoryview is needed")
        if size > length:
            raise BufferError("the data became shorter")
        piece: Any = whole if size == length else memoryview(whole).cast("B")[:size]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        if self._open and not plain:
            group = self._groups[-1]
            if (
                target is group.target
                and 0 < size <= group.size
                and len(group.pieces) < SEGMENTS
                and self._bytes + size <= SEGMENTED_BYTES
            ):
                group.pieces.append(piece)
                self._pieces += 1
                self._bytes += size
                self._open = size == group.size
                return True
        if len(self._groups) == GROUPS:
            return False
        self._groups.append(_Group(piece, size, target))
        self._pieces += 1
        self._bytes = size
        self._open = 0 < size <= target.segment_limit and size <= SEGMENTED_BYTES and not plain
        return True

    def send(self, fd: int, plain_socket: Any) -> int:  # noqa: ARG002 - the compiled twin needs the descriptor
        """Send; the number of datagrams that the kernel took, or, when it did not take the first group, minus errno."""
        datagrams = 0
        self.segmented = 0
        for group in self._groups:
            result = send_group(plain_socket, group.pieces, group.size, group.target.name)
            if result < 0:
                return datagrams or result
            count = len(group.pieces)
            datagrams += count
            if count > 1:
                self.segmented += count
        return datagrams

    def first_count(self) -> int:
        """Datagrams in the first group: more than one when it is segmented."""
        return len(self._groups[0].pieces) if self._groups else 0


class Inbox:
    """Memory for one receive call, shared by the sockets of a loop: what somebody wants to keep is copied out.

    A view that outlives the handler *pins* its slab: the slab is replaced by a new one, and counted. `busy` is the
    user's: somebody hands out what is in it.
    """

    __slots__ = (
        "_answers",
        "_controls",
        "_cut",
        "_slabs",
        "_unviewed",
        "busy",
        "count",
        "destination",
        "hop_limit",
        "interface",
        "name",
        "pinned",
        "segment",
        "size",
        "timestamp_ns",
        "traffic_class",
        "truncated",
    )

    def __init__(self) -> None:
        self._slabs = [bytearray(_SLAB)]
        #: What `getrefcount` says of a slab without views: each family of views holds one more reference.
        self._unviewed = getrefcount(self._slabs[0])
        self._answers: list[Any] = []
        self._controls: Any = None
        self._cut = 0
        self.busy = False
        self.count = 0
        self.pinned = 0
        self.size = self.segment = self.interface = self.timestamp_ns = 0
        self.hop_limit = self.traffic_class = -1
        self.truncated = False
        self.name: Any = None
        self.destination: Any = None

    def receive(self, fd: int, plain_socket: Any, limit: int) -> int:  # noqa: ARG002
        """Receive up to `limit` messages (16 at most); their number, or a negative errno."""
        answers: list[Any] = []
        slabs = self._slabs
        self._answers = answers
        self.count = 0
        for index in range(min(limit, SLOTS)):
            if index == len(slabs):
                slabs.append(bytearray(_SLAB))
            elif getrefcount(slabs[index]) != self._unviewed:
                self.pinned += 1
                slabs[index] = bytearray(_SLAB)
            try:
                answers.append(plain_socket.recvmsg_into((slabs[index],), _CONTROL_SIZE, _MSG_DONTWAIT))
            except OSError as error:
                if not answers:
                    return -(error.errno or errno.EIO)
                break
        self.count = len(answers)
        return self.count

    def open(self, index: int) -> None:
        """Look at a received message: sets `size`, `segment`, `name` and the rest."""
        if index < 0:
            raise IndexError("no such message")
        size, controls, flags, name = self._answers[index]
        self.size = size
        self.name = name if type(name) is tuple else None
        self.truncated = flags & _MSG_TRUNC != 0
        if controls != self._controls:
            self._parse_control(controls)
        self.segment = self._cut if 0 < self._cut < size else size

    def examine(self, size: int, controls: Any) -> None:
        """For tests: `open` of a message of `size` bytes with these control messages, (level, kind, data) each."""
        self.size = size
        self._parse_control(list(controls))
        self.segment = self._cut if 0 < self._cut < size else size

    def _parse_control(self, controls: Any) -> None:
        self._controls = controls
        self._cut = 0
        self.destination = None
        self.interface = self.timestamp_ns = 0
        self.hop_limit = self.traffic_class = -1
        for level, kind, data in controls:
            # The last one may be cut where there was no room for it (MSG_CTRUNC): nothing is read beyond its end.
            if level == _IPPROTO_IP and kind == socket.IP_TOS:
                if data:
                    self.traffic_class = data[0]
            elif len(data) < _INT.size:
                continue
            elif level == _SOL_UDP and kind == _UDP_GRO:
                number = _INT.unpack_from(data)[0]
                self._cut = number if number > 0 else self._cut
            elif level == _IPPROTO_IP:
                self._note_v4(kind, data)
            elif level == _IPPROTO_IPV6:
                self._note_v6(kind, data)
            elif level == _SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                if 0 <= seconds < 9_000_000_000 and 0 <= nanoseconds < 1_000_000_000:
                    self.timestamp_ns = seconds * 1_000_000_000 + nanoseconds

    def _note_v4(self, kind: int, data: bytes) -> None:
        if kind == _IP_PKTINFO and len(data) >= 12:
            self.interface = _UINT.unpack_from(data)[0]
            self.destination = (socket.inet_ntop(socket.AF_INET, data[8:12]), 0)
        elif kind == socket.IP_TTL:
            self.hop_limit = _INT.unpack_from(data)[0]

    def _note_v6(self, kind: int, data: bytes) -> None:
        if kind == socket.IPV6_PKTINFO and len(data) >= 20:
            self.interface = _UINT.unpack_from(data, 16)[0]
            link_local = data[0] == 0xFE and (data[1] & 0xC0) == 0x80
            self.destination = (
                socket.inet_ntop(socket.AF_INET6, data[:16]),
                0,
                0,
                self.interface if link_local else 0,
            )
        elif kind == socket.IPV6_HOPLIMIT:
            self.hop_limit = _INT.unpack_from(data)[0]
        elif kind == socket.IPV6_TCLASS:
            self.traffic_class = _INT.unpack_from(data)[0]

    def _check(self, index: int, offset: int, count: int) -> None:
        if not 0 <= index < self.count:
            raise IndexError("no such message")
        if offset < 0 or count < 0 or offset + count > self._answers[index][0]:
            raise IndexError("beyond the message")

    def is_viewed(self, index: int) -> bool:
        """Whether views of a message's memory are alive."""
        return 0 <= index < self.count and getrefcount(self._slabs[index]) != self._unviewed

    def copy(self, index: int, offset: int, count: int) -> bytes:
        """Part of a message as bytes."""
        self._check(index, offset, count)
        return bytes(memoryview(self._slabs[index])[offset : offset + count])

    def view(self, index: int, offset: int, count: int) -> memoryview:
        """Part of a message without a copy."""
        self._check(index, offset, count)
        return memoryview(self._slabs[index])[offset : offset + count].toreadonly()
