"""Whether the peer of a WebSocket still lives, and the pongs that nobody asked for.

Theory of operation
-------------------
Life is any byte that arrived, and any byte of ours that the peer has acknowledged: a slow upload is not killed. Only
when nothing was heard for an interval a ping is sent, and only when it was acknowledged, or nothing is being
acknowledged any more, the time runs in which the pong, or anything else, has to come. A ping behind much that is queued
has that time only when its turn has come.

Where our own loop was blocked, the timer is late, and what came meanwhile is still in the kernel: then the measuring
begins anew, with a probe before the verdict. A program that does not take its messages makes the peer look silent, too:
while receiving is paused nothing is judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorings.engine import tcp_info
from moorings.engine.descriptor import unacknowledged_bytes

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from moorings.engine.web_socket import WebSocketLink

#: Seconds by which a timer may be late before the loop counts as having been blocked.
BLOCKED_LOOP_TIME = 1.0


class Liveness:
    """The one timer of an open WebSocket."""

    __slots__ = (
        "_acknowledged",
        "_due",
        "_goal",
        "_heard",
        "_link",
        "_next_pong",
        "_probed",
        "_received",
        "_timer",
        "loop_blocks",
        "ping_interval",
        "ping_timeout",
        "pong_interval",
        "pongs_sent",
    )

    def __init__(self, link: WebSocketLink, pong_interval: float, ping_interval: float, ping_timeout: float) -> None:
        self._link = link
        self.pong_interval = pong_interval
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.loop_blocks = 0
        self.pongs_sent = 0
        self._timer: TimerHandle | None = None
        self._due = 0.0
        self._received: int = 0
        self._acknowledged = 0
        self._goal = 0
        #: When something was heard last, when a ping went out that is not answered (0.0: none), and the next pong.
        self._heard = 0.0
        self._probed = 0.0
        self._next_pong = 0.0

    def start(self) -> None:
        """Begin to measure."""
        now = self._link.home.loop.time()
        self._heard = now
        self._next_pong = now + self.pong_interval
        self._received = self._link.bytes_received
        self._acknowledged = self._read()[0]
        self._arm()

    def stop(self) -> None:
        """The WebSocket takes its leave, or has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read(self) -> tuple[int, float]:
        """Bytes that the peer has acknowledged so far, and the seconds since something arrived."""
        facts = tcp_info.read(self._link.stream.fd)
        return facts.bytes_acked or 0, (facts.last_data_recv or 0) / 1000

    def _arm(self) -> None:
        due: list[float] = []
        if self.pong_interval > 0:
            due.append(self._next_pong)
        if self.ping_interval > 0:
            due.append(self._probed + self.ping_timeout if self._probed else self._heard + self.ping_interval)
        self._due = min(due)
        self._timer = self._link.home.loop.call_at(self._due, self.tick)

    def tick(self) -> None:
        """Look, and do what is due."""
        link = self._link
        now = link.home.loop.time()
        self._timer = None
        if self.pong_interval > 0 and now >= self._next_pong:
            self._next_pong = now + self.pong_interval
            link.send_pong()
            self.pongs_sent += 1
        if self.ping_interval > 0:
            self._look(now)
            if now - self._due > BLOCKED_LOOP_TIME:
                self.loop_blocks += 1
                self._restart(now)
            if self._probed and now - self._probed >= self.ping_timeout:
                link.silent(
                    f"nothing was heard for {now - self._heard:.1f} s, and a ping was not answered "
                    f"within {self.ping_timeout:g} s"
                )
                return
            if not self._probed and now - self._heard >= self.ping_interval:
                self._probe(now)
        if link.life is self:
            self._arm()

    def _restart(self, now: float) -> None:
        """What was measured does not count: the next thing is a probe."""
        self._heard = now - self.ping_interval
        self._probed = 0.0

    def _look(self, now: float) -> None:
        link = self._link
        acknowledged, ago = self._read()
        if link.bytes_received != self._received or link.paused:
            self._heard = now if link.paused else max(self._heard, now - ago)
            self._probed = 0.0
        elif acknowledged != self._acknowledged and (not self._probed or self._acknowledged < self._goal):
            self._heard = now
            if self._probed:
                self._probed = now  # its time runs from here
        self._received = link.bytes_received
        self._acknowledged = acknowledged

    def _probe(self, now: float) -> None:
        link = self._link
        self._probed = now
        link.send_probe()
        self._goal = self._acknowledged + unacknowledged_bytes(link.stream.fd) + link.stream.queued_bytes
