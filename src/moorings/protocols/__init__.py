"""Protocols without I/O: bytes in, calls and bytes out. No socket, no loop, no clock."""
