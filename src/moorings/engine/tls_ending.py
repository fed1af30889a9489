"""How a stream with TLS breaks, whoever does its TLS: what it is told, and what everybody who uses it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorings import errors
from moorings.engine.interface import EndReason
from moorings.engine.tls_codec import FailureKind, TlsFailure, error_of

if TYPE_CHECKING:
    from moorings.engine.kernel_tls_stream import KernelTlsStream
    from moorings.engine.tls_stream import TlsStream

__all__ = ["fail", "truncate"]


def truncate(stream: TlsStream | KernelTlsStream) -> None:
    """FIN without close_notify: somebody may have cut off the end."""
    if stream.end_reason == EndReason.OPEN:
        stream.end_reason = EndReason.TRUNCATED
    reason = (
        f"{stream.label}: the connection ended without TLS's close_notify; what the peer sent last may be missing, "
        "so do not take what came for everything"
    )
    stream.read_error = errors.make(errors.WSAECONNABORTED, reason)
    stream.readable = True


def fail(stream: TlsStream | KernelTlsStream, failure: TlsFailure) -> None:
    """TLS cannot go on: every read and write from now on is told; what is to be sent goes out, such as an alert."""
    error = error_of(failure, f"{stream.label}: TLS failed")
    stream.session_failed = True
    stream.read_error = error
    if stream.write_error is None:
        stream.write_error = error
    if stream.end_reason in (EndReason.OPEN, EndReason.CLOSED_BY_PEER):
        stream.end_reason = EndReason.RESET if failure.kind is FailureKind.ALERT else EndReason.ABORTED
    stream.readable = True
    if stream.hub is not None:
        stream.hub.mark_dirty(stream)
