"""What goes over a monitor's socket: a request is one line, the answer one line, both JSON.

A request is an object: `{"get": "sockets"}`, with `"limit"` for fewer sockets than the program would tell. The answer
names the fields of each kind of socket once and then gives the sockets as rows, since it may hold ten thousand of them.
What cannot be answered gets `{"error": "..."}`. Both ends take the other for hostile: sizes are bounded before anything
is parsed, and every value is checked.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from moorings.monitoring.reports import KINDS, ProgramSnapshot, SocketKind, SocketReport, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOCOL = 1
#: Bytes of one request line.
REQUEST_LIMIT = 1024
#: Sockets in one answer; the others are counted.
SOCKET_LIMIT = 20_000
#: Bytes of one answer. The program leaves sockets out before it gets longer, and who asks reads no further.
ANSWER_LIMIT = 16_777_216
#: Characters of a text in an answer.
TEXT_LIMIT = 1024

_NUMBER_END = 1 << 64
# What follows the rows.
_TAIL_ROOM = 256


class BadRequestError(Exception):
    """A request that makes no sense; the text says why."""


class BadAnswerError(Exception):
    """An answer that makes no sense; the text says why."""


class Request(NamedTuple):
    """What somebody wants to know."""

    limit: int = SOCKET_LIMIT


def parse_request(line: bytes) -> Request:
    """A request line, without its end. Errors: BadRequestError."""
    if len(line) > REQUEST_LIMIT:
        raise BadRequestError("the request is too long")
    try:
        value: Any = json.loads(line.decode("ascii"))
    except (ValueError, RecursionError):
        raise BadRequestError("the request is no line of JSON in ASCII") from None
    if not isinstance(value, dict):
        raise BadRequestError("the request is no object")
    fields = cast("dict[str, object]", value)
    if fields.get("get") != "sockets":
        raise BadRequestError("""only {"get": "sockets"} is understood""")
    if not fields.keys() <= {"get", "limit"}:
        raise BadRequestError("the request has fields that are not known")
    limit = fields.get("limit", SOCKET_LIMIT)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit < _NUMBER_END:
        raise BadRequestError("limit must be a number from 0")
    return Request(min(limit, SOCKET_LIMIT))


def request_line(limit: int | None = None) -> bytes:
    """A request, with its end."""
    fields: dict[str, object] = {"get": "sockets"}
    if limit is not None:
        fields["limit"] = limit
    return json.dumps(fields).encode("ascii") + b"\n"


def error_line(text: str) -> bytes:
    """The answer to a bad request."""
    return json.dumps({"error": text}).encode("ascii") + b"\n"


def answer(snapshot: ProgramSnapshot, limit: int, size_limit: int = ANSWER_LIMIT) -> Iterator[bytes]:
    """The answer in pieces, one for each socket, so that making it can be interrupted anywhere."""
    head: dict[str, object] = {
        "protocol": PROTOCOL,
        "pid": snapshot.pid,
        "name": snapshot.name[:TEXT_LIMIT],
        "version": snapshot.version,
        "taken_at_s": snapshot.taken_at_s,
        "silent_loops": snapshot.silent_loops,
        "fields": {kind: fields._fields for kind, fields in KINDS.items()},
    }
    start = json.dumps(head).encode("ascii")[:-1] + b', "sockets": ['
    yield start
    size = len(start) + _TAIL_ROOM
    told = 0
    for report in snapshot.sockets[:limit]:
        row = (", " if told else "") + json.dumps((kind_of(report), *report), separators=(",", ":"))
        size += len(row)
        if size > size_limit:
            break
        yield row.encode("ascii")
        told += 1
    left_out = snapshot.truncated + len(snapshot.sockets) - told
    yield f'], "truncated": {left_out}}}\n'.encode("ascii")


def _no_constant(text: str) -> object:
    raise ValueError(text)


def parse_answer(line: bytes) -> ProgramSnapshot:
    """An answer line. Errors: BadAnswerError."""
    if len(line) > ANSWER_LIMIT:
        raise BadAnswerError("its answer is too long")
    try:
        value: Any = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadAnswerError("its answer is no JSON") from None
    if not isinstance(value, dict):
        raise BadAnswerError("its answer is no object")
    document = cast("dict[str, Any]", value)
    if isinstance(error := document.get("error"), str):
        raise BadAnswerError(f"it says: {error[:TEXT_LIMIT]}")
    if document.get("protocol") != PROTOCOL:
        raise BadAnswerError("it speaks another protocol; its version of Moorings differs")
    order = _orders(document.get("fields"))
    rows = document.get("sockets")
    if not isinstance(rows, list):
        raise BadAnswerError("its answer has no sockets")
    sockets = [_row(row, order) for row in cast("list[object]", rows)]
    values = _checked(ProgramSnapshot, {**document, "sockets": ()})
    return ProgramSnapshot(**values)._replace(sockets=tuple(report for report in sockets if report is not None))


def _orders(fields: object) -> dict[str, list[str]]:
    """The names of the fields of each kind of socket that is known here."""
    found: dict[str, list[str]] = {}
    if not isinstance(fields, dict):
        raise BadAnswerError("its answer names no fields")
    for kind, names in cast("dict[str, object]", fields).items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in cast("list[object]", names)):
            raise BadAnswerError("its answer names no fields")
        if kind in KINDS:
            found[kind] = cast("list[str]", names)
    return found


def _row(row: object, order: dict[str, list[str]]) -> SocketReport | None:
    """One socket; None for a kind that a newer version knows."""
    if not isinstance(row, list) or not row:
        raise BadAnswerError("its answer has a socket that is none")
    kind, *values = cast("list[object]", row)
    if not isinstance(kind, str):
        raise BadAnswerError("its answer has a socket that is none")
    names = order.get(kind)
    if names is None:
        return None
    if len(names) != len(values):
        raise BadAnswerError("its answer has a socket that is none")
    report: SocketReport = KINDS[kind](**_checked(KINDS[kind], dict(zip(names, values, strict=True))))
    return report


def _checked(kind: SocketKind | type[ProgramSnapshot], values: dict[str, object]) -> dict[str, Any]:
    """Those of the values that are known here, if each is of its type."""
    found: dict[str, Any] = {}
    for name in kind._fields:
        if name not in values:
            if name not in kind._field_defaults:
                raise BadAnswerError(f"its answer lacks {name}")
            continue
        value = values[name]
        if not _fits(value, kind.__annotations__[name].__forward_arg__):
            raise BadAnswerError(f"its answer has a {name} of the wrong type")
        found[name] = value
    return found


def _fits(value: object, types: str) -> bool:
    """Whether a value is of a type as it is written in the class."""
    allowed = types.split(" | ")
    if value is None:
        return "None" in allowed
    if isinstance(value, bool):
        return "bool" in allowed
    if isinstance(value, int):
        return -_NUMBER_END < value < _NUMBER_END and not {"int", "float"}.isdisjoint(allowed)
    if isinstance(value, float):
        return "float" in allowed and math.isfinite(value)
    if isinstance(value, str):
        return "str" in allowed and len(value) <= TEXT_LIMIT
    return types.startswith("tuple")
