"""What is told of a datagram that the network did not deliver."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from moorings.engine.datagram_reports import report_error

LABEL = "DatagramSocket 127.0.0.1:60821 -> 127.0.0.1:43913"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        (("127.0.0.1", 43913), "127.0.0.1:43913"),
        (("::ffff:127.0.0.1", 43913, 0, 0), "127.0.0.1:43913"),
        (("fe80::1%lo", 43913, 0, 1), "[fe80::1%lo]:43913"),
    ],
)
def test_the_peer_is_named_once_and_in_one_line(name: Any, where: str) -> None:
    error: Any = report_error(LABEL, errno.ECONNREFUSED, name, 0, v6=False)
    assert error.reason == f"datagram to {where} not delivered: nothing listens there"
    assert len(f"moorings: {error.reason}") <= 80


def test_without_the_peer_the_socket_is_named() -> None:
    error: Any = report_error(LABEL, errno.EHOSTUNREACH, None, 0, v6=False)
    assert error.reason == f"{LABEL}: a datagram was not delivered: the host cannot be reached"


def test_what_nobody_has_words_for() -> None:
    error: Any = report_error(LABEL, errno.EIO, ("127.0.0.1", 1), 0, v6=False)
    assert error.reason == "datagram to 127.0.0.1:1 not delivered: EIO"
