"""Another process: takes connections over from a test, does with each what it is told, and reports.

Run with the number of a UNIX socket. An order is a length, JSON and a descriptor; a report is a line of JSON.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import socket
import sys
from typing import Any

import moorings

HEAD_SIZE = 8


def noise(seed: int, size: int) -> bytes:
    """Bytes that both processes can make."""
    return random.Random(seed).randbytes(size)


def send_order(channel: socket.socket, given: moorings.Detached, **order: Any) -> None:
    """The test's side: hand a connection over."""
    order |= {"unread": base64.b64encode(given.unread).decode(), "tls": base64.b64encode(given.tls).decode()}
    data = json.dumps(order).encode()
    socket.send_fds(channel, [len(data).to_bytes(HEAD_SIZE, "big")], [given.fd])
    channel.sendall(data)
    socket.close(given.fd)


def receive_order(channel: socket.socket) -> tuple[int, dict[str, Any]] | None:
    head, descriptors, _, _ = socket.recv_fds(channel, HEAD_SIZE, 1)
    if not head:
        return None
    data = b""
    while len(data) < int.from_bytes(head, "big"):
        data += channel.recv(65536)
    return descriptors[0], json.loads(data)


async def read_all(connection: moorings.StreamSocket, size: int) -> str:
    digest = hashlib.sha256()
    while size:
        piece = await connection.read(min(size, 1 << 18))
        if not piece:
            break
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


async def write_all(connection: moorings.StreamSocket, data: bytes) -> None:
    for start in range(0, len(data), 100_000):
        await connection.write(data[start : start + 100_000])


async def serve(descriptor: int, order: dict[str, Any], report: dict[str, Any]) -> None:
    unread, tls = base64.b64decode(order["unread"]), base64.b64decode(order["tls"])
    connection = await moorings.adopt(moorings.Detached(descriptor, unread, b"", tls))
    information = connection.information
    report["level"] = information.protection_level.name
    report["cipher"] = information.cipher
    certificate = information.server_certificate
    report["server"] = None if certificate is None else bytes(certificate.serial_number).hex()
    report["name"] = information.requested_server_name
    try:
        received, _ = await asyncio.gather(
            read_all(connection, order["receive"]), write_all(connection, noise(order["seed"], order["send"]))
        )
        report["received"] = received
        if order["end"] == "abort":
            connection.abort()
        elif order["end"] == "close":
            await connection.aclose()
        else:
            rest = b""
            while piece := await connection.read(65536):
                rest += piece
            report["rest"] = rest.decode()
            await connection.aclose()
    except OSError as error:
        report["error"] = getattr(error, "reason", str(error))
        connection.abort()
    report["end_reason"] = str(connection.end_reason)


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        while (received := receive_order(channel)) is not None:
            report: dict[str, Any] = {}
            asyncio.run(serve(*received, report))
            channel.sendall(json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    main()
