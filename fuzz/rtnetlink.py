"""Fuzz target: any octets are netlink messages with links and addresses, or refused with NetlinkFormatError."""

from __future__ import annotations

from moorings.connectivity import rtnetlink

_PARSERS = {
    rtnetlink.RTM_NEWLINK: rtnetlink.parse_link,
    rtnetlink.RTM_NEWADDR: rtnetlink.parse_address,
    rtnetlink.NLMSG_ERROR: rtnetlink.parse_error,
}


def one_input(data: bytes) -> None:
    """Take octets as one received datagram, and as the payload of each kind of message."""
    try:
        for message in rtnetlink.parse_messages(data):
            parser = _PARSERS.get(message.type)
            if parser is not None:
                parser(message.payload)
    except rtnetlink.NetlinkFormatError:
        pass
    for parser in _PARSERS.values():
        try:
            parser(data)
        except rtnetlink.NetlinkFormatError:
            continue
