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
=====  =================================================================================================
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from moorings.cli.exit_codes import EXIT_BROKEN_PIPE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "moorings"
#: Subcommand, and what `moorings --help` says about it.
COMMANDS = {
    "demo": "A tour on this machine: echoes, many clients, a transfer, statistics, failures.",
    "listen": "Accept connections: to standard input and output, or as an echo server.",
    "connect": "Connect standard input and output to a server.",
    "sockets": "Show the sockets of running programs that called moorings.monitor(), live.",
    "bench": "Measure this library against its peers on this machine.",
    "doctor": "Say what this machine offers, and what to install.",
}
EPILOG = """\b
Examples:
  moorings demo
  moorings listen tcp://127.0.0.1:1337 --echo
  moorings connect tcp://127.0.0.1:1337 --stats
\b
Exit codes: 0 it went well, 1 it failed, 2 wrong arguments, 130 Ctrl-C,
141 the reader of the output has gone."""


class _Commands(click.Group):
    """Subcommands that are imported when they are asked for: `--help` and a wrong name cost no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"moorings.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    PROGRAM,
    cls=_Commands,
    epilog=EPILOG,
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="moorings", message="%(prog)s %(version)s")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Sockets that end cleanly, say why they failed, and show what they do."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: that of the process); the exit code."""
    try:
        result: Any = group.main(
            list(sys.argv[1:] if arguments is None else arguments), prog_name=PROGRAM, standalone_mode=False
        )
        sys.stdout.flush()
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else PROGRAM
        return _end(EXIT_USAGE, f"{path}: {_sentence(error.format_message())}; see '{path} --help'")
    except click.ClickException as error:
        return _end(EXIT_FAILED, f"{PROGRAM}: {_sentence(error.format_message())}")
    except CommandError as error:
        return _end(error.code, f"{PROGRAM}: {error}")
    except (KeyboardInterrupt, click.Abort):
        return _end(EXIT_INTERRUPTED)
    except BrokenPipeError as error:
        if getattr(error, "winerror", None) is not None:  # a socket's, not that of the output
            return _end(EXIT_FAILED, f"{PROGRAM}: {_reason(error)}")
        return _drop_output()
    except OSError as error:
        return _end(EXIT_FAILED, f"{PROGRAM}: {_reason(error)}")
    return result if isinstance(result, int) else EXIT_OK


def _reason(error: OSError) -> str:
    """What went wrong, in a line."""
    return str(getattr(error, "reason", None) or error)


def _sentence(text: str) -> str:
    """Click's message as the rest of a line."""
    line = " ".join(text.split()).rstrip(".")
    return line[:1].lower() + line[1:]


def _end(code: int, message: str = "") -> int:
    """Flush what was printed, then say `message`; the exit code."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        if message:
            print(message, file=sys.stderr, flush=True)
        return code
    return _drop_output()


def _drop_output() -> int:
    """What Python flushes at its end must not find the broken pipe again."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return EXIT_BROKEN_PIPE
