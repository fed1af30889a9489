"""Drawn on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from rich.live import Live
from tests.cli.terminals import Terminal, stream_of, terminal

from moorings import errors
from moorings.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROWS = (("demo", "12"), ("a longer name", "3"))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def drawn_on(monkeypatch: pytest.MonkeyPatch, *streams: str) -> Iterator[Terminal]:
    """A terminal as these standard streams."""
    with terminal() as made, stream_of(made) as stream, monkeypatch.context() as patch:
        for name in streams:
            patch.setattr(sys, name, stream)
        yield made


# -- terminals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "drawn"), [("xterm", True), ("dumb", False), ("unknown", False), ("", True)])
def test_terminals_that_can_be_drawn_on(monkeypatch: pytest.MonkeyPatch, kind: str, drawn: bool) -> None:
    monkeypatch.setenv("TERM", kind)
    with drawn_on(monkeypatch, "stdout") as made:
        assert output.on_terminal() is drawn
        assert not output.on_terminal(io.StringIO())
    assert made.text == ""


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
@pytest.mark.parametrize("error", [False, True])
def test_nothing_colours_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, error: bool
) -> None:
    monkeypatch.setenv(name, "1")
    output.console(error=error).print("[bold red]warning[/]", "x" * 200)
    written = capsys.readouterr()
    assert (written.err if error else written.out) == f"warning {'x' * 200}\n"


# -- tables and JSON -------------------------------------------------------------------------------------------------


def test_table_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name", "count"), ROWS, title="Sockets")
    assert capsys.readouterr().out == "Sockets\nname           count\ndemo           12\na longer name  3\n"


def test_what_came_from_elsewhere_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name",), (("\x1b]0;owned\x07\r\n",), ("größe",)))
    assert capsys.readouterr().out == "name\n\\x1b]0;owned\\x07\\r\\n\ngröße\n"


def test_table_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name", "count"), ())
    assert capsys.readouterr().out == "name  count\n"


def test_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with drawn_on(monkeypatch, "stdout") as made:
        output.print_table(("name", "count"), (*ROWS, ("[red]brackets[/red]", "1")), title="Sockets")
    assert "Sockets" in made.text
    assert "│ a longer name" in made.text
    assert "[red]brackets[/red]" in made.text, "what others sent is no markup"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": [1, None], "b": "µ"})
    assert json.loads(capsys.readouterr().out) == {"a": [1, None], "b": "µ"}


# -- progress --------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(output.time, "monotonic", lambda: self.now)


def test_progress_in_a_pipe_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with output.progress("sending", 200) as bar:
        bar.advance(50)
        assert capsys.readouterr().err == ""
        clock.now += output.PLAIN_PROGRESS_INTERVAL
        bar.advance(50)
        bar.advance(1)
        assert capsys.readouterr().err == "sending 50%\n"
        bar.note("12 µs")
        clock.now += output.PLAIN_PROGRESS_INTERVAL
        bar.describe("still sending")
        assert capsys.readouterr().err == "still sending 50%, 12 µs\n"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("unit", "amount", "line"),
    [("", 0, "waiting\n"), ("", 12_345, "waiting 12,345\n"), ("bytes", 3 << 20, "waiting 3.0 MiB\n")],
)
def test_progress_without_an_end_tells_the_amount(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unit: str, amount: int, line: str
) -> None:
    clock = Clock(monkeypatch)
    with output.progress("waiting", unit=unit) as bar:
        clock.now += output.PLAIN_PROGRESS_INTERVAL
        bar.advance(amount)
    assert capsys.readouterr().err == line


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with drawn_on(monkeypatch, "stderr") as made, output.progress("counting", 3, keep=True) as bar:
        bar.advance()
        bar.advance(2)
        bar.describe("counted")
        bar.note("nothing [red]else[/red]")
    assert "counted" in made.text
    assert "3/3" in made.text
    assert "nothing [red]else[/red]" in made.text
    assert made.coloured
    assert capsys.readouterr() == ("", "")


def test_bytes_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with drawn_on(monkeypatch, "stderr") as made, output.progress("sending", 4 << 20, unit="bytes", keep=True) as bar:
        bar.advance(4 << 20)
    assert "4.0/4.0 MiB" in made.text
    assert "MB/s" in made.text


def test_progress_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with drawn_on(monkeypatch, "stderr") as made, output.progress("counting", 3) as bar:
        bar.advance(3)
    assert "counting" in made.text
    assert not made.coloured


def test_progress_on_a_dumb_terminal_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(output, "PLAIN_PROGRESS_INTERVAL", 0.0)
    with drawn_on(monkeypatch, "stderr") as made, output.progress("counting", 2) as bar:
        bar.advance()
    assert made.raw == "counting 50%\r\n"


def test_results_stay_out_of_the_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is a pipe while standard error is a terminal."""
    with drawn_on(monkeypatch, "stderr") as made, output.progress("counting", 1) as bar:
        sys.stdout.write("a result\n")
        bar.advance()
    assert capsys.readouterr().out == "a result\n"
    assert "a result" not in made.text


def test_progress_ends_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        with output.progress("counting", 2) as bar:
            bar.advance()
            raise ConnectionResetError

    with drawn_on(monkeypatch, "stderr") as made, pytest.raises(ConnectionResetError):
        work()
    assert made.raw.rfind("\x1b[?25h") > made.raw.rfind("\x1b[?25l"), "the cursor is shown again"


@pytest.mark.parametrize(("stream", "drawn"), [("stderr", output.progress), ("stdout", output.live)])
def test_ctrl_c_while_it_begins(monkeypatch: pytest.MonkeyPatch, stream: str, drawn: Callable[[str], Any]) -> None:
    started = Live.start

    def interrupted(view: Live, refresh: bool = False) -> None:
        started(view, refresh=refresh)
        raise KeyboardInterrupt

    monkeypatch.setattr(Live, "start", interrupted)
    with drawn_on(monkeypatch, stream) as made, pytest.raises(KeyboardInterrupt), drawn("counting"):
        pass
    assert "\x1b[?25l" in made.raw
    assert made.raw.rfind("\x1b[?25h") > made.raw.rfind("\x1b[?25l"), "the cursor is shown again"


@pytest.mark.parametrize("colours", [True, False])
def test_live_view(monkeypatch: pytest.MonkeyPatch, colours: bool) -> None:
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    with drawn_on(monkeypatch, "stdout") as made, output.live("first") as view:
        view.update("[red]second[/red]", refresh=True)
    assert "second" in made.text
    assert made.coloured is colours


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.closed("the listener"), "the listener"),
        (ValueError("two\nlines"), "two lines"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_errors_in_a_line(error: BaseException, line: str) -> None:
    assert output.describe_error(error).startswith(line)
    assert "\n" not in output.describe_error(error)
