"""What a loop watches, and the memory of a socket, for whoever looks from outside. Not on the hot path: nobody keeps
a book for it.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

from moorings.engine.descriptor import socket_option

if TYPE_CHECKING:
    from moorings.engine.hub import Hub, Source
    from moorings.foundation.home import Home

# Linux asm-generic/socket.h (4.12 and newer); the order of its numbers is that of linux/sock_diag.h, SK_MEMINFO_*.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")


class SocketMemory(NamedTuple):
    """What the kernel holds for a socket, in bytes with their bookkeeping, and what it dropped; None is not known."""

    received: int | None = None
    receive_limit: int | None = None
    unsent: int | None = None
    send_limit: int | None = None
    drops: int | None = None


def sources_of(home: Home) -> list[Source]:
    """All that has a descriptor in the hub of a home: streams, open or closing, and listeners. Home thread only.

    Some of them may end while the caller goes through them: `source.hub` is None then.
    """
    hub: Hub | None = home.engine
    return [] if hub is None else [source for source in hub.slots if source is not None]


def memory_of(fd: int) -> SocketMemory:
    """Ask the kernel about a descriptor; everything None when it does not answer."""
    if fd < 0:
        return SocketMemory()
    try:
        answer = socket_option(fd, socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:
        return SocketMemory()
    if len(answer) < _MEMINFO.size:
        return SocketMemory()
    received, receive_limit, unsent, send_limit, _, _, _, _, drops = _MEMINFO.unpack_from(answer)
    return SocketMemory(received, receive_limit, unsent, send_limit, drops)
