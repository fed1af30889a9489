"""EndpointPair: what each end may be, at construction and later."""

from __future__ import annotations

import pytest

from moorings import errors
from moorings.names.endpoint_pair import EndpointPair
from moorings.names.host_name import HostName

LOCAL = HostName("192.0.2.1")
REMOTE = HostName("example.com")


def test_keeps_what_it_was_given() -> None:
    pair = EndpointPair(LOCAL, "4000", REMOTE, "http")
    assert pair.local_host_name is LOCAL
    assert pair.local_service_name == "4000"
    assert pair.remote_host_name is REMOTE
    assert pair.remote_service_name == "http"
    assert repr(pair) == "<EndpointPair '192.0.2.1', '4000' -> 'example.com', 'http'>"


def test_the_local_end_may_be_left_to_the_system() -> None:
    pair = EndpointPair(None, "", REMOTE, "80")
    assert (pair.local_host_name, pair.local_service_name) == (None, "")
    pair.local_host_name = LOCAL
    pair.local_host_name = None
    assert pair.local_host_name is None
    assert repr(pair) == "<EndpointPair '', '' -> 'example.com', '80'>"


def test_the_remote_end_is_needed() -> None:
    for remote_host, remote_service in ((None, "80"), (REMOTE, "")):
        with pytest.raises(OSError) as caught:
            EndpointPair(None, "", remote_host, remote_service)  # type: ignore[arg-type]
        assert caught.value.winerror == errors.E_INVALIDARG


@pytest.mark.parametrize(
    "arguments",
    [
        (None, None, REMOTE, "80"),
        (None, "", REMOTE, None),
        (None, 0, REMOTE, "80"),
        ("192.0.2.1", "", REMOTE, "80"),
        (None, "", "example.com", "80"),
        (None, "", REMOTE, 80),
        (None, "", REMOTE),
        (),
    ],
)
def test_wrong_types(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        EndpointPair(*arguments)  # type: ignore[arg-type,call-arg]


def test_parameters_are_positional() -> None:
    with pytest.raises(TypeError):
        EndpointPair(None, "", REMOTE, remote_service_name="80")  # type: ignore[call-arg]


def test_setters_follow_the_same_rules() -> None:
    pair = EndpointPair(None, "", REMOTE, "80")
    with pytest.raises(OSError) as caught:
        pair.remote_host_name = None  # type: ignore[assignment]
    assert caught.value.winerror == errors.E_INVALIDARG
    for name, value in (
        ("remote_host_name", "example.com"),
        ("local_host_name", "192.0.2.1"),
        ("remote_service_name", None),
        ("local_service_name", None),
        ("local_service_name", 80),
    ):
        with pytest.raises(TypeError):
            setattr(pair, name, value)
    assert (pair.remote_host_name, pair.remote_service_name) == (REMOTE, "80")
    pair.remote_host_name = LOCAL
    pair.remote_service_name = ""
    pair.local_service_name = "9"
    assert (pair.remote_host_name, pair.remote_service_name, pair.local_service_name) == (LOCAL, "", "9")


def test_final_with_identity() -> None:
    with pytest.raises(TypeError):
        type("Derived", (EndpointPair,), {})
    assert EndpointPair(None, "", REMOTE, "80") != EndpointPair(None, "", REMOTE, "80")
    with pytest.raises(AttributeError):
        EndpointPair(None, "", REMOTE, "80").extra = 1  # type: ignore[attr-defined]
