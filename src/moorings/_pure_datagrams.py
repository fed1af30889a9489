"""The pure twin of `_native_datagrams.pyx`: the same names, by the socket module.

Without `sendmmsg` each group is a call of its own; segmenting (UDP_SEGMENT, UDP_GRO) works all the same.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from moorings._pure import BufferBase

PIECES = 1024
GROUPS = 64
SLOTS = 16
SEGMENTS = 64
SEGMENTED_BYTES = 65000
_SLAB = 65536
_CONTROL_SIZE = 256
_SOL_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104
_IP_PKTINFO = 8
_SO_TIMESTAMPNS = 35
_UINT16 = struct.Struct("=H")
_INT = struct.Struct("=i")
_TIMESPEC = struct.Struct("=qq")
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Target:
    """Where datagrams go: an address, or None for the peer of a connected socket.

    `segment_limit`: datagrams of at most this size may be sent segmented on this way; 0 for none.
    """

    __slots__ = ("name", "segment_limit")

    def __init__(self, name: Any, segment_limit: int = 65535) -> None:
        if name is not None:
            try:
                socket.inet_pton(socket.AF_INET if len(name) == 2 else socket.AF_INET6, name[0])
            except OSError as error:
                raise ValueError(f"{name!r} is no numeric address") from error
        self.name = name
        self.segment_limit = segment_limit


class _Group:
    __slots__ = ("pieces", "size", "target")

    def __init__(self, piece: Any, size: int, target: Target) -> None:
        self.pieces = [piece]
        self.size = size
        self.target = target


class Outbox:
    """What goes out together. `add` until it says no, `send`, `clear`; it keeps nothing alive."""

    __slots__ = ("_bytes", "_groups", "_open", "_pieces", "segmented")

    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._pieces = 0
        self._bytes = 0
        #: Of what the last `send` gave, the datagrams that went out segmented.
        self.segmented = 0
        self._open = False

    def clear(self) -> None:
        """Forget everything."""
        self._groups.clear()
        self._pieces = 0
        self._open = False

    def add(self, whole: Any, size: int, target: Target, plain: bool) -> bool:
        """Take a datagram of `size` bytes along; `plain`: not in a segmented one. False when there is no room."""
        if self._pieces == PIECES:
            return False
        if not issubclass(type(whole), (bytes, BufferBase, memoryview)):
            raise TypeError("bytes, a Buffer or a memoryview is needed")
        length = len(whole)
        if size > length:
            raise BufferError("the data became shorter")
        piece = whole if size == length else memoryview(whole)[:size]
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
        self._open = 0 < size <= target.segment_limit and not plain
        return True

    def send(self, fd: int, plain_socket: Any) -> int:  # noqa: ARG002 - the compiled twin needs the descriptor
        """Send; the number of datagrams that the kernel took, or, when it did not take the first group, minus errno."""
        datagrams = 0
        self.segmented = 0
        for group in self._groups:
            count = len(group.pieces)
            control = ((_SOL_UDP, _UDP_SEGMENT, _UINT16.pack(group.size)),) if count > 1 else ()
            try:
                if group.target.name is None:
                    plain_socket.sendmsg(group.pieces, control, _FLAGS)
                else:
                    plain_socket.sendmsg(group.pieces, control, _FLAGS, group.target.name)
            except OSError as error:
                return datagrams or -(error.errno or errno.EIO)
            datagrams += count
            if count > 1:
                self.segmented += count
        return datagrams

    def first_count(self) -> int:
        """Datagrams in the first group: more than one when it is segmented."""
        return len(self._groups[0].pieces)


class Inbox:
    """Memory for one receive call, shared by the sockets of a loop: what somebody wants to keep is copied out.

    A view that outlives the handler *pins* its slab: the slab is replaced by a new one, and counted.
    """

    __slots__ = (
        "_answers",
        "_slabs",
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
        self._answers: list[Any] = []
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
        self._answers = answers
        self.count = 0
        while len(answers) < min(limit, SLOTS):
            index = len(answers)
            if index == len(self._slabs):
                self._slabs.append(bytearray(_SLAB))
            elif _is_viewed(self._slabs[index]):
                self.pinned += 1
                self._slabs[index] = bytearray(_SLAB)
            try:
                answers.append(plain_socket.recvmsg_into([self._slabs[index]], _CONTROL_SIZE, socket.MSG_DONTWAIT))
            except OSError as error:
                if not answers:
                    return -(error.errno or errno.EIO)
                break
        self.count = len(answers)
        return self.count

    def open(self, index: int) -> None:
        """Look at a received message: sets `size`, `segment`, `name` and the rest."""
        self.size, controls, flags, self.name = self._answers[index]
        self.truncated = bool(flags & socket.MSG_TRUNC)
        self.segment = self.size
        self.destination = None
        self.interface = self.timestamp_ns = 0
        self.hop_limit = self.traffic_class = -1
        for level, kind, data in controls:
            if level == _SOL_UDP and kind == _UDP_GRO:
                self.segment = _INT.unpack_from(data)[0] or self.size
            elif level == socket.IPPROTO_IP:
                self._note_v4(kind, data)
            elif level == socket.IPPROTO_IPV6:
                self._note_v6(kind, data)
            elif level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                self.timestamp_ns = seconds * 1_000_000_000 + nanoseconds

    def _note_v4(self, kind: int, data: bytes) -> None:
        if kind == _IP_PKTINFO:
            self.interface = _INT.unpack_from(data)[0]
            self.destination = (socket.inet_ntop(socket.AF_INET, data[8:12]), 0)
        elif kind == socket.IP_TTL:
            self.hop_limit = _INT.unpack_from(data)[0]
        elif kind == socket.IP_TOS:
            self.traffic_class = data[0]

    def _note_v6(self, kind: int, data: bytes) -> None:
        if kind == socket.IPV6_PKTINFO:
            self.interface = _INT.unpack_from(data, 16)[0]
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

    def copy(self, index: int, offset: int, count: int) -> bytes:
        """Part of a message as bytes."""
        if offset < 0 or count < 0 or offset + count > _SLAB:
            raise IndexError("beyond the message")
        return bytes(memoryview(self._slabs[index])[offset : offset + count])

    def view(self, index: int, offset: int, count: int) -> memoryview:
        """Part of a message without a copy."""
        if offset < 0 or count < 0 or offset + count > _SLAB:
            raise IndexError("beyond the message")
        return memoryview(self._slabs[index])[offset : offset + count].toreadonly()


def _is_viewed(slab: bytearray) -> bool:
    """Whether views of it are alive: such a bytearray cannot change its length."""
    try:
        slab.append(0)
    except BufferError:
        return True
    del slab[-1:]
    return False
