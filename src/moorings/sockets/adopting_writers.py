"""Taking a connection over from asyncio's streams."""

# pyright: reportPrivateUsage=false
# asyncio's buffer, which moves along, has no public way in.

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.sockets.stream_socket import StreamSocket

if TYPE_CHECKING:
    import asyncio


async def adopt_writer(writer: asyncio.StreamWriter) -> StreamSocket:
    """Duplicate the descriptor of a StreamWriter, with the bytes that its reader has; see `moorings.adopt`."""
    transport: Any = writer.transport
    reader: Any = getattr(writer, "_reader", None)
    if writer.get_extra_info("sslcontext") is not None:
        raise errors.invalid_argument("adopt: the state of a TLS transport cannot be taken over")
    original = writer.get_extra_info("socket")
    if original is None or transport.is_closing() or original.fileno() < 0:
        raise errors.invalid_argument("adopt: the writer is closed, or has no socket")
    if transport.get_write_buffer_size():
        raise errors.invalid_argument("adopt: the writer has unsent bytes; await writer.drain() first")
    if reader is not None and getattr(reader, "_waiter", None) is not None:
        raise errors.illegal_call("adopt: a read of the writer's reader is pending", "await or cancel it first")
    was_reading = transport.is_reading()
    duplicate = socket.socket(fileno=socket.dup(original.fileno()))
    try:
        if was_reading:
            transport.pause_reading()
        unread = bytes(reader._buffer) if reader is not None else b""
        result = StreamSocket.from_socket(duplicate, unread=unread)
    except BaseException:
        duplicate.close()
        if was_reading:
            transport.resume_reading()
        raise
    if reader is not None:
        reader._buffer.clear()
    # Closing the original must not say goodbye to the peer: shutdown() would act on both, close() does not.
    transport.abort()
    return result
