"""Fuzz target: octets are compressed data, inflated within limits, or refused; text may be a list of extensions."""

from __future__ import annotations

from moorings.protocols.web_socket_close import WebSocketProtocolError
from moorings.protocols.web_socket_deflate import (
    DeflateParameters,
    Deflater,
    Inflater,
    accept_answer,
    accept_offer,
    client_settings,
    parse_extensions,
    server_settings,
)

LIMIT = 100_000
_PARAMETERS = (DeflateParameters(), DeflateParameters(True, True, 9, 9))


def one_input(data: bytes) -> None:
    """Take octets as two compressed messages, as something to compress, and as a header."""
    for parameters in _PARAMETERS:
        inflater = Inflater(parameters, is_client=True, limit=LIMIT, ratio_limit=1200)
        try:
            for _ in range(2):
                assert len(_inflate(inflater, data)) <= LIMIT
        except WebSocketProtocolError as error:
            assert error.close_code in {1007, 1008, 1009}
        deflater = Deflater(parameters, False, client_settings())
        back = Inflater(parameters, is_client=True)
        for _ in range(2):
            assert _inflate(back, deflater.compress(data, True)) == data
    try:
        offers = parse_extensions(data.decode("latin-1"))
    except ValueError:
        return
    accepted = accept_offer(server_settings(), offers)
    if accepted is not None:
        parse_extensions(accepted[1])
    for offer in offers:
        accept_answer(client_settings(), offer)


def _inflate(inflater: Inflater, data: bytes) -> bytes:
    found = bytearray()
    for feed in (lambda: inflater.feed(data), inflater.feed_end):
        feed()
        while piece := inflater.read():
            assert len(piece) <= 4096
            found += piece
    inflater.end_message()
    return bytes(found)
