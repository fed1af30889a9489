"""Plain HTTP beside WebSockets: the head of a request, and answers behind which the connection ends.

Sources: RFC 9110 section 15; RFC 9112.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from moorings import errors
from moorings.protocols.web_socket_headers import Header, header_values, request_header

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HttpAnswer", "RequestHead", "encode_answer"]

_TEXT_TYPE: Final = "text/plain; charset=utf-8"


class RequestHead(NamedTuple):
    """The head of any HTTP request, as it came."""

    method: str
    target: str
    http_version: str
    headers: tuple[Header, ...]
    """All headers, names in lower case."""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def wants_upgrade(self) -> bool:
        """Whether it asks for another protocol."""
        return bool(header_values(self.headers, "upgrade"))


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An answer to a plain HTTP request; the connection ends behind it."""

    body: str | bytes = ""
    status: int = 200
    content_type: str = _TEXT_TYPE
    headers: Sequence[Header] = ()
    """More headers, but none of those that the library owns."""

    def encode(self, *, with_body: bool = True) -> bytes:
        """The answer as bytes. E_INVALIDARG for a status that is none, and for headers that the library owns."""
        if not 200 <= self.status <= 599:
            raise errors.invalid_argument(f"{self.status} is no status of an HTTP answer: 200 to 599 are")
        added = [request_header(name, value) for name, value in self.headers]
        body = self.body.encode("utf-8", "replace") if isinstance(self.body, str) else bytes(self.body)
        content_type = request_header("Content-Type", self.content_type)[1]
        return encode_answer(self.status, body, added, content_type, with_body=with_body)


def encode_answer(
    status: int, body: bytes, headers: Sequence[Header], content_type: str = _TEXT_TYPE, *, with_body: bool = True
) -> bytes:
    """An answer as bytes, behind which the connection ends; `headers` are checked already."""
    from http import HTTPStatus  # noqa: PLC0415 (a module that few programs need)

    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Refused"
    lines = [f"{name}: {value}" for name, value in headers]
    if not any(name == "Connection" for name, _ in headers):
        lines.append("Connection: close")
    lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    head = "\r\n".join((f"HTTP/1.1 {status} {reason}", *lines, "", "")).encode()
    return head + body if with_body else head
