"""This library and its peers over TLS, all in one run: the servers, rounds and ratios of `tcp.py`.

All servers have the same certificate, of P-256, and nothing set beyond what each library does by itself; the client
offers TLS 1.3 with P-256 and AES-128-GCM alone, so that all do the same work. A handshake's figure is that of a whole
short connection: accepting it, the handshake, an echo of 64 bytes, and its end with close_notify. A resumed handshake
uses the ticket of an earlier one. Nobody asks clients for certificates.

The generator (`c/load.c` with `c/load_tls.h`) needs OpenSSL's headers; without them Python takes the load on, and is
slower than most servers.
"""

from __future__ import annotations

from moorings.benchmarks.tcp import AT_ONCE, KIB, Contest, Scenario, bulk_scenarios, echo_scenario

#: Idle connections: each is dear enough to be seen among fewer.
IDLE, QUICK_IDLE = 2_000, 500


def _handshake(mode: str) -> Scenario:
    title = f"Accept, {mode} handshake, echo of 64 B, close"
    name = f"handshake-{mode}"
    return Scenario(name, title, connections=AT_ONCE, churn=True, quick=True, message="handshake", tls=mode)


SCENARIOS = (
    _handshake("full"),
    _handshake("resumed"),
    echo_scenario(64, 1, tls="full"),
    echo_scenario(64, 50, quick=True, tls="full"),
    echo_scenario(16 * KIB, 1, tls="full"),
    echo_scenario(16 * KIB, 50, quick=True, tls="full"),
    *bulk_scenarios("full"),
)
PEERS = (
    "callbacks-uvloop",
    "streams-uvloop",
    "aiofastnet-callbacks-uvloop",
    "aiofastnet-streams-uvloop",
    "callbacks-asyncio",
    "streams-asyncio-malloc",
    "anyio-uvloop",
    "trio",
)
TLS = Contest("tls", SCENARIOS, PEERS, ("asyncio", "uvloop", "aiofastnet", "anyio", "trio"), tls="full")
