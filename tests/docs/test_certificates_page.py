"""The table of docs/guides/certificates.md is that of the sources."""

from __future__ import annotations

import re

from tests.docs.documents import code_words, table

from moorings import errors
from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.verify_codes import IGNORABLE, hresult_of, result_of_verify_code

PAGE = "docs/guides/certificates.md"
ROWS = table(PAGE, "may be ignored")


def test_every_result_has_a_row() -> None:
    values = [int(row["value"]) for row in ROWS]
    assert values == [int(result) for result in ChainValidationResult if result]


def test_rows() -> None:
    for row in ROWS:
        result = ChainValidationResult(int(row["value"]))
        assert code_words(row["result"]) == [result.name]
        assert row["may be ignored"] == ("yes" if result in IGNORABLE else "no")
        (name,) = code_words(row["HRESULT"])
        code = hresult_of([result])
        assert getattr(errors, name) == code
        assert row["HRESULT"].endswith(f" 0x{errors.unsigned(code):08X}")


def test_verify_codes() -> None:
    listed = {
        int(number): ChainValidationResult(int(row["value"]))
        for row in ROWS
        for number in re.findall(r"\d+", row["OpenSSL verify codes"])
    }
    for code in range(1, 200):
        expected = listed.get(code, ChainValidationResult.OTHER_ERRORS)
        assert result_of_verify_code(code, sent_intermediates=False) == expected
