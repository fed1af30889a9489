from __future__ import annotations

from moorings.certificates.enums import ChainValidationResult


def test_values_follow_the_reference() -> None:
    assert [int(value) for value in ChainValidationResult] == list(range(14))
    assert int(ChainValidationResult.INVALID_NAME) == 7
    assert ChainValidationResult(99).name == ""
