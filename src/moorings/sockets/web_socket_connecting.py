"""What `moorings.connect("ws://...")` makes of its arguments: a MessageWebSocket that is about to connect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from moorings.certificates.credentials import PasswordCredential
from moorings.protocols.web_socket_frames import MESSAGE_LIMIT
from moorings.sockets.message_web_socket import MessageWebSocket
from moorings.sockets.web_socket_answering import PING_INTERVAL, PING_TIMEOUT

if TYPE_CHECKING:
    from moorings.sockets.web_socket_settings import WebSocketCompression

__all__ = ["WebSocketConnectOptions", "new_web_socket"]


class WebSocketConnectOptions(TypedDict, total=False):
    """What `moorings.connect` takes for `ws://` and `wss://` only."""

    headers: Mapping[str, str] | Iterable[tuple[str, str]]
    subprotocols: Iterable[str]
    compression: WebSocketCompression | bool
    max_message_size: int
    credential: PasswordCredential | tuple[str, str] | None
    ping_interval: float
    ping_timeout: float


_OPTIONS = frozenset(WebSocketConnectOptions.__annotations__)
_CONTROL = ("compression", "max_message_size", "ping_interval", "ping_timeout")
_DEFAULTS = {"max_message_size": MESSAGE_LIMIT, "ping_interval": PING_INTERVAL, "ping_timeout": PING_TIMEOUT}


def new_web_socket(options: WebSocketConnectOptions, *, no_delay: bool) -> MessageWebSocket:
    """A MessageWebSocket with these settings. Errors: those of the setters."""
    given: dict[str, Any] = {**_DEFAULTS, **options}
    for name in given:
        if name not in _OPTIONS:
            raise TypeError(f"connect() got an unexpected keyword argument {name!r}")
    made = MessageWebSocket()
    control = made.control
    control.no_delay = no_delay
    headers = given.get("headers", ())
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:  # pyright: ignore[reportUnknownVariableType]
        made.set_request_header(name, value)  # pyright: ignore[reportUnknownArgumentType]
    subprotocols = given.get("subprotocols", ())
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols takes several names, such as ('chat.v2', 'chat')")
    control.supported_protocols.extend(subprotocols)
    credential = given.get("credential")
    if isinstance(credential, tuple):
        user_name, password = credential  # pyright: ignore[reportUnknownVariableType]
        credential = PasswordCredential("moorings.connect", user_name, password)  # pyright: ignore[reportUnknownArgumentType]
    control.server_credential = credential
    for name in _CONTROL:
        if name in given:
            setattr(control, name, given[name])
    return made
