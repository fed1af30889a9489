"""`moorings cert`: looks at certificates, those of servers and those in files."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from moorings.certificates.certificate import FILE_BYTES_LIMIT
from moorings.certificates.libraries import require
from moorings.certificates.pem import to_pem
from moorings.certificates.trust import TrustAnchors
from moorings.cli.exit_codes import EXIT_OK, CommandError
from moorings.cli.loops import runner_of
from moorings.cli.options import (
    ApplicationProtocols,
    Seconds,
    ServerName,
    anchors_of,
    argument_errors,
    revocation_of,
    revocation_options,
)
from moorings.cli.output import progress
from moorings.cli.stopping import until_terminated

if TYPE_CHECKING:
    from moorings.certificates.revocation_check import RevocationCheck
    from moorings.cli.cert_show.server import Seen, Wish
    from moorings.cli.cert_show.text import Report

#: Seconds for connecting and the handshake, name look-up included.
LOOK_TIMEOUT = 30.0
#: Bytes of a password file that are read.
PASSWORD_BYTES_LIMIT = 4096
#: What a look can begin with; the functions stand in `cert_show.starttls`.
STARTTLS = ("smtp", "imap", "pop3", "ftp", "postgres")
#: What people paste, with port 443.
_PAGES = ("https://", "wss://")

EPILOG = """\b
Examples:
  moorings cert show example.com:443
  moorings cert show server.pem

\b
Exit codes: 0 it is acceptable, 1 it is not, or there was none to show,
2 wrong arguments, 130 Ctrl-C, 141 the reader of the output has gone,
143 SIGTERM."""
SHOW_EPILOG = """\b
Examples:
  moorings cert show example.com:443
  moorings cert show 192.0.2.1:443 --server-name example.com --alpn h2
  moorings cert show [::1]:1337 --ca ca.pem
  moorings cert show mail.example.com:25 --starttls smtp
  moorings cert show printer.example:443 --pem > printer.pem
  moorings cert show server.pem --server-name example.com
  moorings cert show identity.p12 --password-file secret

\b
A server: one handshake, to its end whatever the certificate is, so that all
is shown of those that are refused, too. Nothing else is sent: no data, and no
certificate of ours. The verdict is that of 'moorings connect tls://...'.

\b
A file: PEM, DER, PKCS #7 or PKCS #12. The first certificate is judged, the
others are those that may vouch for it; with --server-name as a server's.
The password of PKCS #12 is asked for on the terminal, or it is the first line
of --password-file. It is no argument: everybody on this machine can read the
arguments of a program. --password-file <(pass show it) leaves no file behind.

\b
The pin is the SHA-256 of the public key, in base64. The days are those until
the first certificate on the way to the root expires.

\b
Exit codes: 0 the certificate is acceptable, 1 it is not (one line says why;
it is shown all the same), or there was none to show, 2 wrong arguments,
130 Ctrl-C, 141 the reader of the output has gone, 143 SIGTERM."""


class Options(NamedTuple):
    """What the command line says."""

    target: str
    anchors: TrustAnchors | None
    server_name: str
    alpn: tuple[str, ...]
    starttls: str
    timeout: float
    password_file: str | None
    revocation: RevocationCheck | None


@click.group("cert", epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look at certificates: those of servers, and those in files."""


@command.command(
    "show",
    epilog=SHOW_EPILOG,
    short_help="Show the certificates of a server or a file, and all that is wrong with them.",
)
@click.argument("target", metavar="HOST:PORT|FILE")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False),
    help="Whom to trust: a PEM file, instead of the system's authorities.",
)
@click.option("--server-name", type=ServerName(), metavar="NAME", help="The name to ask for and to check.")
@click.option("--alpn", type=ApplicationProtocols(), default="", help="Server: application protocols to offer.")
@click.option("--starttls", type=click.Choice(STARTTLS), help="Server: ask for TLS in this protocol first.")
@click.option(
    "--timeout",
    type=Seconds(),
    default=LOOK_TIMEOUT,
    show_default=True,
    help="Server: seconds for everything, name look-up included.",
)
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="File: the password of PKCS #12 is its first line; - is standard input.",
)
@revocation_options()
@click.option("--pem", is_flag=True, help="Print the certificates in PEM, and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print all that was found as JSON, for scripts.")
def show(target: str, *, pem: bool, as_json: bool, **given: Any) -> int:
    """Show the certificates of a server or a file, and all that is wrong with them.

    HOST:PORT is a server, an IPv6 address stands in brackets; anything else is a file, - is standard input.
    """
    if pem and as_json:
        raise click.UsageError("--pem and --json exclude each other")
    options = Options(
        target,
        anchors_of(given["ca"]),
        given["server_name"] or "",
        given["alpn"],
        given["starttls"] or "",
        given["timeout"],
        given["password_file"],
        revocation_of(given["revocation"], given["crl"]),
    )
    require("moorings cert show")
    place = place_of(target)
    report = _of_file(options) if place is None else _of_server(options, *place)
    from moorings.cli.cert_show import text  # noqa: PLC0415 (needs cryptography)

    if pem:
        click.echo(b"".join(to_pem(each.der) for each in report.certificates), nl=False)
    elif as_json:
        text.show_json(report)
    else:
        text.show(report)
    if report.complaint:
        raise CommandError(report.complaint)
    if report.values.get("handshake_failure"):
        raise CommandError(f"{target}: the handshake failed: {report.values['handshake_failure']}")
    return EXIT_OK


def place_of(target: str) -> tuple[str, str] | None:
    """Host and service of a server; None for a file. BadParameter for what is neither."""
    from moorings._face import parse_url  # noqa: PLC0415 (what --help does not need)

    lower = target.lower()
    if target == "-" or ("://" not in lower and Path(target).exists()):
        return None
    url = target if "://" in lower else f"tls://{target}"
    if lower.startswith(_PAGES):
        place = target.partition("://")[2].partition("/")[0]
        url = f"tls://{place}" if place.rpartition("]")[2].find(":") >= 0 else f"tls://{place}:443"
    elif "://" not in lower and (":" not in target or "/" in target):
        hint = "" if "/" in target else f", as in {target}:443"
        text = f"{target!r} is no file that is there; a server is HOST:PORT{hint}"
        raise click.BadParameter(text, param_hint="HOST:PORT|FILE")
    with argument_errors("HOST:PORT|FILE"):
        parsed = parse_url(url, listening=False)
    if parsed.scheme != "tls":
        raise click.BadParameter(f"{target!r}: a server is HOST:PORT", param_hint="HOST:PORT|FILE")
    return parsed.host, parsed.service


def _trust(anchors: TrustAnchors) -> str:
    """Whom we trust, in words."""
    return "the system's authorities" if anchors.is_system else ", ".join(anchors.files)


# -- a server --------------------------------------------------------------------------------------------------------


def _of_server(options: Options, host: str, service: str) -> Report:
    require("moorings cert show of a server", "OpenSSL")
    from moorings.cli.cert_show import server  # noqa: PLC0415 (needs pyOpenSSL)

    if options.password_file is not None:
        raise click.UsageError("--password-file is for files")
    anchors = options.anchors or TrustAnchors.system()
    wish = server.Wish(host, service, options.server_name, options.alpn, options.starttls, options.timeout, anchors)
    wish = wish._replace(asks_staple=options.revocation is not None)
    with argument_errors("HOST:PORT|FILE"):
        name = wish.name
    found: list[Seen] = []

    async def work() -> int:
        found.append(await server.look(wish))
        return EXIT_OK

    runner, _ = runner_of("asyncio")
    with progress(f"looking at {wish.place}"):
        code = runner(until_terminated(work()))
    if not found:
        raise click.exceptions.Exit(code)
    (seen,) = found
    about = _about_server(wish, seen)
    values = {
        "kind": "server",
        "address": seen.address,
        "starttls": options.starttls or None,
        "protocol": seen.protocol or None,
        "cipher": seen.cipher or None,
        "alpn": seen.alpn or None,
        "client_certificate_requested": seen.asked_for_certificate,
        "handshake_failure": None if _is_refused_for_want_of_ours(seen) else seen.failure or None,
    }
    return _report(options.target, name, about, values, seen.chain, anchors, options.revocation, seen)


def _is_refused_for_want_of_ours(seen: Seen) -> bool:
    """Whether the server ended the handshake for a reason that says nothing against it: we showed no certificate."""
    return bool(seen.failure) and seen.asked_for_certificate


def _about_server(wish: Wish, seen: Seen) -> list[tuple[str, str]]:
    agreed = f"{seen.alpn} (offered: {', '.join(wish.alpn)})" if seen.alpn else "none of " + ", ".join(wish.alpn)
    asked = "asked for" if seen.asked_for_certificate else "not asked for"
    if _is_refused_for_want_of_ours(seen):
        asked = f"needed; {seen.failure}"
    rows = [
        ("server", f"{wish.place}, at {seen.address}"),
        ("name", wish.name),
        ("protocol", f"{seen.protocol.replace('TLSv', 'TLS ')}, {seen.cipher}"),
        ("ALPN", agreed if wish.alpn else "not offered"),
        ("certificate of clients", asked),
    ]
    if wish.starttls:
        rows.insert(2, ("begun with", wish.starttls))
    if seen.failure and not _is_refused_for_want_of_ours(seen):
        rows.append(("handshake", seen.failure))
    return rows


# -- a file ----------------------------------------------------------------------------------------------------------


def _of_file(options: Options) -> Report:
    from moorings.cli.cert_show import files  # noqa: PLC0415 (needs cryptography)

    for option, value in (("--starttls", options.starttls), ("--alpn", options.alpn)):
        if value:
            raise click.UsageError(f"{option} is for servers")
    octets = None
    if options.target == "-":
        if options.password_file == "-":
            raise click.UsageError("standard input cannot be both the file and the password")
        octets = sys.stdin.buffer.read(FILE_BYTES_LIMIT + 1)
    anchors = options.anchors or TrustAnchors.system()
    name = "standard input" if octets is not None else options.target
    held = files.read(name, octets, lambda: _password(options.password_file, name))
    about = [("file", f"{name}, {held.form}"), ("name", options.server_name or "not checked")]
    if held.key:
        about.append(("private key", held.key))
    values = {"kind": "file", "form": held.form, "private_key": held.key or None}
    return _report(name, options.server_name or None, about, values, held.chain, anchors, options.revocation)


def _password(file: str | None, target: str) -> str:
    """The password of a file. Errors: OSError; CommandError where nobody can be asked."""
    if file is not None:
        octets = sys.stdin.buffer.read(PASSWORD_BYTES_LIMIT) if file == "-" else _beginning(file)
        line = octets.split(b"\n")[0].removesuffix(b"\r")
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise CommandError(f"the first line of {file} is no text in UTF-8") from None
    if not os.isatty(0) or not sys.stderr.isatty():
        raise CommandError(f"{target} needs a password, and there is no terminal to ask on: use --password-file")
    password: str = click.prompt(f"Password of {target}", hide_input=True, err=True)
    return password


def _beginning(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(PASSWORD_BYTES_LIMIT)


# -- both ------------------------------------------------------------------------------------------------------------


def _report(
    target: str,
    name: str | None,
    about: list[tuple[str, str]],
    values: dict[str, Any],
    chain: tuple[bytes, ...],
    anchors: TrustAnchors,
    revocation: RevocationCheck | None,
    seen: Seen | None = None,
) -> Report:
    from moorings.cli.cert_show import facts, text  # noqa: PLC0415 (needs cryptography)

    now = datetime.now(UTC)
    staple, codes = (b"", ()) if seen is None else (seen.staple, seen.verify_codes)
    verdict = facts.judge(
        chain, anchors, server_name=name, verify_codes=codes, revocation=revocation, staple=staple, now=now
    )
    asked = "not asked" if revocation is None else "asked, the server stapled an answer" if staple else "asked"
    about.append(("revocation", asked))
    values |= {"revocation_asked": revocation is not None, "stapled": bool(staple)}
    shown = [facts.describe(der, role, now) for der, role in zip(chain, facts.roles(chain), strict=True)]
    return text.Report(target, name, about, values, verdict, shown, _trust(anchors), now)
