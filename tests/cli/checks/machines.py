"""Machines that are not this one."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def refusing(**refused: int) -> Callable[..., socket.socket]:
    """Sockets whose methods of these names fail with these errnos; `open` is the making of one."""

    class Refusing(socket.socket):
        def __init__(self, *arguments: Any) -> None:
            if "open" in refused:
                super().__init__()
                self.close()
                raise failure("open")
            super().__init__(*arguments)

        def bind(self, address: Any) -> None:
            if "bind" in refused:
                raise failure("bind")
            super().bind(address)

        def connect(self, address: Any) -> None:
            if "connect" in refused:
                raise failure("connect")
            super().connect(address)

        def setsockopt(self, *arguments: Any) -> None:
            if "setsockopt" in refused:
                raise failure("setsockopt")

        def getsockopt(self, *arguments: Any) -> Any:
            if "getsockopt" in refused:
                raise failure("getsockopt")
            return super().getsockopt(*arguments)

    def failure(name: str) -> OSError:
        return OSError(refused[name], os.strerror(refused[name]))

    return Refusing


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")
