"""nginx as a proxy between WebSockets: ours and those of another implementation, and ours at both ends."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from tests.docs.documents import blocks_of
from tests.engine.pairs import PATIENCE, until
from tests.engine.tls_pairs import authority, client_context, server_certificate
from tests.interop.nginx_process import HTTP, needs_nginx, nginx_process
from tests.interop.web_socket_battery import SIZES, both_ways, bytes_of, cases, text_of
from tests.interop.web_socket_of_websockets import Websockets, WebsocketsPeer
from tests.interop.web_socket_pairs import Implementation, Pair, PeerServer, Settings, our_client, our_server, run

from moorings.protocols.web_error_status import HandshakeRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.interop.test_tls_openssl import Command
    from tests.interop.web_socket_pairs import Peer, Scene

pytestmark = needs_nginx

CERTIFICATE = " ssl; ssl_certificate server.pem; ssl_certificate_key server.pem;"
TRUST = "proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_name localhost;"
UPGRADE = 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'


def proxy(backend: int, *, secure: bool = False, secure_backend: bool = False, more: str = UPGRADE) -> str:
    """A server of nginx in front of that port."""
    head = CERTIFICATE if secure else ";"
    target = f"https://127.0.0.1:{backend}; {TRUST}" if secure_backend else f"http://127.0.0.1:{backend};"
    return f"{head} location / {{ proxy_pass {target} {more} }}"


def port_of(url: str) -> int:
    return int(url.rstrip("/").rpartition(":")[2])


class Proxied(Implementation):
    """The websockets package behind nginx."""

    def __init__(self) -> None:
        self.other = Websockets(websockets)
        self.files = Path()

    @asynccontextmanager
    async def in_front_of(self, port: int, secure: bool) -> AsyncIterator[int]:
        server = proxy(port, secure=secure, secure_backend=secure)
        async with nginx_process(self.files, server, room=HTTP) as ((made,), _):
            yield int(made)

    @asynccontextmanager
    async def connect(self, url: str, settings: Settings) -> AsyncIterator[Peer]:
        scheme, port = url.partition(":")[0], port_of(url)
        async with (
            self.in_front_of(port, settings.secure) as front,
            self.other.connect(f"{scheme}://localhost:{front}/", settings) as peer,
        ):
            yield peer

    @asynccontextmanager
    async def serve(self, settings: Settings) -> AsyncIterator[PeerServer]:
        async with self.other.serve(settings) as behind, self.in_front_of(behind.port, settings.secure) as front:
            yield PeerServer(front, behind.accept)


PROXIED = Proxied()


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> Path:
    PROXIED.files = tmp_path
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    server_certificate().private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    return tmp_path


@cases(PROXIED)
async def test_nginx_between_us_and_others(role: str, check: Callable[[Scene], Awaitable[None]]) -> None:
    await run(PROXIED, role, check)


@asynccontextmanager
async def ours_with_nginx_between(
    files: Path, *, secure: bool = False, secure_backend: bool = False, more: str = UPGRADE, **options: Any
) -> AsyncIterator[tuple[Pair, Command]]:
    """Our client, our server's end, and nginx, a master with a worker."""
    async with (
        asyncio.timeout(PATIENCE),
        our_server(Settings(secure=secure_backend), **options) as (url, accepted),
        nginx_process(
            files,
            proxy(port_of(url), secure=secure, secure_backend=secure_backend, more=more),
            room=HTTP,
            with_workers=True,
        ) as ((port,), process),
        our_client(f"{'wss' if secure else 'ws'}://localhost:{port}/", Settings(secure=secure)) as client,
    ):
        yield Pair(client, await accepted()), process


@pytest.mark.parametrize(("secure", "secure_backend"), [(False, False), (True, False), (False, True), (True, True)])
async def test_ours_at_both_ends(files: Path, secure: bool, secure_backend: bool) -> None:
    async with ours_with_nginx_between(files, secure=secure, secure_backend=secure_backend) as (pair, _):
        for size in SIZES:
            await both_ways(pair, [text_of(size), bytes_of(size)])
        pair.ours.close(4000, "enough")
        await pair.ours.aclose()
        with pytest.raises(OSError, match="4000 enough"):
            await pair.theirs.receive()


async def test_pings_keep_a_connection_alive_that_nginx_would_cut(files: Path) -> None:
    impatient = f"{UPGRADE} proxy_read_timeout 1s;"
    async with ours_with_nginx_between(files, more=impatient, ping_interval=0.0) as (pair, _):
        for end in (pair.ours, pair.theirs):  # nothing but silence
            with pytest.raises(ConnectionAbortedError):
                await end.receive()
            assert end.close_code == 0
    async with ours_with_nginx_between(files, more=impatient, ping_interval=0.1) as (pair, _):
        await until(lambda: pair.ours._link.pings_received >= 15)
        await both_ways(pair, ["still here"])


async def test_a_reload_leaves_open_connections_alone(files: Path) -> None:
    async with ours_with_nginx_between(files) as (pair, process):
        process.signal(signal.SIGHUP)
        await process.until(b"gracefully shutting down")
        await both_ways(pair, ["still here"])
        pair.ours.close(1000, "")
        await pair.ours.aclose()
        await process.until(b"worker process [0-9]+ exited with code 0")


async def test_a_stop_ends_them_without_a_close_frame(files: Path) -> None:
    async with ours_with_nginx_between(files) as (pair, process):
        process.signal(signal.SIGTERM)
        for end in (pair.ours, pair.theirs):
            with pytest.raises(ConnectionAbortedError):
                await end.receive()
            assert end.close_code == 0


async def refusal_by(files: Path, server: str) -> int:
    async with asyncio.timeout(PATIENCE), nginx_process(files, server, room=HTTP) as ((port,), _):
        with pytest.raises(HandshakeRefusedError) as caught:
            async with our_client(f"ws://localhost:{port}/", Settings()):
                pass
    return caught.value.http_status


async def test_nobody_behind_it(files: Path) -> None:
    assert await refusal_by(files, proxy(1)) == 502


async def test_it_was_not_told_of_upgrades(files: Path) -> None:
    """Without its headers Upgrade and Connection our server gets a plain request, and says so."""
    async with our_server(Settings()) as (url, _):
        assert await refusal_by(files, proxy(port_of(url), more="")) == 505  # nginx speaks HTTP/1.0 then
        assert await refusal_by(files, proxy(port_of(url), more="proxy_http_version 1.1;")) == 426


async def test_as_the_guide_has_it(files: Path) -> None:
    """TLS ends at nginx, and pages from there may connect, as our server sees the name that they asked for."""
    (block,) = (each for each in blocks_of("docs/guides/web-sockets.md") if each.language == "nginx")
    async with asyncio.timeout(PATIENCE), our_server(Settings()) as (url, accepted):
        location = block.text.replace("1337", str(port_of(url)))
        without_host = re.sub("proxy_set_header Host .*", "", location)
        servers = (f"{CERTIFICATE} {location}", f"{CERTIFICATE} {without_host}")
        async with nginx_process(files, *servers, room=HTTP) as (ports, _):
            right, wrong = (f"localhost:{port}" for port in ports)
            origin: Any = f"https://{right}"
            trust = client_context()
            async with websockets.connect(f"wss://{right}/", ssl=trust, origin=origin) as client:
                await both_ways(Pair(await accepted(), WebsocketsPeer(client)), ["through nginx"])
            origin = f"https://{wrong}"
            with pytest.raises(websockets.InvalidStatus, match="403"):
                await websockets.connect(f"wss://{wrong}/", ssl=trust, origin=origin)
