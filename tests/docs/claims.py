"""Which test runs which code block of the documents: the one registry. No line that nobody runs stands in a document.

Most blocks claim themselves:

- `python title="name.py"` is a program. `test_programs.py` runs it, alone, with `-W error`, on its own port in place
  of 1337. It must end by itself, well and without a word on standard error, and print exactly the `text` block that
  follows it. Under `text title="for example"` any number may be another number. A program that serves for ever, or
  that needs a server, has an entry in `PROGRAMS`.
- `python` without a title is a fragment. `test_documents.py` executes it on a running loop, with `asyncio` and
  `moorings` imported, `server`, a listening echo server, and `connection`, connected to it; `await` works at the top.
- `sh`: a line that is `make ...`, `pip install ...`, `git clone ...`, `cd ...`, `... --help`, `python program.py` (a
  program of the same page) or `python examples/...` needs nothing. Any other line has an entry in `COMMANDS`.
- `text` behind a program is its output. Any other has an entry in `HELD_BY`.

README.md's programs are run by `test_readme.py`, one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.docs.documents import ROOT, Block, blocks_of

README = "README.md"

EXAMPLE = "for example"
"""Title of a text block that shows what a program prints, give or take the numbers."""


@dataclass(frozen=True)
class Program:
    """How a program is run that does not just end."""

    server: str = ""
    """The program of the same page that listens on port 1337 meanwhile."""
    serves: bool = False
    """It listens on port 1337 until Ctrl-C."""
    prints: str = ""
    """A regular expression for all that it prints, where no text block says it."""
    fails: bool = False
    """It ends with exit code 1, and the text block behind it is what it says on standard error."""


PROGRAMS: dict[tuple[str, str], Program] = {
    ("docs/index.md", "echo_server.py"): Program(serves=True),
    ("docs/index.md", "client.py"): Program(server="echo_server.py"),
    ("docs/guides/server.md", "line_server.py"): Program(serves=True),
    ("docs/guides/server.md", "line_client.py"): Program(server="line_server.py"),
    ("docs/guides/tcp.md", "greeter.py"): Program(serves=True),
    ("docs/guides/tcp.md", "greeted.py"): Program(server="greeter.py"),
}
"""(document, title): how that program is run."""

ENDS_WELL = "ends well"
"""The command is run as it stands, and ends with exit code 0 within a minute."""
UNTIL_INTERRUPTED = "until interrupted"
"""The command listens on port 1337 until Ctrl-C, which it survives with exit code 0 or 130."""
WITH_ECHO_SERVER = "with an echo server"
"""The command ends with exit code 0 while an echo server listens on port 1337; its standard input is empty."""

COMMANDS: dict[str, str] = {
    'python -c "import moorings; print(moorings.native_mode())"': ENDS_WELL,
    "moorings demo": ENDS_WELL,
    "moorings doctor": ENDS_WELL,
    "moorings sockets": ENDS_WELL,
    "moorings sockets --once --why --sort queued": ENDS_WELL,
    "moorings sockets --once --sort drops": ENDS_WELL,
    "moorings sockets --json": ENDS_WELL,
    "moorings sockets --open-metrics": ENDS_WELL,
    "moorings bench tcp --json tcp.json --plot tcp.svg": (
        "benchmarks/test_tcp.py::test_command_writes_table_json_and_picture"
    ),
    "moorings bench tls --json tls.json --plot tls.svg": (
        "benchmarks/test_tls.py::test_command_writes_table_json_and_picture"
    ),
    "moorings bench udp --json udp.json": ("benchmarks/test_udp.py::test_the_document_has_figures_and_ratios"),
    "python tools/comparison.py --from tcp.json": "tools/test_comparison.py::test_figures_of_a_new_run",
    "python tools/comparison.py --from udp.json": "tools/test_comparison.py::test_figures_of_a_new_run",
}
"""Line of a sh block: how it is run (one of the three ways above), or the test that runs it, as
"cli/test_demo.py::test_whole_program"."""

_PAGE = "docs/command-line.md"
_TESTS = "docs/test_command_line_page.py"

_MAKING = (
    "-newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 "
    "-keyout server.pem -out server.pem"
)

HELD_BY: dict[tuple[str, str], list[str]] = {
    (_PAGE, "moorings connect tcp://127.0.0.1:1337 < request > answer"): [f"{_TESTS}::test_connect"],
    (_PAGE, r"printf 'hello\n' | moorings connect tcp://127.0.0.1:1337 --stats"): [f"{_TESTS}::test_shown_summary"],
    (_PAGE, "connected to 127.0.0.1:1337 in 0.31 ms"): [f"{_TESTS}::test_shown_summary"],
    (_PAGE, "moorings listen tcp://127.0.0.1:1337 > received"): [f"{_TESTS}::test_listen"],
    (_PAGE, "moorings listen tcp://127.0.0.1: > received 2> messages &"): [f"{_TESTS}::test_script"],
    (_PAGE, "127.0.0.1:40122 came"): [f"{_TESTS}::test_shown_drain"],
    (_PAGE, r"printf 'hello\n' | moorings connect udp://127.0.0.1:1337"): [f"{_TESTS}::test_connect_with_datagrams"],
    (_PAGE, "moorings listen udp://127.0.0.1:1337 --quit-after 1 > received"): [f"{_TESTS}::test_listen_for_datagrams"],
    (_PAGE, "moorings listen tls://127.0.0.1:1337 --cert server.pem --echo"): [f"{_TESTS}::test_tls"],
    (_PAGE, "moorings connect ws://127.0.0.1:1337/chat"): [f"{_TESTS}::test_connect_with_web_sockets"],
    (_PAGE, "moorings listen ws://127.0.0.1:1337/chat --echo"): [f"{_TESTS}::test_listen_for_web_sockets"],
    (_PAGE, f"openssl req -x509 {_MAKING}"): [f"{_TESTS}::test_a_certificate_to_try_things_out"],
    (_PAGE, "moorings cert show localhost:1337 --ca ca.pem"): [f"{_TESTS}::test_cert_show"],
    (_PAGE, "about                   found"): [f"{_TESTS}::test_shown_certificate"],
    (_PAGE, "127.0.0.1:40122: 6 B"): [f"{_TESTS}::test_shown_counts"],
    ("docs/guides/web-sockets.md", "location / {"): ["interop/test_web_socket_nginx.py::test_as_the_guide_has_it"],
    ("docs/guides/udp.md", "moorings listen udp://127.0.0.1:1337 --echo"): [f"{_TESTS}::test_listen_for_datagrams"],
    ("docs/guides/udp.md", r"printf 'hello\n' | moorings connect udp://127.0.0.1:1337 --stats"): [
        f"{_TESTS}::test_the_guide_to_udp"
    ],
}
"""(document, first line of the block): the tests that hold this block, each as "docs/test_x.py::test_y"."""

RUN_BY_ITSELF = re.compile(r"(make( |$)|pip install |git clone |cd |.* --help$)")


def first_line(block: Block) -> str:
    return next((line.strip() for line in block.text.splitlines() if line.strip()), "")


def commands_of(block: Block) -> list[str]:
    """The lines of a sh block, without comments."""
    lines = [line.partition("  #")[0].strip() for line in block.text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def output_of(program: Block) -> Block | None:
    """The text block that comes next after a program, before any other program."""
    found = blocks_of(program.document)
    for block in found[found.index(program) + 1 :]:
        if block.language == "python":
            return None
        if block.language == "text":
            return block
    return None


def program_before(text: Block) -> Block | None:
    """The program whose output a text block is."""
    return next(
        (
            block
            for block in blocks_of(text.document)
            if block.language == "python" and block.title and output_of(block) == text
        ),
        None,
    )


def claim(block: Block) -> str | None:
    """What runs this block; None if nothing does."""
    if held := HELD_BY.get((block.document, first_line(block))):
        return ", ".join(held)
    if block.language == "python":
        if not block.title:
            return "docs/test_documents.py::test_fragment"
        return "docs/test_readme.py" if block.document == README else "docs/test_programs.py::test_program"
    if block.language == "sh":
        return None if unclaimed_commands(block) else "docs/test_documents.py::test_command"
    if block.language == "text":
        return "docs/test_programs.py::test_program" if program_before(block) else None
    return None


def unclaimed_commands(block: Block) -> list[str]:
    return [line for line in commands_of(block) if not runs(line, block)]


def runs(line: str, block: Block) -> bool:
    """Whether a line of a sh block is run by something."""
    if line in COMMANDS or RUN_BY_ITSELF.match(line) or is_example(line):
        return True
    return line in {f"python {program.title}" for program in blocks_of(block.document) if program.title}


def is_example(line: str) -> bool:
    """`python examples/...`: examples/test_examples.py runs every example that is there."""
    match = re.match(r"(?:\.venv/bin/)?python (examples/\w+\.py)( |$)", line)
    return match is not None and (ROOT / match[1]).exists()


def advice(block: Block) -> str:
    """What to do about a block that nothing runs."""
    where = f"{block.document}, line {block.line}: no test runs this {block.language or 'unnamed'} block.\n"
    registry = "tests/docs/claims.py (its first lines explain each way)"
    if block.language == "sh":
        lines = "\n".join(f"    {line!r}: ENDS_WELL," for line in unclaimed_commands(block))
        return f"{where}Add to COMMANDS in {registry} how each line is run, or which test does it:\n{lines}"
    entry = f"    ({block.document!r}, {first_line(block)!r}): ['docs/test_....py::test_...'],"
    if block.language == "text":
        return f"{where}Put it behind the program that prints it, or add to HELD_BY in {registry}:\n{entry}"
    return f"{where}Make it python, sh or text, or add to HELD_BY in {registry}:\n{entry}"
