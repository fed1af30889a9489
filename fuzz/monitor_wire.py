"""Fuzz target: any octets are a request or an answer of a monitor, whose values are of their types, or refused."""

from __future__ import annotations

from moorings.monitoring import wire


def one_input(data: bytes) -> None:
    """Take octets as a request, and as an answer; an answer that is taken survives the way back."""
    try:
        request = wire.parse_request(data)
    except wire.BadRequestError:
        pass
    else:
        if not 0 <= request.limit <= wire.SOCKET_LIMIT:
            raise AssertionError(f"{data!r} gives {request}")
    try:
        snapshot = wire.parse_answer(data)
    except wire.BadAnswerError:
        return
    again = wire.parse_answer(b"".join(wire.answer(snapshot, wire.SOCKET_LIMIT)))
    if again != snapshot:
        raise AssertionError(f"{data!r} gives {snapshot}, which gives {again}")
    for report in snapshot.sockets:
        report.why_slow.encode("utf-8", "surrogatepass")
