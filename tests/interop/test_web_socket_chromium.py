"""Chromium as the client of our WebSockets: pages of our own server, with JavaScript's WebSocket."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
from base64 import b64encode
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from tests.engine.pairs import PATIENCE, until
from tests.engine.tls_pairs import server_certificate
from tests.interop.peers_here import needs, program
from tests.interop.web_socket_agents import AGENT, AgentPeer, Talk
from tests.interop.web_socket_battery import cases
from tests.interop.web_socket_pairs import Implementation, Settings, alongside, our_client, our_server, run

import moorings
from moorings.protocols.http_answers import HttpAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.interop.web_socket_pairs import Peer, Scene

CHROMIUM = program("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
pytestmark = needs(CHROMIUM, "Chromium (Debian: chromium-headless-shell)")

PAGE = HttpAnswer(body="<!doctype html><title>peers</title>", content_type="text/html")
SET_UP = (
    AGENT.read_text(encoding="utf-8")
    + "const agent = makeAgent(({ url, protocols }) => new WebSocket(url, protocols));"
)


def key_hash() -> str:
    """What names our certificate on the command line."""
    certificate = load_pem_x509_certificate(server_certificate().cert_chain_pems[0].bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(hashlib.sha256(key).digest()).decode()


class Chromium(Implementation):
    # JavaScript can send neither fragments nor pings, closes with few codes, and has no limit and no other end.
    lacks = frozenset({"fragments_from_them", "pings_from_them", "they_leave_without_a_word", "too_long_for_them"})
    roles = ("our server",)
    codes = (1000, 3000, 4999)
    server_options = MappingProxyType({"http": lambda _head: PAGE})

    def __init__(self) -> None:
        self.url = ""

    @asynccontextmanager
    async def page(self, url: str) -> AsyncIterator[Page]:
        """A new page from there."""
        async with websockets.connect(self.url, max_size=None, compression=None, ping_interval=None) as tools:

            async def pump() -> None:
                async for line in tools:
                    talk.take(line)

            talk = Talk(tools.send)
            async with alongside(pump()):
                made = await talk.request(method="Target.createTarget", params={"url": "about:blank"})
                attaching = made | {"flatten": True}
                attached = await talk.request(method="Target.attachToTarget", params=attaching)
                page = Page(talk, attached["sessionId"])
                try:
                    await page.go(url)
                    yield page
                finally:
                    await talk.request(method="Target.closeTarget", params=made)

    @asynccontextmanager
    async def connect(self, url: str, settings: Settings) -> AsyncIterator[Peer]:
        async with self.page(url.replace("ws", "http", 1)) as page:
            yield await page.connect(url, settings.their_subprotocols)


class Page:
    """A page with the agent."""

    def __init__(self, talk: Talk, session: str) -> None:
        self.talk = talk
        self.session = session

    async def tell(self, method: str, **params: Any) -> Any:
        return await self.talk.request(method=method, sessionId=self.session, params=params)

    async def go(self, url: str) -> None:
        gone = await self.tell("Page.navigate", url=url)
        assert "errorText" not in gone, gone
        await self.evaluate(SET_UP)

    async def evaluate(self, expression: str) -> Any:
        told = await self.tell("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def ask(self, op: str, **request: Any) -> Any:
        return await self.evaluate(f"agent.run({json.dumps({'op': op, **request})})")

    async def connect(self, url: str, protocols: tuple[str, ...] = ()) -> AgentPeer:
        return AgentPeer(self.ask, await self.ask("connect", url=url, protocols=protocols))


CHROMIUM_PAGES = Chromium()


@pytest.fixture(scope="module", autouse=True)
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Chromium for all tests, that talks to this machine only."""
    assert CHROMIUM is not None
    options = [
        "--headless",
        "--remote-debugging-port=0",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        f"--ignore-certificate-errors-spki-list={key_hash()}",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",  # containers have little of that
        "--disable-gpu",
        "--no-first-run",
    ]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # it does not start otherwise
    command = [CHROMIUM, *options, "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as started:
        try:
            assert started.stderr is not None
            said = ""
            while not (found := re.search(r"DevTools listening on (ws://\S+)", said)):
                line = started.stderr.readline()
                assert line, said
                said += line
            CHROMIUM_PAGES.url = found[1]
            yield
        finally:
            os.killpg(started.pid, signal.SIGTERM)  # (Debian's command is a script that waits for the program.)
            started.communicate()


@cases(CHROMIUM_PAGES)
async def test_chromium(role: str, check: Callable[[Scene], Awaitable[None]]) -> None:
    await run(CHROMIUM_PAGES, role, check)


async def echo(web_socket: Any) -> None:
    async for message in web_socket:
        await web_socket.send(message)


@asynccontextmanager
async def page_and_server(**settings: Any) -> AsyncIterator[tuple[Page, str, Callable[[], Awaitable[Any]]]]:
    """A page of our server, the server's URL for WebSockets, and what gives the next one that it accepted."""
    serving = our_server(Settings(), http=lambda _head: PAGE, **settings)
    async with (
        asyncio.timeout(PATIENCE),
        serving as (url, accepted),
        CHROMIUM_PAGES.page(url.replace("ws", "http", 1)) as page,
    ):
        yield page, url, accepted


async def test_what_the_close_event_says() -> None:
    async with page_and_server() as (page, url, accepted):
        theirs, ours = await page.connect(url), await accepted()
        ours.close(4000, "enough")
        assert await theirs.how_it_ended() == {"code": 4000, "reason": "enough", "wasClean": True}
        theirs, ours = await page.connect(url), await accepted()
        await theirs.close(4001, "")
        with pytest.raises(OSError, match="4001"):
            await ours.receive()  # else its close frame and ours might cross
        await ours.aclose()
        assert await theirs.how_it_ended() == {"code": 4001, "reason": "", "wasClean": True}
        theirs, ours = await page.connect(url), await accepted()
        ours.abort()
        assert await theirs.how_it_ended() == {"code": 1006, "reason": "", "wasClean": False}


async def test_blobs() -> None:
    async with page_and_server() as (page, url, accepted):
        theirs, ours = await page.connect(url), await accepted()
        await theirs.send(b"a blob", blob=True)
        assert await ours.receive() == b"a blob"
        await page.evaluate(f"agent.connections[{theirs.number}].socket.binaryType = 'blob'")
        await ours.send(b"another one")
        taken = f"agent.connections[{theirs.number}].messages.take()"
        assert await page.evaluate(f"(async () => (await {taken}).text())()") == "another one"


async def test_pages_from_elsewhere_may_not_connect() -> None:
    async with page_and_server() as (page, url, _):
        origin = url.replace("ws", "http", 1).rstrip("/")
        refuses = moorings.listen("ws://127.0.0.1:0", echo, origins=["https://shop.example"])
        allows = moorings.listen("ws://127.0.0.1:0", echo, origins=[origin])
        async with refuses as refusing, allows as allowing:
            theirs = await page.connect(f"ws://127.0.0.1:{refusing.port}/")
            assert await theirs.how_it_ended() == {"code": 1006, "reason": "", "wasClean": False}
            assert refusing.listener.information.counters.answers == {403: 1}
            theirs = await page.connect(f"ws://127.0.0.1:{allowing.port}/")
            await theirs.send("hello")
            assert await theirs.receive() == "hello"
            await theirs.close(1000, "")
            await theirs.end()


async def test_it_goes_nowhere_without_a_subprotocol_of_its_own() -> None:
    """We agree to none, and go on; a browser that offered some does not."""
    async with page_and_server() as (page, url, accepted):
        theirs, ours = await page.connect(url, ("chat",)), await accepted()
        assert await theirs.how_it_ended() == {"code": 1006, "reason": "", "wasClean": False}
        with pytest.raises(ConnectionError):
            await ours.receive()


async def test_a_page_has_to_wait_for_a_server_that_does_not_receive() -> None:
    count, size = 32, 1 << 20
    async with page_and_server() as (page, url, accepted):
        theirs, ours = await page.connect(url), await accepted()
        socket = f"agent.connections[{theirs.number}].socket"
        await page.evaluate(
            f"const megabyte = new Uint8Array({size}); for (let i = 0; i < {count}; i++) {socket}.send(megabyte)"
        )
        await until(lambda: ours._link.paused)
        assert await page.evaluate(f"{socket}.bufferedAmount") > 0
        for _ in range(count):
            assert len(await ours.receive()) == size
        await theirs.send("all sent")
        assert await ours.receive() == "all sent"
        await page.evaluate(
            f"new Promise((done) => (function look() {{ {socket}.bufferedAmount ? setTimeout(look) : done() }})())"
        )


async def test_a_page_that_leaves_says_so() -> None:
    async with page_and_server() as (page, url, accepted):
        await page.connect(url)
        ours = await accepted()
        await page.go("about:blank")
        with pytest.raises(StopAsyncIteration):
            await anext(ours)
        assert ours.close_code == 1001


async def test_our_client_and_its_own_server() -> None:
    """Its tools are served over a WebSocket, too."""
    async with asyncio.timeout(PATIENCE), our_client(CHROMIUM_PAGES.url, Settings()) as ours:
        await ours.send(json.dumps({"id": 1, "method": "Browser.getVersion"}))
        assert "Chrom" in json.loads(await ours.receive())["result"]["product"]
        assert await ours.ping() > 0
