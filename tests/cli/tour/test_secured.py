"""The TLS of the tour: what it shows, what it does without the extra, and what it takes for a failure."""

from __future__ import annotations

import sys

import pytest

from moorings.cli.console import Console
from moorings.cli.tour import secured
from moorings.cli.tour.common import DemoError, Options

OPTIONS = Options(1, 1)


async def test_both_sides_tell(capsys: pytest.CaptureFixture[str]) -> None:
    facts = await secured.secured(Console(), OPTIONS)
    assert facts["refused"]["errors"] == ["UNTRUSTED", "INVALID_NAME"]
    assert facts["refused"]["status"] == "CERTIFICATE_UNTRUSTED_ROOT"
    assert facts["retried"]["protection_level"] == "TLS13"
    assert facts["client_certificate"] == {"seen_by_server": secured.CLIENT_NAME}
    assert facts["upgraded"] == {"protection_level": "TLS13"}
    lines = capsys.readouterr().out.splitlines()
    for who in ("server", "client"):
        assert sum(line.startswith(f"  {who} ") for line in lines) >= 8


@pytest.mark.parametrize("package", ["cryptography", "OpenSSL"])
async def test_without_the_extra(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    facts = await secured.secured(Console(), OPTIONS)
    assert facts == {"left_out": "pip install 'moorings[tls]'"}
    (line,) = capsys.readouterr().out.splitlines()
    assert "left out: TLS for servers needs the extra tls (pip install 'moorings[tls]')" in line


async def test_an_echo_that_differs() -> None:
    secured.check(secured.REQUEST)
    with pytest.raises(DemoError, match="the echo differs"):
        secured.check("other")
