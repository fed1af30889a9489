"""Whether the peer of a WebSocket still lives, and the pongs that nobody asked for.

Theory of operation
-------------------
Life is any byte that arrived, and any byte of ours that the peer has acknowledged: a slow upload is not killed. Only
when nothing was heard for an interval a ping is sent, and only when it was acknowledged, or nothing is being
acknowledged any more, the time runs in which the pong, or anything else, has to come. A ping behind much that is queued
has that time only when its turn has come.

A frame whose first byte has come, or that is being sent, must go on: `frame_timeout` seconds without a byte of it, or
without one that the peer acknowledges, end the connection. Any progress is life, so a slow transfer is not killed,
however long a frame takes. Nothing is noted per message: the timer looks a few times within that span whether a frame
has begun and whether anything is queued.

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

#: Seconds without progress after which a frame that has begun, in either direction, ends the connection.
FRAME_TIMEOUT = 30.0
#: How often the timer looks within that time.
LOOKS = 3

#: Seconds by which a timer may be late before the loop counts as having been blocked.
BLOCKED_LOOP_TIME = 1.0


class Liveness:
    """The one timer of an open WebSocket."""

    __slots__ = (
        "_acknowledged",
        "_coming",
        "_due",
        "_goal",
        "_going",
        "_heard",
        "_link",
        "_next_look",
        "_next_pong",
        "_pauses",
        "_probed",
        "_received",
        "_sent",
        "_timer",
        "frame_timeout",
        "loop_blocks",
        "ping_interval",
        "ping_timeout",
        "pong_interval",
        "pongs_sent",
    )

    def __init__(
        self,
        link: WebSocketLink,
        pong_interval: float,
        ping_interval: float,
        ping_timeout: float,
        frame_timeout: float = 0.0,
    ) -> None:
        self._link = link
        self.pong_interval = pong_interval
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.frame_timeout = frame_timeout
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
        self._next_look = 0.0
        #: At the last look: whether a frame had begun; since when nothing of what is queued was taken (0.0: something
        #: was), and how far the peer and the kernel had come; how often receiving had paused.
        self._coming = False
        self._going = 0.0
        self._sent = (0, 0)
        self._pauses = 0

    def start(self) -> None:
        """Begin to measure."""
        now = self._link.home.loop.time()
        self._heard = now
        self._next_pong = now + self.pong_interval
        self._received = self._link.bytes_received
        self._acknowledged = self._read()[0]
        self._next_look = now + self.frame_timeout / LOOKS
        self._arm()

    def stop(self) -> None:
        """The WebSocket takes its leave, or has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def change_frame_timeout(self, seconds: float) -> None:
        """From now on; 0 is off."""
        self.frame_timeout = seconds
        self._next_look = self._link.home.loop.time() + seconds / LOOKS
        self._coming = False
        self._going = 0.0
        self.stop()
        self._arm()

    def _read(self) -> tuple[int, float]:
        """Bytes that the peer has acknowledged so far, and the seconds since something arrived."""
        facts = tcp_info.read(self._link.stream.fd)
        return facts.bytes_acked or 0, (facts.last_data_recv or 0) / 1000

    def _arm(self) -> None:
        due: list[float] = []
        if self.pong_interval > 0:
            due.append(self._next_pong)
        if self.ping_interval > 0:
            if self._probed:  # an answer may come much earlier than it has to: the next ping counts from it
                next_look = self._link.home.loop.time() + self.ping_interval
                due.append(min(self._probed + self.ping_timeout, next_look))
            else:
                due.append(self._heard + self.ping_interval)
        if self.frame_timeout > 0:
            due.append(self._next_look)
        if not due:
            return
        self._due = min(due)
        self._timer = self._link.home.loop.call_at(self._due, self.tick)

    def tick(self) -> None:
        """Look, and do what is due."""
        link = self._link
        now = link.home.loop.time()
        late = now - self._due > BLOCKED_LOOP_TIME
        self._timer = None
        if self.pong_interval > 0 and now >= self._next_pong:
            self._next_pong = now + self.pong_interval
            link.send_pong()
            self.pongs_sent += 1
        if self.ping_interval > 0:
            self._look(now)
            if late:
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
        if self.frame_timeout > 0 and now >= self._next_look and link.life is self:
            text = self._look_at_frames(now, late)
            if text:
                link.silent(text)
                return
        if link.life is self:
            self._arm()

    def _look_at_frames(self, now: float, late: bool) -> str:
        """See what is under way; what stands still for too long, or ""."""
        link, stream, limit = self._link, self._link.stream, self.frame_timeout
        self._next_look = now + limit / LOOKS
        was_coming, was_going, pauses = self._coming, self._going, self._pauses
        self._coming = link.frame_begun() and not link.paused
        self._going = 0.0
        if not self._coming and stream.queued_bytes == 0:
            return ""
        acknowledged, ago = self._read()
        self._pauses = link.times_paused
        if self._coming and not late:
            # What waits until the program goes on receiving is no fault of the peer.
            if was_coming and self._pauses == pauses and ago >= limit:
                return f"nothing has come of the rest of a frame for {ago:.1f} s"
            if 0 < limit - ago < limit / LOOKS:
                self._next_look = now + limit - ago
        if stream.queued_bytes > 0:
            sent = (acknowledged, stream.bytes_sent)
            self._going = was_going if was_going and sent == self._sent and not late else now
            self._sent = sent
            if now - self._going >= limit:
                return f"it has taken nothing of what is being sent for {now - self._going:.1f} s"
        return ""

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
