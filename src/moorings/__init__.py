"""Windows.Networking.Sockets for Python on Linux."""

__version__ = "0.1.0"
