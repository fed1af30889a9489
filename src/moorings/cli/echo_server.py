"""The echo server of `moorings listen --echo`: sends everything back, and tells who is there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from moorings.cli import output
from moorings.cli.statistics_line import Facts, Meter, Reporter, amount, every, protection_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from moorings import StreamSocket
    from moorings.cli.statistics_line import Telling

#: Lines of statistics for single connections at a time, the busiest ones; the rest is in the sum.
PLAIN_ROWS = 20
#: Lines of a terminal that title, headings, the sum of the rest and the prompt need.
_FRAME = 4
#: Columns at the right that stay free: the terminal writes "^C" there, and in a full line that would begin a new one.
_MARGIN = 3
#: Below this width the bandwidth is left out, so that peers need not fold.
_NARROW = 80
#: Behind the peer; all of it fits into 80 columns. The bandwidth is that of the way out, the rate that of both ways.
_HEADINGS = ("s", "RTT", "bandwidth", "rate", "received", "sent", "queue")


class EchoServer:
    """Serves connections, keeps their meters, and tells about them."""

    def __init__(self, reporter: Reporter, idle_timeout: float | None) -> None:
        self._reporter = reporter
        self._idle_timeout = idle_timeout
        self._meters: set[Meter] = set()

    # -- serving -----------------------------------------------------------------------------------------------------

    async def serve(self, connection: Any) -> None:
        """One connection, until the client has ended, or has gone."""
        socket = self._socket_of(connection)
        meter = Meter(socket)
        self._meters.add(meter)
        tls = protection_of(socket)
        self._reporter.say("came", f"{meter.peer} came{tls.text}", peer=meter.peer, **tls.values)
        note = ""
        try:
            await self._echo(connection)
            await connection.aclose()
        except OSError as error:
            # The reason of the end tells, but for our own time-out, which is not one of the library.
            note = "idle" if isinstance(error, TimeoutError) and not hasattr(error, "winerror") else ""
        finally:
            connection.abort()  # what is not closed by now is not closed well
            self._meters.discard(meter)
            self._went(meter, note or self._note_of(connection))

    def _socket_of(self, connection: Any) -> StreamSocket:
        """What is measured."""
        return connection  # type: ignore[no-any-return]

    def _note_of(self, connection: Any) -> str:  # noqa: ARG002 - others look at it
        """What there is to say about the end, beside its reason."""
        return ""

    async def _echo(self, connection: Any) -> None:
        async with asyncio.timeout(self._idle_timeout) as limit:
            while data := await connection.read():
                await connection.write(data)
                if self._idle_timeout is not None:
                    limit.reschedule(asyncio.get_running_loop().time() + self._idle_timeout)

    def _went(self, meter: Meter, note: str) -> None:
        summary = meter.summary()
        received, sent = amount(summary["bytes_received"], "B"), amount(summary["bytes_sent"], "B")
        reason = summary["end_reason"] + (f" ({note})" if note else "")
        text = f"{meter.peer} went: received {received}, sent {sent} in {summary['seconds']:.2f} s, {reason}"
        self._reporter.say("went", text, peer=meter.peer, **summary)

    # -- showing -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def showing(self, telling: Telling) -> AsyncGenerator[None]:
        """Statistics while the block runs: a table on a terminal, lines or JSON elsewhere."""
        if not telling.stats:
            yield
        elif self._reporter.redraws:
            with output.live(self._table()) as view:

                def draw() -> None:
                    try:
                        view.update(self._table(), refresh=True)
                    except OSError as error:  # the terminal has gone
                        self._reporter.lose(error)

                self._reporter.printer = partial(view.console.print, markup=False)
                try:
                    async with every(telling.interval, draw):
                        yield
                finally:
                    self._reporter.printer = None
                    view.update("", refresh=True)
        else:
            async with every(telling.interval, self._print):
                yield

    def _looks(self) -> list[tuple[Meter, Facts]]:
        """All connections, the busiest first."""
        looks = [(meter, meter.look()) for meter in self._meters]
        looks.sort(key=lambda look: look[1].sent_per_second + look[1].received_per_second, reverse=True)
        return looks

    def _print(self) -> None:
        looks = self._looks()
        values = [{"peer": meter.peer, **facts.as_json()} for meter, facts in looks[:PLAIN_ROWS]]
        lines = [_sum([facts for _, facts in looks])]
        lines += [f"  {meter.peer}: {facts.line()}" for meter, facts in looks[:PLAIN_ROWS]]
        if len(looks) > PLAIN_ROWS:
            lines.append(f"  and {len(looks) - PLAIN_ROWS} more")
        self._reporter.say("statistics", "\n".join(lines), open=len(looks), connections=values)

    def _table(self) -> Any:
        from rich.constrain import Constrain  # noqa: PLC0415 - takes longer to import than all the rest
        from rich.table import Table  # noqa: PLC0415

        console = output.console()
        hidden = {"bandwidth"} if console.width < _NARROW else set[str]()
        looks = self._looks()
        table = Table(title=_sum([facts for _, facts in looks]), title_justify="left", box=None, padding=(0, 1, 0, 0))
        table.add_column("peer", overflow="fold")
        for heading in _HEADINGS:
            if heading not in hidden:
                table.add_column(heading, justify="right", no_wrap=True)
        rows = max(console.height - _FRAME, 1)
        for meter, facts in looks[:rows]:
            cells = zip(_HEADINGS, _row(facts), strict=True)
            table.add_row(meter.peer, *(cell for heading, cell in cells if heading not in hidden))
        if len(looks) > rows:
            table.caption = f"and {len(looks) - rows} more"
        return Constrain(table, console.width - _MARGIN)


def _row(facts: Facts) -> tuple[str, ...]:
    width = facts.outbound_bits_per_second or facts.inbound_bits_per_second
    return (
        f"{facts.seconds:.0f}",
        facts.round_trip,
        amount(width, "bit/s") if width else "unknown",
        amount(facts.sent_per_second + facts.received_per_second, "B/s"),
        amount(facts.bytes_received, "B"),
        amount(facts.bytes_sent, "B"),
        facts.queue,
    )


def _sum(facts: list[Facts]) -> str:
    into = amount(sum(each.received_per_second for each in facts), "B/s")
    out = amount(sum(each.sent_per_second for each in facts), "B/s")
    return f"{len(facts)} open: {into} in, {out} out"
