"""The program's own say about a server: event, deferrals, `approve`, and that nothing goes out before it."""

from __future__ import annotations

import asyncio
import ssl
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.docs.programs import environment
from tests.engine.pairs import PATIENCE, turns, until
from tests.sockets.peers import plain_listener, port_of
from tests.sockets.tls_servers import (
    LEVELS,
    LOCALHOST,
    VERSIONS,
    authority,
    bad_leaf,
    client_identity,
    server_context,
    serving,
    trusting,
    trusts,
)

import moorings
from moorings import errors
from moorings.certificates.enums import ChainValidationResult as Result
from moorings.sockets.enums import SocketProtectionLevel, SocketSslErrorSeverity
from moorings.sockets.server_validation import StreamSocketServerCustomValidationRequestedEventArgs as Args
from winrt.windows.networking.sockets import StreamSocket

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from moorings.foundation.deferral import Deferral

Level = SocketProtectionLevel
both_versions = pytest.mark.parametrize("version", VERSIONS)
both_paths = pytest.mark.parametrize("ignored", [[], [Result.EXPIRED]], ids=["fast path", "full path"])


async def connect(ours: StreamSocket, port: str, level: Level = Level.TLS13) -> None:
    async with asyncio.timeout(PATIENCE):
        await ours.connect_async(LOCALHOST, port, level)


async def refused(ours: StreamSocket, port: str, level: Level = Level.TLS13) -> Any:
    with pytest.raises(OSError) as caught:
        await connect(ours, port, level)
    assert caught.value.winerror == errors.TRUST_E_SUBJECT_NOT_TRUSTED  # type: ignore[attr-defined]
    assert ours.information.protection_level == Level.PLAIN_SOCKET
    return caught.value


# -- the event -------------------------------------------------------------------------------------------------------


@both_versions
@both_paths
async def test_a_handler_sees_the_server_and_silence_accepts(version: str, ignored: list[Result]) -> None:
    seen: list[Any] = []

    def look(sender: StreamSocket, args: Args) -> None:
        seen.append((sender, args))
        assert repr(args.server_certificate) == repr(sender.information.server_certificate)
        assert list(args.server_intermediate_certificates) == []
        assert list(args.server_certificate_errors) == []
        assert args.server_certificate_error_severity == SocketSslErrorSeverity.NONE

    async with serving(server_context(version)) as served:
        ours = trusting()
        ours.control.ignorable_server_certificate_errors.extend(ignored)
        token = ours.add_server_custom_validation_requested(look)
        await connect(ours, served.port)
        assert [sender for sender, _ in seen] == [ours]
        await ours.write(b"hello")
        assert await ours.read() == b"hello"
        assert ours.information.protection_level == LEVELS[version]
        with pytest.raises(OSError) as caught:
            seen[0][1].reject()
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        with pytest.raises(OSError):
            seen[0][1].get_deferral()
        ours.remove_server_custom_validation_requested(token)
        await ours.aclose()


@both_versions
async def test_it_sees_the_errors_that_were_ignored_and_may_still_refuse(version: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = VERSIONS[version]
    bad_leaf().configure_cert(context)
    calls: list[list[Result]] = []

    def refuse(_: StreamSocket, args: Args) -> None:
        calls.append(list(args.server_certificate_errors))
        assert args.server_certificate_error_severity == SocketSslErrorSeverity.IGNORABLE
        args.reject()

    async with serving(context) as served:
        ours = trusting()
        ours.add_server_custom_validation_requested(refuse)
        with pytest.raises(OSError) as caught:
            await connect(ours, served.port)
        assert caught.value.winerror == errors.CERT_E_EXPIRED  # type: ignore[attr-defined]
        assert calls == []  # what the usual checks refuse is asked of nobody
        ours.control.ignorable_server_certificate_errors.extend([Result.EXPIRED, Result.INVALID_NAME])
        error = await refused(ours, served.port)
        assert calls == [[Result.EXPIRED, Result.INVALID_NAME]]
        assert "localhost" in error.reason
        assert list(ours.information.server_certificate_errors) == calls[0]
        assert ours.information.server_certificate is not None
        ours.close()


@both_paths
async def test_a_failed_connect_leaves_the_socket_new(ignored: list[Result]) -> None:
    async with serving(server_context("TLS 1.3")) as served:
        ours = trusting()
        ours.control.ignorable_server_certificate_errors.extend(ignored)
        token = ours.add_server_custom_validation_requested(lambda _, args: args.reject())
        await refused(ours, served.port)
        ours.remove_server_custom_validation_requested(token)
        ours.remove_server_custom_validation_requested(token)
        await connect(ours, served.port)
        await ours.aclose()


async def test_a_handler_that_raises_refuses() -> None:
    problem = KeyError("no such printer")
    later: list[str] = []

    def fail(_: StreamSocket, __: Args) -> None:
        raise problem

    async def fail_later(_: StreamSocket, __: Args) -> None:
        await asyncio.sleep(0)
        raise problem

    async with serving(server_context("TLS 1.3")) as served:
        for handler in (fail, fail_later, moorings.blocking(fail)):
            ours = trusting()
            ours.add_server_custom_validation_requested(handler)
            ours.add_server_custom_validation_requested(lambda _, __: later.append("called"))
            error = await refused(ours, served.port)
            assert error.__cause__ is problem
            assert "no such printer" in error.reason
            ours.close()
    assert later == ["called"] * 3


async def test_deferrals_hold_the_connect() -> None:
    deferrals: list[tuple[Deferral, Args]] = []

    def take(_: StreamSocket, args: Args) -> None:
        deferrals.extend([(args.get_deferral(), args), (args.get_deferral(), args)])

    async with serving(server_context("TLS 1.3")) as served:
        for rejects in (False, True):
            ours = trusting()
            ours.add_server_custom_validation_requested(take)
            connecting = asyncio.ensure_future(connect(ours, served.port))
            await until(lambda: len(deferrals) == 2)
            deferrals.pop()[0].complete()
            await turns(5)
            assert not connecting.done()
            assert ours.information.protection_level == Level.PLAIN_SOCKET
            deferral, args = deferrals.pop()
            if rejects:
                args.reject()
            deferral.complete()
            if rejects:
                with pytest.raises(OSError, match="refused"):
                    await connecting
                ours.close()
            else:
                await connecting
                await ours.aclose()


async def test_a_lost_deferral_refuses() -> None:
    async def lose(args: Args) -> None:
        args.get_deferral()

    def raise_inside(args: Args) -> None:
        try:
            with args.get_deferral():
                raise LookupError("nobody knows it")
        except LookupError:
            return

    async with serving(server_context("TLS 1.3")) as served:
        ours = trusting()
        token = ours.add_server_custom_validation_requested(lambda _, args: raise_inside(args))
        error = await refused(ours, served.port)
        assert isinstance(error.__cause__, LookupError)
        ours.remove_server_custom_validation_requested(token)
        ours.add_server_custom_validation_requested(lambda _, args: lose(args))
        with pytest.warns(ResourceWarning, match="dropped"):
            await refused(ours, served.port)
        ours.close()


@pytest.mark.parametrize("way", ["timeout", "cancel", "close"])
async def test_a_deferral_that_is_never_completed(way: str) -> None:
    kept: list[Deferral] = []
    cancelled: list[bool] = []

    async def wait_for_ever(_: StreamSocket, args: Args) -> None:
        kept.append(args.get_deferral())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with serving(server_context("TLS 1.3")) as served:
        if way == "timeout":
            with pytest.raises(TimeoutError, match="no connection within"):
                await moorings.connect(
                    f"tls://localhost:{served.port}",
                    ca=trusts(),
                    timeout=0.2,
                    approve=lambda args: wait_for_ever(None, args),  # type: ignore[arg-type]
                )
        else:
            ours = trusting()
            ours.add_server_custom_validation_requested(wait_for_ever)
            connecting = ours.connect_async(LOCALHOST, served.port, Level.TLS13)
            await until(lambda: bool(kept))
            (connecting if way == "cancel" else ours).__getattribute__(way)()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            ours.close()
        await until(lambda: bool(cancelled))
        kept.pop().complete()  # too late, and harmless
        await turns(2)
    assert served.received == []


async def test_arguments_of_the_members() -> None:
    ours = StreamSocket()
    with pytest.raises(TypeError):
        ours.add_server_custom_validation_requested(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ours.remove_server_custom_validation_requested("token")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Args()
    ours.close()


# -- nothing goes out before -----------------------------------------------------------------------------------------


class Recorder:
    """A TLS server that asks for a certificate, and keeps every octet that came."""

    def __init__(self, version: str, peer: socket.socket, context: ssl.SSLContext | None = None) -> None:
        if context is None:
            context = server_context(version)
            context.verify_mode = ssl.CERT_REQUIRED
            authority().configure_trust(context)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.peer = peer
        self.received: list[bytes] = []

    async def receive(self) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self.peer, 65536)
        self.received.append(data)
        self.incoming.write(data)
        return data

    async def step(self) -> bool:
        try:
            self.server.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        else:
            done = True
        if self.outgoing.pending:
            await asyncio.get_running_loop().sock_sendall(self.peer, self.outgoing.read())
        return done


def _records(data: bytes) -> list[tuple[int, int]]:
    found = []
    while data:
        kind, _, length = struct.unpack("!BHH", data[:5])
        found.append((kind, length))
        data = data[5 + length :]
    return found


@both_versions
@both_paths
@pytest.mark.parametrize("accepts", [True, False], ids=["accepts", "refuses"])
async def test_no_certificate_and_no_byte_leaves_before_the_verdict(
    version: str, ignored: list[Result], accepts: bool
) -> None:
    held: list[tuple[Deferral, Args]] = []
    ours = trusting(client_certificate=client_identity())
    ours.control.ignorable_server_certificate_errors.extend(ignored)
    ours.add_server_custom_validation_requested(lambda _, args: held.append((args.get_deferral(), args)))
    with plain_listener() as listening:
        listening.setblocking(False)
        connecting = asyncio.ensure_future(connect(ours, port_of(listening)))
        peer, _ = await asyncio.get_running_loop().sock_accept(listening)
        with peer:
            recorder = Recorder(version, peer)
            await recorder.receive()
            assert not await recorder.step()
            await until(lambda: bool(held))
            await turns(10)
            with pytest.raises(BlockingIOError):
                peer.recv(1)  # the ClientHello is all that has come
            deferral, args = held.pop()
            if not accepts:
                args.reject()
                deferral.complete()
                with pytest.raises(OSError, match="refused"):
                    await connecting
                assert await recorder.receive() == b""
                assert [kind for kind, _ in _records(recorder.received[0])] == [22]
                ours.close()
                return
            deferral.complete()
            while not await recorder.step():
                await recorder.receive()
            await connecting
            await recorder.step()
            await ours.write(b"after the verdict")
            await recorder.receive()
            assert recorder.server.read() == b"after the verdict"
            peer_certificate = recorder.server.getpeercert()
            assert peer_certificate is not None
            assert peer_certificate["subjectAltName"] == (("email", "client@example.org"),)
            ours.abort()


@both_versions
async def test_a_resumed_session_is_asked_about_once_and_in_time(version: str) -> None:
    asked: list[bool] = []
    async with serving(server_context(version)) as served:
        for _ in range(2):
            ours = trusting()
            ours.add_server_custom_validation_requested(
                lambda sender, args: asked.append(sender.information.is_resumed and bool(args.server_certificate))
            )
            await connect(ours, served.port)
            await ours.write(b"x")
            assert await ours.read() == b"x"
            await ours.aclose()
        assert asked == [False, True]
        ours = trusting()
        ours.add_server_custom_validation_requested(lambda _, args: args.reject())
        await refused(ours, served.port)
        ours.close()


@both_versions
async def test_a_server_that_no_longer_knows_the_session_is_asked_about_anew(version: str) -> None:
    """The session that the client brings has a chain of its own, which is not the one that counts."""
    seen: list[str] = []
    contexts = [server_context(version), server_context(version)]
    authority().issue_cert("localhost").configure_cert(contexts[1])
    with plain_listener() as listening:
        listening.setblocking(False)
        for count, context in enumerate(contexts):
            ours = trusting()
            ours.add_server_custom_validation_requested(lambda _, args: seen.append(repr(args.server_certificate)))
            connecting = asyncio.ensure_future(connect(ours, port_of(listening)))
            peer, _ = await asyncio.get_running_loop().sock_accept(listening)
            with peer:
                recorder = Recorder(version, peer, context)
                await recorder.receive()
                assert len(seen) == count
                while not await recorder.step():
                    await recorder.receive()
                await connecting
                assert not ours.information.is_resumed
                recorder.server.write(b"x")
                await recorder.step()
                assert await ours.read() == b"x"
                await ours.aclose()
    assert len(set(seen)) == len(seen) == 2


@both_paths
async def test_a_second_client_hello_asks_nobody(ignored: list[Result]) -> None:
    """The server wants another key share: what goes out then is a ClientHello again, and tells nothing new."""
    asked: list[str] = []
    context = server_context("TLS 1.3")
    context.set_ecdh_curve("secp384r1")
    with plain_listener() as listening:
        listening.setblocking(False)
        for count in range(2):
            ours = trusting(client_certificate=client_identity())
            ours.control.ignorable_server_certificate_errors.extend(ignored)
            ours.add_server_custom_validation_requested(lambda _, args: asked.append(repr(args.server_certificate)))
            connecting = asyncio.ensure_future(connect(ours, port_of(listening)))
            peer, _ = await asyncio.get_running_loop().sock_accept(listening)
            with peer:
                recorder = Recorder("TLS 1.3", peer, context)
                await recorder.receive()
                assert not await recorder.step()
                assert asked == asked[:1] * count
                second = await recorder.receive()
                assert [kind for kind, _ in _records(second) if kind != 20] == [22]
                while not await recorder.step():
                    await recorder.receive()
                await connecting
                recorder.server.write(b"x")
                await recorder.step()
                assert await ours.read() == b"x"
                await ours.aclose()
    assert len(asked) == 2
    assert asked[0] == asked[1]


# -- approve ---------------------------------------------------------------------------------------------------------


async def ask(port: str, approve: Callable[[Args], object], **settings: Any) -> None:
    settings.setdefault("ca", trusts())
    async with await moorings.connect(f"tls://localhost:{port}", approve=approve, **settings) as ours:
        await ours.write(b"x")
        assert await ours.read() == b"x"


async def test_approve_says_yes_or_no() -> None:
    async def slowly(_: Args) -> bool:
        await asyncio.sleep(0)
        return True

    def on_a_thread(_: Args) -> bool:
        assert threading.current_thread() is not threading.main_thread()
        return True

    async with serving(server_context("TLS 1.3")) as served:
        for yes in (lambda _: True, slowly, moorings.blocking(on_a_thread)):
            await ask(served.port, yes)
        for no in (lambda _: False, lambda _: None, lambda _: 1, moorings.blocking(lambda _: False)):
            with pytest.raises(OSError, match="the program refused") as caught:
                await ask(served.port, no)
            assert caught.value.winerror == errors.TRUST_E_SUBJECT_NOT_TRUSTED  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        await moorings.connect("tls://localhost:1", approve=True)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="are for 'tls://host:port'"):
        await moorings.connect("tcp://localhost:1", approve=print)


async def test_approve_cannot_accept_what_was_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    bad_leaf().configure_cert(context)
    asked: list[list[Result]] = []

    def yes(server: Args) -> bool:
        asked.append(list(server.server_certificate_errors))
        return True

    async with serving(context) as served:
        for ignore in ((), (Result.EXPIRED,)):
            with pytest.raises(OSError, match="not accepted"):
                await ask(served.port, yes, ignore=ignore)
        assert asked == []
        await ask(served.port, yes, ignore=(Result.EXPIRED, Result.INVALID_NAME))
        assert asked == [[Result.EXPIRED, Result.INVALID_NAME]]


# -- plain scripts ---------------------------------------------------------------------------------------------------

SCRIPT = """
import sys, threading
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import SocketProtectionLevel, StreamSocket
from moorings.certificates.trust import TrustAnchors

def handler(sender, args):
    assert threading.current_thread().name == "moorings-worker"
    print("asked", len(args.server_certificate_errors))
    if sys.argv[3] == "reject":
        args.reject()
    if sys.argv[3] == "raise":
        raise KeyError("raised")

async def later(sender, args):
    handler.later = True

socket = StreamSocket()
socket.control.trust_anchors = TrustAnchors(files=[sys.argv[2]])
socket.add_server_custom_validation_requested(handler)
socket.add_server_custom_validation_requested(later)
try:
    socket.connect_async(HostName("localhost"), sys.argv[1], SocketProtectionLevel.TLS13).get()
    print("connected", handler.later)
except OSError as error:
    print(hex(error.winerror & 0xffffffff), type(error.__cause__).__name__)
socket.close()
"""


async def _run(script: str, *arguments: str) -> tuple[list[str], bytes]:
    """The lines that a program prints, and what it complains about."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", script, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    async with asyncio.timeout(PATIENCE):
        printed, complaints = await process.communicate()
    return printed.decode().splitlines(), complaints


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("accept", "connected True"), ("reject", "0x800b0004 NoneType"), ("raise", "0x800b0004 KeyError")],
)
async def test_a_plain_script(tmp_path: Path, answer: str, outcome: str) -> None:
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    async with serving(server_context("TLS 1.3")) as served:
        printed, complaints = await _run(SCRIPT, served.port, str(tmp_path / "ca.pem"), answer)
    assert (printed, complaints) == (["asked 0", outcome], b"")


TOO_LATE = """
import inspect, sys, threading
from moorings.certificates.trust import TrustAnchors
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import SocketProtectionLevel, StreamSocket
asked, gone = threading.Event(), threading.Event()
made = []
async def later(): print("this runs for nobody")

def handler(_, args):
    asked.set()
    gone.wait()
    made.append(later())
    return made[0]
socket = StreamSocket()
socket.control.trust_anchors = TrustAnchors(files=[sys.argv[2]])
socket.add_server_custom_validation_requested(handler)
action = socket.connect_async(HostName("localhost"), sys.argv[1], SocketProtectionLevel.TLS13)
asked.wait()
action.cancel()
try:
    action.get()
except OSError:
    gone.set()
while not made or inspect.getcoroutinestate(made[0]) != inspect.CORO_CLOSED: pass
socket.close()
"""


async def test_a_plain_script_that_has_cancelled_drops_what_a_handler_returns_later(tmp_path: Path) -> None:
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    async with serving(server_context("TLS 1.3")) as served:
        assert await _run(TOO_LATE, served.port, str(tmp_path / "ca.pem")) == ([], b"")


WITHOUT_THE_EXTRA = """
import asyncio, sys
for name in ("cryptography", "OpenSSL", "service_identity"):
    sys.modules[name] = None
import moorings

async def main():
    url, ca = "tls://localhost:" + sys.argv[1], sys.argv[2]
    settings = (
        {"approve": lambda server: not server.server_certificate_errors},
        {"approve": lambda server: bool(server.server_certificate)},
        {"pin_sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
        {"revocation": True},
    )
    for each in settings:
        try:
            async with moorings.connect(url, ca=ca, **each) as connection:
                print(connection.information.protection_level.name)
        except OSError as error:
            print(hex(error.winerror & 0xffffffff), "pip install" in error.reason)

asyncio.run(main())
"""


async def test_without_the_extra(tmp_path: Path) -> None:
    """The say needs no package; what does says which, and nothing is accepted for the want of it."""
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    async with serving(server_context("TLS 1.3")) as served:
        printed, complaints = await _run(WITHOUT_THE_EXTRA, served.port, str(tmp_path / "ca.pem"))
    missing = "0x80070032 True"
    assert (printed, complaints) == (["TLS13", "0x800b0004 True", missing, missing], b"")
