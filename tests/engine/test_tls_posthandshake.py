"""What may follow a handshake: tickets, key updates, alerts; in any pieces."""

from __future__ import annotations

import pytest

from moorings.engine.tls_codec import FailureKind, TlsFailure
from moorings.engine.tls_posthandshake import FollowUps, judge_alert

TICKET = b"\x04\x00\x00\x05hello"
KEY_UPDATE = b"\x18\x00\x00\x01\x00"


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 9, 100])
def test_tickets_are_passed_over(step: int) -> None:
    follow_ups = FollowUps("TLSv1.3")
    data = TICKET * 3
    for start in range(0, len(data), step):
        assert not follow_ups.take(data[start : start + step])
        assert follow_ups.in_message == ((start + step) % len(TICKET) != 0 and start + step < len(data))


@pytest.mark.parametrize("step", [0, 3])
def test_a_key_update_is_the_end(step: int) -> None:
    follow_ups = FollowUps("TLSv1.3")
    follow_ups.take(TICKET + KEY_UPDATE[:step])
    with pytest.raises(TlsFailure, match="updated its keys"):
        follow_ups.take(KEY_UPDATE[step:])


@pytest.mark.parametrize(("version", "kind"), [("TLSv1.3", 0), ("TLSv1.3", 13), ("TLSv1.2", 4), ("TLSv1.2", 24)])
def test_other_messages_break_the_protocol(version: str, kind: int) -> None:
    with pytest.raises(TlsFailure, match=f"type {kind}") as caught:
        FollowUps(version).take(bytes((kind, 0, 0, 0)))
    assert caught.value.kind is FailureKind.PROTOCOL


def test_another_handshake_is_asked_for() -> None:
    assert FollowUps("TLSv1.2").take(bytes(4))


def test_alerts() -> None:
    assert judge_alert(b"\1\0", "TLSv1.3") == (True, None)
    assert judge_alert(b"\2\0", "TLSv1.2") == (True, None)
    assert judge_alert(b"\1\x5a", "TLSv1.3") == (False, None)  # user_canceled
    assert judge_alert(b"\1\x64", "TLSv1.2") == (False, None)  # no_renegotiation
    for data, text in ((b"\2\x28", "handshake failure"), (b"\2\xff", "alert 255"), (b"\1\x28", "handshake failure")):
        ends, failure = judge_alert(data, "TLSv1.3")
        assert not ends
        assert failure is not None
        assert (failure.kind, failure.text) == (FailureKind.ALERT, text)
    for data in (b"", b"\1", b"\1\0\0"):
        _, failure = judge_alert(data, "TLSv1.2")
        assert failure is not None
        assert failure.kind is FailureKind.PROTOCOL
