"""What the seam says of an ending."""

from __future__ import annotations

import json

import pytest

from moorings import EndReason
from moorings.engine.interface import BROKEN


@pytest.mark.parametrize("reason", EndReason)
def test_the_text_of_a_reason_is_its_name(reason: EndReason) -> None:
    assert str(reason) == f"{reason}" == f"{reason}" == reason.name
    assert f"{reason:>20}" == reason.name.rjust(20)
    assert "%s" % reason == reason.name  # noqa: UP031 - the third way
    assert repr(reason) == f"<EndReason.{reason.name}: {reason.value}>"


def test_it_is_still_a_number() -> None:
    assert EndReason.RESET == 4
    assert json.dumps(EndReason.RESET) == "4"


def test_what_counts_as_broken() -> None:
    assert {EndReason.TRUNCATED, EndReason.RESET, EndReason.TIMED_OUT} == BROKEN
