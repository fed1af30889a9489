"""`--loop` takes the three names, and uvloop only where it is installed."""

from __future__ import annotations

import asyncio
import sys

import click
import pytest

from moorings.cli.exit_codes import EXIT_FAILED, CommandError
from moorings.cli.loops import LOOPS, loop_option, runner_of


async def seven() -> int:
    await asyncio.sleep(0)
    return 7


@pytest.mark.parametrize(("name", "called"), [("asyncio", "asyncio's own loop"), ("uvloop", "uvloop ")])
def test_runners(name: str, called: str) -> None:
    runner, title = runner_of(name)
    assert title.startswith(called)
    assert runner(seven()) == 7


def test_auto_takes_uvloop() -> None:
    assert runner_of("auto") == runner_of("uvloop")


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert runner_of("auto") == (asyncio.run, "asyncio's own loop")
    with pytest.raises(CommandError, match="uvloop is not installed") as caught:
        runner_of("uvloop")
    assert caught.value.code == EXIT_FAILED


def test_option() -> None:
    chosen: list[str] = []

    @click.command()
    @loop_option
    def command(loop: str) -> None:
        chosen.append(loop)

    for arguments in ([], *(["--loop", name] for name in LOOPS)):
        command.main(arguments, standalone_mode=False)
    assert chosen == ["auto", *LOOPS]
    with pytest.raises(click.BadParameter):
        command.main(["--loop", "trio"], standalone_mode=False)
