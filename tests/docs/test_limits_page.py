"""The tables of docs/limits.md are those of the sources."""

from __future__ import annotations

import ast
import importlib
import re

import pytest
from tests.docs.documents import ROOT, code_words, tables

import moorings
from moorings.sockets.accepting import DrainReport
from moorings.sockets.datagram_limits import DatagramCounters, DatagramLimits
from moorings.sockets.limits import StreamCounters, StreamLimits
from moorings.sockets.web_socket_limits import WebSocketCounters, WebSocketLimits

PAGE = "docs/limits.md"
PACKAGE = ROOT / "src" / "moorings"
UNITS = {"": 1, "s": 1, "KiB": 1024, "MiB": 1024 * 1024}
ROWS = [row for rows in tables(PAGE) for row in rows]
LIMITS = [row for row in ROWS if row["where"]]
PLACES = {
    "counters": StreamCounters,
    "BroadcastResult": moorings.BroadcastResult,
    "Broadcaster": moorings.Broadcaster,
    "DrainReport": DrainReport,
    "limits": StreamLimits,
    "ProgramSnapshot": moorings.ProgramSnapshot,
    "control": type(moorings.StreamSocket().control),
    "information": type(moorings.StreamSocket().information),
    "listener.control": type(moorings.StreamSocketListener().control),
    "WebSocketListenerCounters": moorings.WebSocketListenerCounters,
    "": moorings.StreamSocketListener,
}
DATAGRAM_PLACES = {
    "counters": DatagramCounters,
    "limits": DatagramLimits,
    "control": type(moorings.DatagramSocket().control),
}
WEB_SOCKET_PLACES = {
    "counters": WebSocketCounters,
    "limits": WebSocketLimits,
    "listener.control": type(moorings.WebSocketListener().control),
}


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row["where"].strip("`"))
def test_defaults(row: dict[str, str]) -> None:
    (where,) = code_words(row["where"])
    module, _, name = where.rpartition(".")
    number, _, unit = row["default"].partition(" ")
    assert getattr(importlib.import_module(module), name) == float(number) * UNITS[unit]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["limit"])
def test_rows_are_whole(row: dict[str, str]) -> None:
    """What changes a limit, and what counts, is there; something happens at each."""
    assert row["what happens at it"]
    elsewhere = {"attempts", "end_reason", "unconsumed_buffer_length"}  # of errors, connections and DataReaders
    for name in code_words(row["change it with"]) + code_words(row["what counts"]):
        if name.endswith("=") or name in elsewhere:
            continue
        owner, _, member = name.rpartition(".")
        places = [PLACES[owner], *(more[owner] for more in (DATAGRAM_PLACES, WEB_SOCKET_PLACES) if owner in more)]
        assert any(hasattr(place, member) for place in places), name


def test_everything_that_can_be_changed_has_a_row() -> None:
    changed = {name for row in ROWS for name in code_words(row["change it with"])}
    for limits in (StreamLimits, DatagramLimits, WebSocketLimits):
        names = {name for name in vars(limits) if not name.startswith("_")} - {"drop_policy"}
        assert {f"limits.{name}" for name in names} <= changed
    assert {"max_connections", "drain_timeout=", "timeout=", "limit="} <= changed


def test_every_limit_of_the_sources_has_a_row() -> None:
    """Constants in capitals whose name says limit, timeout, deadline, burst or queue."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        if module.startswith(("moorings.testing", "moorings.cli", "moorings.benchmarks")):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if re.fullmatch(r"[A-Z][A-Z_]*_(LIMIT|TIMEOUT|DEADLINE|BURST|QUEUE)", name):
                    found.add(f"{module}.{name}")
    rows = {code_words(row["where"])[0] for row in LIMITS}
    not_about_outside = {
        "moorings.streams.data_reader.UNCONSUMED_LIMIT",
        "moorings.streams.data_writer.UNSTORED_LIMIT",
        "moorings.streams.random_access.SIZE_LIMIT",
        "moorings.sockets.stream_socket_listener.DRAIN_TIMEOUT",
        "moorings.connectivity.routes.ROUTE_LIMIT",
    }
    missing = found - rows - not_about_outside
    assert missing == set(), "give each a row in docs/limits.md"
    assert not_about_outside <= found
