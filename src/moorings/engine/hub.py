"""The hub: one epoll set for all descriptors of a loop, watched by the loop as a single descriptor.

Theory of operation
-------------------
A loop's own reader call-back costs a handle, a context switch and, on the stock loop, several thousand instructions
per event. The hub registers every socket once, edge-triggered for reading and writing, in an epoll set of its own, and
shows only that set to the loop. One loop callback then serves all sockets that are ready, on any kind of loop, and no
descriptor is ever re-armed per operation.

While the hub's callback is the top frame, completions resume their tasks at once (`Home.eager`), and streams with
queued writes are put on a list (`mark_dirty`) that is flushed when the callback ends. Outside the callback the first
queued write schedules one flush for the end of the loop turn. Edge-triggered sources that ran out of budget with data
left are put on the `deferred` list and go on in the next turn.

Where all sources are datagram ports, which are watched level-triggered, the hub *guesses* who is ready: whoever came
after the one before, the last time. A guess that is right has saved the look into the set, a tenth of a request and its
reply; one that is wrong costs as much. What else is ready stays so in the set, and in the loop; every now and then the
hub looks all the same, so that a flood on one port does not hide the others.

The set exists only while something is registered, so that a finished program leaves no descriptor behind.
"""

from __future__ import annotations

import errno
import os
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.home import current_home
from moorings.foundation.operation import OperationOwner

if TYPE_CHECKING:
    import cython
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    import moorings.foundation._await_slots  # noqa: F401  # gives Operation its faster slots
else:
    from moorings._pure import MAXIMUM_EVENTS, Block, Epoll

if TYPE_CHECKING:
    from moorings.foundation.home import Home

#: Bytes of the receive block that all streams of a loop share.
RECEIVE_BLOCK_SIZE = 262144

#: Times that the hub goes by its guess before it looks again.
GUESS_BURST = 8

EDGE_BOTH = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET
EDGE_WRITE_ONLY = EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET
READ_MASK = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR
_NOBODY = (0, 0)
_GUESS_BURST = GUESS_BURST
WRITE_MASK = EPOLLOUT | EPOLLHUP | EPOLLERR


class Source(OperationOwner):
    """Something with a descriptor in a hub. `fd` is -1 before and after."""

    __slots__ = (
        "deferred",
        "dirty",
        "fd",
        "guessable",
        "hub",
        "next_deferred",
        "next_dirty",
        "serial",
        "slot",
        "successor",
    )

    def __init__(self) -> None:
        self.spare = None
        self.fd = -1
        self.slot = 0
        self.serial = 0
        self.hub: Hub | None = None
        self.dirty = False
        self.next_dirty: Source | None = None
        self.deferred = False
        self.next_deferred: Source | None = None
        #: Watched level-triggered, so that `on_guess` may stand for a look into the set.
        self.guessable = False
        #: Who was ready after this one, the last time.
        self.successor: Source | None = None

    def on_events(self, mask: int) -> None:
        """The descriptor became ready. Runs as the engine's top frame."""

    def on_guess(self) -> bool:
        """The descriptor may be ready to read: whether it was. Runs as the engine's top frame."""
        return False

    def on_flush(self) -> None:
        """Send what is queued."""

    def on_turn(self) -> None:
        """Go on after `defer()`, in a new loop turn."""

    def has_unsent(self) -> bool:
        """True while something that was handed over waits to be sent."""
        return False

    def is_closing(self) -> bool:
        """True between `close` and the release of the descriptor."""
        return False

    def abort(self) -> None:
        """Let go of the descriptor at once, and let the peer know that something is missing."""

    def on_drop(self) -> None:
        """The process was forked: let go of the descriptor without a word to the peer."""


class Hub:
    """All descriptors of one loop. Reached through `hub_of(home)`."""

    __slots__ = (
        "__weakref__",
        "block",
        "block_view",
        "count",
        "deferred_head",
        "deferred_tail",
        "dirty_head",
        "epoll",
        "flush_scheduled",
        "free_slots",
        "guard",
        "guessable",
        "guessed",
        "home",
        "inbox",
        "last_ready",
        "link_watch",
        "next_serial",
        "slots",
        "tls_memory",
        "turn_scheduled",
    )

    def __init__(self, home: Home) -> None:
        self.home = home
        self.epoll: Epoll | None = None
        self.block: Block | None = None
        #: The same as a memoryview, for leaf functions that are not ours.
        self.block_view: Any = None
        #: The same for datagrams; the first port that receives makes it.
        self.inbox: Any = None
        #: What TLS connections share; the first of them makes it.
        self.tls_memory: Any = None
        #: Tells sockets with groups of changed interfaces; the first of them makes it, the last one ends it.
        self.link_watch: Any = None
        self.slots: list[Source | None] = []
        self.free_slots: list[int] = []
        self.count = 0
        self.next_serial = 1
        #: Sources that may be guessed, who was ready last, and right guesses in a row.
        self.guessable = 0
        self.last_ready: Source | None = None
        self.guessed = 0
        self.dirty_head: Source | None = None
        self.deferred_head: Source | None = None
        self.deferred_tail: Source | None = None
        self.flush_scheduled = False
        self.turn_scheduled = False
        self.guard: Any = None

    # -- registration ------------------------------------------------------------------------------------------------

    def register(self, source: Source, fd: int, events: int) -> None:
        """Watch `fd` for `source`. Raises OSError (mapped) when the kernel refuses; nothing is changed then."""
        self.home.usable("registering a descriptor")
        if self.epoll is None:
            self._open()
        assert self.epoll is not None
        slot = self._free_slot()
        # An event names a slot and who has it: one that was meant for an earlier holder finds nobody.
        result = self.epoll.add(fd, events, slot, self.next_serial)
        if result < 0:
            if self.count == 0:
                self._close()
            raise _cannot_watch(fd, -result)
        source.fd = fd
        self._keep(source, slot)

    def attach(self, source: Source) -> None:
        """Keep a source without a descriptor of its own, a layer over another stream, as those that have one."""
        self.home.usable("keeping a stream")
        self._make_block()
        self._keep(source, self._free_slot())

    def _free_slot(self) -> int:
        if not self.free_slots:
            self.slots.append(None)
            self.free_slots.append(len(self.slots) - 1)
        slot: int = self.free_slots[-1]
        return slot

    def _keep(self, source: Source, slot: int) -> None:
        self.free_slots.pop()
        serial = self.next_serial
        self.next_serial = 1 if serial == 0x7FFFFFFF else serial + 1
        source.slot = slot
        source.serial = serial
        source.hub = self
        self.slots[slot] = source
        self.count += 1
        self.guessable += source.guessable

    def unregister(self, source: Source) -> None:
        """Stop watching; the descriptor itself stays open and belongs to the caller again."""
        if source.hub is None:
            return
        source.hub = None
        if self.epoll is not None and source.fd >= 0:
            self.epoll.remove(source.fd)
        self.slots[source.slot] = None
        self.free_slots.append(source.slot)
        self.count -= 1
        self.guessable -= source.guessable
        self.last_ready = source.successor = None
        if self.count == 0:
            self.slots.clear()
            self.free_slots.clear()
            self._close()

    def change(self, source: Source, events: int) -> None:
        """Watch for other events from now on."""
        if self.epoll is not None and source.hub is not None:
            self.epoll.modify(source.fd, events, source.slot, source.serial)

    def _open(self) -> None:
        epoll = Epoll()
        try:
            self.home.loop.add_reader(epoll.fileno(), self._on_epoll if cython.compiled else self.on_ready)
        except BaseException:
            _close_set(epoll)
            raise
        self.epoll = epoll
        self._make_block()

    def _make_block(self) -> None:
        if self.block is None:
            self.block = Block(RECEIVE_BLOCK_SIZE)
            block: Any = self.block
            self.block_view = memoryview(block) if cython.compiled else block.view

    def _close(self) -> None:
        epoll = self.epoll
        if epoll is None:
            return
        self.epoll = None
        if not self.home.loop.is_closed():
            self.home.loop.remove_reader(epoll.fileno())
        _close_set(epoll)

    def drop(self) -> None:
        """In a forked child: close our copies of the descriptors; the parent's epoll set must not be touched."""
        sources = [source for source in self.slots if source is not None]
        self.slots = []
        self.free_slots = []
        self.count = self.guessable = 0
        self.last_ready = None
        self.dirty_head = None
        self.deferred_head = self.deferred_tail = None
        epoll = self.epoll
        self.epoll = None
        if epoll is not None:
            _close_set(epoll)
        for source in sources:
            source.hub = None
            source.on_drop()

    def has_unsent(self) -> bool:
        """True while any source has something to send."""
        return any(source is not None and source.has_unsent() for source in self.slots)

    def closing_streams(self) -> list[Any]:
        """The streams that are closing."""
        return [source for source in self.slots if source is not None and source.is_closing()]

    def abandon(self) -> None:
        """The loop will not run any more: abort what has something to send, and what is closing."""
        for source in list(self.slots):
            if source is not None and (source.has_unsent() or source.is_closing()):
                source.abort()

    # -- callbacks of the loop -----------------------------------------------------------------------------------------

    def _on_epoll(self) -> None:
        self.on_ready()

    def on_ready(self) -> None:
        """The epoll set has events (loop callback)."""
        if self.epoll is None:
            return
        home = self.home
        home.immediate = 0
        home.turn_bytes = 0
        home.in_callback = True
        home.eager = True
        try:
            if self.guessable != self.count or self.last_ready is None or not self._serve_guess():
                self._serve_ready()
            if self.dirty_head is not None:
                self.flush_dirty()
        finally:
            home.eager = False
            home.in_callback = False
            if self.dirty_head is not None:
                self._schedule_flush()

    def _serve_ready(self) -> None:
        """Tell each source what happened to it; serving one may end others, or the whole set."""
        epoll = self.epoll
        if epoll is None:
            return
        if cython.compiled:
            for index in range(epoll.poll()):
                slot = epoll.slot(index)
                if self.epoll is not epoll or slot >= len(self.slots):
                    break
                source = self.slots[slot]
                if source is not None and source.serial == epoll.serial(index):
                    source.on_events(epoll.mask(index))
        else:
            try:  # the same without the calls, which cost what they do
                epoll.events = epoll.epoll.poll(0, MAXIMUM_EVENTS)
            except OSError:
                return
            tokens = epoll.tokens
            for fd, mask in epoll.events:
                slot, serial = tokens.get(fd, _NOBODY)
                source = self.slots[slot] if slot < len(self.slots) else None
                if source is not None and source.serial == serial and self.epoll is epoll:
                    source.on_events(mask)

    def learn(self, source: Source) -> None:
        """`source`, which may be guessed, is ready; remember whose successor it is."""
        if self.last_ready is not None:
            self.last_ready.successor = source
        self.last_ready = source

    def _serve_guess(self) -> bool:
        """Serve whoever comes next, if the guess is right; else nothing has happened."""
        assert self.last_ready is not None
        guess = self.last_ready.successor
        if guess is None or guess.hub is not self or self.guessed >= _GUESS_BURST:
            self.guessed = 0
            return False
        if not guess.on_guess():
            return False
        self.guessed += 1
        return True

    def mark_dirty(self, source: Source) -> None:
        """`source` has something queued: flush it when the callback, or the loop turn, ends."""
        if source.dirty:
            return
        source.dirty = True
        source.next_dirty = self.dirty_head
        self.dirty_head = source
        if not self.home.in_callback:
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self.flush_scheduled:
            self.flush_scheduled = True
            try:
                self.home.loop.call_soon(self._on_flush)
            except RuntimeError:
                self.flush_scheduled = False
                self.home.usable("sending")
                raise

    def flush_dirty(self) -> None:
        """Flush every source on the list; they may put themselves on it again for the next turn."""
        source = self.dirty_head
        self.dirty_head = None
        while source is not None:
            following = source.next_dirty
            source.next_dirty = None
            source.dirty = False
            source.on_flush()
            source = following

    def _on_flush(self) -> None:
        self.flush_scheduled = False
        self.home.new_turn()
        self.flush_dirty()

    def defer(self, source: Source) -> None:
        """Let `source` go on in the next loop turn: its budget is used up, and no new edge will come."""
        if source.deferred:
            return
        source.deferred = True
        if self.deferred_tail is None:
            self.deferred_head = source
        else:
            self.deferred_tail.next_deferred = source
        self.deferred_tail = source
        if not self.turn_scheduled:
            self.turn_scheduled = True
            try:
                self.home.loop.call_soon(self._on_turn)
            except RuntimeError:
                self.turn_scheduled = False
                self.home.usable("receiving")
                raise

    def _put_first(self, first: Source, last: Source | None) -> None:
        """Those that this turn could not serve stand before those that it did serve and that have more to do."""
        assert last is not None
        last.next_deferred = self.deferred_head
        self.deferred_head = first
        if self.deferred_tail is None:
            self.deferred_tail = last
        if not self.turn_scheduled:
            self.turn_scheduled = True
            self.home.loop.call_soon(self._on_turn)

    def _on_turn(self) -> None:
        home = self.home
        self.turn_scheduled = False
        source = self.deferred_head
        last = self.deferred_tail
        self.deferred_head = self.deferred_tail = None
        home.new_turn()
        home.in_callback = True
        home.eager = True
        try:
            while source is not None and home.has_budget():
                following = source.next_deferred
                source.next_deferred = None
                source.deferred = False
                source.on_turn()
                source = following
            if source is not None:
                self._put_first(source, last)
            if self.dirty_head is not None:
                self.flush_dirty()
        finally:
            home.eager = False
            home.in_callback = False
            if self.dirty_head is not None:
                self._schedule_flush()


def _cannot_watch(fd: int, code: int) -> OSError:
    if code != errno.ENOSPC:
        return errors.from_errno(code, f"watching descriptor {fd}")
    reason = f"watching descriptor {fd}: the limit in /proc/sys/fs/epoll/max_user_watches is reached"
    return errors.make(errors.WSAENOBUFS, reason, errno=code)


def _close_set(epoll: Epoll) -> None:
    if cython.compiled:
        os.close(epoll.fileno())
    else:
        epoll.close()


def hub_of(home: Any) -> Hub:
    """The hub of a home, made on first use."""
    hub: Hub | None = home.engine
    if hub is None:
        hub = home.engine = Hub(home)
    return hub


def current_hub() -> Hub:
    """The hub of the running loop, or of the background loop in a plain script."""
    return hub_of(current_home())
