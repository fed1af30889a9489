"""Windows.Networking.Sockets for Python on Linux.

The names most programs need. The rest stands in the rooms, and under `winrt.windows...` for portable programs.
"""

from moorings._native_switch import native_mode  # isort: skip  # first: picks native or pure
from moorings._face import Listening, adopt, blocking, connect, listen
from moorings._reconnecting import ConnectionLoss, Reconnecting, reconnecting, worth_retrying
from moorings.certificates.certificate import Certificate
from moorings.certificates.credentials import PasswordCredential
from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.revocation_check import RevocationCheck
from moorings.certificates.trust import TrustAnchors
from moorings.engine.interface import Detached, EndReason
from moorings.foundation.async_info import (
    IAsyncAction,
    IAsyncActionWithProgress,
    IAsyncInfo,
    IAsyncOperation,
    IAsyncOperationWithProgress,
)
from moorings.foundation.async_status import AsyncStatus
from moorings.foundation.uri import Uri
from moorings.monitoring.monitor import Monitor, monitor
from moorings.monitoring.reports import DatagramReport, ListenerReport, ProgramSnapshot, StreamReport
from moorings.names.endpoint_pair import EndpointPair
from moorings.names.enums import HostNameSortOptions, HostNameType
from moorings.names.host_name import HostName
from moorings.protocols.http_answers import HttpAnswer
from moorings.protocols.web_error_status import HandshakeRefusedError
from moorings.sockets.accepting import DrainReport
from moorings.sockets.broadcasting import Broadcaster, BroadcastResult, broadcast
from moorings.sockets.datagram_limits import DatagramCounters
from moorings.sockets.datagram_listening import ListeningDatagrams
from moorings.sockets.datagram_messages import DatagramSocketMessageReceivedEventArgs
from moorings.sockets.datagram_socket import DatagramSocket
from moorings.sockets.enums import (
    SocketErrorStatus,
    SocketMessageType,
    SocketProtectionLevel,
    SocketQualityOfService,
)
from moorings.sockets.limits import StreamCounters
from moorings.sockets.message_web_socket import MessageWebSocket
from moorings.sockets.server_message_web_socket import ServerMessageWebSocket, accept_web_socket
from moorings.sockets.server_stream_web_socket import ServerStreamWebSocket, accept_stream_web_socket
from moorings.sockets.socket_error import SocketError
from moorings.sockets.statistics import BandwidthStatistics, RoundTripTimeStatistics
from moorings.sockets.stream_socket import StreamSocket
from moorings.sockets.stream_socket_listener import StreamSocketListener
from moorings.sockets.stream_web_socket import StreamWebSocket
from moorings.sockets.web_socket_accepting import WebSocketDrainReport
from moorings.sockets.web_socket_adopting import web_socket_request
from moorings.sockets.web_socket_asgi import accept_asgi
from moorings.sockets.web_socket_error import WebSocketError
from moorings.sockets.web_socket_events import (
    MessagePart,
    MessageWebSocketMessageReceivedEventArgs,
    WebSocketClosedEventArgs,
)
from moorings.sockets.web_socket_limits import WebSocketCounters
from moorings.sockets.web_socket_listener import WebSocketListener
from moorings.sockets.web_socket_listener_objects import WebSocketListenerCounters
from moorings.sockets.web_socket_listening import ListeningWebSockets
from moorings.sockets.web_socket_settings import WebSocketCompression
from moorings.streams.buffer import Buffer
from moorings.streams.data_reader import DataReader
from moorings.streams.data_writer import DataWriter
from moorings.streams.enums import ByteOrder, InputStreamOptions, UnicodeEncoding

__version__ = "0.1.0"

__all__ = [
    "AsyncStatus",
    "BandwidthStatistics",
    "BroadcastResult",
    "Broadcaster",
    "Buffer",
    "ByteOrder",
    "Certificate",
    "ChainValidationResult",
    "ConnectionLoss",
    "DataReader",
    "DataWriter",
    "DatagramCounters",
    "DatagramReport",
    "DatagramSocket",
    "DatagramSocketMessageReceivedEventArgs",
    "Detached",
    "DrainReport",
    "EndReason",
    "EndpointPair",
    "HandshakeRefusedError",
    "HostName",
    "HostNameSortOptions",
    "HostNameType",
    "HttpAnswer",
    "IAsyncAction",
    "IAsyncActionWithProgress",
    "IAsyncInfo",
    "IAsyncOperation",
    "IAsyncOperationWithProgress",
    "InputStreamOptions",
    "ListenerReport",
    "Listening",
    "ListeningDatagrams",
    "ListeningWebSockets",
    "MessagePart",
    "MessageWebSocket",
    "MessageWebSocketMessageReceivedEventArgs",
    "Monitor",
    "PasswordCredential",
    "ProgramSnapshot",
    "Reconnecting",
    "RevocationCheck",
    "RoundTripTimeStatistics",
    "ServerMessageWebSocket",
    "ServerStreamWebSocket",
    "SocketError",
    "SocketErrorStatus",
    "SocketMessageType",
    "SocketProtectionLevel",
    "SocketQualityOfService",
    "StreamCounters",
    "StreamReport",
    "StreamSocket",
    "StreamSocketListener",
    "StreamWebSocket",
    "TrustAnchors",
    "UnicodeEncoding",
    "Uri",
    "WebSocketClosedEventArgs",
    "WebSocketCompression",
    "WebSocketCounters",
    "WebSocketDrainReport",
    "WebSocketError",
    "WebSocketListener",
    "WebSocketListenerCounters",
    "accept_asgi",
    "accept_stream_web_socket",
    "accept_web_socket",
    "adopt",
    "blocking",
    "broadcast",
    "connect",
    "listen",
    "monitor",
    "native_mode",
    "reconnecting",
    "web_socket_request",
    "worth_retrying",
]
