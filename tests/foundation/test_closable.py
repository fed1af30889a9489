from __future__ import annotations

import pytest

from moorings.foundation.closable import IClosable, IStringable
from moorings.foundation.projection import Object


class _Thing(IClosable, IStringable):
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def to_string(self) -> str:
        return "a thing"


def test_with_block_closes_and_lets_exceptions_through() -> None:
    thing = _Thing()
    with thing as same:
        assert same is thing
        assert thing.closed == 0
    assert thing.closed == 1
    with pytest.raises(KeyError), thing:
        raise KeyError
    assert thing.closed == 2


def test_str_is_to_string() -> None:
    assert str(_Thing()) == "a thing"
    assert isinstance(_Thing(), Object)


def test_members_must_be_there() -> None:
    with pytest.raises(TypeError, match="abstract"):
        IClosable()  # type: ignore[abstract]
    with pytest.raises(TypeError, match="abstract"):
        IStringable()  # type: ignore[abstract]
