"""`moorings.monitor()`: a program lets its user see its sockets.

Theory of operation
-------------------
A Unix socket is registered in the hub of the loop on which the program called; while nobody connects, that is all there
is: no task, no timer. A client has one request line answered after the other, within limits of size, number and time,
by a task of that loop. It must be the same user, or root (SO_PEERCRED).

Whoever forgets a monitor still leaves no socket behind: an asynchronous generator waits, and `shutdown_asyncgens` at
the end of `asyncio.run` closes it; a finaliser does so when that never comes, and at interpreter exit. A forked child
neither answers nor removes anything: the hub drops its copy, and process ids are compared.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import struct
import sys
import time
import weakref
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from moorings import errors
from moorings.engine.hub import hub_of
from moorings.engine.listener import Acceptor
from moorings.foundation.home import current_home
from moorings.monitoring import directory as directories
from moorings.monitoring import wire
from moorings.monitoring.gathering import SLICE_SECONDS, gather, gather_now
from moorings.monitoring.open_metrics import open_metrics
from moorings.monitoring.reports import ProgramSnapshot

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from moorings.foundation.home import Home

#: Clients that are served at the same time; others wait in the kernel.
CLIENT_LIMIT = 8
#: Seconds that one client may take for everything: to ask, and to read the answers.
CLIENT_TIMEOUT = 10.0
#: Requests that one client may make on one connection.
CLIENT_REQUESTS_LIMIT = 16
#: Seconds that a program without a loop waits until its background loop has started to serve.
START_TIMEOUT = 10.0
#: Characters of the name of a program.
NAME_LIMIT = 200
#: Bytes of an answer that are sent at once.
_PIECE = 65536


def script_name() -> str:
    """What the program is called where nobody says otherwise."""
    script = sys.argv[0] if sys.argv else ""
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    if module is not None and module.name:
        return str(module.name.removesuffix(".__main__"))
    return os.path.basename(script) if script not in {"", "-c", "-"} else "python"


def _clean_up(path: Path, owner: int, listening: socket.socket) -> None:
    listening.close()
    if os.getpid() == owner:
        with suppress(OSError):
            path.unlink(missing_ok=True)


class Monitor:
    """A program's consent to be looked at, as `moorings.monitor()` gives it; use it with `with`, or forget it."""

    def __init__(self, home: Home, name: str, directory: Path | None) -> None:
        self._home = home
        self._name = name
        self._pid = os.getpid()
        self._acceptor: Acceptor | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._end: AsyncGenerator[None] | None = None
        listening, self._path = directories.open_listener(directory)
        self._finalizer = weakref.finalize(self, _clean_up, self._path, self._pid, listening)
        try:
            self._start(listening)
        except BaseException:
            self._finalizer()
            raise

    @property
    def path(self) -> Path:
        """The socket on which the program answers."""
        return self._path

    @property
    def name(self) -> str:
        """What the program is called in the list."""
        return self._name

    @property
    def closed(self) -> bool:
        """True when the program does not answer any more."""
        return not self._finalizer.alive or os.getpid() != self._pid

    # -- starting and ending -----------------------------------------------------------------------------------------

    def _start(self, listening: socket.socket) -> None:
        home = self._home
        if home.on_home_thread():
            self._serve_at_home(listening)
            return
        outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def start() -> None:
            try:
                self._serve_at_home(listening)
            except BaseException as error:  # noqa: BLE001 - raised to the caller, on the other thread
                outcome.put(error)
            else:
                outcome.put(None)

        home.call(start)
        try:
            error = outcome.get(timeout=START_TIMEOUT)
        except queue.Empty:
            reason = "moorings.monitor(): the background loop does not answer"
            raise errors.make(errors.WSAETIMEDOUT, reason) from None
        if error is not None:
            raise error

    def _serve_at_home(self, listening: socket.socket) -> None:
        self._acceptor = Acceptor(hub_of(self._home), listening, self._accept, self._failed)
        self._end = self._until_the_end()
        with suppress(StopIteration):
            # It yields without waiting; asking for that is what makes it known to the loop.
            self._end.__anext__().send(None)

    async def _until_the_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._stop()

    def _stop(self) -> None:
        """Serve no more (home thread)."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
        if not self._home.loop.is_closed():
            for task in self._clients:
                task.cancel()
        self._finalizer()
        end, self._end = self._end, None
        if end is not None:
            with suppress(StopIteration, RuntimeError):  # it may be what calls us
                end.aclose().send(None)

    def _failed(self, error: OSError) -> None:
        self._stop()
        self._home.report("moorings.monitor(): accepting failed for good", error, self)

    def close(self) -> None:
        """Stop answering and remove the socket; from any thread, as often as you like. Nothing in a forked child."""
        if os.getpid() != self._pid:
            return
        self._path.unlink(missing_ok=True)
        home = self._home
        if home.on_home_thread() or home.loop.is_closed():
            self._stop()
            return
        try:
            home.loop.call_soon_threadsafe(self._stop)
        except RuntimeError:  # it closes at this moment
            self._stop()

    async def aclose(self) -> None:
        """The same, and wait until clients are gone. Cancellation: *nothing happened*, *retry safe*."""
        self.close()
        if self._clients and asyncio.get_running_loop() is self._home.loop:
            await asyncio.wait(set(self._clients))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- what it tells -----------------------------------------------------------------------------------------------

    def snapshot(self) -> ProgramSnapshot:
        """All sockets of this process, now; from any thread. Ten thousand of them keep the loop for part of a second.

        Errors: none; loops that do not answer in time are counted.
        """
        sockets, silent = gather_now()
        return self._snapshot(sockets, silent)

    async def snapshot_async(self) -> ProgramSnapshot:
        """The same, in slices of a millisecond between which others run.

        Cancellation: *nothing happened*, *retry safe*.
        """
        sockets, silent = await gather()
        return self._snapshot(sockets, silent)

    def _snapshot(self, sockets: list[Any], silent: int) -> ProgramSnapshot:
        # Rooms do not import the package itself, which may be half imported; who can make a monitor has all of it.
        version = str(getattr(sys.modules.get("moorings"), "__version__", ""))
        taken_at = round(time.time(), 3)
        return ProgramSnapshot(os.getpid(), self._name, version, taken_at, tuple(sockets), silent_loops=silent)

    def open_metrics(self) -> str:
        """The snapshot in the OpenMetrics text format, for a monitoring system that collects it."""
        return open_metrics([self.snapshot()])

    # -- clients -----------------------------------------------------------------------------------------------------

    def _accept(self, client: socket.socket, _address: object) -> None:
        if not _may_ask(client):
            client.close()
            return
        task = self._home.loop.create_task(self._serve(client))
        self._clients.add(task)
        task.add_done_callback(partial(self._client_left, client))
        if len(self._clients) >= CLIENT_LIMIT and self._acceptor is not None:
            self._acceptor.pause()

    def _client_left(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        client.close()  # a task that is cancelled at once never runs
        self._clients.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._home.report("moorings.monitor(): answering failed", error, self)
        if self._acceptor is not None:
            self._acceptor.resume()

    async def _serve(self, client: socket.socket) -> None:
        # The client has gone, or takes too long.
        with client, suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLIENT_TIMEOUT):
                await self._converse(client)

    async def _converse(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        pending = b""
        for _ in range(CLIENT_REQUESTS_LIMIT):
            while b"\n" not in pending and len(pending) <= wire.REQUEST_LIMIT:
                data = await loop.sock_recv(client, wire.REQUEST_LIMIT)
                if not data:
                    return
                pending += data
            line, _, pending = pending.partition(b"\n")
            try:
                request = wire.parse_request(line)
            except wire.BadRequestError as error:
                await self._send(client, wire.error_line(str(error)))
                return
            await self._answer(client, request)

    async def _send(self, client: socket.socket, data: bytes) -> None:
        if os.getpid() != self._pid:
            raise ConnectionAbortedError("a forked child does not answer for its parent")
        await asyncio.get_running_loop().sock_sendall(client, data)

    async def _answer(self, client: socket.socket, request: wire.Request) -> None:
        piece = bytearray()
        until = 0.0
        for part in wire.answer(await self.snapshot_async(), request.limit):
            piece += part
            if len(piece) >= _PIECE:
                await self._send(client, bytes(piece))
                piece.clear()
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + SLICE_SECONDS
        await self._send(client, bytes(piece))


def _may_ask(client: socket.socket) -> bool:
    """Whether the peer is this user, or root."""
    layout = struct.Struct("3i")
    try:
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
    except OSError:
        return False
    _, user, _ = layout.unpack(credentials)
    return user in {os.geteuid(), 0}


def monitor(*, name: str | None = None, directory: str | os.PathLike[str] | None = None) -> Monitor:
    """Let this user see the sockets of this program, with `moorings sockets`, from now on.

    Use it with `with` or `async with`, or call it once and forget it: it ends with the loop, or with a plain script.
    It shows the sockets on all event loops of the process, and costs nothing until somebody asks. `name` stands in the
    list (default: that of the script), `directory` is where its socket stands (default:
    `$XDG_RUNTIME_DIR/moorings/monitor`, or one below /tmp); it is made if it is missing and must be closed to others.

    Errors: OSError when the directory cannot be used; TypeError and ValueError for a bad name.
    """
    if name is not None and not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("name must be a string")
    if name is not None and not 0 < len(name) <= NAME_LIMIT:
        raise ValueError(f"name must have 1 to {NAME_LIMIT} characters")
    chosen = name if name is not None else script_name()[:NAME_LIMIT]
    return Monitor(current_home(), chosen, None if directory is None else Path(directory))
