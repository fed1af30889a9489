"""Limits and counters of one WebSocket, by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from moorings.foundation.projection import check_float
from moorings.protocols.web_socket_frames import UNLIMITED
from moorings.sockets.connection import post
from moorings.sockets.limits import StreamLimits, check_bytes

if TYPE_CHECKING:
    from moorings.engine.tcp_stream import TcpStream
    from moorings.engine.web_socket import WebSocketLink


class WebSocketCounters(NamedTuple):
    """What a WebSocket has done and holds at this moment, or at its end."""

    messages_received: int
    """Whole messages that have come."""
    messages_sent: int
    """Messages that were queued, or sent."""
    payload_received: int
    """Bytes of their payload, as they came over the wire."""
    payload_sent: int
    """The same of those sent."""
    bytes_received: int
    """Bytes received from the kernel, heads and handshakes included."""
    bytes_sent: int
    """Bytes handed to the kernel."""
    queued_bytes: int
    """Bytes of frames that the kernel has not taken yet; bounded by `limits.write_queue_limit`."""
    writes_refused: int
    """Messages refused with WSAENOBUFS because that queue was full."""
    waiting_messages: int
    """Messages that have come and that nobody has taken; bounded by RECEIVE_QUEUE_MESSAGES_LIMIT."""
    waiting_bytes: int
    """Their bytes (of text: characters); bounded by RECEIVE_QUEUE_BYTES_LIMIT, beside the last one."""
    unfinished_bytes: int
    """Bytes of a message that has not come to its end; bounded by the limits on sizes."""
    times_paused: int
    """How often the peer had to wait because messages were not taken."""
    messages_discarded: int
    """Messages that nobody got, because the program had closed."""
    pings_sent: int
    """Pings of `ping()`."""
    pings_waiting: int
    """Those whose pongs have not come; bounded by PING_LIMIT."""
    pings_received: int
    """Pings of the peer."""
    pings_unanswered: int
    """Those that a later one made superfluous, since so many came."""
    protocol_failures: int
    """1 where the peer broke the protocol or went over a limit."""
    inflated_bytes: int
    """Bytes that compressed messages had after inflating; 0 without compression."""
    deflated_bytes: int
    """Bytes that went out compressed, before they were; 0 without compression."""
    compression_memory: int
    """Bytes that compressing and inflating hold now, about; 0 between messages unless contexts are kept."""


class WebSocketLimits(StreamLimits):
    """Limits of one WebSocket; each may be changed at any time, and holds from the next frame on.

    Errors of the setters: TypeError and ValueError for what is no number, or out of range.
    """

    __slots__ = ("_link",)

    def __init__(self, link: WebSocketLink, stream: TcpStream | None = None) -> None:
        """`stream` has the queue of writes, and the deadline for it, where that is not the link's."""
        StreamLimits.__init__(self, link.stream if stream is None else stream)
        self._link = link

    @property
    def max_message_size(self) -> int:
        """Bytes of payload that one message may have as it comes over the wire; a longer one ends it with 1009."""
        return self._link.message_limit

    @max_message_size.setter
    def max_message_size(self, value: int) -> None:
        self._link.message_limit = check_bytes(value, "max_message_size", 1, UNLIMITED)

    @property
    def max_frame_size(self) -> int:
        """The same for one frame."""
        return self._link.frame_limit

    @max_frame_size.setter
    def max_frame_size(self, value: int) -> None:
        self._link.frame_limit = check_bytes(value, "max_frame_size", 1, UNLIMITED)

    @property
    def max_inflated_message_size(self) -> int:
        """Bytes that one message may have after inflating; 0, and without effect, where no compression was agreed."""
        inflater = self._link.inflater
        return 0 if inflater is None else inflater.limit

    @max_inflated_message_size.setter
    def max_inflated_message_size(self, value: int) -> None:
        number = check_bytes(value, "max_inflated_message_size", 1, UNLIMITED)
        if self._link.inflater is not None:
            self._link.inflater.limit = number

    @property
    def max_inflation_ratio(self) -> int:
        """How many times bigger inflating may make a message of more than 1 MiB; 0 as above."""
        inflater = self._link.inflater
        return 0 if inflater is None else inflater.ratio_limit

    @max_inflation_ratio.setter
    def max_inflation_ratio(self, value: int) -> None:
        number = check_bytes(value, "max_inflation_ratio", 1, UNLIMITED)
        if self._link.inflater is not None:
            self._link.inflater.ratio_limit = number

    @property
    def close_wait(self) -> float:
        """Seconds that the peer has to answer our close frame, and a server to end the connection; default 10."""
        return self._link.close_wait

    @close_wait.setter
    def close_wait(self, value: float) -> None:
        seconds = check_float(value, "close_wait")
        if not 0 <= seconds < math.inf:
            raise ValueError("close_wait must be a finite number of seconds from 0: every ending is bounded")
        self._link.close_wait = seconds

    @property
    def frame_timeout(self) -> float:
        """Seconds without any progress after which a frame that has begun to come, or that is being sent, ends the
        connection with 0x80072EE2; default 30, 0 is off. A slow transfer is none of that.
        """
        life = self._link.life
        return 0.0 if life is None else life.frame_timeout

    @frame_timeout.setter
    def frame_timeout(self, value: float) -> None:
        seconds = check_float(value, "frame_timeout")
        if not 0 <= seconds < math.inf:
            raise ValueError("frame_timeout must be a finite number of seconds from 0")
        link = self._link

        def change() -> None:
            if link.life is not None:
                link.life.change_frame_timeout(seconds)

        if link.home.on_home_thread():
            change()
        else:
            post(link.home, change)


def web_socket_counters(link: WebSocketLink) -> WebSocketCounters:
    """The counters of a WebSocket."""
    stream, sender = link.stream, link.sender
    inflater, deflater = link.inflater, sender.deflater
    return WebSocketCounters(
        messages_received=link.messages_received,
        messages_sent=sender.messages_sent,
        payload_received=link.payload_received,
        payload_sent=sender.payload_sent,
        bytes_received=stream.bytes_received,
        bytes_sent=stream.bytes_sent,
        queued_bytes=stream.queued_bytes,
        writes_refused=stream.writes_refused,
        waiting_messages=len(link.queue) - link.first,
        waiting_bytes=link.queued_payload,
        unfinished_bytes=link.unfinished_bytes(),
        times_paused=link.times_paused,
        messages_discarded=link.messages_discarded,
        pings_sent=link.pings_sent,
        pings_waiting=link.pings_waiting,
        pings_received=link.pings_received,
        pings_unanswered=link.pings_unanswered,
        protocol_failures=link.protocol_failures,
        inflated_bytes=0 if inflater is None else inflater.bytes_out,
        deflated_bytes=0 if deflater is None else deflater.bytes_in,
        compression_memory=sum(codec.held_bytes() for codec in (inflater, deflater) if codec is not None),
    )
