"""permessage-deflate: what is offered, what is answered, and compressing within limits.

Compression is off unless somebody asks for it. A server that does gets small windows and keeps no context by default,
so that an idle connection costs nothing beside its parameters: the zlib objects live from the first byte of a message
to its last. What is inflated comes out in slices, each of which is checked against the limits, so that a small frame
cannot become much memory before anybody looks.

Sources: RFC 7692 sections 5 to 8; zlib.h.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from moorings import errors
from moorings.protocols.web_socket_close import CloseCode, WebSocketProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "EXTENSION_NAME",
    "FINAL_BLOCK_LIMIT",
    "INFLATED_MESSAGE_LIMIT",
    "INFLATION_RATIO_LIMIT",
    "DeflateParameters",
    "DeflateSettings",
    "Deflater",
    "ExtensionOffer",
    "Inflater",
    "accept_answer",
    "accept_offer",
    "client_settings",
    "format_extension",
    "make_codecs",
    "make_offer",
    "parse_extensions",
    "server_settings",
]

EXTENSION_NAME: Final = "permessage-deflate"
#: Bytes that one message may have after inflating.
INFLATED_MESSAGE_LIMIT = 67108864
#: How many times bigger than on the wire a message may become.
INFLATION_RATIO_LIMIT = 200
#: The ratio counts from so many inflated bytes on: what is small may be as repetitive as it likes.
INFLATION_RATIO_FLOOR: Final = 1048576
#: Streams that a peer may end and begin anew within one message (blocks with BFINAL).
FINAL_BLOCK_LIMIT = 16

#: Bytes that zlib takes beside windows and tables (zlib.h, zconf.h).
INFLATER_SIZE: Final = 7168
DEFLATER_SIZE: Final = 6144

_SLICE: Final = 4096
_INPUT: Final = 2048
_TAIL: Final = b"\x00\x00\xff\xff"

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_ITEM: Final = re.compile(
    rf"[ \t]*(?P<name>{_TOKEN})(?:[ \t]*=[ \t]*(?:(?P<token>{_TOKEN})|\"(?P<quoted>(?:[^\"\\]|\\.)*)\"))?"
    r"[ \t]*(?P<end>[;,]|$)"
)
_FLAGS: Final = frozenset(("server_no_context_takeover", "client_no_context_takeover"))
_WINDOWS: Final = frozenset(("server_max_window_bits", "client_max_window_bits"))


class ExtensionOffer(NamedTuple):
    """One extension of a Sec-WebSocket-Extensions header."""

    name: str
    parameters: tuple[tuple[str, str | None], ...]


class DeflateParameters(NamedTuple):
    """What both ends have agreed on."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15


class DeflateSettings(NamedTuple):
    """What this end wants. Windows are 9 to 15 (zlib makes no raw stream with 8), the level 0 to 9, memory 1 to 9."""

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int
    level: int = 6
    memory_level: int = 8
    smallest: int = 64
    """Whole messages of fewer bytes than this go out as they are."""

    def check(self) -> DeflateSettings:
        """E_INVALIDARG for numbers out of range; itself."""
        for name, low, high in (
            ("server_max_window_bits", 9, 15),
            ("client_max_window_bits", 9, 15),
            ("level", 0, 9),
            ("memory_level", 1, 9),
            ("smallest", 0, 2**31),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise errors.invalid_argument(f"{name} is {value}, and has to be {low} to {high}")
        return self


def server_settings() -> DeflateSettings:
    """What a server uses that names nothing else: 4 KiB windows, no context, so that idle connections cost nothing."""
    return DeflateSettings(True, True, 12, 12, memory_level=5)


def client_settings() -> DeflateSettings:
    """What a client uses that names nothing else: whatever the server likes."""
    return DeflateSettings(False, False, 15, 15)


# -- the header ------------------------------------------------------------------------------------------------------


def parse_extensions(value: str) -> list[ExtensionOffer]:
    """Take a Sec-WebSocket-Extensions header apart. ValueError where it is malformed (RFC 6455 section 9.1)."""
    offers: list[ExtensionOffer] = []
    items: list[tuple[str, str | None]] = []
    place = 0
    while True:
        match = _ITEM.match(value, place)
        if match is None:
            raise ValueError(f"the extensions are malformed at character {place}")
        text = match["token"]
        if match["quoted"] is not None:
            text = re.sub(r"\\(.)", r"\1", match["quoted"])
            if re.fullmatch(_TOKEN, text) is None:
                raise ValueError("a quoted value of an extension has to be a token inside")
        if not items and text is not None:
            raise ValueError("an extension has no value itself")
        items.append((match["name"], text))
        if match["end"] != ";":
            offers.append(ExtensionOffer(items[0][0], tuple(items[1:])))
            items = []
        place = match.end()
        if not match["end"]:
            return offers


def format_extension(parameters: Sequence[tuple[str, str | None]]) -> str:
    """The text of permessage-deflate with these parameters."""
    return "; ".join([EXTENSION_NAME, *(name if value is None else f"{name}={value}" for name, value in parameters)])


def _read(parameters: Sequence[tuple[str, str | None]], *, answer: bool) -> dict[str, int | None] | None:
    """The parameters by name, None for a window without a number; None where one is unknown, doubled or wrong."""
    found: dict[str, int | None] = {}
    for name, value in parameters:
        if name in found:
            return None
        if name in _FLAGS:
            if value is not None:
                return None
            found[name] = 1
        elif name in _WINDOWS:
            if value is None:
                if answer or name == "server_max_window_bits":
                    return None
                found[name] = None
            elif re.fullmatch(r"[89]|1[0-5]", value):
                found[name] = int(value)
            else:
                return None
        else:
            return None
    return found


# -- the client ------------------------------------------------------------------------------------------------------


def make_offer(settings: DeflateSettings) -> str:
    """What a client writes into its request.

    A second offer asks nothing of the server: some decline, or just ignore, what they cannot do.
    """
    bits = settings.client_max_window_bits
    client: list[tuple[str, str | None]] = [("client_max_window_bits", str(bits) if bits < 15 else None)]
    if settings.client_no_context_takeover:
        client.insert(0, ("client_no_context_takeover", None))
    server: list[tuple[str, str | None]] = []
    if settings.server_no_context_takeover:
        server.append(("server_no_context_takeover", None))
    if settings.server_max_window_bits < 15:
        server.append(("server_max_window_bits", str(settings.server_max_window_bits)))
    offers = [[*server, *client], client] if server else [client]
    return ", ".join(map(format_extension, offers))


def accept_answer(settings: DeflateSettings, answer: ExtensionOffer) -> DeflateParameters | None:
    """What the server's answer to `make_offer` agrees on; None where it does not fit the offer."""
    found = _read(answer.parameters, answer=True)
    if answer.name != EXTENSION_NAME or found is None:
        return None
    server_bits = found.get("server_max_window_bits") or 15
    client_bits = found.get("client_max_window_bits") or 15
    if client_bits < 9:
        return None  # zlib cannot compress with so small a window
    return DeflateParameters(
        "server_no_context_takeover" in found,
        "client_no_context_takeover" in found or settings.client_no_context_takeover,
        server_bits,
        min(client_bits, settings.client_max_window_bits),
    )


# -- the server ------------------------------------------------------------------------------------------------------


def accept_offer(settings: DeflateSettings, offers: Sequence[ExtensionOffer]) -> tuple[DeflateParameters, str] | None:
    """The first offer that can be met: what is agreed, and the text of the answer. None without such an offer."""
    for offer in offers:
        if offer.name != EXTENSION_NAME:
            continue
        found = _read(offer.parameters, answer=False)
        if found is None:
            continue
        server_bits = min(found.get("server_max_window_bits") or 15, settings.server_max_window_bits)
        if server_bits < 9:
            continue
        answer: list[tuple[str, str | None]] = []
        server_alone = settings.server_no_context_takeover or "server_no_context_takeover" in found
        client_alone = settings.client_no_context_takeover or "client_no_context_takeover" in found
        if server_alone:
            answer.append(("server_no_context_takeover", None))
        if client_alone:
            answer.append(("client_no_context_takeover", None))
        if server_bits < 15 or "server_max_window_bits" in found:
            answer.append(("server_max_window_bits", str(server_bits)))
        client_bits = 15
        if "client_max_window_bits" in found:
            client_bits = min(found["client_max_window_bits"] or 15, settings.client_max_window_bits)
            if client_bits < 15:
                answer.append(("client_max_window_bits", str(client_bits)))
        return DeflateParameters(server_alone, client_alone, server_bits, client_bits), format_extension(answer)
    return None


# -- compressing -----------------------------------------------------------------------------------------------------


class Deflater:
    """Compresses what one end sends."""

    __slots__ = ("bytes_in", "bytes_out", "keeps_context", "level", "memory_level", "smallest", "stream", "window_bits")

    def __init__(self, parameters: DeflateParameters, is_client: bool, settings: DeflateSettings) -> None:
        self.keeps_context = not (
            parameters.client_no_context_takeover if is_client else parameters.server_no_context_takeover
        )
        self.window_bits = parameters.client_max_window_bits if is_client else parameters.server_max_window_bits
        self.level = settings.level
        self.memory_level = settings.memory_level
        self.smallest = settings.smallest
        self.stream: Any = None
        self.bytes_in = 0
        self.bytes_out = 0

    def wants(self, payload: Any) -> bool:
        """Whether a whole message is worth the trouble."""
        return len(payload) >= self.smallest

    def compress(self, payload: Any, is_final: bool) -> bytes:
        """The compressed payload of one frame; `is_final` for the last one of its message."""
        stream = self.stream
        if stream is None:
            stream = zlib.compressobj(self.level, zlib.DEFLATED, -self.window_bits, self.memory_level)
        data: bytes = stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)
        if is_final:
            # zlib says nothing where it has flushed just before; an empty block without its tail is one zero byte.
            data = data[:-4] if data.endswith(_TAIL) else data + b"\x00"
        self.stream = stream if self.keeps_context or not is_final else None
        self.bytes_in += len(payload)
        self.bytes_out += len(data)
        return data

    def held_bytes(self) -> int:
        """About how much memory is held now: only where the context is kept, or a fragmented message is open."""
        return 0 if self.stream is None else (4 << self.window_bits) + (1 << (self.memory_level + 9)) + DEFLATER_SIZE


class Inflater:
    """Inflates what one end receives: `feed`, then `read` until it gives nothing; `feed_end` behind the last byte."""

    __slots__ = (
        "begun",
        "bytes_in",
        "bytes_out",
        "final_blocks",
        "inflated",
        "keeps_context",
        "limit",
        "more",
        "pending",
        "place",
        "ratio_limit",
        "stream",
        "window_bits",
        "wire",
    )

    def __init__(
        self,
        parameters: DeflateParameters,
        is_client: bool,
        *,
        limit: int = INFLATED_MESSAGE_LIMIT,
        ratio_limit: int = INFLATION_RATIO_LIMIT,
    ) -> None:
        self.keeps_context = not (
            parameters.server_no_context_takeover if is_client else parameters.client_no_context_takeover
        )
        self.window_bits = parameters.server_max_window_bits if is_client else parameters.client_max_window_bits
        self.limit = limit
        self.ratio_limit = ratio_limit
        self.stream: Any = None
        self.pending: bytes | memoryview = b""
        self.place = 0
        self.more = False
        self.begun = False
        self.wire = 0
        self.inflated = 0
        self.final_blocks = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def feed(self, data: bytes) -> None:
        """The next bytes of a message; everything before has been read."""
        self.begun = True
        self.wire += len(data)
        self.bytes_in += len(data)
        self._append(data)

    def feed_end(self) -> None:
        """Behind the last byte of a message: the bytes that every message ends with and that nobody sends."""
        self._append(_TAIL)

    def _append(self, data: bytes) -> None:
        rest = self.pending[self.place :]
        self.pending = bytes(rest) + data if len(rest) else data
        self.place = 0

    def room(self) -> int:
        """Bytes that the message may still become."""
        return self.limit - self.inflated

    def read(self) -> bytes:
        """The next slice, at most 4 KiB; nothing where more must come. Raises WebSocketProtocolError."""
        stream = self.stream
        while self.more or self.place < len(self.pending):
            if stream is None:
                # A window of 8 bits is read with one of 9: zlib has no raw stream of 8 in all versions.
                stream = self.stream = zlib.decompressobj(-max(self.window_bits, 9))
            chunk = self.pending[self.place : self.place + _INPUT]
            most = min(_SLICE, self.limit - self.inflated + 1)
            try:
                piece: bytes = stream.decompress(chunk, most)
            except zlib.error as error:
                raise WebSocketProtocolError(
                    CloseCode.INVALID_PAYLOAD, f"compressed data is malformed: {error}"
                ) from None
            self.place += len(chunk) - len(stream.unconsumed_tail) - len(stream.unused_data)
            self.more = len(piece) == most and not stream.eof
            if stream.eof:
                stream = self.stream = None
                self._after_final_block()
            if piece:
                self._account(len(piece))
                return piece
        self.pending = b""
        self.place = 0
        return b""

    def _after_final_block(self) -> None:
        """The peer ended its stream (BFINAL); what follows, in this message or the next, is a new one."""
        self.final_blocks += 1
        if self.final_blocks > FINAL_BLOCK_LIMIT:
            raise WebSocketProtocolError(CloseCode.POLICY_VIOLATION, "compressed data ends too often", "final blocks")

    def _account(self, count: int) -> None:
        self.inflated += count
        self.bytes_out += count
        if self.inflated > self.limit:
            raise WebSocketProtocolError(
                CloseCode.MESSAGE_TOO_BIG,
                f"a message is longer than {self.limit} bytes after inflating",
                "inflated message",
            )
        if self.inflated > INFLATION_RATIO_FLOOR and self.inflated > self.ratio_limit * self.wire:
            raise WebSocketProtocolError(
                CloseCode.MESSAGE_TOO_BIG,
                f"a message of {self.wire} bytes inflates to more than {self.ratio_limit} times as many",
                "inflation ratio",
            )

    def end_message(self) -> None:
        """Everything of the message has been read."""
        self.pending = b""
        self.place = 0
        self.more = self.begun = False
        self.wire = self.inflated = self.final_blocks = 0
        if not self.keeps_context:
            self.stream = None

    def let_go(self) -> None:
        """Nothing more will come: the memory is given back."""
        self.end_message()
        self.stream = None

    def held_bytes(self) -> int:
        """About how much memory is held now."""
        return 0 if self.stream is None else (1 << max(self.window_bits, 9)) + INFLATER_SIZE + len(self.pending)

    def may_detach(self) -> bool:
        """Whether nothing of what came before is needed to understand what comes."""
        return not self.begun and self.stream is None


def make_codecs(
    agreed: DeflateParameters | None,
    is_client: bool,
    settings: DeflateSettings | None,
    *,
    limit: int = INFLATED_MESSAGE_LIMIT,
    ratio_limit: int = INFLATION_RATIO_LIMIT,
) -> tuple[Inflater | None, Deflater | None]:
    """What one end needs for what both have agreed on; nothing where they agreed on nothing."""
    if agreed is None or settings is None:
        return None, None
    inflater = Inflater(agreed, is_client, limit=limit, ratio_limit=ratio_limit)
    return inflater, Deflater(agreed, is_client, settings)
