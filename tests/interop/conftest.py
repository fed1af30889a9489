"""The assertions of the shared battery tell as much as those of the tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.interop.web_socket_battery")
