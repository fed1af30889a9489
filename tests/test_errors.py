from __future__ import annotations

import copy
import errno
import pickle
import socket
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings import errors
from moorings.errors import SocketErrorStatus

# Written out by hand from winerror.h and the reference, not derived from the module under test.
STATUS_ROWS: list[tuple[int, int]] = [
    *((code, 1) for code in (0x800703E3, 0x800704C7, 0x80004004)),
    (0x80072F78, 2),
    *((code, 3) for code in (0x8007274C, 0x800705B4)),
    (0x8007273F, 4),
    (0x8007273C, 5),
    (0x80072AF9, 6),
    (0x80072AFC, 7),
    (0x80072AFA, 8),
    (0x8007277D, 9),
    (0x80072740, 10),
    (0x80072741, 11),
    (0x8007274D, 12),
    (0x80072743, 13),
    (0x80072751, 14),
    (0x80072742, 15),
    (0x80072744, 16),
    (0x80072745, 17),
    (0x80072746, 18),
    (0x80072750, 19),
    (0x800700E8, 20),
    (0x80072728, 21),
    (0x80072738, 22),
    *((code, 23) for code in (0x800B0101, 0x800B0102)),
    *((code, 24) for code in (0x800B0109, 0x800B010A)),
    *((code, 25) for code in (0x800B010F, 0x800B0114)),
    (0x800B0110, 26),
    *((code, 27) for code in (0x800B010C, 0x80092010, 0x800B0111)),
    (0x80092012, 28),
    (0x80092013, 29),
    *((code, 30) for code in (*range(0x800B0103, 0x800B0109), 0x800B0113, 0x80096004, 0x80096019)),
    *((code, 0) for code in (0, 0x80070057, 0x8000000E, 0x80000013, 0x80004005, 0x8007271D)),
]

ERRNO_ROWS: list[tuple[int, int, type[OSError]]] = [
    (errno.EACCES, 0x8007271D, PermissionError),
    (errno.EPERM, 0x8007271D, PermissionError),
    (errno.EINVAL, 0x80072726, OSError),
    (errno.EMFILE, 0x80072728, OSError),
    (errno.ENFILE, 0x80072728, OSError),
    (errno.ENOTSOCK, 0x80072736, OSError),
    (errno.EMSGSIZE, 0x80072738, OSError),
    (errno.EPROTONOSUPPORT, 0x8007273B, OSError),
    (errno.ESOCKTNOSUPPORT, 0x8007273C, OSError),
    (errno.EOPNOTSUPP, 0x8007273D, OSError),
    (errno.EAFNOSUPPORT, 0x8007273F, OSError),
    (errno.EADDRINUSE, 0x80072740, OSError),
    (errno.EADDRNOTAVAIL, 0x80072741, OSError),
    (errno.EISCONN, 0x80072748, OSError),
    (errno.ENOTCONN, 0x80072749, OSError),
    (errno.ESHUTDOWN, 0x8007274A, OSError),
    (errno.ETIMEDOUT, 0x8007274C, TimeoutError),
    (errno.ECONNREFUSED, 0x8007274D, ConnectionRefusedError),
    (errno.EHOSTDOWN, 0x80072750, OSError),
    (errno.EHOSTUNREACH, 0x80072751, OSError),
    (errno.ENETDOWN, 0x80072742, OSError),
    (errno.ENODEV, 0x80072742, OSError),
    (errno.ENETUNREACH, 0x80072743, OSError),
    (errno.ENETRESET, 0x80072744, OSError),
    (errno.ECONNABORTED, 0x80072745, ConnectionAbortedError),
    (errno.EPIPE, 0x80072745, ConnectionAbortedError),
    (errno.ECONNRESET, 0x80072746, ConnectionResetError),
    (errno.ENOBUFS, 0x80072747, OSError),
    (errno.ENOMEM, 0x80072747, OSError),
    (errno.ECANCELED, 0x800703E3, OSError),
    (errno.ENOTTY, 0x80004005, OSError),
]

EAI_ROWS: list[tuple[int, int]] = [
    (socket.EAI_NONAME, 0x80072AF9),
    (socket.EAI_NODATA, 0x80072AFC),
    (socket.EAI_ADDRFAMILY, 0x80072AFC),
    (socket.EAI_AGAIN, 0x80072AFA),
    (socket.EAI_SERVICE, 0x8007277D),
    (socket.EAI_FAMILY, 0x8007273F),
    (socket.EAI_SOCKTYPE, 0x8007273C),
    (socket.EAI_FAIL, 0x80072AFB),
]


def _to_signed(value: int) -> int:
    return int.from_bytes(value.to_bytes(4, "big"), "big", signed=True)


def _exact_builtin(error: OSError) -> type[BaseException]:
    return next(base for base in type(error).__mro__ if base.__module__ in ("builtins", "socket"))


def _winerror(error: OSError) -> int:
    assert isinstance(error, errors.CodedError)
    return error.winerror


@pytest.mark.parametrize(("hresult", "status"), STATUS_ROWS)
def test_get_status_maps_signed_and_unsigned(hresult: int, status: int) -> None:
    assert errors.get_status(_to_signed(hresult)) is SocketErrorStatus(status)
    assert errors.get_status(hresult) is SocketErrorStatus(status)


def test_every_status_but_unknown_has_an_hresult() -> None:
    assert {status for _, status in STATUS_ROWS} == {int(status) for status in SocketErrorStatus}
    assert [int(status) for status in SocketErrorStatus] == list(range(31))


@given(st.integers(-0x8000_0000, 0xFFFF_FFFF))
def test_signed_and_unsigned_are_inverse(value: int) -> None:
    assert -0x8000_0000 <= errors.signed(value) <= 0x7FFF_FFFF
    assert errors.signed(value) == _to_signed(errors.unsigned(value))
    assert errors.unsigned(errors.signed(value)) == errors.unsigned(value) == value % 2**32


@pytest.mark.parametrize("value", [2**32, -(2**31) - 1])
def test_more_than_32_bits_is_overflow(value: int) -> None:
    with pytest.raises(OverflowError):
        errors.signed(value)
    with pytest.raises(OverflowError):
        errors.unsigned(value)


def test_constants_are_signed() -> None:
    assert errors.E_INVALIDARG == -2147024809
    assert errors.ERROR_NO_UNICODE_TRANSLATION == _to_signed(0x80070459)
    assert errors.ERROR_ALREADY_EXISTS == _to_signed(0x800700B7)
    assert errors.hresult_name(0x8007274D) == errors.hresult_name(_to_signed(0x8007274D)) == "WSAECONNREFUSED"
    assert errors.hresult_name(0x12345) == ""


@pytest.mark.parametrize(("code", "hresult", "builtin"), ERRNO_ROWS)
def test_from_errno(code: int, hresult: int, builtin: type[OSError]) -> None:
    cause = ValueError("why")
    error = errors.from_errno(code, "StreamSocket to 192.0.2.1:80 failed", cause=cause)
    assert _exact_builtin(error) is builtin
    assert error.errno == code
    assert error.winerror == _to_signed(hresult)
    assert error.status is errors.get_status(hresult)
    assert error.reason == error.strerror == "StreamSocket to 192.0.2.1:80 failed"
    assert error.__cause__ is cause


def test_datagram_receive_turns_refused_into_reset() -> None:
    error = errors.from_errno(errno.ECONNREFUSED, "port unreachable", datagram_receive=True)
    assert isinstance(error, ConnectionResetError)
    assert (error.errno, error.winerror) == (errno.ECONNRESET, _to_signed(0x80072746))
    untouched = errors.from_errno(errno.ENETDOWN, "down", datagram_receive=True)
    assert untouched.winerror == errors.WSAENETDOWN


@pytest.mark.parametrize(("code", "hresult"), EAI_ROWS)
def test_from_gaierror(code: int, hresult: int) -> None:
    cause = socket.gaierror(code, "text")
    error = errors.from_gaierror(cause, "no such name")
    assert (error.errno, error.winerror, error.__cause__) == (code, _to_signed(hresult), cause)


def test_lookup_failures_are_gaierrors_with_their_number() -> None:
    assert isinstance(errors.from_gaierror(socket.gaierror(socket.EAI_NONAME, "x"), "r"), socket.gaierror)
    assert errors.make(errors.WSAHOST_NOT_FOUND, "r").errno == socket.EAI_NONAME
    assert errors.make(errors.WSATYPE_NOT_FOUND, "r").errno == socket.EAI_SERVICE
    assert errors.from_gaierror(socket.gaierror("no number"), "r").winerror == errors.WSANO_RECOVERY
    assert errors.from_gaierror(socket.gaierror(-9999, "odd"), "r").winerror == errors.WSANO_RECOVERY


def test_from_os_error() -> None:
    original = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    error = errors.from_os_error(original, "r")
    assert isinstance(error, ConnectionRefusedError)
    assert _winerror(error) == errors.WSAECONNREFUSED
    assert error.__cause__ is original
    assert errors.from_os_error(error, "other") is error
    assert _winerror(errors.from_os_error(socket.gaierror(socket.EAI_AGAIN, "x"), "r")) == errors.WSATRY_AGAIN
    timed_out = errors.from_os_error(TimeoutError(), "r")
    assert isinstance(timed_out, TimeoutError)
    assert timed_out.errno == errno.ETIMEDOUT
    assert _winerror(errors.from_os_error(OSError("only text"), "r")) == errors.E_FAIL


@pytest.mark.parametrize(
    ("error", "hresult", "builtin", "code"),
    [
        (errors.closed("StreamSocket"), 0x80000013, OSError, errno.EINVAL),
        (errors.illegal_call("connect_async", "the socket is open"), 0x8000000E, OSError, errno.EINVAL),
        (errors.invalid_argument("port 70000"), 0x80070057, OSError, errno.EINVAL),
        (errors.not_implemented("upgrade", "TLS"), 0x80004001, OSError, errno.EINVAL),
        (errors.not_supported("GSO", "UDP_SEGMENT"), 0x80070032, OSError, errno.ENOSYS),
        (errors.aborted("read"), 0x800703E3, OSError, errno.ECANCELED),
        (errors.make(0x80070005, "denied"), 0x80070005, PermissionError, errno.EACCES),
        (errors.make(0x80070002, "file"), 0x80070002, FileNotFoundError, errno.ENOENT),
        (errors.make(0x800700B7, "id in use"), 0x800700B7, FileExistsError, errno.EEXIST),
        (errors.make(0x800704C7, "cancelled"), 0x800704C7, OSError, errno.ECANCELED),
        (errors.make(0x800700E8, "no address"), 0x800700E8, OSError, errno.EINVAL),
    ],
)
def test_builders(error: errors.CodedError, hresult: int, builtin: type[OSError], code: int) -> None:
    assert _exact_builtin(error) is builtin
    assert (error.winerror, error.errno) == (_to_signed(hresult), code)


def test_builders_say_what_and_what_next() -> None:
    assert (
        str(errors.closed("StreamSocket to [::1]:80")) == "StreamSocket to [::1]:80 is closed [RO_E_CLOSED 0x80000013]"
    )
    assert (
        str(errors.closed("the object", "make a new one"))
        == "the object is closed: make a new one [RO_E_CLOSED 0x80000013]"
    )
    assert errors.aborted("X was closed while it was reading").reason == "X was closed while it was reading"
    assert errors.illegal_call("bind", "bind once").reason == "bind: bind once"
    assert errors.illegal_call("bind twice").reason == "bind twice"
    assert "TLS" in errors.not_implemented("x", "TLS").reason
    assert "UDP_SEGMENT" in errors.not_supported("x", "UDP_SEGMENT").reason


def test_text_forms() -> None:
    error = errors.make(0x8007274D, "StreamSocket to 192.0.2.1:9: nobody listens there")
    assert str(error) == "StreamSocket to 192.0.2.1:9: nobody listens there [WSAECONNREFUSED 0x8007274D]"
    assert repr(error) == f"ConnectionRefusedError({str(error)!r}, errno=111)"
    assert str(errors.make(0x80071234, "odd")) == "odd [0x80071234]"
    last_line = traceback.format_exception(error)[-1]
    assert last_line.startswith("moorings.errors.ConnectionRefusedError: StreamSocket to")


@pytest.mark.parametrize("hresult", [0x8007274D, 0x80072AF9, 0x80000013, 0x8007274C])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_keep_everything(hresult: int, duplicate: object) -> None:
    error = errors.make(hresult, "reason", errno=7)
    error.add_note("a note")
    twin = duplicate(error)  # type: ignore[operator]
    assert type(twin) is type(error)
    assert (twin.errno, twin.winerror, twin.reason, twin.status) == (7, error.winerror, "reason", error.status)
    assert str(twin) == str(error)
    assert twin.__notes__ == ["a note"]


def test_unknown_status_number_becomes_nameless_member() -> None:
    odd = SocketErrorStatus(77)
    assert isinstance(odd, SocketErrorStatus)
    assert odd == 77
    assert hash(odd) == hash(77)
    assert (odd.name, odd.value, repr(odd)) == ("", 77, "<SocketErrorStatus: 77>")
    assert pickle.loads(pickle.dumps(odd)) == odd
    assert repr(SocketErrorStatus.UNKNOWN) == "<SocketErrorStatus.UNKNOWN: 0>"
    assert SocketErrorStatus(77) not in set(SocketErrorStatus)
    with pytest.raises(ValueError, match="not a valid"):
        SocketErrorStatus(2**40)
    with pytest.raises(ValueError, match="not a valid"):
        SocketErrorStatus("CONNECTION_REFUSED")  # type: ignore[arg-type]


def test_a_refused_certificate_tells_all_that_is_wrong() -> None:
    """Also in another process."""
    for code in (errors.CERT_E_EXPIRED, errors.SEC_E_CERT_UNKNOWN):
        error = errors.make(code, "reason")
        assert error.certificate_errors == ()
        error.certificate_errors = (3, 7)
        twin = pickle.loads(pickle.dumps(error))
        assert (twin.winerror, twin.certificate_errors, twin.reason) == (code, (3, 7), "reason")
