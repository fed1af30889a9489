"""System buses of all manners, each in a thread, at a socket file of its own."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOCKET = "run/dbus/system_bus_socket"
PATIENCE = 30.0


def message(kind: int, body: bytes = b"", *, order: str = "<", fields: bytes = b"") -> bytes:
    letter = b"l" if order == "<" else b"B"
    padding = b"\x00" * (-len(fields) % 8)
    return struct.pack(f"{order}cBBBIII", letter, kind, 0, 1, len(body), 1, len(fields)) + fields + padding + body


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode() + b"\x00"


@contextmanager
def bus(converse: Callable[[socket.socket], None]) -> Iterator[Path]:
    """The root of a machine with a bus that talks like this to one client."""
    with tempfile.TemporaryDirectory(prefix="bus") as directory:  # tmp_path is too long for the name of a socket
        root = Path(directory)
        (root / SOCKET).parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(root / SOCKET))
            listener.listen()
            listener.settimeout(PATIENCE)

            def serve() -> None:
                client, _ = listener.accept()
                with client:
                    client.settimeout(PATIENCE)
                    converse(client)

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                yield root
            finally:
                thread.join()


def receive(client: socket.socket, end: bytes) -> bytes:
    """Everything up to `end`; less if the client goes."""
    data = b""
    while not data.endswith(end) and (chunk := client.recv(1)):
        data += chunk
    return data


def well_behaved(owners: set[str], *, order: str = "<") -> Callable[[socket.socket], None]:
    """A bus as it should be, with these names."""

    def converse(client: socket.socket) -> None:
        assert receive(client, b"\r\n").startswith(b"\x00AUTH EXTERNAL ")
        client.sendall(b"OK 1234567890abcdef\r\n")
        assert receive(client, b"\r\n") == b"BEGIN\r\n"
        hello = client.recv(4096)
        assert b"Hello" in hello
        client.sendall(message(2, struct.pack(f"{order}I", 4) + b":1.7\x00", order=order, fields=b"\x05\x01u\x00aaaa"))
        client.sendall(message(4, text("NameAcquired"), fields=b"\x01\x01s\x00" + text("x")))
        question = client.recv(4096)
        assert b"NameHasOwner" in question
        owned = any(text(name) in question for name in owners)
        client.sendall(message(2, struct.pack(f"{order}I", owned), order=order))
        client.recv(1)

    return converse


def says(login: bytes, *messages: bytes) -> Callable[[socket.socket], None]:
    """A bus that says this to whoever logs in, then these messages, and waits for the client to go."""

    def converse(client: socket.socket) -> None:
        with suppress(ConnectionError):
            receive(client, b"\r\n")
            client.sendall(login)
            receive(client, b"\r\n")
            client.recv(4096)
            client.sendall(b"".join(messages))
            while client.recv(4096):
                pass

    return converse


def hangs_up(client: socket.socket) -> None:
    """A bus that has no patience."""
    client.recv(1)
