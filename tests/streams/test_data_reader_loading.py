"""`load_async`, by both ways to a stream, and the Python face on top of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.streams.scripted import ScriptedInput, ShortWayInput, fails

from moorings import errors
from moorings.foundation.async_info import DataReaderLoadOperation, IAsyncAction, IAsyncOperation
from moorings.foundation.async_status import AsyncStatus
from moorings.foundation.background import background_home
from moorings.foundation.operation import LOAD
from moorings.streams import data_reader
from moorings.streams.buffer import Buffer, copy_of
from moorings.streams.data_reader import DataReader
from moorings.streams.enums import InputStreamOptions
from moorings.streams.interfaces import IInputStream

if TYPE_CHECKING:
    from collections.abc import Callable

RESET = errors.make(errors.WSAECONNRESET, "the peer of the test has gone")
both_ways = pytest.mark.parametrize("make", [ScriptedInput, ShortWayInput])


@both_ways
async def test_a_load_gives_its_number_and_fills(make: Callable[..., Any]) -> None:
    with DataReader(make(b"abcd")) as reader:
        load = reader.load_async(4)
        assert isinstance(load, DataReaderLoadOperation)
        assert isinstance(load, IAsyncOperation)
        assert not isinstance(load, IAsyncAction)
        assert await load == 4
        assert (load.status, load.get_results(), int(load.error_code)) == (AsyncStatus.COMPLETED, 4, 0)
        assert reader.unconsumed_buffer_length == 4
        assert reader.read_string(4) == "abcd"


@both_ways
async def test_loads_append_behind_what_is_not_read(make: Callable[..., Any]) -> None:
    with DataReader(make(b"abc", b"def", b"ghi")) as reader:
        assert [await reader.load_async(3), await reader.load_async(3)] == [3, 3]
        assert reader.unconsumed_buffer_length == 6
        assert reader.read_string(4) == "abcd"
        assert await reader.load_async(3) == 3
        assert reader.read_string(5) == "efghi"


@both_ways
async def test_the_end_of_the_stream_loads_less_then_nothing(make: Callable[..., Any]) -> None:
    stream = make(b"ab", b"")
    with DataReader(stream) as reader:
        assert await reader.load_async(4) == 2
        assert await reader.load_async(4) == 0
        assert reader.unconsumed_buffer_length == 2


@both_ways
async def test_what_is_loaded_can_be_read_while_more_comes(make: Callable[..., Any]) -> None:
    with DataReader(make(b"abcd")) as reader:
        await reader.load_async(4)
        more = reader.load_async(1)
        assert reader.read_uint16() == 0x6162
        assert reader.unconsumed_buffer_length == 2
        more.cancel()
        await asyncio.gather(more, return_exceptions=True)
        assert reader.read_string(2) == "cd"


async def test_loads_pass_their_options_and_count_on() -> None:
    stream = ScriptedInput(b"ab", b"cd", b"ef", b"gh")
    with DataReader(stream) as reader:
        assert await reader.load_async(4) == 4
        reader.input_stream_options = InputStreamOptions.PARTIAL
        assert await reader.load_async(100) == 2
        reader.input_stream_options = InputStreamOptions.PARTIAL | InputStreamOptions.READ_AHEAD
        assert await reader.load_async(1) == 1
    assert stream.asked == [(4, 0), (100, 1), (1, 3)]


async def test_the_short_way_gets_options_count_and_kind() -> None:
    stream = ShortWayInput()
    with DataReader(stream) as reader:
        reader.input_stream_options = InputStreamOptions.PARTIAL
        load = reader.load_async(7)
        operation = stream.way.pending[0]
        assert operation is load
        assert (operation.count, operation.options, operation.kind) == (7, 1, LOAD)
        assert stream.targets[0].capacity == 7
        stream.arrive(b"abc")
        assert await load == 3


@both_ways
async def test_a_load_of_nothing_asks_nobody(make: Callable[..., Any]) -> None:
    with DataReader(make()) as reader:
        load = reader.load_async(0)
        assert (load.status, await load, load.get_results()) == (AsyncStatus.COMPLETED, 0, 0)
        assert isinstance(load, DataReaderLoadOperation)


@pytest.mark.parametrize(
    ("count", "kind"), [(-1, ValueError), (2**32, OverflowError), ("1", TypeError), (None, TypeError), (1.0, TypeError)]
)
def test_bad_counts_are_refused_at_the_call(count: Any, kind: type[Exception]) -> None:
    with DataReader(ScriptedInput(b"a")) as reader, pytest.raises(kind):
        reader.load_async(count)


async def test_a_number_by_index_is_a_count() -> None:
    class Three:
        def __index__(self) -> int:
            return 3

    with DataReader(ScriptedInput(b"abcd")) as reader:
        assert await reader.load_async(Three()) == 3  # type: ignore[arg-type]


# -- the buffers that streams give back ------------------------------------------------------------------------------


async def test_the_returned_buffer_counts_not_the_one_given() -> None:
    with DataReader(ScriptedInput(b"abcd", b"ef", copies=True)) as reader:
        assert await reader.load_async(4) == 4
        assert await reader.load_async(2) == 2
        assert reader.read_string(6) == "abcdef"


async def test_a_stream_may_use_its_own_buffer_again() -> None:
    class Reusing(IInputStream):
        def __init__(self) -> None:
            self.own = copy_of(b"aa")

        async def read_async(self, buffer: Any, count: int, options: Any, /) -> Any:
            memoryview(self.own)[0] += 1
            return self.own

        def close(self) -> None:
            pass

    with DataReader(Reusing()) as reader:
        await reader.load_async(2)
        await reader.load_async(2)
        assert reader.read_string(4) == "baca"


async def test_nonsense_from_a_stream_is_an_error_of_the_load() -> None:
    class Nonsense(IInputStream):
        async def read_async(self, buffer: Any, count: int, options: Any, /) -> Any:
            return 7

        def close(self) -> None:
            pass

    with DataReader(Nonsense()) as reader:
        with fails(errors.E_FAIL):
            await reader.load_async(2)
        assert reader.unconsumed_buffer_length == 0


@both_ways
async def test_reading_all_of_a_load_as_a_buffer_copies_nothing(make: Callable[..., Any]) -> None:
    stream = make(b"abcd", b"ef")
    with DataReader(stream) as reader:
        await reader.load_async(4)
        first = reader.read_buffer(4)
        if isinstance(stream, ShortWayInput):
            assert first is stream.targets[0]
        assert await reader.load_async(2) == 2
        first.length = 2
        assert (bytes(first), bytes(reader.read_buffer(1)), reader.read_byte()) == (b"ab", b"e", ord("f"))


@both_ways
async def test_reading_several_loads_as_one_buffer(make: Callable[..., Any]) -> None:
    with DataReader(make(b"abcd", b"ef", b"gh\n", b"")) as reader:
        await reader.load_async(4)
        await reader.load_async(2)
        assert bytes(reader.read_buffer(6)) == b"abcdef"
        await reader.load_async(3)
        reader.read_byte()
        assert bytes(reader.read_buffer(2)) == b"h\n"
    with DataReader(make(b"gh\n", b"")) as reader:
        await reader.load_async(3)
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await reader.read_until(b"x")
        assert caught.value.partial == b"gh\n"
    with DataReader(make(b"gh", b"")) as reader:
        await reader.load_async(2)
        with pytest.raises(asyncio.LimitOverrunError):
            await reader.read_until(b"x", limit=2)
        assert bytes(reader.read_buffer(2)) == b"gh"


async def test_detach_buffer_gives_what_was_not_read() -> None:
    with DataReader(ScriptedInput(b"abcd", b"ef")) as reader:
        await reader.load_async(4)
        reader.read_byte()
        assert bytes(reader.detach_buffer()) == b"bcd"
        assert reader.unconsumed_buffer_length == 0
        await reader.load_async(2)
        detached = reader.detach_buffer()
        assert (type(detached), bytes(detached)) == (Buffer, b"ef")


# -- failures and cancelling -----------------------------------------------------------------------------------------


async def test_what_came_before_a_failure_stays_on_the_long_way() -> None:
    with DataReader(ScriptedInput(b"ab", error=RESET)) as reader:
        with pytest.raises(ConnectionResetError):
            await reader.load_async(4)
        assert reader.read_string(2) == "ab"
        with pytest.raises(ConnectionResetError):
            await reader.load_async(4)


async def test_what_came_before_a_failure_stays_on_the_short_way() -> None:
    stream = ShortWayInput()
    with DataReader(stream) as reader:
        load = reader.load_async(4)
        stream.arrive(b"ab", error=RESET)
        with pytest.raises(ConnectionResetError):
            await load
        assert reader.read_string(2) == "ab"
        assert stream.targets[0].length == 2
        again = reader.load_async(1)
        stream.arrive(b"c")
        assert await again == 1


@pytest.mark.parametrize("by_task", [False, True])
async def test_what_came_before_a_cancel_stays(by_task: bool) -> None:
    stream = ShortWayInput()
    with DataReader(stream) as reader:
        load = reader.load_async(4)
        waiting = asyncio.ensure_future(load)
        await asyncio.sleep(0)
        stream.arrive(b"ab", ends=False)
        assert reader.unconsumed_buffer_length == 0
        if by_task:
            waiting.cancel()
        else:
            load.cancel()
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        if by_task:
            assert isinstance(outcome, asyncio.CancelledError)
        else:
            assert getattr(outcome, "winerror", None) == errors.ERROR_OPERATION_ABORTED
        assert reader.read_string(2) == "ab"
        with fails(errors.RO_E_CLOSED):
            reader.load_async(1)


async def test_a_refused_load_leaves_the_reader_free() -> None:
    stream = ShortWayInput()
    with DataReader(stream) as reader:
        stream.close()
        for _ in range(2):
            with fails(errors.RO_E_CLOSED):
                reader.load_async(1)
        reader.detach_stream()


async def test_a_load_cancelled_before_it_began_leaves_the_reader_free() -> None:
    with DataReader(ScriptedInput(b"ab")) as reader:
        load = reader.load_async(2)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert load.status == AsyncStatus.CANCELED
        assert await reader.load_async(2) == 2


async def test_closing_during_a_load_ends_it() -> None:
    stream = ShortWayInput()
    reader = DataReader(stream)
    load = reader.load_async(4)
    stream.arrive(b"ab", ends=False)
    reader.close()
    with fails(errors.ERROR_OPERATION_ABORTED):
        await load
    assert repr(reader) == "<DataReader closed>"
    with fails(errors.RO_E_CLOSED):
        reader.read_byte()


async def test_what_comes_after_close_is_not_kept() -> None:
    stream = ScriptedInput(b"ab")
    reader = DataReader(stream)
    load = reader.load_async(2)
    reader.close()
    assert await load == 2
    assert reader._arrived is None


async def test_no_load_goes_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_reader, "UNCONSUMED_LIMIT", 5)
    stream = ScriptedInput(b"abc", b"def")
    with DataReader(stream) as reader:
        await reader.load_async(3)
        assert await reader.load_async(4) == 2
        with fails(errors.E_OUTOFMEMORY):
            reader.load_async(1)
        assert reader.read_string(5) == "abcde"
        assert await reader.load_async(1) == 1
    assert [count for count, _ in stream.asked] == [3, 2, 1]


async def test_many_small_loads_stay_cheap() -> None:
    """A load behind unread bytes must not copy all of them: 20,000 loads would then move 200 MB."""
    with DataReader(ShortWayInput(*[b"x"] * 20_000)) as reader:
        for _ in range(20_000):
            await reader.load_async(1)
        assert reader.read_string(20_000) == "x" * 20_000


async def test_an_idle_reader_holds_no_memory() -> None:
    stream = ShortWayInput(b"x" * 1000)
    with DataReader(stream) as reader:
        await reader.load_async(1000)
        reader.read_bytes(bytearray(1000))
        waiting = reader.load_async(1000)
        assert len(reader._memory) == 0
        assert reader._chunk is None
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


# -- plain scripts ---------------------------------------------------------------------------------------------------


def test_a_plain_script_gets_loads() -> None:
    with DataReader(ScriptedInput(b"abcd", b"ef")) as reader:
        assert reader.load_async(4).get() == 4
        assert reader.read_string(3) == "abc"
        assert reader.load_async(2).get() == 2
        assert reader.read_string(3) == "def"
        assert reader.load_async(0).get() == 0


def test_a_plain_script_reads_while_the_home_thread_delivers() -> None:
    stream = ShortWayInput()
    home = background_home()
    rounds = 300
    with DataReader(stream) as reader:
        received = bytearray()
        for number in range(rounds):
            load = reader.load_async(3)
            home.loop.call_soon_threadsafe(stream.arrive, b"abc")
            while len(received) < 3 * number + 2:
                try:
                    received.append(reader.read_byte())
                except OSError:
                    assert load.wait(10) == AsyncStatus.COMPLETED
            assert load.get() == 3
        received.append(reader.read_byte())
    assert bytes(received) == b"abc" * rounds


# -- the Python face -------------------------------------------------------------------------------------------------


@both_ways
async def test_read_exactly(make: Callable[..., Any]) -> None:
    with DataReader(make(b"abc", b"def", b"gh", b"")) as reader:
        assert await reader.read_exactly(0) == b""
        assert await reader.read_exactly(2) == b"ab"
        assert await reader.read_exactly(4) == b"cdef"
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await reader.read_exactly(9)
        assert (caught.value.partial, caught.value.expected) == (b"gh", 9)
        with pytest.raises(ValueError, match="negative"):
            await reader.read_exactly(-1)


@both_ways
async def test_read_until(make: Callable[..., Any]) -> None:
    with DataReader(make(b"a-", b"-b--", b"--c-", b"")) as reader:
        assert await reader.read_until(b"--") == b"a--"
        assert await reader.read_until(b"--") == b"b--"
        assert await reader.read_until(b"--") == b"--"
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await reader.read_until(b"--")
        assert caught.value.partial == b"c-"
        with pytest.raises(ValueError, match="empty"):
            await reader.read_until(b"")


@pytest.mark.parametrize("arguments", [("--",), (None,), (b"-", "5"), (5,)])
async def test_read_until_refuses_bad_arguments_before_it_waits(arguments: tuple[Any, ...]) -> None:
    stream = ScriptedInput(b"data")
    with DataReader(stream) as reader:
        with pytest.raises(TypeError):
            await reader.read_until(*arguments)
        assert stream.asked == []


@both_ways
async def test_read_until_has_a_limit(make: Callable[..., Any]) -> None:
    with DataReader(make(b"abc\nabcd\n", b"xyz")) as reader:
        assert await reader.read_until(limit=4) == b"abc\n"
        with pytest.raises(asyncio.LimitOverrunError) as caught:
            await reader.read_until(limit=4)
        assert caught.value.consumed == 5
        assert await reader.read_until(limit=5) == b"abcd\n"
        with pytest.raises(asyncio.LimitOverrunError):
            await reader.read_until(limit=3)
        assert await reader.read_exactly(3) == b"xyz"


@both_ways
async def test_lines(make: Callable[..., Any]) -> None:
    with DataReader(make(b"one\r\ntw", b"o\n\n", b"last", b"")) as reader:
        assert [line async for line in reader.lines()] == [b"one", b"two", b"", b"last"]
        assert [line async for line in reader.lines()] == []


async def test_lines_have_a_limit() -> None:
    with DataReader(ScriptedInput(b"a" * 10)) as reader:
        with pytest.raises(asyncio.LimitOverrunError):
            [line async for line in reader.lines(limit=10)]
        assert reader.unconsumed_buffer_length == 10


async def test_the_python_face_of_a_buffer_ends_with_it() -> None:
    reader = DataReader.from_buffer(b"a\nb")
    assert [line async for line in reader.lines()] == [b"a", b"b"]
    reader = DataReader.from_buffer(b"abc")
    assert await reader.read_exactly(3) == b"abc"
    with pytest.raises(asyncio.IncompleteReadError):
        await reader.read_exactly(1)


async def test_the_python_face_of_a_closed_or_busy_reader() -> None:
    stream = ShortWayInput()
    reader = DataReader(stream)
    load = reader.load_async(1)
    with fails(errors.ERROR_INVALID_OPERATION):
        await reader.read_exactly(1)
    reader.close()
    for call in (reader.read_exactly(1), reader.read_until()):
        with fails(errors.RO_E_CLOSED):
            await call
    await asyncio.gather(load, return_exceptions=True)


async def test_a_cancelled_read_keeps_stream_and_bytes() -> None:
    stream = ShortWayInput()
    with DataReader(stream) as reader:
        reading = asyncio.ensure_future(reader.read_exactly(4))
        await asyncio.sleep(0)
        stream.arrive(b"ab", ends=False)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert stream.way.open
        reading = asyncio.ensure_future(reader.read_exactly(4))
        await asyncio.sleep(0)
        assert stream.way.pending[0].count == 2
        stream.arrive(b"cd")
        assert await reading == b"abcd"


async def test_face_and_winrt_names_mix() -> None:
    with DataReader(ScriptedInput(b"head\n\x00\x00\x00\x02hi", b"!")) as reader:
        assert await reader.read_until() == b"head\n"
        assert reader.read_uint32() == 2
        assert reader.read_string(2) == "hi"
        assert await reader.load_async(1) == 1
        assert reader.read_string(1) == "!"
