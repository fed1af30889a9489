"""A page in a browser talks to our server, where a browser is installed: it runs without a window, for some seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import moorings
from moorings.cli.checks.machine import find_program
from moorings.cli.checks.tools import BROWSERS
from moorings.cli.output import printable
from moorings.cli.tour.common import LOCALHOST, DemoError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from moorings.cli.console import Console
    from moorings.cli.tour.common import Facts, Options

#: Seconds that the browser has to start, to load the page and to talk.
BROWSER_PATIENCE = 30.0
#: Seconds that it has to end.
_LAST_WORD = 3.0
#: Characters of what the browser says that are shown.
_SHOWN = 120
#: It fetches nothing but our page, and leaves nothing behind.
_SWITCHES = (
    "--headless",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
)

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>moorings demo</title>
<script>
const socket = new WebSocket(`ws://${location.host}/chat`);
socket.onopen = () => socket.send(`I am ${navigator.userAgent}`);
socket.onmessage = (event) => {
  socket.send(`I have read: ${event.data}`);
  socket.close(1000, "goodbye from the page");
};
</script>
"""


async def browser(console: Console, _options: Options) -> Facts:
    """The conversation of the page and the server."""
    program = next((found for name in BROWSERS if (found := find_program(name))), None)
    if program is None:
        console.say("note", "no browser is installed (apt install chromium-headless-shell)")
        return {"browser": None}
    done: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    async def serve(web_socket: Any) -> None:
        request = web_socket.information.request
        console.say("server", f"a page of {request.origin} has opened {request.path}")
        words: list[str] = []
        async for message in web_socket:
            words.append(printable(str(message)))
            console.say("browser", words[-1][:_SHOWN])
            if len(words) == 1:
                await web_socket.send("Hello, browser!")
                console.say("server", "sent 'Hello, browser!'")
        console.say("server", f"the page has closed with {web_socket.close_code}: {web_socket.close_reason}")
        if not done.done():
            done.set_result(words)

    def answer(request: Any) -> Any:
        if request.path != "/":
            return None
        console.say("server", "the page was fetched")
        return moorings.HttpAnswer(body=PAGE, content_type="text/html; charset=utf-8")

    listen: Any = moorings.listen
    async with listen(f"ws://{LOCALHOST}:0", routes={"/chat": serve}, http=answer, drain_timeout=1) as server:
        page = f"http://{LOCALHOST}:{server.port}"
        server.listener.control.origins = [page]
        console.say("server", f"has a page at {page}, and a WebSocket for pages of this origin only")
        async with running(program, page):
            console.say("browser", f"{program} begins")
            try:
                async with asyncio.timeout(BROWSER_PATIENCE):
                    words = await done
            except TimeoutError:
                raise DemoError(f"{program} has not talked to the server within {BROWSER_PATIENCE:g} s") from None
    if words[1:] != ["I have read: Hello, browser!"]:
        raise DemoError(f"the page has said {words!r}")
    return {"browser": program, "words": words}


@asynccontextmanager
async def running(program: str, page: str) -> AsyncGenerator[None]:
    """The browser, with a profile of its own; it and all of its processes end with the block."""
    switches = [*_SWITCHES, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    nowhere = asyncio.subprocess.DEVNULL
    with tempfile.TemporaryDirectory(prefix="moorings-demo-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program,
            *switches,
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",  # it would end as soon as the page is loaded
            page,
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            start_new_session=True,
        )
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            with suppress(TimeoutError):  # it mostly takes its own processes along
                async with asyncio.timeout(_LAST_WORD):
                    await process.wait()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
