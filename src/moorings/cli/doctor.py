"""`moorings doctor`: what this machine offers, and what to install.

The checks stand in `moorings.cli.checks.table`. They change nothing and reach nobody: they ask this process, files,
sockets on the loopback interface and the daemons of this machine.
"""

from __future__ import annotations

import click

import moorings
from moorings.cli.checks.machine import Machine
from moorings.cli.checks.model import Check, Finding, State
from moorings.cli.checks.table import CHECKS, run_checks
from moorings.cli.exit_codes import EXIT_OK, CommandError
from moorings.cli.output import print_json, print_table, progress

EPILOG = """\b
Examples:
  moorings doctor
  moorings doctor --json

\b
States:
  ok       it is there and works
  off      it is there, and switched off or too small
  missing  it is not there
  broken   the library needs it, and it does not work
  unknown  the check failed, or got no answer in time

\b
Exit codes: 0 what the library needs works, 1 it does not (a line on standard
error says what), 2 wrong arguments, 130 Ctrl-C, 141 the reader of the output
has gone. What is only missing does not change the exit code."""

#: How a state looks on a terminal.
STYLES = {
    State.OK.value: "green",
    State.OFF.value: "yellow",
    State.MISSING.value: "yellow",
    State.BROKEN.value: "bold red",
    State.UNKNOWN.value: "red",
}


@click.command("doctor", epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print all that was found as JSON, for scripts.")
def command(as_json: bool) -> int:
    """Say what this machine offers, what is missing, and what to install for it.

    Nothing is changed, and nobody beyond this machine is asked. "Not used yet" marks what is for parts of Moorings that
    are not built yet.
    """
    findings: list[tuple[Check, Finding]] = []
    with progress("looking", len(CHECKS)) as bar:
        for pair in run_checks(CHECKS, Machine()):
            findings.append(pair)
            bar.advance()
    failed = [check.name for check, finding in findings if check.core and finding.state is not State.OK]
    if as_json:
        show_json(findings, healthy=not failed)
    else:
        show(findings)
    if failed:
        raise CommandError(f"what the library needs does not work: {', '.join(failed)}")
    return EXIT_OK


def purpose(check: Check) -> str:
    """What it is for; honest about what nothing uses so far."""
    return check.purpose if check.used else f"{check.purpose} (not used yet)"


def show(findings: list[tuple[Check, Finding]]) -> None:
    """Two tables: what was found, and what to do."""
    print(f"moorings {moorings.__version__}")
    print()
    print_table(
        ("check", "state", "found"),
        [(check.name, finding.state.value, finding.found) for check, finding in findings],
        styles=STYLES,
    )
    advice = [(check.name, finding.install, purpose(check)) for check, finding in findings if finding.install]
    if advice:
        print()
        print_table(("to have", "do this", "it is for"), advice)


def show_json(findings: list[tuple[Check, Finding]], *, healthy: bool) -> None:
    """The same for scripts, with all fields."""
    print_json(
        {
            "ok": healthy,
            "moorings": moorings.__version__,
            "checks": [
                {
                    "name": check.name,
                    "state": finding.state.value,
                    "found": finding.found,
                    "install": finding.install,
                    "purpose": check.purpose,
                    "core": check.core,
                    "used": check.used,
                }
                for check, finding in findings
            ],
        }
    )
