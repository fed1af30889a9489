"""The hub guesses which datagram port is ready, and nobody notices anything but the speed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.engine.pairs import stream_and_peer, until
from tests.engine.ports import Owner, Target, closed_address, two_ports, udp_socket

from moorings import errors
from moorings.engine.datagram_port import RECEIVE_BURST, DatagramPort
from moorings.engine.hub import GUESS_BURST, current_hub

if TYPE_CHECKING:
    from moorings.engine.datagram import Datagram


async def guesses_of_an_exchange(rounds: int) -> set[int]:
    """Datagrams to and fro between two ports; the right guesses in a row that were seen."""
    seen = set()
    with two_ports() as (first, second, target):
        back = Target(first.plain_socket.getsockname())
        for number in range(rounds):
            await first.write(b"%d" % number, len(b"%d" % number), target)
            assert (await second.receive()).payload() == b"%d" % number
            await second.write(b"back", 4, back)
            assert (await first.receive()).payload() == b"back"
            seen.add(current_hub().guessed)
    return seen


async def test_request_and_reply_are_guessed() -> None:
    seen = await guesses_of_an_exchange(4 * GUESS_BURST)
    assert max(seen) > 2
    assert max(seen) <= GUESS_BURST


async def test_nothing_is_guessed_beside_other_descriptors() -> None:
    with stream_and_peer():
        assert await guesses_of_an_exchange(4) == {0}


async def test_a_flood_on_one_port_does_not_hide_the_other() -> None:
    with two_ports() as (quiet, flooded, target), udp_socket() as source:
        order: list[str] = []

        def note(name: str) -> Any:
            return lambda _owner, _datagram: order.append(name)

        owners = Owner().serve(quiet, note("quiet")), Owner().serve(flooded, note("flooded"))
        for _ in range(GUESS_BURST):  # the hub learns that the flooded one follows upon itself
            source.sendto(b"x", target.name)
            await until(lambda: len(order) > 0)
            order.clear()
        many = 4 * GUESS_BURST * RECEIVE_BURST
        for number in range(many):
            source.sendto(b"%d" % number, target.name)
        source.sendto(b"quiet", quiet.plain_socket.getsockname())
        await until(lambda: len(order) == many + 1)
        assert order.index("quiet") <= (GUESS_BURST + 1) * RECEIVE_BURST
        assert not any(owner.reports for owner in owners)


async def test_a_report_of_the_network_is_not_passed_over() -> None:
    with two_ports() as (first, second, target):
        found: list[Any] = []
        owner = Owner().serve(first, lambda _owner, datagram: found.append(datagram.error))
        second_found: list[Any] = []
        other = Owner().serve(second, lambda _owner, datagram: second_found.append(datagram.size))
        for size in range(1, 4):
            await first.write(b"abc", size, target)
            await until(lambda size=size: second_found[-1:] == [size])
        await first.write(b"lost", 4, Target(closed_address()))
        for size in range(4, 7):
            await first.write(b"abcdef", size, target)
            await until(lambda size=size: second_found[-1:] == [size])
        await until(lambda: bool(found))
        assert [error.winerror for error in found] == [errors.WSAECONNRESET]
        assert not owner.reports
        assert not other.reports


async def test_a_guess_that_has_gone() -> None:
    """The port that would come next is closed; the others are served all the same."""
    with two_ports() as (first, second, target):
        found: list[bytes] = []

        def take(_owner: Any, datagram: Datagram) -> None:
            found.append(bytes(datagram.payload()))

        owner = Owner().serve(second, take)
        third = DatagramPort(current_hub(), udp_socket(), "the third")
        other = Owner().serve(third, take)
        to_third = Target(third.plain_socket.getsockname())
        for _ in range(3):
            for way, data in ((target, b"second"), (to_third, b"third")):
                await first.write(data, len(data), way)
                await until(lambda data=data: found[-1:] == [data])
        third.close()
        await first.write(b"last", 4, target)
        await until(lambda: found[-1:] == [b"last"])
        assert not owner.reports
        assert not other.reports


async def test_a_guessed_port_may_close_itself_and_its_successor() -> None:
    with two_ports() as (first, second, target):
        found: list[bytes] = []

        def take(_owner: Any, datagram: Datagram) -> None:
            found.append(bytes(datagram.payload()))
            if found[-1] == b"close":
                second.close()
                first.close()

        owner = Owner().serve(second, take)
        for _ in range(3):
            await first.write(b"more", 4, target)
            await asyncio.sleep(0)
        await first.write(b"close", 5, target)
        await until(lambda: found[-1:] == [b"close"])
        assert current_hub().epoll is None
        assert not owner.reports
