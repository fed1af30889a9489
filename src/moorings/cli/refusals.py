"""One line about the certificate of a server that `moorings connect` refuses, and what to do about it."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.verify_codes import IGNORABLE
from moorings.cli.exit_codes import CommandError
from moorings.errors import PinMismatchError

if TYPE_CHECKING:
    from collections.abc import Generator

    from moorings.cli.options import Trust

_Result = ChainValidationResult
#: What to do about certificate errors, besides letting them pass.
_STEPS = (
    ({_Result.UNTRUSTED, _Result.INCOMPLETE_CHAIN}, "--ca names whom to trust"),
    ({_Result.INVALID_NAME}, "--server-name names the server otherwise"),
    ({_Result.REVOCATION_INFORMATION_MISSING, _Result.REVOCATION_FAILURE}, "--crl names a list of revocations"),
)


@contextmanager
def refusals(url: str, trust: Trust) -> Generator[None]:
    """What refuses a server's certificate while the block connects to `url` ends the command with one line."""
    try:
        yield
    except PinMismatchError as error:
        pins = "the pinned key" if len(trust.pin_sha256) == 1 else "any of the pinned keys"
        raise CommandError(f"{_of_server(url, trust)} does not have {pins}; {_look(url, trust)} its pins") from error
    except OSError as error:
        if not getattr(error, "certificate_errors", ()):
            raise
        raise CommandError(_refusal(url, trust, error)) from error


def _refusal(url: str, trust: Trust, error: Any) -> str:
    """What is wrong with a server's certificate, and what to do about it here."""
    found = error.certificate_errors
    names = ",".join(each.name for each in found)
    fatal = [each.name for each in found if each not in IGNORABLE]
    steps = [text for results, text in _STEPS if results.intersection(found)]
    step = ", ".join([*steps, f"--ignore {names} lets it pass all the same"])
    if fatal:
        step = f"{', '.join(fatal)} cannot be ignored: the server needs another certificate"
    look = f"{_look(url, trust)} it"
    return f"{_of_server(url, trust)} is not accepted: {names.replace(',', ', ')}; {look}; {step}"


def _of_server(url: str, trust: Trust) -> str:
    """What a message about a server's certificate begins with."""
    place = _place(url)
    name = trust.server_name or place.rpartition(":")[0].strip("[]")
    return f"{place}: the certificate for {name!r}"


def _place(url: str) -> str:
    """Host and port of a URL, the port of HTTPS where it names none."""
    place = url.partition("://")[2].partition("/")[0].partition("?")[0]
    return place if place.rpartition("]")[2].count(":") else f"{place}:443"


def _look(url: str, trust: Trust) -> str:
    """The command that shows the certificate, with what matters to the verdict."""
    words = ["moorings", "cert", "show", _place(url)]
    if trust.server_name:
        words += ["--server-name", trust.server_name]
    if trust.ca is not None:
        words += ["--ca", *trust.ca.files]
    if trust.revocation is not None:
        words += [word for file in trust.crl for word in ("--crl", file)] or ["--revocation"]
    return f"'{shlex.join(words)}' shows"
