"""`moorings bench tls`: tiny runs of it. How big a figure is is no test's business."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from moorings.benchmarks import instructions, memory, processes, report, tls
from moorings.benchmarks.figures import Progress
from moorings.benchmarks.processes import SERVERS, BenchmarkError, Workshop, make_identity
from moorings.cli import app

if TYPE_CHECKING:
    from pathlib import Path


def test_command_writes_table_json_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, picture = tmp_path / "tls.json", tmp_path / "tls.svg"
    arguments = ["--only", "handshake", "--peers", "asyncio", "--pairs", "1", "--seconds", "0.02", "--no-instructions"]
    assert app.main(["bench", "tls", *arguments, "--json", str(data), "--plot", str(picture)]) == 0
    output = capsys.readouterr()
    assert "Accept, resumed handshake, echo of 64 B, close" in output.out
    assert "CPU µs/handshake" in output.out
    assert output.err.startswith("moorings bench tls: ")
    results = json.loads(data.read_text())
    assert results["benchmark"] == "tls"
    assert results["schema"] == report.SCHEMA
    assert results["versions"]["OpenSSL"] in ssl.OPENSSL_VERSION
    assert [scenario["name"] for scenario in results["scenarios"]] == ["handshake-full", "handshake-resumed"]
    for scenario in results["scenarios"]:
        assert {"moorings-uvloop", "face-asyncio", "callbacks-asyncio"} <= set(scenario["figures"])
        assert all(entry["pairs"] == 1 for entry in scenario["ratios"])
    assert "over TLS" in "".join(ElementTree.fromstring(picture.read_text()).itertext())


def test_every_part_is_over_tls() -> None:
    assert {scenario.tls for scenario in tls.SCENARIOS} == {"full", "resumed"}
    assert set(report.parts(tls.TLS, quick=True, only="", count=True)) == {
        *(scenario.name for scenario in tls.SCENARIOS if scenario.quick),
        "memory",
    }


def test_command_lists_parts_and_servers(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["bench", "tls", "--list"]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert {"handshake-full", "echo-16kib-50", "memory", "moorings-asyncio", "trio"} <= set(lines)
    assert "c" not in lines


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--peers", "c"], "c; choose from asyncio,uvloop,aiofastnet,anyio,trio"),
        (["--only", "no such thing"], "no part has 'no such thing' in its name"),
    ],
)
def test_command_refuses_bad_arguments(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["bench", "tls", *arguments]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("name", ["moorings-asyncio", "streams-asyncio"])
def test_memory_over_tls(workshop: Workshop, name: str) -> None:
    growth, mode = memory.measure(workshop, SERVERS[name], 100, Progress(quiet=True), tls=True)
    assert growth.rss > 0
    assert mode


@pytest.mark.skipif(not instructions.has_valgrind(), reason="valgrind is not installed")
def test_instructions_over_tls(workshop: Workshop) -> None:
    counted = instructions.per_message(workshop, [SERVERS["callbacks-asyncio"]], lambda _text: None, tls="full")
    assert counted["callbacks-asyncio"].mean > 0


def test_the_certificate_is_of_p256() -> None:
    pem = make_identity().decode()
    key, _, certificate = pem.partition("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE KEY" in key
    named_curve_p256 = bytes.fromhex("06082a8648ce3d030107")  # RFC 5480 section 2.1.1.1
    assert named_curve_p256 in ssl.PEM_cert_to_DER_cert(f"-----BEGIN CERTIFICATE-----{certificate}")


def test_without_cryptography_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "has_package", lambda name: name != "cryptography")
    with pytest.raises(BenchmarkError, match=r"pip install 'moorings\[tls\]'"):
        make_identity()


def test_a_missing_generator_in_c_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Workshop, "has_c_tls", False)
    arguments = ["--only", "echo-64b-1", "--peers", "asyncio", "--pairs", "1", "--seconds", "0.01"]
    assert app.main(["bench", "tls", *arguments, "--no-instructions"]) == 0
    told = capsys.readouterr().out
    assert "note: the load generator in C is missing, so Python takes the load on (apt install gcc" in told
