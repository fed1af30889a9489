"""The local address towards a destination, from the kernel itself."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from moorings.names import source_address as module
from moorings.names.source_address import source_address

if TYPE_CHECKING:
    import pytest


def test_loopback() -> None:
    assert source_address(socket.AF_INET, ("127.0.0.1", 80)) == "127.0.0.1"
    assert source_address(socket.AF_INET, ("127.0.0.1", 0)) == "127.0.0.1"
    assert source_address(socket.AF_INET, ("127.0.0.1", 80), "lo") == "127.0.0.1"


def test_no_way_there() -> None:
    assert source_address(socket.AF_INET6, ("fe80::1", 80, 0, 0)) is None  # link-local without a link
    assert source_address(socket.AF_INET, ("127.0.0.1", 80), "no-such-if") is None
    assert source_address(9999, ("127.0.0.1", 80)) is None


class FakeSocket:
    """A socket whose kernel answers with a link-local address, and refuses SO_BINDTODEVICE."""

    def __init__(self, *_: object) -> None:
        self.closed = False

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def setsockopt(self, *_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    def connect(self, address: tuple[object, ...]) -> None:
        assert address == ("fe80::2", 9, 0, 1)

    def getsockname(self) -> tuple[object, ...]:
        return ("fe80::1", 40000, 0, 1)


def test_link_local_and_old_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.socket, "socket", FakeSocket)
    assert source_address(socket.AF_INET6, ("fe80::2", 0, 0, 1), "eth0") == "fe80::1%lo"
