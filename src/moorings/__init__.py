"""Windows.Networking.Sockets for Python on Linux."""

from moorings import _native_switch  # noqa: F401 (first: it decides which form of the hot modules is loaded)

__version__ = "0.1.0"
