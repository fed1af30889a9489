"""`WebSocketKeepAlive`: the background task that keeps the WebSocket of a control channel alive."""

# pyright: reportPrivateUsage=false
# The link belongs to the WebSocket, which is ours.

from __future__ import annotations

from typing import Any

from moorings import errors
from moorings.engine.web_socket import WebSocketLink
from moorings.foundation.projection import Object, final
from moorings.sockets.connection import post

__all__ = ["WebSocketKeepAlive"]


@final
class WebSocketKeepAlive(Object):
    """The entry point of keep-alive triggers, "Windows.Networking.Sockets.WebSocketKeepAlive".

    The types of control channels and background tasks do not exist yet; `run` takes any object that has their members.
    Source: WinRT WebSocketKeepAlive.
    """

    __slots__ = ()
    _winrt_name_ = "Windows.Networking.Sockets.WebSocketKeepAlive"

    def run(self, task_instance: Any, /) -> None:
        """Send an unsolicited pong on the WebSocket of `task_instance.trigger_details.control_channel_trigger`.

        Receiving stays the program's work. Where the WebSocket is not connected, or data is on its way out, nothing is
        sent.

        Errors: E_INVALIDARG without such trigger details. Source: WinRT WebSocketKeepAlive.Run.
        """
        details = getattr(task_instance, "trigger_details", None)
        trigger = getattr(details, "control_channel_trigger", None)
        if trigger is None:
            raise errors.invalid_argument("WebSocketKeepAlive.run needs the trigger details of a control channel")
        link = getattr(getattr(trigger, "transport_object", None), "_link", None)
        if not isinstance(link, WebSocketLink) or link.home.dropped:
            return
        if link.home.on_home_thread():
            link.send_pong()
        else:
            post(link.home, link.send_pong)
