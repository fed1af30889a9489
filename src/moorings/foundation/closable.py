"""`IClosable` and `IStringable`, the two smallest interfaces of `Windows.Foundation`."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Self

from moorings.foundation.projection import Object

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["IClosable", "IStringable"]


class IClosable(Object):
    """Something that holds a resource until `close()`; a context manager that closes at the end of the block."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Release the resource. What a second call does is up to the class; here it does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class IStringable(Object):
    """Something with a text form; `str()` gives it too."""

    __slots__ = ()

    @abstractmethod
    def to_string(self) -> str:
        """Return the text form."""

    def __str__(self) -> str:
        return self.to_string()
