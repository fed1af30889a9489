"""What holds for all documents: links lead somewhere, and commands and fragments work."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from tests.docs import claims
from tests.docs.documents import DOCUMENTS, ROOT, Block, all_blocks, prose
from tests.docs.programs import Programs, environment, interrupt, own_port

import moorings
from moorings.sockets.datagram_limits import DatagramLimits
from moorings.sockets.datagram_socket_control import DatagramSocketControl
from moorings.sockets.datagram_socket_information import DatagramSocketInformation
from moorings.sockets.limits import StreamLimits
from moorings.sockets.stream_socket_control import StreamSocketControl
from moorings.sockets.stream_socket_information import StreamSocketInformation
from moorings.sockets.web_socket_limits import WebSocketCounters, WebSocketLimits

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = [block for block in all_blocks() if (block.document, claims.first_line(block)) not in claims.HELD_BY]
FRAGMENTS = [block for block in BLOCKS if block.language == "python" and not block.title]
COMMAND_BLOCKS = [block for block in BLOCKS if block.language == "sh"]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"])
ECHO_SERVER = """
import sys
from contextlib import suppress
import asyncio, moorings
async def echo(connection):
    with suppress(OSError):
        while data := await connection.read():
            await connection.write(data)
async def main():
    async with moorings.listen("tcp://127.0.0.1:" + sys.argv[1], echo) as server:
        await server.serve_forever()
asyncio.run(main())
"""
PRELUDE = "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The headings as GitHub and MkDocs make links of them."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_documents_were_found() -> None:
    assert {name(path) for path in DOCUMENTS} >= {
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/threads.md",
        "docs/cancellation.md",
        "docs/differences.md",
        "docs/errors.md",
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    broken: list[str] = []
    for link in re.findall(r"\]\(([^)]+)\)", prose(path)):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_tables_are_whole(path: Path) -> None:
    rows = [line for line in prose(path).splitlines() if line.startswith("|")]
    assert all(row.endswith("|") for row in rows)


async def echo(connection: moorings.StreamSocket) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await connection.read():
            await connection.write(data)


NAMED = {
    "moorings": moorings,
    "connection": moorings.StreamSocket,
    "client": moorings.StreamSocket,
    "server": moorings.Listening,
    "listener": moorings.StreamSocketListener,
    "server.listener": moorings.StreamSocketListener,
    "listener.control": type(moorings.StreamSocketListener().control),
    "connection.limits": StreamLimits,
    "limits": StreamLimits,
    "connection.counters": moorings.StreamCounters,
    "counters": moorings.StreamCounters,
    "connection.information": StreamSocketInformation,
    "information": StreamSocketInformation,
    "connection.control": StreamSocketControl,
    "control": StreamSocketControl,
    "round_trip_time_statistics": moorings.RoundTripTimeStatistics,
    "bandwidth_statistics": moorings.BandwidthStatistics,
    "server.report": moorings.DrainReport,
    "DrainReport": moorings.DrainReport,
}
"""What the documents call the objects of the library."""
OF_DATAGRAMS = {
    "message": moorings.DatagramSocketMessageReceivedEventArgs,
    "limits": DatagramLimits,
    "socket.limits": DatagramLimits,
    "counters": moorings.DatagramCounters,
    "socket.counters": moorings.DatagramCounters,
    "control": DatagramSocketControl,
    "socket.control": DatagramSocketControl,
    "information": DatagramSocketInformation,
    "server": moorings.ListeningDatagrams,
}
"""The same, of a DatagramSocket."""
OF_ASYNCIO = {"server.close", "server.wait_closed"}

OF_WEB_SOCKETS = {
    "limits": WebSocketLimits,
    "counters": WebSocketCounters,
    "control": type(moorings.MessageWebSocket().control),
    "information": type(moorings.MessageWebSocket().information),
    "listener.control": type(moorings.WebSocketListener().control),
}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_named_members_exist(path: Path) -> None:
    """Whatever stands between back-quotes as a member of one of the library's objects."""
    missing: list[str] = []
    for code in re.findall(r"`([^`]+)`", prose(path)):
        for owner, member in re.findall(r"(?<![\w.])((?:\w+\.)?\w+)\.(\w+)", code):
            known = [kinds[owner] for kinds in (NAMED, OF_DATAGRAMS, OF_WEB_SOCKETS) if owner in kinds]
            if not known or member == "py" or f"{owner}.{member}" in OF_ASYNCIO:
                continue
            if any(hasattr(kind, member) for kind in known):
                continue
            if owner == "moorings" and importlib.util.find_spec(f"moorings.{member}"):
                continue
            missing.append(f"{owner}.{member}")
    assert missing == []


@pytest.mark.parametrize("block", FRAGMENTS, ids=str)
async def test_fragment(block: Block) -> None:
    fragment = compile(PRELUDE + block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with (
        moorings.listen("tcp://127.0.0.1:0", echo) as server,
        await moorings.connect(f"tcp://127.0.0.1:{server.port}") as connection,
    ):
        names = {"__name__": "fragment", "asyncio": asyncio, "moorings": moorings}
        running = eval(fragment, names | {"server": server, "connection": connection})
        if inspect.iscoroutine(running):
            await running


@pytest.mark.parametrize("block", COMMAND_BLOCKS, ids=str)
def test_command(block: Block, tmp_path: Path) -> None:
    """Each line of a sh block."""
    for line in claims.commands_of(block):
        words = shlex.split(line)
        if words[0] == "make":
            # -n: print what it would do; make complains about a target that it does not know.
            subprocess.run([*words, "-n"], cwd=ROOT, check=True, capture_output=True)
        elif words[:2] == ["pip", "install"]:
            assert set(re.findall(r"(?<=[\[,])[\w-]+(?=[\],])", line)) <= EXTRAS, line
        elif words[:2] == ["git", "clone"] or words[0] == "cd":
            assert len(words) in {2, 3, 4}, line
        elif line in claims.COMMANDS and "::" in claims.COMMANDS[line]:
            continue  # test_claims.py has seen that the test exists
        elif claims.is_example(line) or (words[0] == "python" and words[1].endswith(".py")):
            continue  # test_examples.py, test_programs.py or test_readme.py runs the program
        else:
            run_command(block.document, words, claims.COMMANDS.get(line, claims.ENDS_WELL), tmp_path)


def run_command(document: str, words: list[str], way: str, directory: Path) -> None:
    """Run a command as `claims.py` says it."""
    with own_port() as port:
        programs = Programs(document, directory, port)
        command = [word.replace("1337", str(port)) for word in words]
        if command[0] == "moorings":
            command[0:1] = [sys.executable, "-m", "moorings"]
        elif command[0] == "python":
            command[0] = sys.executable
        if way == claims.UNTIL_INTERRUPTED:
            with programs.serving(command) as process:
                assert interrupt(process) in {(0, ""), (130, "")}
            return
        server = [sys.executable, "-c", ECHO_SERVER, str(port)]
        with programs.serving(server) if way == claims.WITH_ECHO_SERVER else contextlib.nullcontext():
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=50,
                cwd=directory,
                env=environment(),
            )
        assert result.returncode == 0, result.stdout + result.stderr
