"""Types of arguments that several commands share, and what turns the library's refusals into those of a command."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import click
from click.core import ParameterSource

from moorings import HostName, RevocationCheck, errors
from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.libraries import require
from moorings.certificates.pins import check_pins
from moorings.certificates.verify_codes import IGNORABLE
from moorings.cli.loops import loop_option
from moorings.cli.pipes import Manner
from moorings.cli.statistics_line import INTERVAL, Telling
from moorings.sockets.tls_settings import as_anchors, as_certificate, check_alpn
from moorings.sockets.web_socket_origins import check_origins

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator

    from click.shell_completion import CompletionItem

    from moorings.certificates.certificate import Certificate
    from moorings.certificates.trust import TrustAnchors

    _ParamType = click.ParamType[float]
    _TextType = click.ParamType[str]
    _NamesType = click.ParamType[tuple[str, ...]]
    _ResultsType = click.ParamType[tuple[ChainValidationResult, ...]]
    _HeaderType = click.ParamType[tuple[str, str]]
else:
    _ParamType = _TextType = _NamesType = _ResultsType = _HeaderType = click.ParamType  # older ones are not generic

_Command = TypeVar("_Command", bound="Callable[..., Any]")
#: Bytes that a datagram holds at the most, over IPv4 (RFC 768, RFC 791) as over IPv6.
LARGEST_DATAGRAM = 65_507
#: Parameters of `connect` and `listen` that mean nothing without connections, and those that mean nothing with them.
TCP_ONLY = frozenset(("finish_input", "idle_timeout", "no_half_close"))
UDP_ONLY = frozenset(("join", "verbose"))
CONNECTIONS_ONLY = frozenset(("keep", "max_connections", "drain_timeout"))
MESSAGES_ONLY = frozenset(("size",))
TLS_ONLY = frozenset(("alpn", "ca", "cert", "crl", "ignore", "key", "key_log", "pin", "revocation", "server_name"))
WEB_SOCKETS_ONLY = frozenset(("binary", "broadcast", "compression", "header", "origin", "subprotocol"))


class Seconds(_ParamType):
    """A time: finite, from `least`."""

    name = "seconds"

    def __init__(self, least: float = 0.0) -> None:
        self._least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds, or BadParameter."""
        try:
            number = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        if not math.isfinite(number) or number < self._least:
            self.fail(f"{value} is not a number of seconds from {self._least:g}", param, ctx)
        return number


class ServerName(_TextType):
    """A name that a certificate may have."""

    name = "name"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it was given, or BadParameter."""
        try:
            HostName(str(value))
        except OSError as error:
            self.fail(str(getattr(error, "reason", error)), param, ctx)
        return str(value)


class ApplicationProtocols(_NamesType):
    """Names for ALPN, the best one first, with commas between them."""

    name = "name,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names, or BadParameter."""
        names = _words(value)
        try:
            return check_alpn(names)
        except OSError as error:
            self.fail(str(getattr(error, "reason", error)).removeprefix("alpn: "), param, ctx)


class Pins(_NamesType):
    """Pins of public keys, with commas between them."""

    name = "pin,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The pins, or BadParameter."""
        try:
            return check_pins(_words(value), "it")
        except OSError as error:
            self.fail(str(getattr(error, "reason", error)).removeprefix("it: ").partition(";")[0], param, ctx)


class IgnorableErrors(_ResultsType):
    """Certificate errors to let pass, with commas between them. There is no word for all of them."""

    name = "error,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[ChainValidationResult, ...]:
        """The errors, or BadParameter for one that does not exist, or that nothing may let pass."""
        known = {each.name: each for each in ChainValidationResult if each != ChainValidationResult.SUCCESS}
        found: list[ChainValidationResult] = []
        for word in _words(value):
            result = known.get(word.upper().replace("-", "_"))
            if result is None:
                self.fail(f"{word!r} is no certificate error; choose from {', '.join(_IGNORABLE_NAMES)}", param, ctx)
            if result not in IGNORABLE:
                self.fail(f"{result.name} is never ignored; the server needs another certificate", param, ctx)
            found.append(result)
        return tuple(dict.fromkeys(found))

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's own signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """The names that fit behind what was typed."""
        from click.shell_completion import CompletionItem as Item  # noqa: PLC0415 (only where it is asked for)

        before, comma, begun = incomplete.rpartition(",")
        names = (name for name in _IGNORABLE_NAMES if name.startswith(begun.upper()))
        return [Item(f"{before}{comma}{name}") for name in names]


_IGNORABLE_NAMES = tuple(result.name for result in sorted(IGNORABLE))


def _words(value: object) -> tuple[str, ...]:
    """The words of an option with commas; of its default, which click passes through here, too."""
    return tuple(word.strip() for word in str(value).split(",") if word.strip())


def refuse_options(names: Collection[str], why: str) -> None:
    """UsageError for an option of the command under way that was given, and is one of these parameters."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{parameter.opts[0]} {why}")


def scheme_of(url: str) -> str:
    """The scheme of the URL of the command under way. Options that fit only others are a UsageError."""
    scheme = url.lower().partition("://")[0]
    web_socket = scheme in {"ws", "wss"}
    if scheme == "udp":
        refuse_options(CONNECTIONS_ONLY, "does not go with udp://")
    else:
        refuse_options(UDP_ONLY, "goes with udp:// only")
    if scheme not in {"tls", "wss"}:
        refuse_options(TLS_ONLY, "goes with tls:// and wss:// only")
    elif web_socket:
        refuse_options(("alpn",), "does not go with wss://")
    if web_socket or scheme == "udp":
        refuse_options(TCP_ONLY, "goes with tcp:// and tls:// only")
    else:
        refuse_options(MESSAGES_ONLY, "goes with udp:// and ws:// only")
    if not web_socket:
        refuse_options(WEB_SOCKETS_ONLY, "goes with ws:// and wss:// only")
    return scheme


@contextmanager
def argument_errors(hint: str = "URL") -> Generator[None]:
    """What the library does not understand is a wrong argument."""
    try:
        yield
    except OSError as error:
        if getattr(error, "winerror", None) != errors.E_INVALIDARG:
            raise
        raise click.BadParameter(str(getattr(error, "reason", error)), param_hint=hint) from error


def exchange_options(peer: str, *, idle: str, stats: str, as_json: str) -> Callable[[_Command], _Command]:
    """Gives a click command what `connect` and `listen` have in common; `manner_of` and `telling_of` take it apart."""
    options = (
        click.option("--idle-timeout", type=Seconds(0.001), help=f"TCP: {idle}"),
        click.option("--no-half-close", is_flag=True, help=f"TCP: do not tell the {peer} that input has ended."),
        click.option(
            "--quit-after",
            "--wait",
            type=Seconds(),
            help=f"Once standard input has ended, end when the {peer} is silent for so many seconds.",
        ),
        click.option(
            "--finish-input",
            is_flag=True,
            help=f"TCP: send standard input to its end, however slow, when the {peer} ends first.",
        ),
        click.option(
            "--size",
            type=click.IntRange(1, LARGEST_DATAGRAM),
            metavar="BYTES",
            help="UDP: every so many bytes of standard input are a datagram, instead of every line; WS: with --binary.",
        ),
        click.option("--verbose", "-v", is_flag=True, help="UDP: say of each datagram that comes who sent it."),
        click.option("--stats", is_flag=True, help=stats),
        click.option(
            "--interval",
            type=Seconds(0.01),
            default=INTERVAL,
            show_default=True,
            help="Seconds between two looks of --stats.",
        ),
        click.option("--json", "as_json", is_flag=True, help=as_json),
        loop_option,
    )

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def tls_options(ca: str, cert: str, *, accepting: bool) -> Callable[[_Command], _Command]:
    """Gives a click command the options for `tls://`; `trust_of` takes them apart."""
    file = click.Path(exists=True, dir_okay=False)
    options = [
        click.option("--ca", *(("--client-ca",) if accepting else ()), "ca", type=file, help=f"TLS: {ca}"),
        click.option("--cert", *(() if accepting else ("--client-cert",)), "cert", type=file, help=f"TLS: {cert}"),
        click.option("--key", type=file, help="TLS: the private key of --cert, where that file has none."),
        click.option(
            "--alpn",
            type=ApplicationProtocols(),
            default="",
            help="TLS: application protocols to agree on, the best one first, as in h2,http/1.1; not wss://.",
        ),
    ]
    key_log = click.option(
        "--key-log",
        type=click.Path(dir_okay=False),
        help="TLS: write the secrets there, so that Wireshark can read along; keep the file to yourself.",
    )
    if not accepting:
        options += [
            click.option(
                "--server-name",
                type=ServerName(),
                metavar="NAME",
                help="TLS: the name to ask for and to check, instead of the host.",
            ),
            click.option(
                "--ignore",
                type=IgnorableErrors(),
                default="",
                help="TLS: errors of the server's certificate to let pass, each by its name; no other passes.",
            ),
            click.option(
                "--pin",
                type=Pins(),
                default="",
                help="TLS: the server, or its authority, must have one of these keys, too ('moorings cert show').",
            ),
            revocation_options("TLS"),
        ]

    def decorate(command: _Command) -> _Command:
        for option in reversed([*options, key_log]):
            command = option(command)
        return command

    return decorate


def revocation_options(scheme: str = "") -> Callable[[_Command], _Command]:
    """Gives a click command `--revocation` and `--crl`; `revocation_of` takes them apart."""
    ask, same = (f"{scheme}: ask", f"{scheme}: the same") if scheme else ("Ask", "The same")
    file = click.Path(exists=True, dir_okay=False)

    def decorate(command: _Command) -> _Command:
        text = f"{same}, and look into the lists (CRL) of this file; repeatable."
        command = click.option("--crl", type=file, multiple=True, help=text)(command)
        text = f"{ask} whether the certificate was revoked; a server may staple the answer."
        return click.option("--revocation", is_flag=True, help=text)(command)

    return decorate


def revocation_of(asked: bool, files: tuple[str, ...]) -> RevocationCheck | None:
    """Whom to ask about revocation, from the values of `revocation_options`."""
    if not asked and not files:
        return None
    made = RevocationCheck(files=files)
    with argument_errors("--crl"):
        made.lists()
    return made


def anchors_of(file: str | None) -> TrustAnchors | None:
    """Whom a file says to trust; None for None. BadParameter where it has no certificate."""
    with argument_errors("--ca"):
        anchors = as_anchors(file, "--ca")
        try:
            if anchors is not None and not anchors.ders():
                raise errors.invalid_argument(f"{file} has no certificate")
        except errors.CodedError as error:
            if error.winerror != errors.ERROR_NOT_SUPPORTED:  # without the extra `tls`, OpenSSL reads it later
                raise
    return anchors


class Trust(NamedTuple):
    """Whom to trust, and what to show and to ask for, as `moorings.connect` and `moorings.listen` take it."""

    ca: TrustAnchors | None
    identity: Certificate | None
    alpn: tuple[str, ...]
    server_name: str | None = None
    ignore: tuple[ChainValidationResult, ...] = ()
    pin_sha256: tuple[str, ...] = ()
    revocation: RevocationCheck | None = None
    key_log: str | None = None
    #: The files of `revocation`.
    crl: tuple[str, ...] = ()


def trust_of(shared: dict[str, Any]) -> Trust:
    """What is said about TLS, from the values of `tls_options`."""
    cert, key = shared["cert"], shared["key"]
    if cert is None and key is not None:
        raise click.UsageError("--key goes with --cert")
    if cert is not None:
        require("--cert")
    with argument_errors("--cert"):
        identity = as_certificate(cert if key is None else (cert, key), "the file")
    return Trust(
        anchors_of(shared["ca"]),
        identity,
        shared["alpn"],
        shared.get("server_name"),
        shared.get("ignore", ()),
        shared.get("pin", ()),
        revocation_of(shared.get("revocation", False), shared.get("crl", ())),
        shared["key_log"],
        shared.get("crl", ()),
    )


def manner_of(shared: dict[str, Any], *, wait_if_absent: bool = False) -> Manner:
    """How an exchange ends, from the values of `exchange_options`."""
    return Manner(
        half_close=not shared["no_half_close"],
        finish_input=shared["finish_input"],
        quit_after=shared["quit_after"],
        idle_timeout=shared["idle_timeout"],
        wait_if_absent=wait_if_absent,
    )


def telling_of(shared: dict[str, Any]) -> Telling:
    """What is told about an exchange, from the values of `exchange_options`."""
    return Telling(shared["stats"], shared["interval"], shared["as_json"], shared["verbose"])


class HeaderField(_HeaderType):
    """A header of an HTTP request, as in `Name: value`."""

    name = "'name: value'"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Name and value, or BadParameter."""
        if isinstance(value, tuple):
            return cast("tuple[str, str]", value)
        from moorings.protocols.web_socket_headers import request_header  # noqa: PLC0415 (only for WebSockets)

        field, colon, text = str(value).partition(":")
        if not colon:
            self.fail(f"{value!r} is no header; write it as 'Name: value'", param, ctx)
        try:
            return request_header(field.strip(), text.strip())
        except OSError as error:
            self.fail(str(getattr(error, "reason", error)), param, ctx)


def _checked_subprotocols(
    _context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    """The names, or BadParameter."""
    if names:
        from moorings.protocols.web_socket_headers import check_subprotocols  # noqa: PLC0415 (only for WebSockets)

        with argument_errors("--subprotocol"):
            check_subprotocols(names)
    return names


def _checked_origins(_context: click.Context, _parameter: click.Parameter, origins: tuple[str, ...]) -> tuple[str, ...]:
    """The origins, or BadParameter."""
    with argument_errors("--origin"):
        check_origins(origins)
    return origins


def web_socket_options(*, accepting: bool) -> Callable[[_Command], _Command]:
    """Gives a click command the options for `ws://` and `wss://`."""
    options = [
        click.option(
            "--binary", is_flag=True, help="WS: what is read goes out in binary messages, instead of lines as text."
        ),
        click.option(
            "--subprotocol",
            multiple=True,
            metavar="NAME",
            callback=_checked_subprotocols,
            help="WS: a subprotocol to agree on; repeatable, the best one first.",
        ),
    ]
    if accepting:
        options += [
            click.option(
                "--broadcast",
                is_flag=True,
                help="WS: send what a client says to all others, not to standard output, and input to all.",
            ),
            click.option(
                "--origin",
                multiple=True,
                metavar="ORIGIN",
                callback=_checked_origins,
                help="WS: only pages of this origin may connect, as in https://example.com; repeatable.",
            ),
        ]
    else:
        options += [
            click.option(
                "--header", type=HeaderField(), multiple=True, help="WS: a header for the request; repeatable."
            ),
            click.option("--compression", is_flag=True, help="WS: offer permessage-deflate."),
        ]

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
