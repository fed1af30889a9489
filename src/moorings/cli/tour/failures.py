"""What a refused connection, a datagram for nobody, and a bad host name say."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import moorings
from moorings import HostName, SocketError
from moorings.cli.tour.common import LOCALHOST, DemoError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from moorings.cli.console import Console
    from moorings.cli.tour.common import Facts, Options

LOOK_UP_PATIENCE = 10.0


async def failures(console: Console, _options: Options) -> Facts:
    """Ports where nobody listens, a name that does not exist, a name that cannot exist."""
    with socket.socket() as reserved:
        reserved.bind((LOCALHOST, 0))  # nobody listens, and nobody else gets the port
        closed = f"tcp://{LOCALHOST}:{reserved.getsockname()[1]}"
        what = f"connecting to {closed}, where nobody listens"
        refused = await expect_failure(console, what, lambda: moorings.connect(closed))
    undelivered = await send_to_nobody(console)
    absent = "tcp://no-such-host.invalid:80"
    what = f"connecting to {absent}; no name ends in .invalid"
    unknown = await expect_failure(console, what, lambda: moorings.connect(absent, timeout=LOOK_UP_PATIENCE))

    async def name() -> HostName:
        return HostName("not a host name")

    impossible = await expect_failure(console, "HostName('not a host name')", name)
    return {"refused": refused, "undelivered": undelivered, "unknown_host": unknown, "impossible_name": impossible}


async def send_to_nobody(console: Console) -> Facts:
    """A datagram for a port where nobody listens: sending it goes well, receiving tells."""
    with socket.socket(type=socket.SOCK_DGRAM) as reserved:
        reserved.bind((LOCALHOST, 0))
        reserved.connect(reserved.getsockname())  # it hears nobody but itself, and nobody else gets the port
        port = reserved.getsockname()[1]
        async with await moorings.connect(f"udp://{LOCALHOST}:{port}") as client:
            await client.send(b"anybody?")
            what = f"sent a datagram to udp://{LOCALHOST}:{port}, where nobody listens"
            return await expect_failure(console, what, client.receive)


async def expect_failure(console: Console, what: str, action: Callable[[], Awaitable[object]]) -> Facts:
    """Do what must fail, and show everything that the exception carries."""
    console.say("client", what)
    try:
        await action()
    except OSError as error:
        winerror = getattr(error, "winerror", None)
        if winerror is None:
            raise DemoError(f"{error!r} carries no winerror") from error
        facts = {
            "class": class_name(error),
            "winerror": f"{winerror} (0x{winerror & 0xFFFFFFFF:08X})",
            "status": SocketError.get_status(winerror).name,
            "reason": str(getattr(error, "reason", error)),
        }
        for label, value in facts.items():
            console.say("", f"{label:<8} {value}")
        return {**facts, "winerror": winerror}
    raise DemoError(f"{what}: it did not fail")


def class_name(error: OSError) -> str:
    """The class of the standard library to catch it by."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ in {"builtins", "socket"})
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
