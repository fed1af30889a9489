"""Types of arguments that several commands share, and what turns the library's refusals into those of a command."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from moorings import errors
from moorings.cli.loops import loop_option
from moorings.cli.pipes import Manner
from moorings.cli.statistics_line import INTERVAL, Telling

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator

    _ParamType = click.ParamType[float]
else:
    _ParamType = click.ParamType  # older ones are not generic

_Command = TypeVar("_Command", bound="Callable[..., Any]")
#: Bytes that a datagram holds at the most, over IPv4 (RFC 768, RFC 791) as over IPv6.
LARGEST_DATAGRAM = 65_507
#: Parameters of `connect` and `listen` that mean nothing without connections, and those that mean nothing with them.
TCP_ONLY = frozenset(("finish_input", "idle_timeout", "keep", "max_connections", "drain_timeout", "no_half_close"))
UDP_ONLY = frozenset(("join", "size", "verbose"))
TLS_ONLY = frozenset(("ca", "cert", "key"))


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


def refuse_options(names: Collection[str], why: str) -> None:
    """UsageError for an option of the command under way that was given, and is one of these parameters."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{parameter.opts[0]} {why}")


def speaks_udp(url: str) -> bool:
    """Whether the command under way is about datagrams. Options that fit only the other kind are a UsageError."""
    scheme = url.lower().partition("://")[0]
    if scheme == "udp":
        refuse_options(TCP_ONLY, "goes with tcp:// and tls:// only")
    else:
        refuse_options(UDP_ONLY, "goes with udp:// only")
    if scheme != "tls":
        refuse_options(TLS_ONLY, "goes with tls:// only")
    return scheme == "udp"


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
            help="UDP: every so many bytes of standard input are a datagram, instead of every line.",
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


def tls_options(ca: str, cert: str) -> Callable[[_Command], _Command]:
    """Gives a click command the options for `tls://`; `identity_of` takes two of them apart."""
    file = click.Path(exists=True, dir_okay=False)

    def decorate(command: _Command) -> _Command:
        for option in (
            click.option("--key", type=file, help="TLS: the private key of --cert, where that file has none."),
            click.option("--cert", type=file, help=f"TLS: {cert}"),
            click.option("--ca", type=file, help=f"TLS: {ca}"),
        ):
            command = option(command)
        return command

    return decorate


def identity_of(cert: str | None, key: str | None) -> str | tuple[str, str] | None:
    """What `--cert` and `--key` say, as `moorings.connect` and `moorings.listen` take it."""
    if cert is None:
        if key is not None:
            raise click.UsageError("--key goes with --cert")
        return None
    return cert if key is None else (cert, key)


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
