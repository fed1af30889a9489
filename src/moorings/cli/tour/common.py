"""What the parts of the demonstration share."""

from __future__ import annotations

from typing import Any, NamedTuple

LOCALHOST = "127.0.0.1"
#: Seconds after which a part is stuck.
PATIENCE = 120.0

#: What a part found out, for `--json`.
Facts = dict[str, Any]


class DemoError(Exception):
    """A step did not do what it should."""


class Options(NamedTuple):
    """What the command line says."""

    clients: int
    megabytes: int
    packets: int = 100_000
