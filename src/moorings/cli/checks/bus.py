"""One question to the D-Bus system bus: does somebody own this name?

By hand, since no library for D-Bus is among the dependencies. The question starts no service. A bus that does not
answer, or answers nonsense, is a bus that is not there.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import TYPE_CHECKING

from moorings.cli.checks.machine import PATIENCE

if TYPE_CHECKING:
    from moorings.cli.checks.machine import Machine

DEFAULT_SOCKET = "/run/dbus/system_bus_socket"
#: More than the answers to these questions, and how many messages may come before them.
LARGEST_MESSAGE = 65_536
MOST_MESSAGES = 16

_CALL, _REPLY, _ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _DESTINATION, _SIGNATURE = 1, 2, 3, 6, 8


class BusError(Exception):
    """No usable answer; the text says why."""


def has_owner(machine: Machine, name: str) -> bool:
    """Whether a program owns `name` on the system bus. Errors: BusError."""
    deadline = time.monotonic() + PATIENCE
    try:
        with machine.open_socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE)
            client.connect(str(machine.root / socket_path(machine.environ.get("DBUS_SYSTEM_BUS_ADDRESS", ""))))
            conversation = _Conversation(client, deadline)
            conversation.authenticate()
            conversation.send(message(1, "Hello"))
            conversation.reply()
            conversation.send(message(2, "NameHasOwner", name))
            return conversation.reply() != 0
    except TimeoutError as error:
        raise BusError("the system bus does not answer") from error
    except OSError as error:
        raise BusError(f"no system bus ({error.strerror})") from error


def socket_path(address: str) -> str:
    """The socket file of the first address of that kind, without the leading slash."""
    for one in address.split(";"):
        kind, _, settings = one.partition(":")
        for setting in settings.split(","):
            key, _, value = setting.partition("=")
            if (kind, key) == ("unix", "path") and value:
                return value.lstrip("/")
    return DEFAULT_SOCKET.lstrip("/")


def message(serial: int, member: str, argument: str | None = None) -> bytes:
    """A call of a method of the bus itself."""
    body = b"" if argument is None else _text(argument)
    fields = [
        (_PATH, b"o", _text("/org/freedesktop/DBus")),
        (_INTERFACE, b"s", _text("org.freedesktop.DBus")),
        (_MEMBER, b"s", _text(member)),
        (_DESTINATION, b"s", _text("org.freedesktop.DBus")),
    ]
    if argument is not None:
        fields.append((_SIGNATURE, b"g", b"\x01s\x00"))
    header = b""
    for code, kind, value in fields:
        header = _padded(header) + bytes((code, 1)) + kind + b"\x00" + value
    return _padded(struct.pack("<cBBBIII", b"l", _CALL, 0, 1, len(body), serial, len(header)) + header) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data + b"\x00"


def _padded(data: bytes) -> bytes:
    return data + b"\x00" * (-len(data) % 8)


class _Conversation:
    """A connection to the bus with a deadline for all of it."""

    def __init__(self, client: socket.socket, deadline: float) -> None:
        self._client = client
        self._deadline = deadline
        self._received = b""

    def authenticate(self) -> None:
        """As the user who runs this process."""
        self.send(b"\x00AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        while b"\r\n" not in self._received:
            self._fill()
        line, _, self._received = self._received.partition(b"\r\n")
        if not line.startswith(b"OK "):
            raise BusError("the system bus refuses this user")
        self.send(b"BEGIN\r\n")

    def send(self, data: bytes) -> None:
        """Send it within the deadline."""
        self._client.settimeout(self._left())
        self._client.sendall(data)

    def reply(self) -> int:
        """The number at the beginning of the next reply; signals between are passed over."""
        for _ in range(MOST_MESSAGES):
            kind, order, body = self._message()
            if kind == _ERROR:
                raise BusError("the system bus answers with an error")
            if kind == _REPLY:
                number: int = struct.unpack_from(f"{order}I", body)[0] if len(body) >= 4 else 0
                return number
        raise BusError("the system bus does not answer")

    def _message(self) -> tuple[int, str, bytes]:
        """Kind, order of bytes, and body of the next message."""
        head = self._take(16)
        order = {0x6C: "<", 0x42: ">"}.get(head[0])
        if order is None:
            raise BusError("the system bus does not speak D-Bus")
        body_size, _, fields_size = struct.unpack(f"{order}III", head[4:])
        if body_size + fields_size > LARGEST_MESSAGE:
            raise BusError("the system bus does not speak D-Bus")
        self._take(fields_size + -fields_size % 8)
        return head[1], order, self._take(body_size)

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            self._fill()
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _fill(self) -> None:
        self._client.settimeout(self._left())
        data = self._client.recv(4096)
        if not data or len(self._received) > LARGEST_MESSAGE:
            raise BusError("the system bus hung up" if not data else "the system bus does not speak D-Bus")
        self._received += data

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
