"""The tables of docs/errors.md are those of moorings.errors."""

from __future__ import annotations

import errno
import importlib
import re
import socket

from tests.docs.documents import code_words, table

import moorings
from moorings import errors

PAGE = "docs/errors.md"
_CODE = re.compile(r"`(?P<name>\w+)` (?P<value>0x[0-9A-F]{8})")


def codes(cell: str) -> list[int]:
    """The HRESULTs of a cell, each checked against its name."""
    found: list[int] = []
    for match in _CODE.finditer(cell):
        value = errors.signed(int(match["value"], 16))
        assert getattr(errors, match["name"]) == value
        found.append(value)
    return found


def test_classes() -> None:
    named: set[int] = set()
    for row in table(PAGE, "catch"):
        (name,) = code_words(row["catch"])
        module, _, last = name.rpartition(".")
        kind = getattr(importlib.import_module(module or "builtins"), last)
        for code in codes(row["codes"]):
            assert isinstance(errors.make(code, "reason"), kind)
            named.add(code)
    known = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    others = {type(errors.make(code, "reason")).__name__ for code in known - named}
    assert others == {"OSError"}


def test_statuses() -> None:
    rows = table(PAGE, "status", "codes")
    assert [(int(row["number"]), *code_words(row["status"])) for row in rows] == [
        (int(status), status.name) for status in errors.SocketErrorStatus
    ]
    listed: dict[int, errors.SocketErrorStatus] = {}
    for row in rows:
        listed |= dict.fromkeys(codes(row["codes"]), errors.SocketErrorStatus(int(row["number"])))
    known = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    assert {code: errors.get_status(code) for code in known if errors.get_status(code)} == listed


def test_errno() -> None:
    listed = {
        getattr(errno, name): codes(row["code"]) for row in table(PAGE, "errno") for name in code_words(row["errno"])
    }
    assert {code: [errors.from_errno(code, "reason").winerror] for code in listed} == listed
    others = set(errno.errorcode) - set(listed)
    assert {errors.from_errno(code, "reason").winerror for code in others} == {errors.E_FAIL}


def test_look_ups() -> None:
    listed = {
        getattr(socket, name): codes(row["code"])
        for row in table(PAGE, "getaddrinfo")
        for name in code_words(row["getaddrinfo"])
    }
    assert {code: [errors.from_gaierror(socket.gaierror(code, "text"), "reason").winerror] for code in listed} == listed
    known = {value for name, value in vars(socket).items() if name.startswith("EAI_")}
    others = {errors.from_gaierror(socket.gaierror(code, "text"), "reason").winerror for code in known - set(listed)}
    assert others == {errors.WSANO_RECOVERY}


def test_codes_of_web_sockets() -> None:
    rows = table(PAGE, "web status")
    named = [code for row in rows for code in re.findall(r"0x[0-9A-F]{8}", row["code"])]
    assert len(named) == len(set(named)) > 20
    for row in rows:
        (status,) = code_words(row["web status"]) or [""]
        (kind,) = code_words(row["raised as"])
        module, _, last = kind.rpartition(".")
        expected = getattr(importlib.import_module(module or "builtins"), last)
        for code in re.findall(r"0x[0-9A-F]{8}\b(?! \+)", row["code"]):
            hresult = errors.signed(int(code, 16))
            assert moorings.WebSocketError.get_status(hresult).name == status
            assert expected is moorings.HandshakeRefusedError or isinstance(errors.make(hresult, "x"), expected)


def test_codes_of_the_api() -> None:
    rows = table(PAGE, "code", "meaning")
    assert all(len(codes(row["code"])) == 1 for row in rows)
