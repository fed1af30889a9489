"""The harness finds each kind of leftover, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LEAKS = """
import asyncio, gc, logging, os, socket, threading, time
import pytest

KEPT = []

def test_descriptor():
    KEPT.append(os.open("/dev/null", os.O_RDONLY))

def test_socket_kept():
    KEPT.append(socket.socket())

def test_socket_dropped():
    socket.socket()

def test_cycle_with_a_failing_finaliser():
    class Node:
        def __del__(self):
            raise ValueError("from __del__")
    node = Node()
    node.self = node

def test_thread():
    release = threading.Event()
    KEPT.append(release)
    threading.Thread(target=release.wait, daemon=True).start()

def test_log():
    logging.getLogger("asyncio").warning("something odd")

async def test_task():
    KEPT.append(asyncio.ensure_future(asyncio.sleep(3600)))

async def test_loop_error():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)

async def test_future_never_retrieved():
    asyncio.get_running_loop().create_future().set_exception(ValueError("lost"))

async def test_blocked():
    await asyncio.sleep(0)
    time.sleep(1)
    await asyncio.sleep(0.3)
"""

CLEAN = """
import asyncio, logging, os, socket, threading
import pytest

@pytest.fixture(scope="module")
def wide():
    with socket.socket() as opened:
        yield opened

def test_wide_fixture(wide):
    wide.fileno()

def test_everything_closed():
    a, b = socket.socketpair()
    a.close(), b.close()
    thread = threading.Thread(target=threading.Event().wait, args=(0.05,))
    thread.start()

def test_home_thread():
    started = threading.Event()
    def run():
        loop = asyncio.new_event_loop()
        loop.call_soon(started.set)
        loop.run_forever()
    threading.Thread(target=run, name="moorings-home", daemon=True).start()
    started.wait()

def test_logs_are_wanted(caplog):
    logging.getLogger("asyncio").warning("something odd")
    assert caplog.messages == ["something odd"]

async def test_errors_are_wanted(expect_loop_errors):
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    assert isinstance(expect_loop_errors[0]["exception"], ZeroDivisionError)

async def test_task_ends_soon():
    asyncio.ensure_future(asyncio.sleep(0.05))

async def test_kind_of_loop(request):
    loop = type(asyncio.get_running_loop())
    assert request.node.callspec.id == loop.__module__.partition(".")[0]
"""


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, text: str) -> pytest.RunResult:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    pytester.makepyfile(text)
    (pytester.path / "quick.py").write_text(
        "from tests.plugins import zero_tolerance\n"
        "zero_tolerance.GRACE, zero_tolerance.BLOCKED_LIMIT, zero_tolerance.BEAT = 0.2, 0.5, 0.1\n"
    )
    # Without Hypothesis, whose plug-ins may warn; that of Trio, which `make bench` installs, does.
    plugins = ("tests.plugins.zero_tolerance", "quick", "no:hypothesispytest")
    return pytester.runpytest_subprocess(*(word for name in plugins for word in ("-p", name)), timeout=60)


def test_each_leftover_is_an_error(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvloop", reason="the expected counts are those of two loops")
    result = run(pytester, monkeypatch, LEAKS)
    result.assert_outcomes(passed=13, errors=13, failed=1)
    result.stdout.re_match_lines_random(
        [
            r"left descriptor \d+: /dev/null",
            r"left descriptor \d+: socket:\[\d+\]",
            r".*ResourceWarning.*unclosed <socket",
            r"a finaliser raised: .*ValueError\('from __del__'\)",
            r"left a thread: <Thread",
            r"asyncio logged WARNING: something odd",
            r"left a task: <Task pending",
            r"a loop's exception handler was called: .*ZeroDivisionError",
            r"a loop's exception handler was called: .*never retrieved",
            r"the loop was blocked for 0\.\d s",
        ]
    )


def test_clean_tests_pass(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvloop", reason="the expected counts are those of two loops")
    run(pytester, monkeypatch, CLEAN).assert_outcomes(passed=10)
