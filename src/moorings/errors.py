"""Error codes, their tables, and the one place that builds exceptions.

Theory of operation
-------------------
WinRT reports a failure as an HRESULT, Linux as an ``errno``, a resolver as an ``EAI_*`` number. Users of this library
catch the built-in exceptions (``ConnectionRefusedError``, ``TimeoutError``, ``PermissionError``, ...). Every exception
built here therefore is a subclass of the right built-in and carries all views of the failure:

=============  ====================================================================================================
``winerror``   the HRESULT as a *signed* 32-bit number, as PyWinRT gives it on Windows
``errno``      the Linux number, so that ``e.errno == errno.ECONNREFUSED`` holds in portable code
``status``     the :class:`SocketErrorStatus`, computed from ``winerror``
``reason``     one sentence: class, endpoints, and the next step
=============  ====================================================================================================

``make`` and the functions on top of it *return* exceptions; the caller raises them. Which built-in class an HRESULT
gets follows CPython on Windows (``PC/errmap.h`` and the ``OSError`` subclass table): only HRESULTs of the form
``0x8007xxxx`` that have a POSIX twin get a subclass, all others are plain ``OSError`` with ``errno.EINVAL``. Two
departures: a failed name lookup is a ``socket.gaierror`` (an ``OSError`` subclass that asyncio programs already catch)
and a broken pipe is a ``ConnectionAbortedError``, as Winsock has no broken pipe.

Sources: ``winerror.h``; the WinRT reference of ``SocketErrorStatus`` and ``SocketError.GetStatus``; errno(3);
getaddrinfo(3).
"""

from __future__ import annotations

import errno as _errno
import socket
from enum import IntEnum
from typing import Any, Final, Self

__all__ = [
    "CodedError",
    "OpenEnum",
    "PinMismatchError",
    "SocketErrorStatus",
    "TooBigError",
    "aborted",
    "closed",
    "from_errno",
    "from_gaierror",
    "from_os_error",
    "get_status",
    "hresult_name",
    "illegal_call",
    "invalid_argument",
    "make",
    "message_too_long",
    "not_implemented",
    "not_supported",
    "signed",
    "unsigned",
]


def signed(value: int) -> int:
    """Return the 32-bit number *value* (signed or unsigned) as a signed one: ``0x80070057`` becomes ``-2147024809``.

    Raises OverflowError when *value* does not fit into 32 bits either way.
    """
    if not -0x8000_0000 <= value <= 0xFFFF_FFFF:
        raise OverflowError(f"{value} is not a 32-bit number")
    return value - 0x1_0000_0000 if value > 0x7FFF_FFFF else value


def unsigned(hresult: int) -> int:
    """Return the 32-bit number *hresult* as an unsigned one, the form in which HRESULTs are written down.

    Raises OverflowError when *hresult* does not fit into 32 bits either way.
    """
    return signed(hresult) & 0xFFFF_FFFF


class OpenEnum(IntEnum):
    """Base of the WinRT enumerations: an unknown number becomes a nameless member instead of a ValueError.

    A newer peer or service may send values this version does not know; PyWinRT 4 behaves the same way. The nameless
    member equals its number. It is made anew each time, so compare with ``==``.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int) or not -0x8000_0000 <= value <= 0xFFFF_FFFF:
            return None
        member = int.__new__(cls, value)
        member._name_ = ""
        member._value_ = int(value)
        return member

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self._name_}: {self._value_}>" if self._name_ else self._nameless()

    def __reduce_ex__(self, _protocol: object) -> tuple[type[Self], tuple[int]]:
        # By its number: early releases of Python 3.11 go by the name, which not every member has.
        return type(self), (self._value_,)

    def _nameless(self) -> str:
        return f"<{type(self).__name__}: {self._value_}>"


class SocketErrorStatus(OpenEnum):
    """Why a StreamSocket, StreamSocketListener or DatagramSocket failed (Windows.Networking.Sockets)."""

    UNKNOWN = 0
    OPERATION_ABORTED = 1
    HTTP_INVALID_SERVER_RESPONSE = 2
    CONNECTION_TIMED_OUT = 3
    ADDRESS_FAMILY_NOT_SUPPORTED = 4
    SOCKET_TYPE_NOT_SUPPORTED = 5
    HOST_NOT_FOUND = 6
    NO_DATA_RECORD_OF_REQUESTED_TYPE = 7
    NON_AUTHORITATIVE_HOST_NOT_FOUND = 8
    CLASS_TYPE_NOT_FOUND = 9
    ADDRESS_ALREADY_IN_USE = 10
    CANNOT_ASSIGN_REQUESTED_ADDRESS = 11
    CONNECTION_REFUSED = 12
    NETWORK_IS_UNREACHABLE = 13
    UNREACHABLE_HOST = 14
    NETWORK_IS_DOWN = 15
    NETWORK_DROPPED_CONNECTION_ON_RESET = 16
    SOFTWARE_CAUSED_CONNECTION_ABORT = 17
    CONNECTION_RESET_BY_PEER = 18
    HOST_IS_DOWN = 19
    NO_ADDRESSES_FOUND = 20
    TOO_MANY_OPEN_FILES = 21
    MESSAGE_TOO_LONG = 22
    CERTIFICATE_EXPIRED = 23
    CERTIFICATE_UNTRUSTED_ROOT = 24
    CERTIFICATE_COMMON_NAME_IS_INCORRECT = 25
    CERTIFICATE_WRONG_USAGE = 26
    CERTIFICATE_REVOKED = 27
    CERTIFICATE_NO_REVOCATION_CHECK = 28
    CERTIFICATE_REVOCATION_SERVER_OFFLINE = 29
    CERTIFICATE_IS_INVALID = 30


# --- HRESULTs of the API -------------------------------------------------------------------------------------------

S_OK: Final = 0
E_FAIL: Final = signed(0x80004005)
E_NOTIMPL: Final = signed(0x80004001)
E_NOINTERFACE: Final = signed(0x80004002)
E_POINTER: Final = signed(0x80004003)
E_ABORT: Final = signed(0x80004004)
E_BOUNDS: Final = signed(0x8000000B)
E_CHANGED_STATE: Final = signed(0x8000000C)
E_ILLEGAL_STATE_CHANGE: Final = signed(0x8000000D)
E_ILLEGAL_METHOD_CALL: Final = signed(0x8000000E)
RO_E_CLOSED: Final = signed(0x80000013)
E_ILLEGAL_DELEGATE_ASSIGNMENT: Final = signed(0x80000018)
E_FILE_NOT_FOUND: Final = signed(0x80070002)
E_ACCESSDENIED: Final = signed(0x80070005)
E_OUTOFMEMORY: Final = signed(0x8007000E)
E_INVALIDARG: Final = signed(0x80070057)
ERROR_NOT_SUPPORTED: Final = signed(0x80070032)
ERROR_DISK_FULL: Final = signed(0x80070070)
ERROR_ALREADY_EXISTS: Final = signed(0x800700B7)
ERROR_NO_DATA: Final = signed(0x800700E8)
ERROR_OPERATION_ABORTED: Final = signed(0x800703E3)
ERROR_SERVICE_DISABLED: Final = signed(0x80070422)
ERROR_IO_DEVICE: Final = signed(0x8007045D)
ERROR_NO_UNICODE_TRANSLATION: Final = signed(0x80070459)
ERROR_NOT_FOUND: Final = signed(0x80070490)
ERROR_CANCELLED: Final = signed(0x800704C7)
ERROR_TIMEOUT: Final = signed(0x800705B4)
ERROR_INVALID_OPERATION: Final = signed(0x800710DD)
ERROR_DEVICE_NOT_AVAILABLE: Final = signed(0x800710DF)
ERROR_HTTP_INVALID_SERVER_RESPONSE: Final = signed(0x80072F78)
DISP_E_OVERFLOW: Final = signed(0x8002000A)
TYPE_E_TYPEMISMATCH: Final = signed(0x80028CA0)

# --- Winsock codes: 0x80070000 + code ------------------------------------------------------------------------------

WSAEINTR: Final = signed(0x80072714)
WSAEBADF: Final = signed(0x80072719)
WSAEACCES: Final = signed(0x8007271D)
WSAEFAULT: Final = signed(0x8007271E)
WSAEINVAL: Final = signed(0x80072726)
WSAEMFILE: Final = signed(0x80072728)
WSAEWOULDBLOCK: Final = signed(0x80072733)
WSAEINPROGRESS: Final = signed(0x80072734)
WSAEALREADY: Final = signed(0x80072735)
WSAENOTSOCK: Final = signed(0x80072736)
WSAEDESTADDRREQ: Final = signed(0x80072737)
WSAEMSGSIZE: Final = signed(0x80072738)
WSAEPROTOTYPE: Final = signed(0x80072739)
WSAENOPROTOOPT: Final = signed(0x8007273A)
WSAEPROTONOSUPPORT: Final = signed(0x8007273B)
WSAESOCKTNOSUPPORT: Final = signed(0x8007273C)
WSAEOPNOTSUPP: Final = signed(0x8007273D)
WSAEAFNOSUPPORT: Final = signed(0x8007273F)
WSAEADDRINUSE: Final = signed(0x80072740)
WSAEADDRNOTAVAIL: Final = signed(0x80072741)
WSAENETDOWN: Final = signed(0x80072742)
WSAENETUNREACH: Final = signed(0x80072743)
WSAENETRESET: Final = signed(0x80072744)
WSAECONNABORTED: Final = signed(0x80072745)
WSAECONNRESET: Final = signed(0x80072746)
WSAENOBUFS: Final = signed(0x80072747)
WSAEISCONN: Final = signed(0x80072748)
WSAENOTCONN: Final = signed(0x80072749)
WSAESHUTDOWN: Final = signed(0x8007274A)
WSAETIMEDOUT: Final = signed(0x8007274C)
WSAECONNREFUSED: Final = signed(0x8007274D)
WSAELOOP: Final = signed(0x8007274E)
WSAENAMETOOLONG: Final = signed(0x8007274F)
WSAEHOSTDOWN: Final = signed(0x80072750)
WSAEHOSTUNREACH: Final = signed(0x80072751)
WSATYPE_NOT_FOUND: Final = signed(0x8007277D)
WSAHOST_NOT_FOUND: Final = signed(0x80072AF9)
WSATRY_AGAIN: Final = signed(0x80072AFA)
WSANO_RECOVERY: Final = signed(0x80072AFB)
WSANO_DATA: Final = signed(0x80072AFC)

# --- Certificates --------------------------------------------------------------------------------------------------

CERT_E_EXPIRED: Final = signed(0x800B0101)
CERT_E_VALIDITYPERIODNESTING: Final = signed(0x800B0102)
CERT_E_ROLE: Final = signed(0x800B0103)
CERT_E_PATHLENCONST: Final = signed(0x800B0104)
CERT_E_CRITICAL: Final = signed(0x800B0105)
CERT_E_PURPOSE: Final = signed(0x800B0106)
CERT_E_ISSUERCHAINING: Final = signed(0x800B0107)
CERT_E_MALFORMED: Final = signed(0x800B0108)
CERT_E_UNTRUSTEDROOT: Final = signed(0x800B0109)
CERT_E_CHAINING: Final = signed(0x800B010A)
CERT_E_REVOKED: Final = signed(0x800B010C)
CERT_E_CN_NO_MATCH: Final = signed(0x800B010F)
CERT_E_WRONG_USAGE: Final = signed(0x800B0110)
TRUST_E_EXPLICIT_DISTRUST: Final = signed(0x800B0111)
CERT_E_UNTRUSTEDCA: Final = signed(0x800B0112)
TRUST_E_SUBJECT_NOT_TRUSTED: Final = signed(0x800B0004)
CERT_E_INVALID_POLICY: Final = signed(0x800B0113)
CERT_E_INVALID_NAME: Final = signed(0x800B0114)
CRYPT_E_REVOKED: Final = signed(0x80092010)
CRYPT_E_NO_REVOCATION_CHECK: Final = signed(0x80092012)
CRYPT_E_REVOCATION_OFFLINE: Final = signed(0x80092013)
TRUST_E_CERT_SIGNATURE: Final = signed(0x80096004)
TRUST_E_BASIC_CONSTRAINTS: Final = signed(0x80096019)

# --- TLS itself: what Schannel calls these failures ----------------------------------------------------------------
SEC_E_INVALID_TOKEN: Final = signed(0x80090308)
SEC_E_MESSAGE_ALTERED: Final = signed(0x8009030F)
SEC_E_ILLEGAL_MESSAGE: Final = signed(0x80090326)
SEC_E_CERT_UNKNOWN: Final = signed(0x80090327)
SEC_E_ALGORITHM_MISMATCH: Final = signed(0x80090331)

# Computed once from the constants above, so that a code and its printed name cannot drift apart.
_NAMES: Final[dict[int, str]] = {
    value: name
    for name, value in globals().items()
    if isinstance(value, int) and name.isupper() and not name.startswith("_")
}


def hresult_name(hresult: int) -> str:
    """Return the symbol of *hresult* (signed or unsigned), such as ``"WSAECONNREFUSED"``; ``""`` when unknown."""
    return _NAMES.get(signed(hresult), "")


# --- Tables --------------------------------------------------------------------------------------------------------

_STATUS_CODES: Final[dict[SocketErrorStatus, tuple[int, ...]]] = {
    SocketErrorStatus.OPERATION_ABORTED: (ERROR_OPERATION_ABORTED, ERROR_CANCELLED, E_ABORT),
    SocketErrorStatus.HTTP_INVALID_SERVER_RESPONSE: (ERROR_HTTP_INVALID_SERVER_RESPONSE,),
    SocketErrorStatus.CONNECTION_TIMED_OUT: (WSAETIMEDOUT, ERROR_TIMEOUT),
    SocketErrorStatus.ADDRESS_FAMILY_NOT_SUPPORTED: (WSAEAFNOSUPPORT,),
    SocketErrorStatus.SOCKET_TYPE_NOT_SUPPORTED: (WSAESOCKTNOSUPPORT,),
    SocketErrorStatus.HOST_NOT_FOUND: (WSAHOST_NOT_FOUND,),
    SocketErrorStatus.NO_DATA_RECORD_OF_REQUESTED_TYPE: (WSANO_DATA,),
    SocketErrorStatus.NON_AUTHORITATIVE_HOST_NOT_FOUND: (WSATRY_AGAIN,),
    SocketErrorStatus.CLASS_TYPE_NOT_FOUND: (WSATYPE_NOT_FOUND,),
    SocketErrorStatus.ADDRESS_ALREADY_IN_USE: (WSAEADDRINUSE,),
    SocketErrorStatus.CANNOT_ASSIGN_REQUESTED_ADDRESS: (WSAEADDRNOTAVAIL,),
    SocketErrorStatus.CONNECTION_REFUSED: (WSAECONNREFUSED,),
    SocketErrorStatus.NETWORK_IS_UNREACHABLE: (WSAENETUNREACH,),
    SocketErrorStatus.UNREACHABLE_HOST: (WSAEHOSTUNREACH,),
    SocketErrorStatus.NETWORK_IS_DOWN: (WSAENETDOWN,),
    SocketErrorStatus.NETWORK_DROPPED_CONNECTION_ON_RESET: (WSAENETRESET,),
    SocketErrorStatus.SOFTWARE_CAUSED_CONNECTION_ABORT: (WSAECONNABORTED,),
    SocketErrorStatus.CONNECTION_RESET_BY_PEER: (WSAECONNRESET,),
    SocketErrorStatus.HOST_IS_DOWN: (WSAEHOSTDOWN,),
    SocketErrorStatus.NO_ADDRESSES_FOUND: (ERROR_NO_DATA,),
    SocketErrorStatus.TOO_MANY_OPEN_FILES: (WSAEMFILE,),
    SocketErrorStatus.MESSAGE_TOO_LONG: (WSAEMSGSIZE,),
    SocketErrorStatus.CERTIFICATE_EXPIRED: (CERT_E_EXPIRED, CERT_E_VALIDITYPERIODNESTING),
    SocketErrorStatus.CERTIFICATE_UNTRUSTED_ROOT: (CERT_E_UNTRUSTEDROOT, CERT_E_CHAINING),
    SocketErrorStatus.CERTIFICATE_COMMON_NAME_IS_INCORRECT: (CERT_E_CN_NO_MATCH, CERT_E_INVALID_NAME),
    SocketErrorStatus.CERTIFICATE_WRONG_USAGE: (CERT_E_WRONG_USAGE,),
    SocketErrorStatus.CERTIFICATE_REVOKED: (CERT_E_REVOKED, CRYPT_E_REVOKED, TRUST_E_EXPLICIT_DISTRUST),
    SocketErrorStatus.CERTIFICATE_NO_REVOCATION_CHECK: (CRYPT_E_NO_REVOCATION_CHECK,),
    SocketErrorStatus.CERTIFICATE_REVOCATION_SERVER_OFFLINE: (CRYPT_E_REVOCATION_OFFLINE,),
    SocketErrorStatus.CERTIFICATE_IS_INVALID: (
        CERT_E_ROLE,
        CERT_E_PATHLENCONST,
        CERT_E_CRITICAL,
        CERT_E_PURPOSE,
        CERT_E_ISSUERCHAINING,
        CERT_E_MALFORMED,
        CERT_E_INVALID_POLICY,
        TRUST_E_CERT_SIGNATURE,
        TRUST_E_BASIC_CONSTRAINTS,
    ),
}
_STATUS: Final[dict[int, SocketErrorStatus]] = {
    code: status for status, codes in _STATUS_CODES.items() for code in codes
}

# The first errno of a row is the one that `make` gives an HRESULT when the caller names none.
_ERRNO_TABLE: Final[tuple[tuple[int, tuple[int, ...]], ...]] = (
    (WSAEINTR, (_errno.EINTR,)),
    (WSAEBADF, (_errno.EBADF,)),
    (WSAEACCES, (_errno.EACCES, _errno.EPERM)),
    (WSAEFAULT, (_errno.EFAULT,)),
    (WSAEINVAL, (_errno.EINVAL,)),
    (WSAEMFILE, (_errno.EMFILE, _errno.ENFILE)),
    (WSAEWOULDBLOCK, (_errno.EAGAIN,)),
    (WSAEINPROGRESS, (_errno.EINPROGRESS,)),
    (WSAEALREADY, (_errno.EALREADY,)),
    (WSAENOTSOCK, (_errno.ENOTSOCK,)),
    (WSAEDESTADDRREQ, (_errno.EDESTADDRREQ,)),
    (WSAEMSGSIZE, (_errno.EMSGSIZE,)),
    (WSAEPROTOTYPE, (_errno.EPROTOTYPE,)),
    (WSAENOPROTOOPT, (_errno.ENOPROTOOPT,)),
    (WSAEPROTONOSUPPORT, (_errno.EPROTONOSUPPORT,)),
    (WSAESOCKTNOSUPPORT, (_errno.ESOCKTNOSUPPORT,)),
    (WSAEOPNOTSUPP, (_errno.EOPNOTSUPP,)),
    (WSAEAFNOSUPPORT, (_errno.EAFNOSUPPORT, _errno.EPFNOSUPPORT)),
    (WSAEADDRINUSE, (_errno.EADDRINUSE,)),
    (WSAEADDRNOTAVAIL, (_errno.EADDRNOTAVAIL,)),
    (WSAENETDOWN, (_errno.ENETDOWN, _errno.ENODEV, _errno.ENXIO)),
    (WSAENETUNREACH, (_errno.ENETUNREACH,)),
    (WSAENETRESET, (_errno.ENETRESET,)),
    (WSAECONNABORTED, (_errno.ECONNABORTED, _errno.EPIPE)),
    (WSAECONNRESET, (_errno.ECONNRESET,)),
    (WSAENOBUFS, (_errno.ENOBUFS, _errno.ENOMEM)),
    (WSAEISCONN, (_errno.EISCONN,)),
    (WSAENOTCONN, (_errno.ENOTCONN,)),
    (WSAESHUTDOWN, (_errno.ESHUTDOWN,)),
    (WSAETIMEDOUT, (_errno.ETIMEDOUT,)),
    (WSAECONNREFUSED, (_errno.ECONNREFUSED,)),
    (WSAELOOP, (_errno.ELOOP,)),
    (WSAENAMETOOLONG, (_errno.ENAMETOOLONG,)),
    (WSAEHOSTDOWN, (_errno.EHOSTDOWN,)),
    (WSAEHOSTUNREACH, (_errno.EHOSTUNREACH,)),
    (ERROR_OPERATION_ABORTED, (_errno.ECANCELED,)),
    (E_FILE_NOT_FOUND, (_errno.ENOENT,)),
    (ERROR_ALREADY_EXISTS, (_errno.EEXIST,)),
    (ERROR_NOT_SUPPORTED, (_errno.ENOSYS,)),
    (ERROR_DISK_FULL, (_errno.ENOSPC,)),
    (ERROR_IO_DEVICE, (_errno.EIO,)),
)
_FROM_ERRNO: Final[dict[int, int]] = {code: hresult for hresult, codes in _ERRNO_TABLE for code in codes}

_EAI_TABLE: Final[tuple[tuple[int, tuple[int, ...]], ...]] = (
    (WSAHOST_NOT_FOUND, (socket.EAI_NONAME,)),
    (WSANO_DATA, (socket.EAI_NODATA, socket.EAI_ADDRFAMILY)),
    (WSATRY_AGAIN, (socket.EAI_AGAIN,)),
    (WSANO_RECOVERY, (socket.EAI_FAIL,)),
    (WSATYPE_NOT_FOUND, (socket.EAI_SERVICE,)),
    (WSAEAFNOSUPPORT, (socket.EAI_FAMILY,)),
    (WSAESOCKTNOSUPPORT, (socket.EAI_SOCKTYPE,)),
    (WSAEINVAL, (socket.EAI_BADFLAGS,)),
    (WSAENOBUFS, (socket.EAI_MEMORY,)),
)
_FROM_EAI: Final[dict[int, int]] = {code: hresult for hresult, codes in _EAI_TABLE for code in codes}

# The HRESULTs of name lookups. They have no errno on Linux: `errno` is the EAI_* number, as in `socket.gaierror`.
_LOOKUP_CODES: Final[frozenset[int]] = frozenset(
    (WSAHOST_NOT_FOUND, WSANO_DATA, WSATRY_AGAIN, WSANO_RECOVERY, WSATYPE_NOT_FOUND)
)

_DEFAULT_ERRNO: Final[dict[int, int]] = {
    **{hresult: codes[0] for hresult, codes in _ERRNO_TABLE},
    **{hresult: codes[0] for hresult, codes in _EAI_TABLE if hresult in _LOOKUP_CODES},
    E_ACCESSDENIED: _errno.EACCES,
    E_OUTOFMEMORY: _errno.ENOMEM,
    ERROR_CANCELLED: _errno.ECANCELED,
    signed(0x80072EE2): _errno.ETIMEDOUT,
    signed(0x80072EFD): _errno.ECONNREFUSED,
    signed(0x80072EFE): _errno.ECONNABORTED,
    signed(0x80072EFF): _errno.ECONNRESET,
}


def get_status(hresult: int) -> SocketErrorStatus:
    """Return the `SocketErrorStatus` of *hresult*, given signed or unsigned; UNKNOWN when none matches.

    UNKNOWN covers S_OK, E_INVALIDARG, E_ILLEGAL_METHOD_CALL and RO_E_CLOSED too: a retry does not cure them.
    """
    return _STATUS.get(signed(hresult), SocketErrorStatus.UNKNOWN)


# --- Exceptions ----------------------------------------------------------------------------------------------------


class CodedError(OSError):
    """What every exception of this module has beside its built-in base; typed code narrows to it with isinstance.

    Built by `moorings.errors.make` only. Catch the built-in classes.
    """

    # OSError has the field on Windows only, and typeshed declares it there only.
    winerror: int
    #: Of a certificate that TLS did not accept: all that is wrong with it, as ChainValidationResult.
    certificate_errors: tuple[Any, ...] = ()

    def __new__(cls, code: int, reason: str, hresult: int) -> Self:  # pyright: ignore[reportInconsistentConstructor]
        """Make the exception. OSError reads its arguments here when `__new__` is overridden."""
        error = super().__new__(cls, code, reason)
        error.winerror = hresult
        return error

    @property
    def reason(self) -> str:
        """One sentence: class, endpoints and the next step."""
        return str(self.strerror)

    @property
    def status(self) -> SocketErrorStatus:
        """The socket status that belongs to ``winerror``."""
        return get_status(self.winerror)

    def __str__(self) -> str:
        symbol = hresult_name(self.winerror)
        return f"{self.reason} [{symbol + ' ' if symbol else ''}0x{unsigned(self.winerror):08X}]"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r}, errno={self.errno})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The classes print under the names of the built-ins, so pickle cannot find them by name.
        state = {key: value for key, value in self.__dict__.items() if key != "winerror"}
        return (_restore, (self.errno, self.reason, self.winerror), state or None)


def _named_after(builtin: type[OSError]) -> type[CodedError]:
    """A class that programs catch, and that tracebacks show, as the built-in one."""
    return type(builtin.__name__, (CodedError,) if builtin is OSError else (CodedError, builtin), {})


_PlainError: Final = _named_after(OSError)
_ConnectionRefusedError: Final = _named_after(ConnectionRefusedError)
_ConnectionResetError: Final = _named_after(ConnectionResetError)
_ConnectionAbortedError: Final = _named_after(ConnectionAbortedError)
_TimeoutError: Final = _named_after(TimeoutError)
_PermissionDeniedError: Final = _named_after(PermissionError)
_FileNotFoundError: Final = _named_after(FileNotFoundError)
_FileExistsError: Final = _named_after(FileExistsError)
_LookupFailedError: Final = _named_after(socket.gaierror)


class TooBigError(CodedError):
    """What WSAEMSGSIZE 0x80072738 has beside the rest: how big a datagram may be. Built by `message_too_long`."""

    #: Bytes of the largest payload that fits, as far as this machine knows now; None where it does not.
    max_size: int | None = None


class PinMismatchError(CodedError):
    """CERT_E_UNTRUSTEDCA 0x800B0112: a TLS server's certificate has none of the keys that the program has pinned."""


# Tracebacks show it as they show the others.
TooBigError.__name__ = TooBigError.__qualname__ = OSError.__name__

_cannot_connect: Final = signed(0x80072EFD)

_CLASSES: Final[dict[int, type[CodedError]]] = {
    WSAECONNREFUSED: _ConnectionRefusedError,
    WSAECONNRESET: _ConnectionResetError,
    WSAECONNABORTED: _ConnectionAbortedError,
    WSAETIMEDOUT: _TimeoutError,
    WSAEACCES: _PermissionDeniedError,
    E_ACCESSDENIED: _PermissionDeniedError,
    E_FILE_NOT_FOUND: _FileNotFoundError,
    ERROR_ALREADY_EXISTS: _FileExistsError,
    signed(0x80072EE2): _TimeoutError,
    signed(0x80072EE7): _LookupFailedError,
    _cannot_connect: _ConnectionRefusedError,
    signed(0x80072EFE): _ConnectionAbortedError,
    signed(0x80072EFF): _ConnectionResetError,
    WSAEMSGSIZE: TooBigError,
    CERT_E_UNTRUSTEDCA: PinMismatchError,
    **dict.fromkeys(_LOOKUP_CODES, _LookupFailedError),
}


def _restore(code: int, reason: str, hresult: int) -> CodedError:
    return make(hresult, reason, errno=code)


def make(hresult: int, reason: str, *, errno: int | None = None, cause: BaseException | None = None) -> CodedError:
    """Build (not raise) the exception for *hresult*.

    *hresult* may be signed or unsigned. *reason* is one sentence naming class, endpoints and the next step. *errno* is
    the Linux number; by default the POSIX twin of *hresult*, or EINVAL where there is none, as CPython on Windows
    does. *cause* becomes ``__cause__``.
    """
    code = signed(hresult)
    if errno is None:
        errno = _DEFAULT_ERRNO.get(code, _errno.EINVAL)
    kind = _CLASSES.get(code, _PlainError)
    if code == _cannot_connect and errno != _errno.ECONNREFUSED:
        kind = _PlainError  # nobody has refused: there is no way there
    error = kind(errno, reason, code)
    if cause is not None:
        error.__cause__ = cause
    return error


def from_errno(
    code: int, reason: str, *, datagram_receive: bool = False, cause: BaseException | None = None
) -> CodedError:
    """Build the exception for the errno *code* of a system call; an errno without a WinRT twin gives E_FAIL.

    With *datagram_receive*, ECONNREFUSED means an ICMP port-unreachable for something sent earlier. Windows reports
    that as a connection reset by the peer, hence a ConnectionResetError with ``errno.ECONNRESET``.
    """
    if datagram_receive and code == _errno.ECONNREFUSED:
        code = _errno.ECONNRESET
    return make(_FROM_ERRNO.get(code, E_FAIL), reason, errno=code, cause=cause)


def message_too_long(reason: str, max_size: int | None) -> TooBigError:
    """WSAEMSGSIZE for a datagram; *max_size* is the largest payload in bytes that fits now, None when unknown."""
    error = make(WSAEMSGSIZE, reason)
    assert isinstance(error, TooBigError)
    error.max_size = max_size
    return error


def from_gaierror(exc: socket.gaierror, reason: str) -> CodedError:
    """Build the exception for a failed name lookup; ``errno`` stays the ``EAI_*`` number of *exc*, its cause."""
    code = exc.errno if exc.errno is not None else socket.EAI_FAIL
    return make(_FROM_EAI.get(code, WSANO_RECOVERY), reason, errno=code, cause=exc)


def from_os_error(exc: OSError, reason: str) -> OSError:
    """Build the exception for any OSError of a system call, with *exc* as its cause.

    *exc* itself comes back when it already carries ``winerror``. A TimeoutError without a number (``socket.timeout``)
    counts as ETIMEDOUT. Not for ``ssl.SSLError``, whose ``errno`` is an OpenSSL number.
    """
    if getattr(exc, "winerror", None) is not None:
        return exc
    if isinstance(exc, socket.gaierror):
        return from_gaierror(exc, reason)
    if exc.errno is None:
        return make(WSAETIMEDOUT if isinstance(exc, TimeoutError) else E_FAIL, reason, cause=exc)
    return from_errno(exc.errno, reason, cause=exc)


def closed(what: str, hint: str = "") -> CodedError:
    """RO_E_CLOSED. *what* names class and endpoints, such as ``"StreamSocket to 192.0.2.1:80"``; *hint* says why."""
    return make(RO_E_CLOSED, f"{what} is closed: {hint}" if hint else f"{what} is closed")


def illegal_call(what: str, hint: str = "") -> CodedError:
    """E_ILLEGAL_METHOD_CALL: the object's state forbids this. *hint* says what to do instead."""
    return make(E_ILLEGAL_METHOD_CALL, f"{what}: {hint}" if hint else what)


def invalid_argument(what: str) -> CodedError:
    """E_INVALIDARG: the type is right, the value is not."""
    return make(E_INVALIDARG, what)


def not_implemented(what: str, part: str) -> CodedError:
    """E_NOTIMPL: the library lacks *part* (``"TLS"``, ``"RFCOMM"``, ...) so far, on every machine."""
    return make(E_NOTIMPL, f"{what} needs {part}, which Moorings does not implement yet")


def not_supported(what: str, missing: str) -> CodedError:
    """ERROR_NOT_SUPPORTED: this machine cannot do it. *missing* names what it lacks."""
    return make(ERROR_NOT_SUPPORTED, f"{what} is not possible on this machine: {missing} is missing")


def aborted(what: str) -> CodedError:
    """ERROR_OPERATION_ABORTED: I/O ended by close, cancel or cancel_io_async. *what* says by which, and whose."""
    return make(ERROR_OPERATION_ABORTED, what)
