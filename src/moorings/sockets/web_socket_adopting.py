"""Requests for WebSockets that somebody else has read: an HTTP server before us, or the program itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from moorings import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moorings.protocols.web_socket_request import RequestRefused, UpgradeRequest

    Text = str | bytes


def web_socket_request(
    head: bytes = b"",
    *,
    method: Text = "GET",
    target: Text = "",
    headers: Mapping[str, str] | Iterable[tuple[Text, Text]] = (),
    http_version: Text = "1.1",
    rest: bytes = b"",
) -> UpgradeRequest | RequestRefused:
    """Judge the head of a request that the program has read itself, for `accept_web_socket(socket, request=...)`.

    Either `head`: its bytes, and whatever has come behind them; or its parts: `method`, `target` (path and query),
    `headers` in any case, and as `rest` what has come behind the head and is not in the socket any more. Gives the
    request, or, where it is none that opens a WebSocket, a refusal with `status`, `text` and `answer`;
    `accept_web_socket` takes both, and answers a refusal itself. Errors: E_INVALIDARG for a head without its end, and
    for both forms at once.
    """
    from moorings.protocols import web_socket_request as codec  # noqa: PLC0415 (only who uses WebSockets pays for h11)

    if head:
        if target or headers or rest:
            raise errors.invalid_argument("web_socket_request takes the bytes of a head, or its parts, not both")
        judged = codec.ServerHandshake().receive(bytes(head))
        if judged is None:
            raise errors.invalid_argument("the head of the request has no end: read up to the empty line")
        return judged
    pairs: Iterable[tuple[Text, Text]] = headers.items() if isinstance(headers, Mapping) else headers  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType, reportAssignmentType]
    lowered = [(_text(name).lower(), _text(value).strip(" \t")) for name, value in pairs]
    return codec.judge_request(_text(method), _text(target), _text(http_version), lowered, bytes(rest))


def _text(value: Text) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
