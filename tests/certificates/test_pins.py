"""Pins: what they hash, and what is refused."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from tests.certificates.certificate_factory import ec_key, make_server, rsa_key

from moorings import Certificate, errors
from moorings.certificates.pins import PINS_LIMIT, check_pins

GOOD = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_the_pin_is_that_of_openssl(tmp_path: Path, key: str) -> None:
    made = make_server(None, "server.example", key=ec_key(5) if key == "ec" else rsa_key(2048))
    path = tmp_path / "certificate.der"
    path.write_bytes(made.der)
    public = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-in", str(path), "-pubkey", "-noout"],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    form = ["openssl", "pkey", "-pubin", "-outform", "DER"]
    der = subprocess.run(form, input=public, capture_output=True, check=True, timeout=60).stdout
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-binary"], input=der, capture_output=True, check=True, timeout=60
    ).stdout
    assert Certificate(made.der).pin_sha256 == base64.b64encode(digest).decode()


def test_a_renewed_certificate_keeps_its_pin() -> None:
    first, second, other = (make_server(None, "server.example", key=ec_key(number)) for number in (5, 5, 6))
    assert first.der != second.der
    pins = [Certificate(made.der).pin_sha256 for made in (first, second, other)]
    assert pins[0] == pins[1] != pins[2]
    assert check_pins(pins[0]) == (pins[0],)


@pytest.mark.parametrize(
    ("given", "pins"),
    [
        (None, ()),
        ((), ()),
        (GOOD, (GOOD,)),
        ([GOOD, OTHER], (GOOD, OTHER)),
        ("sha256//" + GOOD, (GOOD,)),
        (iter(["sha256/" + GOOD]), (GOOD,)),
    ],
)
def test_good_ones(given: object, pins: tuple[str, ...]) -> None:
    assert check_pins(given) == pins


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        [""],
        GOOD[:-1],
        GOOD + "\n",
        " " + GOOD,
        GOOD[:-2] + "9=",  # the same octets, with bits set that stand for nothing
        GOOD.replace("A", "-", 1),
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(33)).decode(),
        bytes(range(32)).hex(),
        "sha1/" + GOOD,
        "é" * 44,
        [GOOD] * (PINS_LIMIT + 1),
    ],
)
def test_what_is_no_pin(given: object) -> None:
    with pytest.raises(OSError, match="pin_sha256") as caught:
        check_pins(given)
    assert isinstance(caught.value, errors.CodedError)
    assert caught.value.winerror == errors.E_INVALIDARG


@pytest.mark.parametrize("given", [b"x" * 32, GOOD.encode(), 5, [b"x"], [GOOD, 5], Path(GOOD)])
def test_wrong_types(given: object) -> None:
    with pytest.raises(TypeError):
        check_pins(given)
