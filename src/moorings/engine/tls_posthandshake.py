"""What TLS itself says after the handshake, where the records come from the kernel: alerts and handshake messages."""

from __future__ import annotations

from moorings.engine.tls_codec import FailureKind, TlsFailure

__all__ = ["FollowUps", "judge_alert"]

_CLOSE_NOTIFY, _USER_CANCELED = 0, 90
_WARNING = 1
_HELLO_REQUEST, _NEW_SESSION_TICKET, _KEY_UPDATE = 0, 4, 24
_HEAD_SIZE = 4

# RFC 8446 section 6, RFC 5246 section 7.2.
_ALERTS = {
    10: "unexpected message",
    20: "bad record mac",
    22: "record overflow",
    40: "handshake failure",
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate unknown",
    47: "illegal parameter",
    48: "unknown ca",
    49: "access denied",
    50: "decode error",
    51: "decrypt error",
    70: "protocol version",
    71: "insufficient security",
    80: "internal error",
    116: "certificate required",
}


def judge_alert(data: bytes, version: str) -> tuple[bool, TlsFailure | None]:
    """Whether an alert ends the stream cleanly, else how the stream fails; (False, None) for one that means nothing."""
    if len(data) != 2:
        return False, TlsFailure(FailureKind.PROTOCOL, "an alert of the wrong size")
    level, number = data
    if number == _CLOSE_NOTIFY:
        return True, None
    if number == _USER_CANCELED or (level == _WARNING and version != "TLSv1.3"):
        return False, None
    return False, TlsFailure(FailureKind.ALERT, _ALERTS.get(number, f"alert {number}"))


class FollowUps:
    """The handshake messages that may follow a handshake, record by record. Nothing of them is kept."""

    __slots__ = ("_head", "_skip", "version")

    def __init__(self, version: str) -> None:
        self.version = version
        self._head = b""
        self._skip = 0

    @property
    def in_message(self) -> bool:
        """Whether a message has come by half."""
        return bool(self._head) or self._skip > 0

    def take(self, data: bytes) -> bool:
        """Take the plaintext of a record; whether the peer asks for another handshake, which is to be refused.

        Raises TlsFailure where the connection cannot go on.
        """
        asks = False
        while data:
            if self._skip:
                step = min(self._skip, len(data))
                self._skip -= step
                data = data[step:]
                continue
            wanted = _HEAD_SIZE - len(self._head)
            self._head += data[:wanted]
            data = data[wanted:]
            if len(self._head) < _HEAD_SIZE:
                break
            kind, self._skip = self._head[0], int.from_bytes(self._head[1:], "big")
            self._head = b""
            asks = self._judge(kind) or asks
        return asks

    def _judge(self, kind: int) -> bool:
        if self.version == "TLSv1.3":
            if kind == _KEY_UPDATE:
                text = "the peer has updated its keys; a connection whose TLS the kernel carries cannot follow"
                raise TlsFailure(FailureKind.PROTOCOL, text)
            if kind == _NEW_SESSION_TICKET:
                return False
        elif kind == _HELLO_REQUEST:
            return True
        raise TlsFailure(FailureKind.PROTOCOL, f"a handshake message of type {kind}")
