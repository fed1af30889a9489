"""Enumerations of `Windows.Networking.Sockets`. Source: the WinRT reference page of each type."""

from __future__ import annotations

from moorings.errors import OpenEnum, SocketErrorStatus

__all__ = [
    "ControlChannelTriggerResetReason",
    "ControlChannelTriggerResourceType",
    "ControlChannelTriggerStatus",
    "MessageWebSocketReceiveMode",
    "SocketActivityConnectedStandbyAction",
    "SocketActivityKind",
    "SocketActivityTriggerReason",
    "SocketErrorStatus",
    "SocketMessageType",
    "SocketProtectionLevel",
    "SocketQualityOfService",
    "SocketSslErrorSeverity",
]


class ControlChannelTriggerResetReason(OpenEnum):
    """Why a control channel was reset. LOW_POWER_EXIT: the machine left connected standby."""

    FAST_USER_SWITCHED = 0
    LOW_POWER_EXIT = 1
    QUIET_HOURS_EXIT = 2
    APPLICATION_RESTART = 3


class ControlChannelTriggerResourceType(OpenEnum):
    """What a control channel asks for: a software slot works while the machine is awake, a hardware slot always."""

    REQUEST_SOFTWARE_SLOT = 0
    REQUEST_HARDWARE_SLOT = 1


class ControlChannelTriggerStatus(OpenEnum):
    """Result of waiting for a control channel. The two ..._ALLOCATED values are success.

    POLICY_ERROR: too many slots. SYSTEM_ERROR: a hardware slot could not be set up. SERVICE_UNAVAILABLE: the broker is
    not ready.
    """

    HARDWARE_SLOT_REQUESTED = 0
    SOFTWARE_SLOT_ALLOCATED = 1
    HARDWARE_SLOT_ALLOCATED = 2
    POLICY_ERROR = 3
    SYSTEM_ERROR = 4
    TRANSPORT_DISCONNECTED = 5
    SERVICE_UNAVAILABLE = 6


class MessageWebSocketReceiveMode(OpenEnum):
    """Whether `message_received` gives whole messages (the default) or parts as they arrive."""

    FULL_MESSAGE = 0
    PARTIAL_MESSAGE = 1


class SocketActivityConnectedStandbyAction(OpenEnum):
    """Whether traffic for a transferred socket wakes the machine from connected standby."""

    DO_NOT_WAKE = 0
    WAKE = 1


class SocketActivityKind(OpenEnum):
    """The class of a socket that the broker holds. NONE: unknown."""

    NONE = 0
    STREAM_SOCKET_LISTENER = 1
    DATAGRAM_SOCKET = 2
    STREAM_SOCKET = 3


class SocketActivityTriggerReason(OpenEnum):
    """Why the broker started a task.

    SOCKET_ACTIVITY: data arrived (StreamSocket, DatagramSocket). CONNECTION_ACCEPTED: a listener has a connection.
    KEEP_ALIVE_TIMER_EXPIRED, SOCKET_CLOSED: StreamSocket only.
    """

    NONE = 0
    SOCKET_ACTIVITY = 1
    CONNECTION_ACCEPTED = 2
    KEEP_ALIVE_TIMER_EXPIRED = 3
    SOCKET_CLOSED = 4


class SocketMessageType(OpenEnum):
    """The kind of a WebSocket message (RFC 6455 section 5.6)."""

    BINARY = 0
    UTF8 = 1


class SocketProtectionLevel(OpenEnum):
    """Encryption of a connection.

    A TLS level names the *highest* version offered; older ones come with it, down to what the policy of the OpenSSL
    library allows. Set a floor with `StreamSocketControl.min_protection_level`. SSL, SSL_ALLOW_NULL_ENCRYPTION and
    SSL3_ALLOW_WEAK_ENCRYPTION are deprecated. The Bluetooth levels are for RFCOMM only. UNSPECIFIED is for
    `min_protection_level` only: no floor but the policy.
    """

    PLAIN_SOCKET = 0
    SSL = 1
    SSL_ALLOW_NULL_ENCRYPTION = 2
    BLUETOOTH_ENCRYPTION_ALLOW_NULL_AUTHENTICATION = 3
    BLUETOOTH_ENCRYPTION_WITH_AUTHENTICATION = 4
    SSL3_ALLOW_WEAK_ENCRYPTION = 5
    TLS10 = 6
    TLS11 = 7
    TLS12 = 8
    UNSPECIFIED = 9
    TLS13 = 10


#: The levels of RFCOMM.
BLUETOOTH_LEVELS = (
    SocketProtectionLevel.BLUETOOTH_ENCRYPTION_ALLOW_NULL_AUTHENTICATION,
    SocketProtectionLevel.BLUETOOTH_ENCRYPTION_WITH_AUTHENTICATION,
)


class SocketQualityOfService(OpenEnum):
    """How much a socket's traffic hurries. LOW_LATENCY is for real-time audio and the like."""

    NORMAL = 0
    LOW_LATENCY = 1


class SocketSslErrorSeverity(OpenEnum):
    """The worst of the certificate errors of a TLS handshake.

    IGNORABLE errors (expired, wrong name, untrusted issuer, ...) may be listed in
    `ignorable_server_certificate_errors`; FATAL ones (revoked, invalid signature, ...) may not.
    """

    NONE = 0
    IGNORABLE = 1
    FATAL = 2
