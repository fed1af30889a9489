"""Which event loop a command runs on: the option `--loop`, and what runs it."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import click

from moorings.cli.exit_codes import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Runner = Callable[[Coroutine[Any, Any, int]], int]

LOOPS = ("auto", "asyncio", "uvloop")
_Command = TypeVar("_Command", bound="Callable[..., Any]")


def loop_option(command: _Command) -> _Command:
    """Gives a click command the option `--loop`, as its parameter `loop`."""
    option = click.option(
        "--loop",
        type=click.Choice(LOOPS),
        default="auto",
        show_default=True,
        help="Event loop; auto takes uvloop where it is installed.",
    )
    return option(command)


def runner_of(name: str) -> tuple[Runner, str]:
    """What runs a command's coroutine on the loop `name`, and what to call that loop.

    Errors: CommandError where uvloop is asked for and not installed.
    """
    if name != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - an extra
        except ImportError as error:
            if name == "uvloop":
                raise CommandError("uvloop is not installed (pip install 'moorings[uvloop]')") from error
        else:
            return uvloop.run, f"uvloop {version('uvloop')}"
    return asyncio.run, "asyncio's own loop"
