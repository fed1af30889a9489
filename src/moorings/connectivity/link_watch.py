"""Changes of the machine's interfaces, told to whoever on a loop depends on them.

Theory of operation
-------------------
One netlink socket for each loop, which lives while somebody listens: the first `watch_links` makes it, the last
`unwatch_links` closes it. It is bound to the kernel's groups for links and addresses, and then asks for all links
through the very same socket, so that no change falls between the list and the events. Both are the same kind of
message, and taken alike. What is read in one go is bounded; the descriptor is watched level-triggered, and the next
turn goes on.

Where events come faster than they are read the kernel drops them and says so (ENOBUFS, netlink(7)). Then the list is
asked for anew, and every interface counts as replaced, since one may have gone and another one have come under the same
number meanwhile. The kernel takes one such question at a time: one that is needed while the list is under way is asked
when that has ended.
"""

from __future__ import annotations

import errno
import os
import socket
from select import EPOLLIN
from typing import TYPE_CHECKING, Any, Protocol

from moorings import errors
from moorings.connectivity import rtnetlink
from moorings.engine.hub import Hub, Source, hub_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from moorings.connectivity.rtnetlink import Link, Message
    from moorings.foundation.home import Home

#: Netlink datagrams that one turn takes, each up to 64 KiB.
LINK_EVENTS_BURST = 16

#: Where packets are shorter there is no IPv6 (RFC 8200).
IPV6_LEAST_MTU = 1280

_RECEIVE_SIZE = 65536
_GROUPS = rtnetlink.RTMGRP_LINK | rtnetlink.RTMGRP_IPV4_IFADDR | rtnetlink.RTMGRP_IPV6_IFADDR


class LinkListener(Protocol):
    """Who is told of changed interfaces."""

    def links_changed(self, links: Mapping[int, Link], changed: Set[int], gone: Set[int]) -> None:
        """Interfaces have changed (home thread): the numbers of those to look at, and of those that were removed at
        any time since the last call; there may be a new one under that number.
        """


def open_netlink() -> socket.socket:
    """A netlink socket that gets the events."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    netlink = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        netlink.bind((0, _GROUPS))
    except BaseException:
        netlink.close()
        raise
    return netlink


class LinkWatch(Source):
    """The watch of one loop. Home thread only."""

    def __init__(self, hub: Hub, netlink: socket.socket) -> None:
        """Take over a netlink socket."""
        Source.__init__(self)
        self._owner_hub = hub
        self._netlink: socket.socket | None = netlink
        self._listeners: list[LinkListener] = []
        self.links: dict[int, Link] = {}
        #: Times that the kernel dropped events.
        self.overflows = 0
        self._sequence = 0
        #: `links` is true: the list has been read, and no event was missed since.
        self._complete = False
        self._listing = False
        self._list_again = False
        self._interrupted = False
        self._repeats = 0
        self._all_replaced = False
        self._listed: set[int] = set()
        self._changed: set[int] = set()
        self._gone: set[int] = set()
        self._reported = False
        hub.register(self, netlink.fileno(), EPOLLIN)
        self._ask()

    def add(self, listener: LinkListener) -> None:
        """Tell `listener` of all interfaces, now or when their list has come, and of what changes."""
        self._read()  # what is under way is older than what `listener` knows
        self._listeners.append(listener)
        if self._complete:
            listener.links_changed(self.links, set(self.links), set())

    def remove(self, listener: LinkListener) -> None:
        """Tell it no more; the last one ends the watch."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners:
            self.close()

    def close(self) -> None:
        """Release the descriptor."""
        netlink, self._netlink = self._netlink, None
        if self._owner_hub.link_watch is self:
            self._owner_hub.link_watch = None
        if self.hub is not None:
            self.hub.unregister(self)
        if netlink is not None:
            netlink.close()

    def on_drop(self) -> None:
        """In a forked child: our copy of the descriptor goes."""
        self.close()

    def on_events(self, mask: int) -> None:  # noqa: ARG002
        """Take what the kernel tells."""
        # Listeners run from here: what they complete must not resume a task on top of them.
        home = self._owner_hub.home
        eager, home.eager = home.eager, False
        try:
            self._read()
        finally:
            home.eager = eager

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        for _ in range(LINK_EVENTS_BURST):
            if self._netlink is None:
                return
            try:
                data, _, flags, sender = self._netlink.recvmsg(_RECEIVE_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self._report(error)
                self._lost()
                continue
            if sender[0] != 0:
                continue  # another process; only the kernel has number 0
            try:
                if flags & socket.MSG_TRUNC:
                    raise rtnetlink.NetlinkFormatError(f"a datagram of more than {_RECEIVE_SIZE} octets")
                for message in rtnetlink.parse_messages(data):
                    self._take(message)
            except rtnetlink.NetlinkFormatError as error:
                self._report(error)
        self._tell()

    def _take(self, message: Message) -> None:
        kind, payload = message.type, message.payload
        if kind in {rtnetlink.RTM_NEWLINK, rtnetlink.RTM_DELLINK}:
            if rtnetlink.is_about_the_link_itself(payload):
                self._take_link(rtnetlink.parse_link(payload), there=kind == rtnetlink.RTM_NEWLINK)
        elif kind == rtnetlink.RTM_NEWADDR:
            address = rtnetlink.parse_address(payload)
            if address is not None:
                self._changed.add(address.interface_index)
        if message.sequence != self._sequence or not self._listing:
            return
        if message.flags & rtnetlink.NLM_F_DUMP_INTR:
            self._interrupted = True
        if kind == rtnetlink.NLMSG_DONE:
            self._end_list()
        elif kind == rtnetlink.NLMSG_ERROR and (code := rtnetlink.parse_error(payload)):
            self._listing = False
            self._report(errors.from_errno(code, f"the kernel's list of network interfaces: {os.strerror(code)}"))

    def _take_link(self, link: Link, *, there: bool) -> None:
        index = link.interface_index
        if there:
            known = self.links.get(index)
            if known is not None and link.mtu < IPV6_LEAST_MTU <= known.mtu:
                self._gone.add(index)  # the kernel throws away all that IPv6 had there
            self.links[index] = link
            self._listed.add(index)
            self._changed.add(index)
        else:
            self.links.pop(index, None)
            self._listed.discard(index)
            self._gone.add(index)

    def _tell(self) -> None:
        if not self._complete:
            if not self._listing:
                self._ask()  # it could not be asked for, or failed
            return
        changed, self._changed = self._changed, set()
        gone, self._gone = self._gone, set()
        if changed or gone:
            for listener in tuple(self._listeners):
                listener.links_changed(self.links, changed, gone)

    # -- the list of all links -----------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask for the list, or ask again when the one that is under way has ended."""
        if self._listing:
            self._list_again = True
            return
        if self._netlink is None:
            return  # a report ended it
        self._sequence += 1
        self._listed = set()
        self._list_again = self._interrupted = False
        try:
            self._netlink.send(rtnetlink.dump_request(rtnetlink.RTM_GETLINK, self._sequence))
        except OSError as error:
            self._report(error)
        else:
            self._listing = True

    def _end_list(self) -> None:
        self._listing = False
        if self._list_again or (self._interrupted and self._repeats < rtnetlink.DUMP_REPEATS):
            self._repeats += 1
            self._ask()
            return
        self._repeats = 0
        self._complete = True
        for index in set(self.links) - self._listed:
            del self.links[index]
            self._gone.add(index)
        if self._all_replaced:
            self._all_replaced = False
            self._gone |= set(self.links)
            self._changed |= set(self.links)

    def _lost(self) -> None:
        self.overflows += 1
        self._all_replaced = True
        self._complete = False
        self._ask()

    def _report(self, error: Exception) -> None:
        """Tell the program, once: groups may be missed from now on where interfaces change."""
        if not self._reported:
            self._reported = True
            home = self._owner_hub.home
            home.report("watching the network interfaces failed; groups may not be joined on new ones", error, self)


def watch_links(home: Home, listener: LinkListener) -> None:
    """Tell `listener` of changed interfaces from now on (home thread). OSError where the kernel does not let us."""
    hub = hub_of(home)
    watch: LinkWatch | None = hub.link_watch
    if watch is None:
        try:
            netlink = open_netlink()
            try:
                watch = LinkWatch(hub, netlink)
            except BaseException:
                netlink.close()
                raise
        except OSError as error:
            reason = f"watching the network interfaces failed: {error.strerror or error}"
            raise errors.from_os_error(error, reason) from error
        hub.link_watch = watch
    watch.add(listener)


def unwatch_links(home: Any, listener: LinkListener) -> None:
    """Tell it no more (home thread)."""
    hub: Hub | None = home.engine
    watch: LinkWatch | None = None if hub is None else hub.link_watch
    if watch is not None:
        watch.remove(listener)
