"""Failures are shown with all they carry; one that does not come is a failure itself."""

from __future__ import annotations

import asyncio

import pytest

from moorings import errors
from moorings.cli.console import Console
from moorings.cli.tour import failures
from moorings.cli.tour.common import DemoError, Options


async def test_what_they_carry(capsys: pytest.CaptureFixture[str]) -> None:
    facts = await failures.failures(Console(), Options(clients=1, megabytes=1))
    assert [facts[name]["class"] for name in ("refused", "undelivered", "unknown_host", "impossible_name")] == [
        "ConnectionRefusedError",
        "ConnectionResetError",
        "socket.gaierror",
        "OSError",
    ]
    assert facts["refused"]["winerror"] == -2147014835
    assert facts["undelivered"]["winerror"] == -2147014842
    output = capsys.readouterr().out
    assert output.count("reason ") == 4
    assert "status   CONNECTION_REFUSED" in output


async def test_failure_that_does_not_come_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    async def succeed() -> None:
        await asyncio.sleep(0)

    with pytest.raises(DemoError, match="did not fail"):
        await failures.expect_failure(Console(), "succeeding", succeed)
    assert "succeeding" in capsys.readouterr().out


async def test_failure_without_a_number_is_one() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("not one of ours")

    with pytest.raises(DemoError, match="carries no winerror"):
        await failures.expect_failure(Console(quiet=True), "failing", fail)


def test_name_of_the_class_to_catch() -> None:
    assert failures.class_name(errors.closed("x")) == "OSError"
    assert failures.class_name(errors.make(errors.WSAECONNREFUSED, "x")) == "ConnectionRefusedError"
    assert failures.class_name(errors.make(errors.WSAHOST_NOT_FOUND, "x")) == "socket.gaierror"
