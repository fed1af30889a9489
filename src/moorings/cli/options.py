"""Types of arguments that several commands share, and what turns the library's refusals into those of a command."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from moorings import errors

if TYPE_CHECKING:
    from collections.abc import Generator

    _ParamType = click.ParamType[float]
else:
    _ParamType = click.ParamType  # older ones are not generic


class Seconds(_ParamType):
    """A time: finite, from `least`."""

    name = "seconds"

    def __init__(self, least: float = 0.0) -> None:
        self._least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds, or BadParameter."""
        try:
            number = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        if not math.isfinite(number) or number < self._least:
            self.fail(f"{value} is not a number of seconds from {self._least:g}", param, ctx)
        return number


def refuse_datagrams(url: str) -> None:
    """`udp://` is something for programs so far: E_NOTIMPL."""
    if url.lower().startswith("udp://"):
        raise errors.not_implemented("a udp:// URL", "UDP on the command line")


@contextmanager
def url_errors() -> Generator[None]:
    """A URL that the library does not understand is a wrong argument."""
    try:
        yield
    except OSError as error:
        if getattr(error, "winerror", None) != errors.E_INVALIDARG:
            raise
        raise click.BadParameter(str(getattr(error, "reason", error)), param_hint="URL") from error
