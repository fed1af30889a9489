"""TCP_INFO: what the kernel measures about a connection (tcp(7), linux/tcp.h).

The structure grew over the years; a kernel returns as much of it as it knows. What lies beyond the end is None, which
is not the same as zero.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from moorings.engine.descriptor import socket_option

_LENGTH = 256
_APP_LIMITED_OFFSET = 7
#: What stands in `min_rtt` before there was a sample.
NO_SAMPLE = 0xFFFFFFFF

# Field, offset, format. Source: include/uapi/linux/tcp.h, struct tcp_info.
_FIELDS: tuple[tuple[str, int, struct.Struct], ...] = tuple(
    (name, offset, struct.Struct(code))
    for name, offset, code in (
        ("snd_mss", 16, "=I"),
        ("unacked", 24, "=I"),
        ("lost", 32, "=I"),
        ("retrans", 36, "=I"),
        ("pmtu", 60, "=I"),
        ("rtt", 68, "=I"),
        ("rttvar", 72, "=I"),
        ("snd_cwnd", 80, "=I"),
        ("rcv_rtt", 92, "=I"),
        ("rcv_space", 96, "=I"),
        ("total_retrans", 100, "=I"),
        ("bytes_acked", 120, "=Q"),
        ("bytes_received", 128, "=Q"),
        ("notsent_bytes", 144, "=I"),
        ("min_rtt", 148, "=I"),
        ("delivery_rate", 160, "=Q"),
        ("busy_time", 168, "=Q"),
        ("rwnd_limited", 176, "=Q"),
        ("sndbuf_limited", 184, "=Q"),
        ("state", 0, "=B"),
        ("sacked", 28, "=I"),
        ("last_data_sent", 44, "=I"),
        ("last_data_recv", 52, "=I"),
        ("segs_out", 136, "=I"),
        ("snd_wnd", 228, "=I"),
    )
)


class TcpInfo(NamedTuple):
    """The fields that this library uses. Times in microseconds where nothing else is said, rates in bytes per second;
    None = not known.
    """

    app_limited: bool | None = None
    snd_mss: int | None = None
    unacked: int | None = None
    lost: int | None = None
    retrans: int | None = None
    pmtu: int | None = None
    rtt: int | None = None
    rttvar: int | None = None
    snd_cwnd: int | None = None
    rcv_rtt: int | None = None
    rcv_space: int | None = None
    total_retrans: int | None = None
    bytes_acked: int | None = None
    bytes_received: int | None = None
    notsent_bytes: int | None = None
    min_rtt: int | None = None
    delivery_rate: int | None = None
    busy_time: int | None = None
    rwnd_limited: int | None = None
    sndbuf_limited: int | None = None
    state: int | None = None
    sacked: int | None = None
    last_data_sent: int | None = None  # milliseconds ago
    last_data_recv: int | None = None  # milliseconds ago
    segs_out: int | None = None
    snd_wnd: int | None = None


def parse(data: bytes) -> TcpInfo:
    """The structure as far as `data` reaches."""
    values: list[int | None] = [
        layout.unpack_from(data, offset)[0] if offset + layout.size <= len(data) else None
        for _, offset, layout in _FIELDS
    ]
    # The app-limited bit stands in the byte that older kernels left zero; it came with delivery_rate.
    has_rate = len(data) >= 168
    app_limited = bool(data[_APP_LIMITED_OFFSET] & 1) if has_rate else None
    return TcpInfo(app_limited, *values)


def read_raw(fd: int) -> bytes:
    """What the kernel answers, for `parse`; b"" when it does not."""
    if fd < 0:
        return b""
    try:
        return socket_option(fd, socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH)
    except OSError:
        return b""


def read(fd: int) -> TcpInfo:
    """Ask the kernel; everything None when it does not answer."""
    return parse(read_raw(fd))
