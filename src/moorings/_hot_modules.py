"""The modules that the build compiles when a C compiler is there.

This list is the only one: ``setup.py`` compiles what it names, :mod:`moorings._native_switch` checks and switches it at
run time. Each name stands for a ``.py`` file with a ``.pxd`` beside it (compiled from the very same source), or for a
``.pyx`` file, which exists only compiled and has a pure twin under another name.

The list grows only by profile. This file is executed by ``setup.py`` on its own, so it imports nothing.
"""

from __future__ import annotations

__all__ = ["HOT_MODULES"]

HOT_MODULES = (
    "moorings._native",
    "moorings._native_datagrams",
    "moorings._native_web_sockets",
    "moorings.foundation.home",
    "moorings.foundation.operation",
    "moorings.foundation._await_slots",
    "moorings.protocols.sink",
    "moorings.engine.hub",
    "moorings.engine.stream_reading",
    "moorings.engine.stream_writing",
    "moorings.engine.tcp_stream",
    "moorings.engine._openssl",
    "moorings.engine._ciphertext",
    "moorings.engine._records",
    "moorings.engine.tls_stream",
    "moorings.engine.listener",
    "moorings.engine.server_handshake",
    "moorings.engine.layered_tls",
    "moorings.engine.kernel_tls_stream",
    "moorings.engine.datagram",
    "moorings.engine.datagram_sending",
    "moorings.engine.datagram_port",
    "moorings.protocols.web_socket_frames",
    "moorings.protocols.web_socket_sending",
    "moorings.engine.web_socket_flow",
    "moorings.engine.web_socket",
    "moorings.engine.web_socket_stream",
    "moorings.streams.buffer",
    "moorings.sockets.socket_streams",
    "moorings.sockets.datagram_streams",
    "moorings.sockets.connection",
    "moorings.sockets.stream_parts",
    "moorings.sockets.accepting",
    "moorings.sockets.message_parts",
)
