"""The accepting side: a listening descriptor that survives descriptor exhaustion and obeys limits.

Accepting is level-triggered and bounded per event, so that a flood of connections does not hold the loop. It pauses
while the owner says so (`pause`), and for a moment after the process or the machine ran out of descriptors or memory;
the kernel's backlog holds new connections meanwhile.
"""

from __future__ import annotations

import errno
from select import EPOLLIN
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any

from moorings.engine.descriptor import accept_by_socket, accept_connection
from moorings.engine.hub import Hub, Source

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

#: Connections accepted in one loop turn before others get their turn.
ACCEPT_BURST = 64
#: Seconds without accepting after the system ran out of descriptors or memory.
EXHAUSTION_PAUSE = 0.1

_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
# The connection died in the queue, or the network reported for it (accept(2)): the next one may be fine.
_HARMLESS = frozenset(
    (
        errno.ECONNABORTED,
        errno.EINTR,
        errno.ENETDOWN,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.EPERM,
    )
)


class Acceptor(Source):
    """One listening socket in a hub.

    `on_connection(connected, address)` gets each new connection, non-blocking: a socket, or, for TCP in compiled mode,
    mostly its descriptor; a `TcpStream` takes either.
    """

    def __init__(
        self,
        hub: Hub,
        listening_socket: socket.socket,
        on_connection: Callable[[Any, Any], object],
        on_failure: Callable[[OSError], object],
    ) -> None:
        Source.__init__(self)
        self._socket: socket.socket | None = listening_socket
        self._on_connection = on_connection
        self._on_failure = on_failure
        self._owner_hub = hub
        tcp = listening_socket.family in {AF_INET, AF_INET6}
        self._accept_one = accept_connection if tcp else accept_by_socket
        self._paused = False
        self._retry: Any = None
        self.accepted = 0
        self.exhausted = 0
        #: Whose it is, for whoever looks at all descriptors of a loop.
        self.label: object = None
        hub.register(self, listening_socket.fileno(), EPOLLIN)

    def on_events(self, mask: int) -> None:  # noqa: ARG002
        # The program's handlers run from here: what they complete must not resume a task on top of them.
        home = self._owner_hub.home
        eager, home.eager = home.eager, False
        try:
            self._accept()
        finally:
            home.eager = eager

    def _accept(self) -> None:
        for _ in range(ACCEPT_BURST):
            if self._socket is None or self._paused or self._retry is not None:
                return
            try:
                accepted = self._accept_one(self.fd, self._socket)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest()
                elif error.errno not in _HARMLESS:
                    self._on_failure(error)
                    return
                continue
            if accepted is None:
                return
            self.accepted += 1
            self._on_connection(*accepted)

    def _rest(self) -> None:
        """Out of descriptors: polling the listener would spin, so look again a little later."""
        self.exhausted += 1
        self._owner_hub.change(self, 0)
        self._retry = self._owner_hub.home.loop.call_later(EXHAUSTION_PAUSE, self._look_again)

    def _look_again(self) -> None:
        self._retry = None
        self._watch()

    def _watch(self) -> None:
        if self._socket is not None:
            watching = not self._paused and self._retry is None
            self._owner_hub.change(self, EPOLLIN if watching else 0)

    def pause(self) -> None:
        """Leave new connections in the kernel's backlog until `resume`."""
        if not self._paused:
            self._paused = True
            self._watch()

    def resume(self) -> None:
        """Accept again."""
        if self._paused:
            self._paused = False
            self._watch()

    def paused(self) -> bool:
        """True while new connections are left in the kernel's backlog."""
        return self._paused or self._retry is not None

    def sockname(self) -> Any:
        """The bound address."""
        return None if self._socket is None else self._socket.getsockname()

    def release(self) -> socket.socket | None:
        """Stop watching and give the listening socket back, still listening; None after `close`."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        listening_socket, self._socket = self._socket, None
        if self.hub is not None:
            self.hub.unregister(self)
        return listening_socket

    def close(self) -> None:
        """Stop listening; the kernel resets connections that nobody accepted."""
        listening_socket = self.release()
        if listening_socket is not None:
            listening_socket.close()

    def on_drop(self) -> None:
        listening_socket, self._socket = self._socket, None
        if listening_socket is not None:
            listening_socket.close()
