"""What a port does in one step in pure mode, where a call costs what it does. Compiled code does not use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings._pure import REFERENCES_OF_ONE, getrefcount
from moorings.engine.datagram import Datagram

if TYPE_CHECKING:
    from moorings._pure_datagrams import Inbox
    from moorings.engine.datagram_port import DatagramPort

_OPEN = 0


def hand_out_simply(port: DatagramPort, inbox: Inbox, index: int, handler: Any, owner: Any) -> None:
    """`_hand_out` for a handler in one step: of the datagrams of one message little more than the place differs."""
    size, segment = inbox.size, inbox.segment
    report, start = port.report, port.start
    offset = 0
    if segment < size:
        number = -(-size // segment)
        port.coalesced_received += number
    else:
        number = 1
    port.datagrams_received += number
    datagram: Datagram | None = None
    plain = False
    while True:
        if datagram is None:
            datagram = _filled(port, inbox, index)
            plain = type(datagram).clear is Datagram.clear
        datagram.offset = offset
        following = offset + segment
        if following >= size:
            datagram.size = size - offset
            datagram.truncated = inbox.truncated
        try:
            result = handler(owner, datagram)
        except Exception as error:  # noqa: BLE001 - the program's handler may raise anything; it is reported, once
            report(error, handler)
            result = None
        if result is not None:
            start(handler, result)
            result = None
        if getrefcount(datagram) > REFERENCES_OF_ONE:
            datagram.keep()
            datagram = None
        elif datagram.inbox is None or not plain or datagram.reader is not None:
            datagram.clear()
            datagram.inbox = inbox
        number -= 1
        offset = following
        if number == 0:
            break
        if port.phase != _OPEN:
            port.datagrams_received -= number
            port.coalesced_received -= number
            break
    if datagram is not None and port.phase == _OPEN:
        datagram.clear()
        port.spare_datagram = datagram


def _filled(port: DatagramPort, inbox: Inbox, index: int) -> Datagram:
    """A datagram with all that those of one message share."""
    datagram = port.spare_datagram
    port.spare_datagram = None
    if datagram is None:
        datagram = port.make_datagram()
    datagram.inbox = inbox
    datagram.index = index
    datagram.size = inbox.segment
    datagram.truncated = False
    datagram.name = inbox.name
    datagram.destination = inbox.destination
    datagram.interface = inbox.interface
    datagram.hop_limit = inbox.hop_limit
    datagram.traffic_class = inbox.traffic_class
    datagram.timestamp_ns = inbox.timestamp_ns
    return datagram
