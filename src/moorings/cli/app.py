"""The `moorings` command: finds the subcommand, and ends every one of them the same way.

A subcommand is a module of this package with a click command named `command`; it is imported when it is asked for. It
returns its exit code, or None for 0, and may raise whatever `main` knows how to end. Whatever it is, the user sees at
most one line, and no traceback:

=====  =================================================================================================
code   meaning
=====  =================================================================================================
0      it went well
1      it failed; one line on standard error says why
2      the arguments are wrong; one line on standard error says which, and how to get help
130    interrupted with Ctrl-C (128 + SIGINT)
141    whoever read the output has gone, as `head` does (128 + SIGPIPE); nothing is said
143    ended by SIGTERM (128 + SIGTERM), where the command does not end well with it
=====  =================================================================================================
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import platform
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, shell_complete

import moorings
from moorings.cli.exit_codes import EXIT_BROKEN_PIPE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, CommandError
from moorings.cli.output import describe_error, drop, on_terminal, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "moorings"
#: The shell's completion asks with this variable.
COMPLETION = "_MOORINGS_COMPLETE"
#: Click's words for what a number has to be, and plainer ones.
_PLAINER = {"is not a valid integer range": "is not a whole number", "is not a valid float range": "is not a number"}
#: Subcommand, and what `moorings --help` says about it.
COMMANDS = {
    "demo": "A tour on this machine: TCP, TLS, UDP, WebSockets, a browser, many clients, failures.",
    "listen": "Accept connections, datagrams or WebSockets: standard input and output, or an echo server.",
    "connect": "Connect standard input and output to a server, over TCP, TLS, UDP or WebSockets.",
    "cert": "Show the certificates of a server or a file, and all that is wrong with them.",
    "sockets": "Show the sockets of running programs that called moorings.monitor(), live.",
    "bench": "Measure this library against its peers on this machine.",
    "doctor": "Say what this machine offers, and what to install.",
}
EPILOG = """\b
Examples:
  moorings demo
  moorings listen tcp://127.0.0.1:1337 --echo
  moorings connect tcp://127.0.0.1:1337 --stats
  moorings connect udp://127.0.0.1:1337
  moorings connect wss://example.com/feed
  moorings cert show example.com:443

\b
Completion of commands and options, in bash (zsh and fish likewise):
  eval "$(_MOORINGS_COMPLETE=bash_source moorings)"

\b
Exit codes: 0 it went well, 1 it failed, 2 wrong arguments, 130 Ctrl-C,
141 the reader of the output has gone."""


class _Commands(click.Group):
    """Subcommands that are imported when they are asked for: `--help` and a wrong name cost no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name == "help":
            return _help
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"moorings.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            raise click.UsageError(_unknown(name), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items(), ("help", "Show the help of a command.")])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def _unknown(name: str) -> str:
    """What to say about a command that is not there."""
    close = difflib.get_close_matches(name, [*COMMANDS, "help"], n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"the commands are {', '.join(COMMANDS)}"
    return f"no such command {name!r}; {hint}"


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    """What reports of trouble should begin with."""
    if wanted and not ctx.resilient_parsing:
        native, reason = moorings.native_mode()
        mode = "native (compiled)" if native else reason
        click.echo(f"{PROGRAM} {moorings.__version__}, {mode}, Python {platform.python_version()}")
        ctx.exit()


@click.group(
    PROGRAM,
    cls=_Commands,
    epilog=EPILOG,
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version, and whether the hot modules are compiled.",
)
@click.pass_context
def group(ctx: click.Context) -> None:
    """Sockets that end cleanly, say why they failed, and show what they do."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@click.command("help", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def _help(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Show the help of a command, as `moorings COMMAND --help` does."""
    above = ctx.parent
    assert above is not None
    for name in names:
        command = above.command.get_command(above, name) if isinstance(above.command, click.Group) else None
        if command is None:
            raise click.UsageError(_unknown(name) if above is ctx.parent else f"no such command {name!r}", above)
        above = click.Context(command, info_name=name, parent=above)
    click.echo(above.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: that of the process); the exit code."""
    _repair_streams()
    return _end(*_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> tuple[int, str]:
    """The exit code, and what to say on standard error.

    Not `click.Group.main`: that ends with code 1 when the reader of the output has gone, and prints an empty
    line on Ctrl-C.
    """
    try:
        instruction = os.environ.get(COMPLETION)
        if instruction:
            return shell_complete(group, {}, PROGRAM, COMPLETION, instruction), ""
        with group.make_context(PROGRAM, arguments) as context:
            result: Any = group.invoke(context)
    except click.exceptions.Exit as finished:
        return finished.exit_code, ""
    except click.UsageError as error:
        if (
            error.ctx is not None and type(error).__name__ == "NoArgsIsHelpError"
        ):  # of click 8.2; 8.1 says the help itself
            click.echo(error.ctx.get_help())
            return EXIT_OK, ""
        path = error.ctx.command_path if error.ctx is not None else PROGRAM
        return EXIT_USAGE, f"{path}: {_sentence(error.format_message())}; see '{path} --help'"
    except click.ClickException as error:
        return EXIT_FAILED, f"{PROGRAM}: {_sentence(error.format_message())}"
    except CommandError as error:
        return error.code, f"{PROGRAM}: {error}"
    except (KeyboardInterrupt, click.Abort):
        # A terminal has shown "^C"; its next line should begin at the left.
        return EXIT_INTERRUPTED, "" if not on_terminal(sys.stderr) else "\n"
    except OSError as error:
        if isinstance(error, BrokenPipeError) and getattr(error, "winerror", None) is None:  # not one of our sockets
            return EXIT_BROKEN_PIPE, ""
        return EXIT_FAILED, f"{PROGRAM}: {describe_error(error)}"
    return (result if isinstance(result, int) else EXIT_OK), ""


def _sentence(text: str) -> str:
    """Click's message as the rest of a line."""
    line = " ".join(text.split()).rstrip(".").replace("'. Did you mean", "'; did you mean")
    for theirs, plain in _PLAINER.items():
        line = line.replace(theirs, plain)
    return line[:1].lower() + line[1:]


def _repair_streams() -> None:
    """Standard streams that every command can write to."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # Whoever started us closed it. The next socket must not get its number, and so what is meant for it.
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(nowhere, True)
            setattr(sys, name, open(nowhere, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict" and name != "stdin":
            stream.reconfigure(errors="replace")  # an encoding without "µ" is no reason to fail


def _end(code: int, message: str) -> int:
    """Flush what was printed, then say `message`; the exit code."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
        code, message = EXIT_BROKEN_PIPE, ""
    except OSError as error:  # a full disk, for example; what went wrong before that matters more
        drop(sys.stdout)
        if code == EXIT_OK:
            code, message = EXIT_FAILED, f"{PROGRAM}: cannot write the output: {error.strerror}"
    if message:
        with contextlib.suppress(OSError):
            # A message may quote a name that came from elsewhere.
            print(printable(message.rstrip("\n")), file=sys.stderr, flush=True)
    return code
