"""nginx with servers of its stream module, or of its http module."""

from __future__ import annotations

import os
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.docs.programs import own_port
from tests.interop.peers_here import needs, program
from tests.interop.test_tls_openssl import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.interop.test_tls_openssl import Command

NGINX = program("nginx")
needs_nginx = needs(NGINX, "nginx with its stream module")
#: Debian's nginx has the stream module as a file of its own; others have it built in, or beside the program.
MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
HAS_MODULE = MODULE.exists()

#: What stands around the servers. (The paths that Debian's nginx knows are root's.)
STREAM = (f"load_module {MODULE};\n" if HAS_MODULE else "", "stream {\n")
HTTP = (
    "",
    "http {\naccess_log off;\n"
    + "".join(f"{name}_temp_path tmp;\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
)


@asynccontextmanager
async def nginx(files: Path, *servers: str) -> AsyncIterator[list[str]]:
    """Run it in one process, as this user, with these servers of its stream module; gives their ports."""
    async with nginx_process(files, *servers, room=STREAM) as (ports, _):
        yield ports


@asynccontextmanager
async def nginx_process(
    files: Path, *servers: str, room: tuple[str, str], with_workers: bool = False
) -> AsyncIterator[tuple[list[str], Command]]:
    """Ports and process: one alone, or a master with a worker, which can be told to reload."""
    with ExitStack() as kept:
        ports = [str(kept.enter_context(own_port())) for _ in servers]
        blocks = [f"server {{ listen 127.0.0.1:{port}{server} }}" for port, server in zip(ports, servers, strict=True)]
        head, opening = room
        if with_workers:
            head += "worker_processes 1;\n" + ("user root;\n" if os.geteuid() == 0 else "")
        else:
            head += "master_process off;\n"
        text = f"{head}daemon off;\npid nginx.pid;\nerror_log stderr notice;\n"
        text += "events { worker_connections 128; }\n" + opening + "\n".join(blocks) + "\n}\n"
        (files / "nginx.conf").write_text(text, encoding="utf-8")
        assert NGINX is not None
        command = (NGINX, "-e", "stderr", "-p", files, "-c", "nginx.conf")
        async with running(*command, cwd=files) as process:
            await process.until(b"start worker process [0-9]+" if with_workers else b"using the .* event method")
            yield ports, process  # it listens by then
