"""Settings of the whole suite; the work is done by the plugins."""

from __future__ import annotations

pytest_plugins = ["tests.plugins.native_mode", "tests.plugins.zero_tolerance", "pytester"]
