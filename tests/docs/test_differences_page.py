"""Claims of docs/differences.md that no other test holds."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys

import pytest
from tests.docs.documents import ROOT

import moorings
from moorings import errors
from moorings.foundation.projection import Object
from moorings.names.resolver import default_resolver


async def test_a_pending_operation_can_be_awaited_twice() -> None:
    async with (
        moorings.listen("tcp://127.0.0.1:0") as listener,
        await moorings.connect(f"tcp://127.0.0.1:{listener.port}") as client,
    ):
        server = await anext(aiter(listener))
        reading = client.input_stream.read_async(moorings.Buffer(2), 2, 0)
        waiters = asyncio.gather(reading, reading)
        await asyncio.sleep(0)
        await server.write(b"ab")
        assert [bytes(buffer) for buffer in await waiters] == [b"ab", b"ab"]
        server.close()


def test_interrupting_get() -> None:
    """Ctrl-C ends the waiting; the operation goes on."""
    program = (
        "import socket, moorings\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    client = moorings.StreamSocket()\n"
        "    client.connect_async(moorings.HostName('127.0.0.1'), str(server.getsockname()[1])).get()\n"
        "    peer = server.accept()[0]\n"
        "reading = client.input_stream.read_async(moorings.Buffer(1), 1, 0)\n"
        "try:\n"
        "    print('ready', flush=True)\n"
        "    reading.get()\n"
        "except KeyboardInterrupt:\n"
        "    peer.send(b'x')\n"
        "    print(bytes(reading.get()), flush=True)\n"
        "client.close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == "b'x'\n"


def test_errno_names_fit() -> None:
    assert errors.make(errors.WSAECONNREFUSED, "reason").errno == errno.ECONNREFUSED
    assert isinstance(errors.make(errors.WSAHOST_NOT_FOUND, "reason"), socket.gaierror)
    assert errors.from_errno(errno.EPIPE, "reason").winerror == errors.WSAECONNABORTED


async def test_localhost_is_this_machine() -> None:
    for name in ("localhost", "deep.below.localhost"):
        addresses = await default_resolver().addresses(moorings.HostName(name))
        assert {address.address for address in addresses} <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("text", ["127.1", "0x7f000001"])
def test_what_would_be_read_as_an_address(text: str) -> None:
    with pytest.raises(OSError, match=r"read as an IPv4 address|not an IPv4 address") as caught:
        moorings.HostName(text)
    assert isinstance(caught.value, errors.CodedError)
    assert caught.value.winerror == errors.E_INVALIDARG


def test_objects() -> None:
    client = moorings.StreamSocket()
    assert client.information is client.information
    assert client.control is client.control
    assert client.as_(moorings.StreamSocket) is client
    assert len(client._iids_) == 0
    assert isinstance(Object(), Object)
    client.close()
