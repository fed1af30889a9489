from __future__ import annotations

import pytest

from moorings import errors
from moorings.errors import OpenEnum
from moorings.sockets import enums


def test_socket_error_status_is_the_one_of_errors() -> None:
    assert enums.SocketErrorStatus is errors.SocketErrorStatus


@pytest.mark.parametrize("name", enums.__all__)
def test_every_enum_is_open_documented_and_has_a_zero(name: str) -> None:
    enum = getattr(enums, name)
    assert issubclass(enum, OpenEnum)
    assert enum.__doc__
    assert enum(0).name
    assert enum(250).name == ""


def test_protection_levels_have_the_numbers_of_the_sdk() -> None:
    level = enums.SocketProtectionLevel
    assert [level.PLAIN_SOCKET, level.SSL, level.TLS10, level.TLS12, level.UNSPECIFIED, level.TLS13] == [
        0,
        1,
        6,
        8,
        9,
        10,
    ]
