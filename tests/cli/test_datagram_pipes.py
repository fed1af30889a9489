"""How standard input becomes datagrams, and what happens when standard output is slow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings.cli import datagram_pipes
from moorings.cli.datagram_pipes import Blocks, Cutter, Lines, cutter
from moorings.cli.exit_codes import CommandError
from moorings.cli.options import LARGEST_DATAGRAM

if TYPE_CHECKING:
    from moorings.cli.standard_streams import Sink

PIECES = st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\x00", b"\n")), max_size=20)


def cut_all(made: Cutter, pieces: list[bytes]) -> list[bytes]:
    found = [datagram for piece in pieces for datagram in made.cut(memoryview(piece))]
    return found + list(made.rest())


@given(PIECES)
def test_lines(pieces: list[bytes]) -> None:
    found = cut_all(Lines(), pieces)
    assert b"".join(found) == b"".join(pieces)
    assert all(datagram.endswith(b"\n") for datagram in found[:-1])
    assert all(datagram.find(b"\n") in {-1, len(datagram) - 1} for datagram in found)
    assert all(found)


@given(PIECES, st.integers(1, 30))
def test_blocks(pieces: list[bytes], size: int) -> None:
    found = cut_all(Blocks(size), pieces)
    assert b"".join(found) == b"".join(pieces)
    assert all(len(datagram) == size for datagram in found[:-1])
    assert all(0 < len(datagram) <= size for datagram in found)


def test_which_cutter() -> None:
    assert isinstance(cutter(None), Lines)
    assert isinstance(cutter(1), Blocks)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_is_too_long_is_known_before_it_ends(end: bytes) -> None:
    lines = Lines()
    assert list(lines.cut(memoryview(b"1\n2\n"))) == [b"1\n", b"2\n"]
    with pytest.raises(CommandError, match="line 3 of standard input is longer than a datagram, 65507 bytes"):
        list(lines.cut(memoryview(b"x" * (LARGEST_DATAGRAM + 1 - len(end)) + end)))


def test_the_longest_line() -> None:
    longest = b"x" * (LARGEST_DATAGRAM - 1) + b"\n"
    assert list(Lines().cut(memoryview(longest))) == [longest]


class SlowSink:
    """Standard output that takes nothing until it is told to."""

    terminal = False

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.writing: asyncio.Future[int] | None = None

    def write(self, data: memoryview) -> asyncio.Future[int]:
        self.written.append(bytes(data))
        self.writing = asyncio.get_running_loop().create_future()
        return self.writing

    async def take(self) -> None:
        assert self.writing is not None
        self.writing.set_result(len(self.written[-1]))
        await asyncio.sleep(0)


async def test_what_waits_goes_out_in_one_piece() -> None:
    sink = SlowSink()
    outlet = datagram_pipes._Outlet(cast("Sink", sink), pytest.fail)
    for data in (b"1", b"2", b"3"):
        outlet.put(data)
    await sink.take()
    await sink.take()
    await outlet.written()
    assert sink.written == [b"1", b"23"]


async def test_slow_output_drops_and_counts() -> None:
    sink = SlowSink()
    outlet = datagram_pipes._Outlet(cast("Sink", sink), pytest.fail)
    block = bytes(1 << 20)
    outlet.put(block)
    while not outlet.dropped:
        outlet.put(block)
    outlet.put(block)
    assert outlet.dropped == 2
    await sink.take()
    assert len(sink.written[-1]) == datagram_pipes._WAITING_BYTES + len(block)
    outlet.put(b"there is room again")
    assert outlet.dropped == 2
    await sink.take()
    await sink.take()
    await outlet.written()
    assert sink.written[-1] == b"there is room again"


async def test_a_failure_is_told() -> None:
    sink = SlowSink()
    failures: list[BaseException] = []
    outlet = datagram_pipes._Outlet(cast("Sink", sink), failures.append)
    outlet.put(b"1")
    outlet.put(b"2")
    assert sink.writing is not None
    sink.writing.set_exception(BrokenPipeError())
    await outlet.written()
    await asyncio.sleep(0)
    assert [type(failure) for failure in failures] == [BrokenPipeError]
    assert sink.written == [b"1"]
