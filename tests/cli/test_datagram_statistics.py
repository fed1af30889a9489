"""What is told about a UDP socket: rates, counts, and all that was dropped, wherever."""

from __future__ import annotations

import socket

import moorings
from moorings import HostName
from moorings.cli.datagram_statistics import DatagramFacts, DatagramMeter, summary_line

FACTS = DatagramFacts(
    seconds=2.04,
    datagrams_sent=1,
    datagrams_received=24_600,
    bytes_sent=6,
    bytes_received=29_520_000,
    datagrams_sent_per_second=0.5,
    datagrams_received_per_second=12_300.4,
    sent_per_second=3.2,
    received_per_second=14_760_480.0,
    dropped=7,
    errors=2,
    queued_bytes=0,
)


def test_the_line_for_people() -> None:
    line = FACTS.line()
    assert line == (
        "2.0 s: in 12.3 kpkt/s 14.8 MB/s, out 0 pkt/s 3 B/s; dropped 7, errors 2; received 24.6 kpkt, sent 1 pkt"
    )
    assert line.index("errors 2") + len("errors 2") < 80, "a narrow terminal shows that much"


def test_the_object_for_programs() -> None:
    values = FACTS.as_json()
    assert set(values) == set(DatagramFacts._fields)
    assert (values["seconds"], values["received_per_second"], values["datagrams_received_per_second"]) == (
        2.04,
        14_760_480,
        12_300,
    )


def test_the_summary_for_people() -> None:
    summary = {
        "seconds": 1.0,
        "datagrams_sent": 1,
        "bytes_sent": 6,
        "datagrams_received": 24_600,
        "bytes_received": 29_520_000,
        "dropped": 7,
        "errors": 2,
    }
    assert summary_line(summary) == (
        "sent 1 datagram (6 B), received 24,600 datagrams (29.5 MB) in 1.00 s; dropped 7, errors 2"
    )


async def test_what_the_kernel_drops_counts() -> None:
    """Nobody takes the datagrams, and the buffer is small. The number stays when the socket is closed."""
    async with moorings.DatagramSocket() as ours:
        ours.control.inbound_buffer_size_in_bytes = 4096
        await ours.bind_endpoint_async(HostName("127.0.0.1"), "")
        meter = DatagramMeter(ours, lambda: 100)
        assert meter.look().dropped == 100
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            for _ in range(50):
                peer.sendto(bytes(1000), ("127.0.0.1", int(ours.information.local_port)))
        dropped = meter.dropped()
        assert 100 < dropped < 150
    assert meter.summary()["dropped"] == dropped


async def test_rates_are_those_since_the_last_look() -> None:
    async with (
        moorings.listen("udp://127.0.0.1:0", lambda _message: None) as server,
        await moorings.connect(f"udp://127.0.0.1:{server.port}") as client,
    ):
        meter = DatagramMeter(client)
        await client.send(b"12345")
        first = meter.look()
        assert (first.datagrams_sent, first.bytes_sent) == (1, 5)
        assert first.datagrams_sent_per_second > 0
        second = meter.look()
        assert second.datagrams_sent_per_second == second.sent_per_second == 0
        assert second.seconds > first.seconds
