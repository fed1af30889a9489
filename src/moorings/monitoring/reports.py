"""What is told about a socket: plain values, which outlive it.

None means that it is not known, which is not the same as zero. Units stand in the names.
"""

from __future__ import annotations

from typing import NamedTuple

from moorings.monitoring import diagnosis


class StreamReport(NamedTuple):
    """One connection at one moment."""

    #: Names the connection among all that its program ever has open at the same time.
    id: str
    #: The loop it lives on: "background" is the library's own, in plain scripts; else the module of the loop.
    loop: str
    #: "open", or "closing" while `close()` lets queued writes go out.
    state: str
    #: Name of the `EndReason`; "OPEN" while nothing has ended it.
    end_reason: str
    #: True for a connection that a listener accepted.
    accepted: bool | None = None
    local_address: str | None = None
    local_port: int | None = None
    remote_address: str | None = None
    remote_port: int | None = None
    #: The name that was given to connect.
    host_name: str | None = None
    #: State of the TCP connection in the kernel, such as "ESTABLISHED" or "CLOSE_WAIT".
    tcp_state: str | None = None
    age_s: float | None = None
    #: Round trip time: smoothed, the smallest seen, mean deviation.
    round_trip_time_us: int | None = None
    round_trip_time_min_us: int | None = None
    round_trip_time_deviation_us: int | None = None
    #: The kernel's estimates, as in `BandwidthStatistics`.
    outbound_bits_per_second: int | None = None
    inbound_bits_per_second: int | None = None
    bytes_received: int = 0
    bytes_sent: int = 0
    receive_calls: int = 0
    send_calls: int = 0
    #: Writes that the kernel has not taken: in our queue.
    queued_bytes: int = 0
    #: What the kernel has taken and the peer's kernel has not acknowledged, and how much of it was not sent at all.
    unacknowledged_bytes: int | None = None
    unsent_bytes: int | None = None
    #: Received, and not read by the program: in our stash, and in the kernel.
    unread_bytes: int = 0
    kernel_unread_bytes: int | None = None
    #: True while the program waits in a read.
    read_pending: bool = False
    write_queue_limit_bytes: int = 0
    close_timeout_s: float = 0.0
    writes_refused: int = 0
    #: Segments sent again, of how many sent at all; how many are under way again right now.
    retransmits: int | None = None
    segments_sent: int | None = None
    retransmitting: int | None = None
    congestion_window_segments: int | None = None
    #: What the peer is willing to receive (Linux 5.4 and newer).
    peer_window_bytes: int | None = None
    #: Time since the last data in each direction; since the connection stands, where there was none.
    last_sent_ms: int | None = None
    last_received_ms: int | None = None
    #: Time with something to send, and the parts of it in which the peer's window, or our send buffer, set the pace.
    busy_us: int | None = None
    peer_limited_us: int | None = None
    buffer_limited_us: int | None = None
    #: True where the program sent less than the connection would have carried.
    program_limited: bool | None = None
    #: Of a WebSocket: messages in both directions, those that nobody has taken, and the time of the last answered ping.
    messages_received: int | None = None
    messages_sent: int | None = None
    waiting_messages: int | None = None
    ping_time_us: int | None = None

    @property
    def all_unread_bytes(self) -> int | None:
        """Received and not read by the program, wherever it is."""
        return None if self.kernel_unread_bytes is None else self.unread_bytes + self.kernel_unread_bytes

    @property
    def why_slow(self) -> str:
        """What these figures say about the connection, in one paragraph."""
        return diagnosis.of_stream(self)


class ListenerReport(NamedTuple):
    """One listener at one moment."""

    id: str
    loop: str
    #: "accepting" or "paused".
    state: str
    local_address: str | None = None
    local_port: int | None = None
    accepted_connections: int = 0
    open_connections: int | None = None
    #: The limit at which accepting pauses; None is no limit.
    max_connections: int | None = None
    #: Accepted, and not taken by `async for` yet.
    untaken_connections: int | None = None
    #: Connections that nobody has accepted yet, and how many the kernel would hold.
    backlog_connections: int | None = None
    backlog_limit_connections: int | None = None
    #: How often accepting had to rest because the system was out of descriptors or memory.
    exhausted: int = 0

    @property
    def is_accepting(self) -> bool:
        """True while it accepts."""
        return self.state == "accepting"

    @property
    def why_slow(self) -> str:
        """What these figures say about the listener, in one paragraph."""
        return diagnosis.of_listener(self)


class DatagramReport(NamedTuple):
    """One DatagramSocket at one moment."""

    id: str
    loop: str
    #: "receiving"; "paused" while too many tasks of handlers run; "ending" while its end waits for handlers; "sending"
    #: where nobody has asked for datagrams, and those that come stay in the kernel.
    state: str
    local_address: str | None = None
    local_port: int | None = None
    #: The peer of a connected socket.
    remote_address: str | None = None
    remote_port: int | None = None
    #: Since it was bound.
    age_s: float | None = None
    bytes_received: int = 0
    bytes_sent: int = 0
    datagrams_received: int = 0
    datagrams_sent: int = 0
    receive_calls: int = 0
    send_calls: int = 0
    #: Of those: sent segmented (GSO), received coalesced with others (GRO).
    datagrams_segmented: int = 0
    datagrams_coalesced: int = 0
    #: Writes that the kernel has not taken: in our queue. Each counts its bytes and what it costs.
    queued_bytes: int = 0
    queued_datagrams: int = 0
    write_queue_limit_bytes: int = 0
    #: True while the kernel takes no more of them.
    send_blocked: bool = False
    writes_refused: int = 0
    writes_failed: int = 0
    #: Received, and not taken by `receive` or by handlers on worker threads yet; the limit, and who goes at it.
    waiting_datagrams: int = 0
    receive_queue_limit_datagrams: int = 0
    drop_policy: str = "oldest"
    #: Dropped at that limit.
    queue_drops: int = 0
    #: Tasks of `async def` handlers that run.
    handler_tasks: int = 0
    #: Dropped by the kernel, mostly because its buffer was full (Linux 4.12 and newer). Datagrams of one sender that
    #: came together (GRO) count as one.
    kernel_drops: int | None = None
    #: Memory that the kernel holds for what was received, and for what was sent and has not left, and how much it may.
    kernel_unread_bytes: int | None = None
    receive_buffer_bytes: int | None = None
    kernel_unsent_bytes: int | None = None
    send_buffer_bytes: int | None = None
    #: Failures that the network reported (ICMP).
    network_errors: int = 0
    #: Dropped because `control.multicast_only` is set and they were sent to this host alone.
    unicast_refused: int = 0
    #: Blocks of memory that were left to datagrams which the program keeps.
    pinned_blocks: int = 0
    #: Groups that it wants to be in; how often one was joined on an interface that came later, or was refused.
    groups: int = 0
    group_rejoins: int = 0
    group_failures: int = 0

    @property
    def drops(self) -> int:
        """What came and was dropped, by the kernel and by our queue, as far as that is known."""
        return self.queue_drops + (self.kernel_drops or 0)

    @property
    def why_slow(self) -> str:
        """What these figures say about the socket, in one paragraph."""
        return diagnosis.of_datagrams(self)


SocketReport = StreamReport | ListenerReport | DatagramReport
SocketKind = type[StreamReport] | type[ListenerReport] | type[DatagramReport]
#: The word for each in JSON.
KINDS: dict[str, SocketKind] = {"stream": StreamReport, "listener": ListenerReport, "datagram": DatagramReport}
_WORDS = {kind: word for word, kind in KINDS.items()}


class ProgramSnapshot(NamedTuple):
    """The sockets of one program at one moment."""

    pid: int
    name: str
    version: str
    #: Seconds since 1970.
    taken_at_s: float
    sockets: tuple[SocketReport, ...] = ()
    #: Sockets that found no place in the answer.
    truncated: int = 0
    #: Event loops that did not answer in time: blocked, or not running at the moment. Their sockets are missing.
    silent_loops: int = 0

    @property
    def streams(self) -> list[StreamReport]:
        """The connections alone."""
        return [report for report in self.sockets if isinstance(report, StreamReport)]

    @property
    def listeners(self) -> list[ListenerReport]:
        """The listeners alone."""
        return [report for report in self.sockets if isinstance(report, ListenerReport)]

    @property
    def datagram_sockets(self) -> list[DatagramReport]:
        """The DatagramSockets alone."""
        return [report for report in self.sockets if isinstance(report, DatagramReport)]


def kind_of(report: SocketReport) -> str:
    """The word for it in JSON."""
    return _WORDS[type(report)]
