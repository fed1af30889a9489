"""`WebErrorStatus`, and which HRESULT has which: what went wrong in an HTTP exchange, and in a WebSocket.

Sources: the WinRT reference of `WebErrorStatus` and `WebSocketError.GetStatus`; winerror.h, wininet.h.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from moorings import errors
from moorings.errors import (
    ERROR_CANCELLED,
    ERROR_HTTP_INVALID_SERVER_RESPONSE,
    ERROR_OPERATION_ABORTED,
    OpenEnum,
    signed,
)

__all__ = [
    "HandshakeRefusedError",
    "WebErrorStatus",
    "get_web_status",
    "handshake_refused",
    "hresult_of_http_status",
    "web_error",
]


class WebErrorStatus(OpenEnum):
    """Why a WebSocket, or another web request, failed (Windows.Web)."""

    UNKNOWN = 0
    CERTIFICATE_COMMON_NAME_IS_INCORRECT = 1
    CERTIFICATE_EXPIRED = 2
    CERTIFICATE_CONTAINS_ERRORS = 3
    CERTIFICATE_REVOKED = 4
    CERTIFICATE_IS_INVALID = 5
    SERVER_UNREACHABLE = 6
    TIMEOUT = 7
    ERROR_HTTP_INVALID_SERVER_RESPONSE = 8
    CONNECTION_ABORTED = 9
    CONNECTION_RESET = 10
    DISCONNECTED = 11
    HTTP_TO_HTTPS_ON_REDIRECTION = 12
    HTTPS_TO_HTTP_ON_REDIRECTION = 13
    CANNOT_CONNECT = 14
    HOST_NAME_NOT_RESOLVED = 15
    OPERATION_CANCELED = 16
    REDIRECT_FAILED = 17
    UNEXPECTED_STATUS_CODE = 18
    UNEXPECTED_REDIRECTION = 19
    UNEXPECTED_CLIENT_ERROR = 20
    UNEXPECTED_SERVER_ERROR = 21
    INSUFFICIENT_RANGE_SUPPORT = 22
    MISSING_CONTENT_LENGTH_SUPPORT = 23
    MULTIPLE_CHOICES = 300
    MOVED_PERMANENTLY = 301
    FOUND = 302
    SEE_OTHER = 303
    NOT_MODIFIED = 304
    USE_PROXY = 305
    TEMPORARY_REDIRECT = 307
    BAD_REQUEST = 400
    UNAUTHORIZED = 401
    PAYMENT_REQUIRED = 402
    FORBIDDEN = 403
    NOT_FOUND = 404
    METHOD_NOT_ALLOWED = 405
    NOT_ACCEPTABLE = 406
    PROXY_AUTHENTICATION_REQUIRED = 407
    REQUEST_TIMEOUT = 408
    CONFLICT = 409
    GONE = 410
    LENGTH_REQUIRED = 411
    PRECONDITION_FAILED = 412
    REQUEST_ENTITY_TOO_LARGE = 413
    REQUEST_URI_TOO_LONG = 414
    UNSUPPORTED_MEDIA_TYPE = 415
    REQUESTED_RANGE_NOT_SATISFIABLE = 416
    EXPECTATION_FAILED = 417
    INTERNAL_SERVER_ERROR = 500
    NOT_IMPLEMENTED = 501
    BAD_GATEWAY = 502
    SERVICE_UNAVAILABLE = 503
    GATEWAY_TIMEOUT = 504
    HTTP_VERSION_NOT_SUPPORTED = 505


# HRESULTs of WinINet that WebSockets give.
INET_E_TIMEOUT: Final = signed(0x80072EE2)
INET_E_NAME_NOT_RESOLVED: Final = signed(0x80072EE7)
INET_E_OPERATION_CANCELLED: Final = signed(0x80072EF1)
INET_E_CANNOT_CONNECT: Final = signed(0x80072EFD)
INET_E_CONNECTION_ABORTED: Final = signed(0x80072EFE)
INET_E_CONNECTION_RESET: Final = signed(0x80072EFF)
INET_E_DISCONNECTED: Final = signed(0x80072F83)
INET_E_SECURITY_CHANNEL_ERROR: Final = signed(0x80072F7D)
INET_E_SEC_CERT_ERRORS: Final = signed(0x80072F17)
INET_E_SEC_CERT_DATE_INVALID: Final = signed(0x80072F05)
INET_E_SEC_CERT_CN_INVALID: Final = signed(0x80072F06)
INET_E_INVALID_CA: Final = signed(0x80072F0D)
INET_E_SEC_CERT_REV_FAILED: Final = signed(0x80072F19)
INET_E_SEC_INVALID_CERT: Final = signed(0x80072F89)
INET_E_SEC_CERT_REVOKED: Final = signed(0x80072F8A)

# HRESULTs of the HTTP status and of the WebSocket protocol.
HTTP_E_STATUS_UNEXPECTED: Final = signed(0x80190001)
HTTP_E_STATUS_UNEXPECTED_REDIRECTION: Final = signed(0x80190003)
HTTP_E_STATUS_UNEXPECTED_CLIENT_ERROR: Final = signed(0x80190004)
HTTP_E_STATUS_UNEXPECTED_SERVER_ERROR: Final = signed(0x80190005)
WEB_E_RESOURCE_TOO_LARGE: Final = signed(0x83750006)
WEB_SOCKET_E_PROTOCOL: Final = signed(0x83760002)
WEB_SOCKET_E_UNSUPPORTED_EXTENSION: Final = signed(0x83760003)
WEB_SOCKET_E_UNSUPPORTED_SUBPROTOCOL: Final = signed(0x83760004)
WEB_SOCKET_E_UNSUPPORTED_VERSION: Final = signed(0x83760005)

_STATUS: Final[dict[int, WebErrorStatus]] = {
    INET_E_SEC_CERT_CN_INVALID: WebErrorStatus.CERTIFICATE_COMMON_NAME_IS_INCORRECT,
    INET_E_SEC_CERT_DATE_INVALID: WebErrorStatus.CERTIFICATE_EXPIRED,
    INET_E_SEC_CERT_ERRORS: WebErrorStatus.CERTIFICATE_CONTAINS_ERRORS,
    INET_E_SEC_CERT_REVOKED: WebErrorStatus.CERTIFICATE_REVOKED,
    INET_E_SEC_INVALID_CERT: WebErrorStatus.CERTIFICATE_IS_INVALID,
    INET_E_INVALID_CA: WebErrorStatus.CERTIFICATE_IS_INVALID,
    signed(0x80072F84): WebErrorStatus.SERVER_UNREACHABLE,
    INET_E_TIMEOUT: WebErrorStatus.TIMEOUT,
    ERROR_HTTP_INVALID_SERVER_RESPONSE: WebErrorStatus.ERROR_HTTP_INVALID_SERVER_RESPONSE,
    INET_E_CONNECTION_ABORTED: WebErrorStatus.CONNECTION_ABORTED,
    INET_E_CONNECTION_RESET: WebErrorStatus.CONNECTION_RESET,
    INET_E_DISCONNECTED: WebErrorStatus.DISCONNECTED,
    signed(0x80072F07): WebErrorStatus.HTTP_TO_HTTPS_ON_REDIRECTION,
    signed(0x80072F08): WebErrorStatus.HTTPS_TO_HTTP_ON_REDIRECTION,
    INET_E_CANNOT_CONNECT: WebErrorStatus.CANNOT_CONNECT,
    INET_E_NAME_NOT_RESOLVED: WebErrorStatus.HOST_NAME_NOT_RESOLVED,
    INET_E_OPERATION_CANCELLED: WebErrorStatus.OPERATION_CANCELED,
    ERROR_CANCELLED: WebErrorStatus.OPERATION_CANCELED,
    ERROR_OPERATION_ABORTED: WebErrorStatus.OPERATION_CANCELED,
    signed(0x80072F7C): WebErrorStatus.REDIRECT_FAILED,
    HTTP_E_STATUS_UNEXPECTED: WebErrorStatus.UNEXPECTED_STATUS_CODE,
    HTTP_E_STATUS_UNEXPECTED_REDIRECTION: WebErrorStatus.UNEXPECTED_REDIRECTION,
    HTTP_E_STATUS_UNEXPECTED_CLIENT_ERROR: WebErrorStatus.UNEXPECTED_CLIENT_ERROR,
    HTTP_E_STATUS_UNEXPECTED_SERVER_ERROR: WebErrorStatus.UNEXPECTED_SERVER_ERROR,
    **{signed(0x80190000 + status): status for status in WebErrorStatus if status >= 300},
}


def get_web_status(hresult: int) -> WebErrorStatus:
    """The `WebErrorStatus` of an HRESULT, given signed or unsigned; UNKNOWN when none matches."""
    return _STATUS.get(signed(hresult), WebErrorStatus.UNKNOWN)


def hresult_of_http_status(status: int) -> int:
    """The HRESULT of an HTTP answer that is not the one that was hoped for."""
    code = signed(0x80190000 + status)
    if 300 <= status < 600 and code in _STATUS:
        return code
    if 300 <= status < 400:
        return HTTP_E_STATUS_UNEXPECTED_REDIRECTION
    if 400 <= status < 500:
        return HTTP_E_STATUS_UNEXPECTED_CLIENT_ERROR
    if 500 <= status < 600:
        return HTTP_E_STATUS_UNEXPECTED_SERVER_ERROR
    return HTTP_E_STATUS_UNEXPECTED


def _codes(hresult: int, *others: int) -> dict[int, int]:
    return dict.fromkeys(others, hresult)


#: What connecting and TLS say, in the words of WinINet. What is not listed keeps its code: want of descriptors, and
#: whatever else has nothing to do with the network.
_IN_WEB_WORDS: Final[dict[int, int]] = {
    **_codes(
        INET_E_NAME_NOT_RESOLVED,
        errors.WSAHOST_NOT_FOUND,
        errors.WSANO_DATA,
        errors.WSATRY_AGAIN,
        errors.WSANO_RECOVERY,
        errors.ERROR_NO_DATA,
    ),
    **_codes(
        INET_E_CANNOT_CONNECT,
        errors.WSAECONNREFUSED,
        errors.WSAENETUNREACH,
        errors.WSAENETDOWN,
        errors.WSAEHOSTUNREACH,
        errors.WSAEHOSTDOWN,
        errors.WSAEADDRNOTAVAIL,
        errors.WSAEAFNOSUPPORT,
    ),
    **_codes(INET_E_TIMEOUT, errors.WSAETIMEDOUT),
    **_codes(INET_E_CONNECTION_ABORTED, errors.WSAECONNABORTED),
    **_codes(INET_E_CONNECTION_RESET, errors.WSAECONNRESET),
    **_codes(
        INET_E_SECURITY_CHANNEL_ERROR,
        errors.SEC_E_INVALID_TOKEN,
        errors.SEC_E_MESSAGE_ALTERED,
        errors.SEC_E_ILLEGAL_MESSAGE,
        errors.SEC_E_CERT_UNKNOWN,
        errors.SEC_E_ALGORITHM_MISMATCH,
    ),
    **_codes(INET_E_SEC_CERT_DATE_INVALID, errors.CERT_E_EXPIRED),
    **_codes(INET_E_SEC_CERT_CN_INVALID, errors.CERT_E_CN_NO_MATCH),
    **_codes(INET_E_INVALID_CA, errors.CERT_E_UNTRUSTEDROOT, errors.CERT_E_CHAINING),
    **_codes(
        INET_E_SEC_CERT_ERRORS, errors.CERT_E_WRONG_USAGE, errors.CERT_E_MALFORMED, errors.TRUST_E_SUBJECT_NOT_TRUSTED
    ),
    **_codes(INET_E_SEC_CERT_REV_FAILED, errors.CRYPT_E_NO_REVOCATION_CHECK, errors.CRYPT_E_REVOCATION_OFFLINE),
    **_codes(INET_E_SEC_CERT_REVOKED, errors.CRYPT_E_REVOKED),
    **_codes(
        INET_E_SEC_INVALID_CERT,
        errors.TRUST_E_CERT_SIGNATURE,
        errors.TRUST_E_BASIC_CONSTRAINTS,
        errors.CERT_E_CRITICAL,
        errors.CERT_E_INVALID_POLICY,
    ),
}


def web_error(error: OSError) -> OSError:
    """The failure of a connect with the code that a WebSocket gives, and else the same; itself where it has none."""
    hresult = _IN_WEB_WORDS.get(getattr(error, "winerror", 0))
    if hresult is None:
        return error
    made = errors.make(hresult, getattr(error, "reason", str(error)), errno=error.errno)
    for name in ("attempts", "certificate_errors"):
        if hasattr(error, name):
            setattr(made, name, getattr(error, name))
    made.__cause__ = error.__cause__
    return made


class HandshakeRefusedError(errors.CodedError):
    """A server's answer to the request for a WebSocket that does not open one. Built by `handshake_refused`."""

    #: The status of the answer; 0 where it was no HTTP.
    http_status: int = 0
    #: The headers of the answer, names in lower case.
    headers: tuple[tuple[str, str], ...] = ()
    #: The beginning of its body, up to 4096 bytes.
    body: bytes = b""
    #: When to try again, as the server has it: seconds, or a `datetime`; None where it does not say.
    retry_after: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the class."""
        return (_restore_refused, (self.reason, self.winerror), self.__dict__ or None)


def _restore_refused(reason: str, hresult: int) -> HandshakeRefusedError:
    return HandshakeRefusedError(errno.EINVAL, reason, hresult)


def handshake_refused(
    hresult: int,
    reason: str,
    *,
    http_status: int = 0,
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    retry_after: Any = None,
) -> HandshakeRefusedError:
    """What a server's answer is that does not open a WebSocket."""
    error = HandshakeRefusedError(errno.EINVAL, reason, signed(hresult))
    error.http_status = http_status
    error.headers = headers
    error.body = body
    error.retry_after = retry_after
    return error
