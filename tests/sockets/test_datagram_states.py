"""Every member of a DatagramSocket in every state, enumerated from its table; a refused call harms nothing."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE
from tests.sockets.peers import code
from tests.sockets.test_state_tables import in_forked_child, sync_outcome

from moorings.sockets import datagram_socket
from moorings.sockets.connection import State
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import DatagramSocket

if TYPE_CHECKING:
    from collections.abc import Callable

LOCALHOST = HostName("127.0.0.1")
RULES = datagram_socket.RULES


def join_and_leave(ours: DatagramSocket) -> None:
    with contextlib.suppress(OSError):
        ours.join_group("239.1.2.5")
    ours.leave_group("239.1.2.5")


#: How to call each member with good arguments. The port is one that is bound.
CALLS: dict[str, Callable[[DatagramSocket, int], Any]] = {
    "bind_endpoint_async": lambda ours, _: ours.bind_endpoint_async(LOCALHOST, ""),
    "bind_service_name_async": lambda ours, _: ours.bind_service_name_async(""),
    "connect_async": lambda ours, port: ours.connect_async(LOCALHOST, str(port)),
    "get_output_stream_async": lambda ours, port: ours.get_output_stream_async(LOCALHOST, str(port)),
    "output_stream": lambda ours, _: ours.output_stream,
    "add_message_received": lambda ours, _: ours.add_message_received(print),
    "remove_message_received": lambda ours, _: ours.remove_message_received(
        DatagramSocket().add_message_received(print)
    ),
    "join_multicast_group": lambda ours, _: ours.join_multicast_group(HostName("239.1.2.3")),
    "control": lambda ours, _: ours.control,
    "information": lambda ours, _: ours.information.local_port,
    "cancel_io_async": lambda ours, _: ours.cancel_io_async(),
    "close": lambda ours, _: ours.close(),
    "enable_transfer_ownership": lambda ours, _: ours.enable_transfer_ownership(uuid.UUID(int=1)),
    "transfer_ownership": lambda ours, _: ours.transfer_ownership("id"),
    "send": lambda ours, port: ours.send(b"x", ("127.0.0.1", port)),
    "flush": lambda ours, _: ours.flush(),
    "receive": lambda ours, _: ours.receive(),
    "async for": lambda ours, _: anext(aiter(ours)),
    "aclose": lambda ours, _: ours.aclose(),
    "join_group": lambda ours, _: ours.join_group("239.1.2.4"),
    "leave_group": lambda ours, _: join_and_leave(ours),
    "path_mtu": lambda ours, _: ours.path_mtu,
    "limits": lambda ours, _: ours.limits.drop_policy,
    "counters": lambda ours, _: ours.counters,
}
FREE_AFTER_FORK = {"control", "information", "close", "aclose", "path_mtu", "limits", "counters"}


def test_the_table_names_every_public_member() -> None:
    members = {member for member in dir(DatagramSocket) if not member.startswith("_")}
    aliases = {member for member in members if hasattr(getattr(DatagramSocket, member), "__deprecated__")}
    assert members - aliases - {"as_", "get_endpoint_pairs_async"} == set(RULES) - {"async for"}
    assert set(CALLS) == set(RULES)


async def outcome(call: Callable[[], Any]) -> str:
    """The name of the error of a call, at once or through what it returns; "" for none."""
    try:
        result = call()
        if inspect.isawaitable(result):
            async with asyncio.timeout(PATIENCE):
                await result
    except OSError as error:
        return code(error)
    except asyncio.CancelledError:
        return "cancelled"
    return ""


class InState:
    """A DatagramSocket that was brought into a state, and a plain socket that sends to it."""

    def __init__(self) -> None:
        self.ours = DatagramSocket()
        self.binding: Any = None
        self.theirs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.theirs.bind(("127.0.0.1", 0))
        self.port: int = self.theirs.getsockname()[1]

    async def bring(self, state: State) -> None:
        if state == State.CLOSED:
            self.ours.close()
        if state in {State.BUSY, State.OPEN}:
            self.binding = self.ours.bind_service_name_async("")
        if state == State.OPEN:
            await self.binding
            self.feed()

    def feed(self) -> None:
        self.theirs.sendto(b"datagram", ("127.0.0.1", int(self.ours.information.local_port)))

    async def check_that_it_works(self, state: State) -> None:
        """What the state allowed before the refused call, it allows after it."""
        if state == State.CLOSED:
            assert await outcome(lambda: self.ours.bind_service_name_async("")) == "RO_E_CLOSED"
            return
        if state == State.NEW:
            self.binding = self.ours.bind_service_name_async("")
        if state != State.OPEN:
            await self.binding
            self.feed()
        async with asyncio.timeout(PATIENCE):
            assert (await self.ours.receive()).data == b"datagram"

    async def end(self) -> None:
        self.ours.close()
        if self.binding is not None:
            await outcome(lambda: self.binding)
        self.theirs.close()


@pytest.mark.parametrize(("member", "state"), [(member, state) for member in RULES for state in State])
async def test_datagram_socket(member: str, state: State) -> None:
    subject = InState()
    await subject.bring(state)
    found = await outcome(lambda: CALLS[member](subject.ours, subject.port))
    if state in RULES[member]:
        assert found in {"", "E_NOTIMPL"}
    else:
        assert found == ("RO_E_CLOSED" if state == State.CLOSED else "E_ILLEGAL_METHOD_CALL")
        await subject.check_that_it_works(state)
    await subject.end()


async def test_a_connected_socket_connects_and_binds_no_more() -> None:
    subject = InState()
    await subject.ours.connect_async(LOCALHOST, str(subject.port))
    for member in ("connect_async", "bind_endpoint_async", "bind_service_name_async"):
        assert await outcome(lambda: CALLS[member](subject.ours, subject.port)) == "E_ILLEGAL_METHOD_CALL"  # noqa: B023
    subject.feed()
    await subject.check_that_it_works(State.OPEN)
    await subject.end()


async def test_a_write_binds_and_ends_the_time_of_settings() -> None:
    """The implicit bind of a write counts as a bind."""
    subject = InState()
    stream = await subject.ours.get_output_stream_async(LOCALHOST, str(subject.port))
    subject.ours.control.dont_fragment = False
    assert subject.ours.information.local_port == ""
    await stream.write_async(b"x")
    assert subject.ours.information.local_port != ""
    for member in ("add_message_received", "bind_service_name_async"):
        assert await outcome(lambda: CALLS[member](subject.ours, subject.port)) == "E_ILLEGAL_METHOD_CALL"  # noqa: B023
    with pytest.raises(OSError) as caught:
        subject.ours.control.multicast_only = True
    assert code(caught.value) == "E_ILLEGAL_METHOD_CALL"
    subject.feed()
    await subject.check_that_it_works(State.OPEN)
    await subject.end()


async def test_streams_in_the_wrong_state() -> None:
    """The property works before there is a peer, its writes do not; after the end nothing does."""
    subject = InState()
    stream = subject.ours.output_stream
    assert subject.ours.output_stream is stream
    assert await outcome(lambda: stream.write_async(b"x")) == "E_ILLEGAL_METHOD_CALL"
    other = await subject.ours.get_output_stream_async(LOCALHOST, str(subject.port))
    await subject.ours.connect_async(LOCALHOST, str(subject.port))
    assert await stream.write_async(b"now") == 3
    assert subject.theirs.recv(10) == b"now"
    other.close()
    assert await outcome(lambda: other.write_async(b"x")) == "RO_E_CLOSED"
    assert await outcome(other.flush_async) == "RO_E_CLOSED"
    third = await subject.ours.get_output_stream_async(LOCALHOST, str(subject.port))
    assert await third.write_async(b"three") == 5
    subject.ours.close()
    for one in (stream, third):
        assert await outcome(lambda: one.write_async(b"x")) == "RO_E_CLOSED"  # noqa: B023
        assert await outcome(one.flush_async) == "RO_E_CLOSED"
    await subject.end()


async def test_a_stream_while_the_socket_is_busy() -> None:
    subject = InState()
    stream = await subject.ours.get_output_stream_async(LOCALHOST, str(subject.port))
    subject.binding = subject.ours.bind_service_name_async("")
    assert await outcome(lambda: stream.write_async(b"x")) == "E_ILLEGAL_METHOD_CALL"
    await subject.binding
    assert await stream.write_async(b"x") == 1
    await subject.end()


@pytest.mark.parametrize("state", [State.BUSY, State.OPEN])
async def test_in_a_forked_child(state: State) -> None:
    """It is the parent's: its use says so, what is for looking and ending works, and the parent notices nothing."""
    subject = InState()
    await subject.bring(state)

    def child() -> dict[str, str]:
        return {member: sync_outcome(lambda: call(subject.ours, subject.port)) for member, call in CALLS.items()}  # noqa: B023

    found = in_forked_child(child)
    assert found == {member: "" if member in FREE_AFTER_FORK else "RO_E_CLOSED" for member in CALLS}
    await subject.check_that_it_works(state)
    await subject.end()
