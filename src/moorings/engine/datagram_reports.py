"""What the network reports of a datagram (ICMP), from the kernel's error queue. Sources: ip(7), linux/errqueue.h."""

from __future__ import annotations

import errno
import struct
from typing import Any

from moorings import errors
from moorings.engine.datagram_mtu import too_big_on_the_way

# struct sock_extended_err, and where the report comes from.
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ICMP6 = 3
_FROM_NETWORK = (2, _ICMP6)

#: What the network's errors mean, for people.
MEANINGS = {
    errno.ECONNREFUSED: "nothing listens there",
    errno.EHOSTUNREACH: "the host cannot be reached",
    errno.ENETUNREACH: "there is no route to that network",
    errno.EMSGSIZE: "it is too big for the path and may not be fragmented",
    errno.EACCES: "a firewall on the way forbids it",
    errno.EPROTO: "the receiver found an error in it",
}


def report_in(control: bytes) -> tuple[int, int, bool] | None:
    """Errno, further information (a path MTU) and whether ICMPv6 says it; None for what the network has not said.

    What a send of ours returned itself is told by its operation; there are also entries that are no errors.
    """
    if len(control) < _EXTENDED_ERROR.size:
        return None
    code, origin, _, _, _, information, _ = _EXTENDED_ERROR.unpack_from(control)
    return None if origin not in _FROM_NETWORK or code == 0 else (code, information, origin == _ICMP6)


def report_error(label: object, code: int, name: Any, information: int, v6: bool) -> OSError:
    """The error of a datagram to `name` (None: the kernel did not say) that was not delivered.

    The reason fits into a line of a terminal: `label`, which may name the peer once more, stands there only without
    `name`.
    """
    what = f"datagram to {_place(name)}" if name else f"{label}: a datagram was"
    reason = f"{what} not delivered: {MEANINGS.get(code, errno.errorcode.get(code, ''))}"
    if code == errno.ECONNREFUSED:
        return errors.make(errors.WSAECONNRESET, reason, errno=code)
    if code == errno.EMSGSIZE:
        return too_big_on_the_way(reason, information, v6)
    return errors.from_errno(code, reason)


def _place(name: Any) -> str:
    """Address and port, as errors show them."""
    host = str(name[0]).removeprefix("::ffff:")
    return f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}"
