"""`moorings sockets`: what it shows, of whom, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import termios
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.cli.terminals import terminal
from tests.sockets import scripts

import moorings
from moorings import DatagramReport, DatagramSocket, HostName, StreamReport
from moorings.cli import app, sockets
from moorings.monitoring import lister
from moorings.monitoring.directory import open_listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.terminals import Terminal

    from moorings import Monitor

PATIENCE = 50.0
HOSTILE = "bad\x1b[2J\x9b31m[red]\n\u202ename"


@contextmanager
def watched(directory: Path, name: str = "server") -> Iterator[Monitor]:
    """This process as a program with a listener and both ends of a connection."""
    with moorings.monitor(name=name, directory=directory) as monitor, scripts.listening(scripts.echo) as listener:
        ours = scripts.connect(listener)
        scripts.until(lambda: len(monitor.snapshot().streams) == 2)
        yield monitor
        ours.close()


@contextmanager
def silent(directory: Path) -> Iterator[None]:
    """A program that takes connections and never says anything."""
    listening, path = open_listener(directory)
    path.rename(path.with_name("1-0.sock"))
    try:
        yield
    finally:
        listening.close()


def tell(capsys: pytest.CaptureFixture[str], directory: Path, *arguments: str) -> str:
    """What the command prints that ends well."""
    assert app.main(["sockets", "--directory", str(directory), *arguments]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    return output.out


# -- one table -------------------------------------------------------------------------------------------------------


def test_nothing_to_show_says_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(capsys, tmp_path) == f"{sockets.HOW}\n"
    assert json.loads(tell(capsys, tmp_path, "--json")) == {"programs": [], "unanswered": []}
    assert tell(capsys, tmp_path, "--open-metrics") == "# EOF\n"


def test_a_program_without_sockets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with moorings.monitor(name="idle", directory=tmp_path):
        assert tell(capsys, tmp_path) == f"no sockets are open in idle ({os.getpid()})\n"


def test_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watched(tmp_path) as monitor:
        lines = tell(capsys, tmp_path).splitlines()
        port = monitor.snapshot().listeners[0].local_port
    assert lines[0].split()[:3] == ["program", "local", "peer"]
    assert len(lines) == 4
    assert f"server ({os.getpid()})  127.0.0.1:{port}" in lines[1]
    assert "1 open" in lines[1]
    assert sum(f"-> 127.0.0.1:{port}" in line for line in lines) == 1
    assert sum("<- 127.0.0.1:" in line for line in lines) == 1


def test_the_usual_directories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with moorings.monitor(name="usual"):
        assert app.main(["sockets", "--pid", str(os.getpid())]) == 0
    assert f"usual ({os.getpid()})" in capsys.readouterr().out


def test_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watched(tmp_path):
        assert "Nothing stands out." in tell(capsys, tmp_path, "--why")


def test_the_choice_of_a_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watched(tmp_path):
        nobody = "no program of yours with the process id 1 has called moorings.monitor()\n"
        assert tell(capsys, tmp_path, "--pid", "1") == nobody
        assert len(tell(capsys, tmp_path, "--pid", "1", "--pid", str(os.getpid())).splitlines()) == 4


def test_sorted_and_limited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watched(tmp_path) as monitor:
        slowest = max(monitor.snapshot().streams, key=lambda report: report.round_trip_time_us or 0)
        lines = tell(capsys, tmp_path, "--sort", "rtt", "--limit", "1").splitlines()
        assert f"127.0.0.1:{slowest.local_port}" in lines[1]
        assert lines[2:] == ["not shown: 2 more sockets"]
        (program,) = json.loads(tell(capsys, tmp_path, "--json", "--sort", "rtt", "--limit", "1"))["programs"]
        assert [socket["id"] for socket in program["sockets"]] == [slowest.id]
        assert program["truncated"] == 2


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watched(tmp_path):
        (program,) = json.loads(tell(capsys, tmp_path, "--json", "--why"))["programs"]
    assert (program["pid"], program["name"], program["silent_loops"]) == (os.getpid(), "server", 0)
    kinds = [socket["kind"] for socket in program["sockets"]]
    assert sorted(kinds) == ["listener", "stream", "stream"]
    stream = program["sockets"][kinds.index("stream")]
    assert stream.keys() == {"kind", "why_slow", *StreamReport._fields}
    assert stream["inbound_bits_per_second"] is None  # not known is null, and not zero
    assert stream["bytes_received"] == 0


@contextmanager
def datagrams(directory: Path) -> Iterator[DatagramSocket]:
    """This process as a program with two DatagramSockets, of which one has sent to the other, which nobody reads."""
    with moorings.monitor(name="udp", directory=directory), DatagramSocket() as ours, DatagramSocket() as theirs:
        ours.bind_endpoint_async(HostName("127.0.0.1"), "").get()
        theirs.connect_async(HostName("127.0.0.1"), ours.information.local_port).get()
        theirs.output_stream.write_async(b"hello").get()
        yield ours


def test_datagram_sockets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with datagrams(tmp_path) as ours:
        port = ours.information.local_port
        heading, *rows = tell(capsys, tmp_path, "--why", "--sort", "bytes").splitlines()
        (program,) = json.loads(tell(capsys, tmp_path, "--json", "--why"))["programs"]
        families = list(text_string_to_metric_families(tell(capsys, tmp_path, "--open-metrics")))
    assert {"dg out", "dg in", "waiting", "drops"} < {name.strip() for name in heading.split("  ")}
    assert [f"-> 127.0.0.1:{port} (UDP)" in row for row in rows] == [True, False]
    assert ["any (UDP)" in row for row in rows] == [False, True]
    assert "nobody receives" in rows[1]
    assert {socket["kind"] for socket in program["sockets"]} == {"datagram"}
    assert program["sockets"][0].keys() == {"kind", "why_slow", *DatagramReport._fields}
    assert "moorings_datagram_kernel_unread_bytes" in {family.name for family in families}


def test_open_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watched(tmp_path):
        families = list(text_string_to_metric_families(tell(capsys, tmp_path, "--open-metrics")))
    assert "moorings_stream_sent_bytes" in {family.name for family in families}


# -- hostile and silent programs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=str)
def test_what_programs_say_is_only_text(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with watched(tmp_path, HOSTILE):
        text = tell(capsys, tmp_path, *arguments)
    assert all(line.isprintable() for line in text.splitlines())
    assert "[red]" in text


@pytest.mark.parametrize("arguments", [[], ["--open-metrics"]], ids=str)
def test_a_silent_program_costs_a_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_all = lister.ask_all

    async def impatient(*given: Any, **options: Any) -> lister.Listing:
        return await ask_all(*given, **options, deadline=0.1)

    monkeypatch.setattr(lister, "ask_all", impatient)
    with silent(tmp_path), watched(tmp_path):
        assert app.main(["sockets", "--directory", str(tmp_path), *arguments]) == 0
        output = capsys.readouterr()
        assert output.err == "moorings sockets: process 1: no answer within 0.1 s; its event loop may be blocked\n"
        assert "server" in output.out
        listing = json.loads(
            (app.main(["sockets", "--directory", str(tmp_path), "--json"]), capsys.readouterr())[1].out
        )
        assert [missing["pid"] for missing in listing["unanswered"]] == [1]


def test_waiting_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_PATIENCE", 0.0)
    waited: list[str] = []

    @contextmanager
    def progress(text: str) -> Iterator[None]:
        waited.append(text)
        yield

    monkeypatch.setattr(sockets.output, "progress", progress)
    with watched(tmp_path):
        assert len(tell(capsys, tmp_path).splitlines()) == 4
    assert waited == ["waiting for programs that do not answer"]


# -- wrong arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--json", "--open-metrics"], "--json and --open-metrics exclude each other"),
        (["--interval", "0"], "'--interval'"),
        (["--interval", "nan"], "'--interval'"),
        (["--pid", "x"], "'--pid'"),
        (["--sort", "size"], "'--sort'"),
        (["--limit", "0"], "'--limit'"),
        (["--directory", "/nonexistent"], "'--directory'"),
        (["more"], "unexpected extra argument"),
    ],
)
def test_wrong_arguments(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["sockets", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert reason in output.err
    assert output.err.count("\n") == 1


# -- live ------------------------------------------------------------------------------------------------------------


@contextmanager
def live_view(made: Terminal, directory: Path, *arguments: str, keys: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """The command on a terminal."""
    termios.tcsetwinsize(made.end, (24, 120))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    source = str(Path(moorings.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "moorings", "sockets", "--directory", str(directory), *arguments],
        stdin=made.end if keys else subprocess.DEVNULL,
        stdout=made.end,
        stderr=made.end,
        env=environment | {"PYTHONPATH": source, "TERM": "xterm"},
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_live_until_q(tmp_path: Path) -> None:
    with terminal() as made, watched(tmp_path, HOSTILE) as monitor:
        before = termios.tcgetattr(made.end)
        with live_view(made, tmp_path, "--interval", "0.1", "--sort", "bandwidth") as process:
            made.wait_for("sockets: 3, programs: 1; q ends")
            assert termios.tcgetattr(made.end) != before
            made.wait_for(" 0 bit/s")  # measured, so it has looked twice
            made.press("xQ")
            assert process.wait(PATIENCE) == 0
        assert termios.tcgetattr(made.end) == before
        port = monitor.snapshot().listeners[0].local_port
        made.finish()
        assert f"-> 127.0.0.1:{port}" in made.text
        assert "bad\\x1b[2J\\x9b31m[red]" in made.text
        assert "\x1b[2J" not in made.raw


def test_live_datagram_sockets(tmp_path: Path) -> None:
    arguments = ["--interval", "0.1", "--sort", "drops"]
    with terminal() as made, datagrams(tmp_path), live_view(made, tmp_path, *arguments) as process:
        made.wait_for("drops")
        made.wait_for("any (UDP)")
        made.wait_for("0 bit/s")  # measured, so it has looked twice
        made.press("q")
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("keys", [True, False])
def test_live_until_interrupted(keys: bool, number: signal.Signals, code: int, tmp_path: Path) -> None:
    with terminal() as made:
        with live_view(made, tmp_path, "--interval", "3600", "--why", keys=keys) as process:
            made.wait_for("programs: 0")
            process.send_signal(number)
            assert process.wait(PATIENCE) == code
        made.finish()
        assert made.raw.rfind("\x1b[?25h") > made.raw.rfind("\x1b[?25l"), "the cursor is hidden"
        assert sockets.HOW in made.text
        assert len(sockets.HOW) < 80
        assert "Traceback" not in made.text


def test_live_programs_come_and_go(tmp_path: Path) -> None:
    with terminal() as made, live_view(made, tmp_path, "--interval", "0.1", "--why") as process:
        made.wait_for("programs: 0")
        with watched(tmp_path, "brief"):
            made.wait_for("brief")
            made.wait_for("Nothing stands out.")
        del made._chunks[:]
        made.wait_for("programs: 0")
        made.press("q")
        assert process.wait(PATIENCE) == 0


def test_q_does_not_wait_for_the_silent(tmp_path: Path) -> None:
    with silent(tmp_path), terminal() as made, live_view(made, tmp_path) as process:
        reading = threading.Event()
        scripts.until(lambda: not termios.tcgetattr(made.end)[3] & termios.ICANON, reading)
        made.press("q")
        assert process.wait(PATIENCE) == 0


def test_once_on_a_terminal(tmp_path: Path) -> None:
    with terminal() as made, watched(tmp_path):
        with live_view(made, tmp_path, "--once") as process:
            assert process.wait(PATIENCE) == 0
        made.finish()
        assert len(made.text.splitlines()) == 5
