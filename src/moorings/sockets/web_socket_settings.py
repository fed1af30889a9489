"""What a program may choose for a WebSocket before it is open: compression, and how big messages may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moorings import errors
from moorings.engine.web_socket import WebSocketLink
from moorings.protocols.web_socket_deflate import INFLATION_RATIO_LIMIT, DeflateSettings, make_codecs
from moorings.protocols.web_socket_frames import MESSAGE_LIMIT, UNLIMITED
from moorings.sockets.web_socket_events import make_part

if TYPE_CHECKING:
    from moorings.engine.tcp_stream import TcpStream
    from moorings.protocols.web_socket_deflate import DeflateParameters

__all__ = ["WebSocketCompression", "WebSocketSizes", "deflate_settings", "make_link"]


class WebSocketCompression(NamedTuple):
    """How a WebSocket compresses (permessage-deflate), for `compression=` and `control.compression`.

    With the defaults a connection holds memory for it only from the first byte of a message to its last. Each context
    that is kept costs for as long as the connection lives: the peer's `2**peer_window_bits` bytes and 7 KiB, our own
    four times `2**window_bits` bytes and `2**(memory_level + 9)`. Source: RFC 7692.
    """

    window_bits: int = 12
    """How far back this end looks for repetitions: 2**9 to 2**15 bytes. Compressing takes four times as much memory."""
    peer_window_bits: int = 12
    """The same that the peer is asked to keep to; it may be unable to, and then costs us up to 2**15 bytes."""
    context_takeover: bool = False
    """Whether this end looks back into earlier messages, too, which makes many small alike ones much smaller."""
    peer_context_takeover: bool = False
    """Whether the peer may; a server that knows nothing else does all the same, and costs us its window."""
    smallest: int = 64
    """Whole messages of fewer bytes (text: characters) go out as they are."""
    level: int = 6
    """0 to 9: how hard zlib tries."""
    memory_level: int = 5
    """1 to 9: how much memory it takes beside the window."""


class WebSocketSizes(NamedTuple):
    """How big what arrives may be; None is as much as `max_message_size`."""

    max_message_size: int = MESSAGE_LIMIT
    max_frame_size: int | None = None
    max_inflated_message_size: int | None = None
    max_inflation_ratio: int = INFLATION_RATIO_LIMIT

    def check(self) -> WebSocketSizes:
        """E_INVALIDARG for what is no positive number of bytes; itself."""
        for name, value in self._asdict().items():
            if value is not None and not (type(value) is int and 0 < value <= UNLIMITED):
                raise errors.invalid_argument(f"{name} is {value!r}, and has to be a number from 1")
        return self


def deflate_settings(compression: WebSocketCompression | bool, is_client: bool) -> DeflateSettings | None:
    """What the handshake negotiates with; None where compression is off.

    E_INVALIDARG for numbers out of range, TypeError for what is neither a bool nor a WebSocketCompression.
    """
    if isinstance(compression, bool):
        if not compression:
            return None
        compression = WebSocketCompression()
    if not isinstance(compression, WebSocketCompression):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"compression has to be a bool or a WebSocketCompression, not {type(compression).__name__}")
    ours, peers = not compression.context_takeover, not compression.peer_context_takeover
    bits, peer_bits = compression.window_bits, compression.peer_window_bits
    return DeflateSettings(
        server_no_context_takeover=peers if is_client else ours,
        client_no_context_takeover=ours if is_client else peers,
        server_max_window_bits=peer_bits if is_client else bits,
        client_max_window_bits=bits if is_client else peer_bits,
        level=compression.level,
        memory_level=compression.memory_level,
        smallest=compression.smallest,
    ).check()


def make_link(
    stream: TcpStream,
    is_client: bool,
    sizes: WebSocketSizes,
    *,
    agreed: DeflateParameters | None = None,
    settings: DeflateSettings | None = None,
    partial: bool = False,
) -> WebSocketLink:
    """The engine's WebSocket over a stream whose opening handshake is done; `agreed` is what it gave.

    `partial`: messages come in parts, as `MessagePart`.
    """
    message = sizes.max_message_size
    inflated = sizes.max_inflated_message_size
    if inflated is None:
        inflated = message
    inflater, deflater = make_codecs(agreed, is_client, settings, limit=inflated, ratio_limit=sizes.max_inflation_ratio)
    link = WebSocketLink(
        stream,
        is_client,
        partial=partial,
        frame_limit=message if sizes.max_frame_size is None else sizes.max_frame_size,
        message_limit=message,
        inflater=inflater,
        deflater=deflater,
    )
    if partial:
        link.make_part = make_part
    return link
