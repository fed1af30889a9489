"""Tests of what a kernel may lack: where it does they are left out, but for the lab, which has everything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from moorings.engine.kernel_tls import USUAL_SUITE, find_obstacle

if TYPE_CHECKING:
    import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("LAB") or find_obstacle(USUAL_SUITE) is None:
        return
    left_out = [item for item in items if item.get_closest_marker("lab")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("lab")]
