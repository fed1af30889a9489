"""Looking at the sockets of this process.

Theory of operation
-------------------
Nobody keeps a list of sockets for this: each loop has a home, each home a hub, and the hub knows what it watches. Its
streams and ports refer to what the public objects share (`Connection`, `DatagramLink`), never to those objects. Looking
happens on the thread of each loop, since only that one may ask the kernel about a descriptor without fear that it is
somebody else's by then.

A loop must not stand still for it: `gather` gives the loop back after each millisecond. `look_now`, for programs that
cannot await, does not.
"""

from __future__ import annotations

import asyncio
import queue
import time
from typing import TYPE_CHECKING, Any

from moorings.engine import tcp_info
from moorings.engine.datagram_port import DatagramPort
from moorings.engine.descriptor import borrowed, queue_lengths
from moorings.engine.inspection import memory_of, sources_of
from moorings.engine.interface import EndReason
from moorings.engine.listener import Acceptor
from moorings.engine.tcp_stream import TcpStream
from moorings.engine.web_socket import WebSocketLink
from moorings.engine.web_socket_stream import StreamLink, WebSocketStream
from moorings.foundation.all_homes import live_homes
from moorings.foundation.at_home import run_at_home
from moorings.monitoring.reports import DatagramReport, ListenerReport, SocketReport, StreamReport
from moorings.sockets.accepting import Accepting
from moorings.sockets.connection import Connection
from moorings.sockets.datagram_limits import datagram_counters
from moorings.sockets.datagram_link import DatagramLink

if TYPE_CHECKING:
    from moorings.engine.hub import Source
    from moorings.foundation.home import Home

#: Seconds that looking may keep a loop before others get their turn.
SLICE_SECONDS = 0.001
#: Seconds that another loop gets to tell about its sockets.
LOOP_DEADLINE = 2.0

#: Linux include/net/tcp_states.h.
_TCP_STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
}
_MAPPED = "::ffff:"


def _endpoint(sockaddr: Any) -> tuple[str | None, int | None]:
    if not isinstance(sockaddr, tuple) or len(sockaddr) < 2:  # pyright: ignore[reportUnknownArgumentType]
        return None, None
    host, port = str(sockaddr[0]), int(sockaddr[1])  # pyright: ignore[reportUnknownArgumentType]
    # IPv4 on a socket for both families; a dot tells it from what only begins so.
    return (host.removeprefix(_MAPPED) if "." in host else host), port


def _endpoints(stream: TcpStream, connection: Connection | None) -> tuple[Any, Any]:
    """Local and remote socket address."""
    if connection is not None:
        return connection.local(), connection.remote_sockaddr
    try:
        with borrowed(stream.fd) as plain_socket:
            return plain_socket.getsockname(), plain_socket.getpeername()
    except OSError:
        return None, None


def _loop_name(home: Home) -> str:
    return "background" if home.background else type(home.loop).__module__.partition(".")[0]


def _known(value: int | None) -> int | None:
    """A measured time or rate; the kernel says zero where it has no sample."""
    return value if value and value != tcp_info.NO_SAMPLE else None


def _age(opened_at: float) -> float | None:
    return round(time.monotonic() - opened_at, 3) if opened_at else None


def _stream_report(stream: TcpStream) -> StreamReport:
    label = stream.label
    connection = label if isinstance(label, Connection) else None
    info = tcp_info.read(stream.fd)
    unread, unacknowledged = queue_lengths(stream.fd)
    local, remote = _endpoints(stream, connection)
    local_address, local_port = _endpoint(local)
    remote_address, remote_port = _endpoint(remote)
    rate, window, pace = _known(info.delivery_rate), _known(info.rcv_space), _known(info.rcv_rtt)
    opened_at = 0.0 if connection is None else connection.opened_at
    host = None if connection is None else connection.host_name
    link = stream.sink if isinstance(stream.sink, WebSocketLink) else None
    # A WebSocket of bytes has a stream of its own, from which the program reads.
    above = link.owner if isinstance(link, StreamLink) and link.owner is not None else stream
    takes = link is not None and not link.paused and (link.handler is not None or link.receive_head is not None)
    return StreamReport(
        id=f"{stream.fd}.{stream.serial}",
        loop=_loop_name(stream.home),
        state="closing" if stream.is_closing() else "open",
        end_reason=EndReason(stream.end_reason).name,
        accepted=None if connection is None else connection.accepted,
        local_address=local_address,
        local_port=local_port,
        remote_address=remote_address,
        remote_port=remote_port,
        host_name=None if host is None else host.display_name,
        tcp_state=_TCP_STATES.get(info.state or 0),
        age_s=_age(opened_at),
        round_trip_time_us=_known(info.rtt),
        round_trip_time_min_us=_known(info.min_rtt),
        round_trip_time_deviation_us=info.rttvar if _known(info.rtt) else None,
        outbound_bits_per_second=None if rate is None else rate * 8,
        inbound_bits_per_second=None if window is None or pace is None else window * 8_000_000 // pace,
        bytes_received=stream.bytes_received,
        bytes_sent=stream.bytes_sent,
        receive_calls=stream.receive_calls,
        send_calls=stream.send_calls,
        queued_bytes=above.queued_bytes,
        unacknowledged_bytes=unacknowledged,
        unsent_bytes=info.notsent_bytes,
        unread_bytes=above.stash_size() + (len(above.incoming or b"") if isinstance(above, WebSocketStream) else 0),
        kernel_unread_bytes=unread,
        read_pending=takes or bool(above.reading()),
        write_queue_limit_bytes=above.queue_limit,
        close_timeout_s=above.close_timeout,
        writes_refused=above.writes_refused,
        retransmits=info.total_retrans,
        segments_sent=info.segs_out,
        retransmitting=info.retrans,
        congestion_window_segments=info.snd_cwnd,
        peer_window_bytes=info.snd_wnd,
        last_sent_ms=info.last_data_sent,
        last_received_ms=info.last_data_recv,
        busy_us=info.busy_time,
        peer_limited_us=info.rwnd_limited,
        buffer_limited_us=info.sndbuf_limited,
        program_limited=info.app_limited,
        **_message_counts(link),
    )


def _message_counts(link: WebSocketLink | None) -> dict[str, Any]:
    """What a report has for WebSockets only."""
    if link is None:
        return {}
    return {
        "messages_received": link.messages_received,
        "messages_sent": link.sender.messages_sent,
        "waiting_messages": len(link.queue) - link.first,
        "ping_time_us": round(link.latency * 1e6) if link.latency else None,
    }


def _listener_report(acceptor: Acceptor, home: Home) -> ListenerReport:
    accepting = acceptor.label if isinstance(acceptor.label, Accepting) else None
    info = tcp_info.read(acceptor.fd)
    try:
        address, port = _endpoint(acceptor.sockname())
    except OSError:
        address, port = None, None
    return ListenerReport(
        id=f"{acceptor.fd}.{acceptor.serial}",
        loop=_loop_name(home),
        state="paused" if acceptor.paused() else "accepting",
        local_address=address,
        local_port=port,
        accepted_connections=acceptor.accepted,
        open_connections=None if accepting is None else len(accepting.open),
        max_connections=None if accepting is None else accepting.max_connections,
        untaken_connections=None if accepting is None else len(accepting.taken),
        # Of a listening socket the kernel tells its queue in these two (net/ipv4/tcp.c, tcp_get_info).
        backlog_connections=info.unacked,
        backlog_limit_connections=info.sacked,
        exhausted=acceptor.exhausted,
    )


def _datagram_state(port: DatagramPort, link: DatagramLink) -> str:
    delivery = link.delivery
    if delivery is not None and delivery.draining:
        return "ending"
    if port.reading:
        return "receiving"
    return "sending" if delivery is None or not delivery.tasks else "paused"


def _datagram_report(port: DatagramPort, link: DatagramLink) -> DatagramReport:
    memory = memory_of(port.fd)
    delivery = link.delivery
    counters = datagram_counters(link)
    local_address, local_port = _endpoint(link.local_sockaddr)
    remote_address, remote_port = _endpoint(link.remote_sockaddr)
    return DatagramReport(
        id=f"{port.fd}.{port.serial}",
        loop=_loop_name(port.home),
        state=_datagram_state(port, link),
        local_address=local_address,
        local_port=local_port,
        remote_address=remote_address,
        remote_port=remote_port,
        age_s=_age(link.opened_at),
        bytes_received=counters.bytes_received,
        bytes_sent=counters.bytes_sent,
        datagrams_received=counters.datagrams_received,
        datagrams_sent=counters.datagrams_sent,
        receive_calls=counters.receive_calls,
        send_calls=counters.send_calls,
        datagrams_segmented=counters.segmented,
        datagrams_coalesced=counters.coalesced,
        queued_bytes=counters.queued_bytes,
        queued_datagrams=counters.queued_datagrams,
        write_queue_limit_bytes=port.queue_limit,
        send_blocked=bool(port.write_blocked),
        writes_refused=port.writes_refused,
        writes_failed=port.writes_failed,
        waiting_datagrams=len(port.queue or ()) + (0 if delivery is None else delivery.waiting()),
        receive_queue_limit_datagrams=link.receive_queue_limit,
        drop_policy="newest" if link.drop_newest else "oldest",
        queue_drops=counters.dropped,
        handler_tasks=0 if delivery is None else len(delivery.tasks),
        kernel_drops=memory.drops,
        kernel_unread_bytes=memory.received,
        receive_buffer_bytes=memory.receive_limit,
        kernel_unsent_bytes=memory.unsent,
        send_buffer_bytes=memory.send_limit,
        network_errors=counters.errors,
        unicast_refused=link.multicast_refused,
        pinned_blocks=counters.pinned,
        groups=counters.groups,
        group_rejoins=counters.group_rejoins,
        group_failures=counters.group_failures,
    )


def _report(source: Source, home: Home) -> SocketReport | None:
    if source.hub is None:
        return None  # ended since the list was made
    if isinstance(source, TcpStream):
        connection = source.label
        if isinstance(connection, Connection) and connection.stream is not None and connection.stream is not source:
            return None  # it lies below that stream, which tells for both
        if isinstance(source, WebSocketStream):
            return None  # the stream below tells for both
        return _stream_report(source)
    if isinstance(source, Acceptor) and isinstance(source.label, Accepting):
        return _listener_report(source, home)
    if isinstance(source, DatagramPort) and isinstance(source.label, DatagramLink):
        return _datagram_report(source, source.label)
    return None


def look_now(home: Home) -> list[SocketReport]:
    """The sockets of one loop, at one go. Home thread only."""
    return [report for source in sources_of(home) if (report := _report(source, home)) is not None]


async def look(home: Home) -> list[SocketReport]:
    """The sockets of the running loop, which others may use meanwhile."""
    reports: list[SocketReport] = []
    until = time.perf_counter() + SLICE_SECONDS
    for source in sources_of(home):
        report = _report(source, home)
        if report is not None:
            reports.append(report)
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + SLICE_SECONDS
    return reports


async def _ask(home: Home) -> list[SocketReport] | None:
    if home.loop is asyncio.get_running_loop():
        return await look(home)
    if not home.loop.is_running():
        return None
    try:
        async with asyncio.timeout(LOOP_DEADLINE):
            return await run_at_home(home, lambda: look(home))
    except (TimeoutError, OSError, RuntimeError):
        return None  # blocked, or closed meanwhile


async def gather() -> tuple[list[SocketReport], int]:
    """The sockets of all loops of this process, and the number of loops that did not answer."""
    answers = await asyncio.gather(*(_ask(home) for home in live_homes()))
    told = [answer for answer in answers if answer is not None]
    return [report for answer in told for report in answer], len(answers) - len(told)


def _ask_now(home: Home) -> list[SocketReport] | None:
    if home.on_home_thread():
        return look_now(home)
    if not home.loop.is_running():
        return None
    answer: queue.SimpleQueue[list[SocketReport]] = queue.SimpleQueue()
    try:
        home.loop.call_soon_threadsafe(lambda: answer.put(look_now(home)))
        return answer.get(timeout=LOOP_DEADLINE)
    except (queue.Empty, RuntimeError):
        return None


def gather_now() -> tuple[list[SocketReport], int]:
    """The same without awaiting; from any thread."""
    answers = [_ask_now(home) for home in live_homes()]
    told = [answer for answer in answers if answer is not None]
    return [report for answer in told for report in answer], len(answers) - len(told)
