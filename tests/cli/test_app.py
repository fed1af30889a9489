"""Every subcommand explains itself, and ends as the table in `moorings.cli.app` says."""

from __future__ import annotations

import io
import json
import os
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import click
import pytest
from tests.cli.terminals import stream_of, terminal

import moorings
from moorings import errors
from moorings.cli import app
from moorings.cli.exit_codes import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

SOURCE = Path(moorings.__file__).parents[1]
COMMAND = [sys.executable, "-W", "error", "-m", "moorings"]
PATIENCE = 50.0


def with_their_own(names: Iterable[str]) -> list[str]:
    """Subcommands, and theirs: "bench", "bench tcp"."""
    context = click.Context(app.group)
    paths: list[str] = []
    for name in names:
        command = app.group.get_command(context, name)
        paths.append(name)
        if isinstance(command, click.Group):
            paths += [f"{name} {inner}" for inner in command.list_commands(context)]
    return paths


PATHS = with_their_own(app.COMMANDS)
every_command = pytest.mark.parametrize("path", PATHS)


class Lasting(NamedTuple):
    """A command that runs until it is interrupted, or long enough for it."""

    arguments: list[str]
    #: What it shows on a terminal once it is at work.
    started: str


LASTING = {
    "demo": Lasting(["--megabytes", "4096"], "sending"),
    "listen": Lasting(["tcp://127.0.0.1:0"], "listening on tcp://127.0.0.1:"),
    "connect": Lasting(["tcp://127.0.0.1:{port}", "--stats"], "connected to 127.0.0.1:"),
    "sockets": Lasting(["--directory", "{directory}"], "q ends"),
    # Not before it has begun: an interrupt in the middle of an import leaves a file for the warnings-as-errors to name.
    "bench": Lasting(["tcp", "--quick"], "round 1 of"),
}
#: A certificate that trusts in itself, until 2100.
A_CERTIFICATE = Path(__file__).parent / "self_signed.pem"
#: Arguments with which a command ends by itself, soon and well, and writes something to standard output.
SHORT = {
    "demo": ["--clients", "30", "--megabytes", "1", "--packets", "1000"],
    "sockets": ["--once"],
    "doctor": [],
    "cert": ["show", str(A_CERTIFICATE), "--ca", str(A_CERTIFICATE)],
}


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    return {**kept, "PYTHONPATH": str(SOURCE), "TERM": "xterm", **more}


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# -- every subcommand ------------------------------------------------------------------------------------------------


@every_command
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_has_an_example_and_the_exit_codes(
    path: str, option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert app.main([*path.split(), option]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.startswith(f"Usage: moorings {path} ")
    _, _, examples = output.out.partition("Examples:\n")
    assert examples.lstrip().startswith(f"moorings {path.split(maxsplit=1)[0]}"), output.out
    _, _, codes = output.out.partition("Exit codes:")
    assert {"0", "1", "2"} <= set(codes.replace(",", " ").split()), output.out
    assert max(map(len, output.out.splitlines())) <= 80
    assert all(line.isprintable() and line == line.rstrip() for line in output.out.splitlines()), ascii(output.out)


@every_command
def test_help_has_two_spellings(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*path.split(), "--help"]) == 0
    asked = capsys.readouterr()
    assert app.main(["help", *path.split()]) == 0
    assert capsys.readouterr() == asked


@every_command
def test_an_unknown_option_is_a_line(path: str) -> None:
    done = run(*path.split(), "--no-such-option")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"moorings {path}: no such option")
    assert done.stderr.endswith(f"; see 'moorings {path} --help'\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("sockets --pid x", "'--pid': 'x' is not a whole number"),
        ("sockets --interval x", "'--interval': 'x' is not a number"),
        ("bench udp --only nothing", "no part has 'nothing' in its name; --list names them"),
        (
            "connect tcp://127.0.0.1:99999",
            "URL: 'tcp://127.0.0.1:99999': service '99999': no port, which is a number from 0 to 65535",
        ),
    ],
)
def test_what_is_wrong_is_told_in_plain_words(arguments: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(arguments.split()) == 2
    path = arguments.partition(" -")[0].partition(" tcp:")[0]
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.endswith(f"{told}; see 'moorings {path} --help'\n")
    assert output.err.count("see '") == 1


def test_the_commands_of_a_group_are_named_in_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["bench"]) == 0
    _, _, commands = capsys.readouterr().out.partition("Commands:")
    assert "..." not in commands


@every_command
def test_too_many_arguments_are_a_line(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*path.split(), "one", "two", "three"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"moorings {path}: ")
    assert output.err.endswith(f"; see 'moorings {path} --help'\n")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("name", sorted({path.split()[0] for path in PATHS if " " in path}))
def test_a_group_alone_shows_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([name, "--help"]) == 0
    asked = capsys.readouterr()
    assert app.main([name]) == 0
    assert capsys.readouterr() == asked


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        *([*path.split(), "--help"] for path in PATHS),
        *([name, *SHORT[name]] for name in SHORT),
    ],
    ids=" ".join,
)
def test_the_reader_of_the_output_may_go(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=environment(),
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_every_command_ends_in_one_way_or_the_other() -> None:
    assert set(LASTING) | set(SHORT) == set(app.COMMANDS)


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("name", LASTING)
def test_an_interrupt_is_quiet_and_gives_the_cursor_back(name: str, server: int, tmp_path: Path) -> None:
    arguments, started = LASTING[name]
    words = [word.format(port=server, directory=tmp_path) for word in arguments]
    with terminal() as made:
        with subprocess.Popen(
            [*COMMAND, name, *words], env=environment(COLUMNS="100"), stdin=made.end, stdout=made.end, stderr=made.end
        ) as process:
            made.wait_for(started)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
        made.finish()
        assert "Traceback" not in made.text
        assert "KeyboardInterrupt" not in made.text
        assert made.raw.rfind("\x1b[?25h") >= made.raw.rfind("\x1b[?25l"), "the cursor is hidden"


def test_an_interrupt_says_nothing_in_a_pipe() -> None:
    with subprocess.Popen(
        [*COMMAND, "demo", "--megabytes", "4096"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        while b"listening" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complaints) == (130, b"")


@pytest.mark.parametrize("name", list(SHORT))
def test_no_escape_bytes_in_a_pipe(name: str) -> None:
    for forced in ({}, {"FORCE_COLOR": "1"}):
        done = run(name, *SHORT[name], **forced)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", list(SHORT))
@pytest.mark.parametrize(
    ("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)], ids=str
)
def test_colours_on_a_terminal(name: str, settings: Mapping[str, str], coloured: bool) -> None:
    with terminal() as made:
        code = subprocess.run(
            [*COMMAND, name, *SHORT[name]],
            env=environment(COLUMNS="100", **{"TERM": "xterm"} | settings),
            stdin=made.end,
            stdout=made.end,
            stderr=made.end,
            timeout=PATIENCE,
            check=False,
        ).returncode
        made.finish()
        assert code == 0, made.text
        if not coloured or name != "sockets":  # which has nothing to draw here
            assert made.coloured is coloured


# -- without a subcommand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]], ids=str)
def test_help_lists_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(arguments) == 0
    output = capsys.readouterr()
    assert output.err == ""
    for name, text in app.COMMANDS.items():
        assert f"\n  {name} " in output.out
        assert text.split()[0] in output.out
    assert "Examples:" in output.out
    assert "Exit codes:" in output.out
    assert "_MOORINGS_COMPLETE=bash_source" in output.out
    assert not any(line.endswith(" ") for line in output.out.splitlines())


def test_help_is_fast_because_it_imports_little() -> None:
    program = (
        "import sys; from moorings.cli.app import main; code = main(['--help']); "
        "print(*sorted({name for name in sys.modules if name.startswith(('rich', 'uvloop', 'moorings.cli'))}), "
        "file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr.split() == ["moorings.cli", "moorings.cli.app", "moorings.cli.exit_codes", "moorings.cli.output"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    native, reason = moorings.native_mode()
    mode = "native (compiled)" if native else reason
    expected = f"moorings {moorings.__version__}, {mode}, Python {platform.python_version()}\n"
    assert capsys.readouterr() == (expected, "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["dmeo"], "no such command 'dmeo'; did you mean 'demo'?"),
        (["lisen"], "no such command 'lisen'; did you mean 'listen'?"),
        (["help", "docter"], "no such command 'docter'; did you mean 'doctor'?"),
        (["help", "demo", "x"], "no such command 'x'"),
        (["xyz"], f"no such command 'xyz'; the commands are {', '.join(app.COMMANDS)}"),
        (["--no-such-option"], "no such option '--no-such-option'"),
    ],
)
def test_wrong_words(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    # click before 8.2 does not quote the option
    assert output.err.replace(" --no-such-option;", " '--no-such-option';") in {
        f"moorings: {line}; see 'moorings --help'\n",
        f"moorings demo: {line}; see 'moorings demo --help'\n",
    }


@pytest.mark.parametrize(("typed", "offered"), [("", [*app.COMMANDS]), ("d", ["demo", "doctor"]), ("x", [])])
def test_completion_of_commands(
    typed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_MOORINGS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"moorings {typed}")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert app.main([]) == 0
    assert capsys.readouterr().out.split() == [f"plain,{name}" for name in offered]


def test_completion_of_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_MOORINGS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "moorings demo --cl")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert app.main([]) == 0
    assert capsys.readouterr().out == "plain,--clients\n"


# -- how a command ends ----------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Makes `action` the subcommand `fake`."""

    def install(action: Callable[[], object]) -> None:
        module = ModuleType("moorings.cli.fake")
        module.command = click.command("fake")(action)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "moorings.cli.fake", module)
        monkeypatch.setitem(app.COMMANDS, "fake", "Only for this test.")

    return install


def raises(error: BaseException) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action


ENDINGS: dict[str, tuple[Callable[[], object], int, str]] = {
    "nothing": (lambda: None, 0, ""),
    "a code": (lambda: 7, 7, ""),
    "something else": (lambda: "text", 0, ""),
    "a failure": (raises(CommandError("it broke")), 1, "moorings: it broke\n"),
    "a failure with a code": (raises(CommandError("it broke", 3)), 3, "moorings: it broke\n"),
    "wrong usage": (raises(click.UsageError("Not so.")), 2, "moorings fake: not so; see 'moorings fake --help'\n"),
    "a click failure": (raises(click.FileError("x", "is\nlost")), 1, "moorings: could not open file 'x': is lost\n"),
    "a hostile name": (raises(CommandError("no \x1b[31mhost\n")), 1, "moorings: no \\x1b[31mhost\n"),
    "Ctrl-C": (raises(KeyboardInterrupt()), 130, ""),
    "abort": (raises(click.Abort()), 130, ""),
    "exit": (raises(click.exceptions.Exit(5)), 5, ""),
    "the reader has gone": (raises(BrokenPipeError()), 141, ""),
    "a system error": (
        raises(FileNotFoundError(2, "No such file or directory", "x")),
        1,
        "moorings: x: No such file or directory\n",
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_endings(
    ending: str,
    command: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    action, code, complaint = ENDINGS[ending]
    command(action)
    assert app.main(["fake"]) == code
    assert capsys.readouterr() == ("", complaint)


def test_errors_of_the_library_say_their_reason(
    command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (errors.WSAECONNREFUSED, errors.WSAECONNABORTED, errors.WSAESHUTDOWN):
        command(raises(errors.make(number, "the socket: this and that")))
        assert app.main(["fake"]) == 1
        assert capsys.readouterr().err == "moorings: the socket: this and that\n"


def test_what_is_a_mistake_of_ours_is_not_hidden(command: Callable[[Callable[[], object]], None]) -> None:
    command(raises(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        app.main(["fake"])


def test_interrupt_on_a_terminal_ends_the_line(
    command: Callable[[Callable[[], object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    command(raises(KeyboardInterrupt()))
    with terminal() as made:
        with stream_of(made) as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            assert app.main(["fake"]) == 130
        assert made.text == "\n"


# -- odd standard streams --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "--version"],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, "demo", *SHORT["demo"]],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("all steps went well" in done.stdout) == (" >&-" not in f" {closed}")


def test_an_encoding_without_the_letter() -> None:
    done = run("demo", *SHORT["demo"], PYTHONIOENCODING="ascii:strict")
    assert (done.returncode, done.stderr) == (0, "")
    assert " smoothed, " in done.stdout


def test_streams_that_are_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    assert app.main(["demo", *SHORT["demo"], "--json"]) == 0
    assert json.loads(output.getvalue())["ok"] is True
