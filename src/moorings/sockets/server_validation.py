"""The program's own say about a server whose certificate has been accepted: `server_custom_validation_requested`.

Theory of operation
-------------------
When the usual verdict on a server's certificate is in (its errors are all ignored, or it has none) and before anything
is said to that server, the handlers are called. Each may refuse: by `reject()`, by raising, or by losing a deferral.
Nobody can accept what was refused before. `decide` waits for all deferrals; the tasks of `async def` handlers, and the
handlers that run on worker threads, hold one of their own. There is no deadline here: whoever connects has one.

`ServerValidationMembers` are the members of the arguments, for every kind of socket that has such an event.
Source: WinRT WebSocketServerCustomValidationRequestedEventArgs.
"""

# pyright: reportPrivateUsage=false
# The functions below the classes make their objects; as methods they would be part of the public surface.

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.certificates.verify_codes import severity_of
from moorings.foundation.background import workers
from moorings.foundation.deferral import Deferral, DeferralSource
from moorings.foundation.events import EventSource
from moorings.foundation.projection import Object, final, not_constructible
from moorings.foundation.vectors import VectorView
from moorings.sockets.connection import first_use, post
from moorings.sockets.enums import SocketSslErrorSeverity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moorings.certificates.certificate import Certificate
    from moorings.certificates.enums import ChainValidationResult
    from moorings.foundation.events import EventRegistrationToken
    from moorings.foundation.home import Home
    from moorings.sockets.tls_settings import TlsFacts

__all__ = [
    "ServerValidationEvent",
    "ServerValidationMembers",
    "StreamSocketServerCustomValidationRequestedEventArgs",
    "approving",
    "decide",
    "validation_event_of",
]


class Validation:
    """One question to the program, and the answers so far."""

    __slots__ = ("deferrals", "facts", "failure", "over", "refused")

    def __init__(self, facts: TlsFacts) -> None:
        self.facts = facts
        self.deferrals = DeferralSource(self.fail)
        self.refused = False
        self.over = False
        #: What made a handler fail, the first of them; it refuses the server.
        self.failure: BaseException | None = None

    def fail(self, error: BaseException | None, _handler: object = None) -> None:
        """A handler raised, or (None) dropped its deferral."""
        self.refused = True
        if self.failure is None:
            self.failure = error


class ServerValidationMembers:
    """What handlers of `server_custom_validation_requested` get to see and to say."""

    __slots__ = ()

    _validation: Validation

    @property
    def server_certificate(self) -> Certificate:
        """The certificate that the server offers. Errors: ERROR_NOT_SUPPORTED without the extra `tls`."""
        from moorings.certificates.certificate import make_certificate  # noqa: PLC0415 (only who uses TLS pays for it)

        return make_certificate(self._validation.facts.chain[0])

    @property
    def server_intermediate_certificates(self) -> Sequence[Any]:
        """The certificates that it sent besides its own. Errors: ERROR_NOT_SUPPORTED without the extra `tls`."""
        from moorings.certificates.certificate import make_certificate  # noqa: PLC0415 (only who uses TLS pays for it)

        return VectorView[Any](tuple(make_certificate(der) for der in self._validation.facts.chain[1:]))

    @property
    def server_certificate_errors(self) -> Sequence[ChainValidationResult]:
        """What is wrong with it and was ignored, as the socket's settings say; empty where it is in order."""
        return VectorView[Any](self._validation.facts.errors)

    @property
    def server_certificate_error_severity(self) -> SocketSslErrorSeverity:
        """NONE, or IGNORABLE: a server with a fatal error has been refused already."""
        return SocketSslErrorSeverity(int(severity_of(self._validation.facts.errors)))

    def reject(self) -> None:
        """Refuse the server: the connect fails with TRUST_E_SUBJECT_NOT_TRUSTED. There is no call that accepts.

        Errors: E_ILLEGAL_METHOD_CALL once all handlers have returned and all deferrals are complete.
        """
        if self._validation.over:
            raise errors.illegal_call(
                "reject", "the server has been accepted; take a deferral before the handler returns"
            )
        self._validation.refused = True

    def get_deferral(self) -> Deferral:
        """A deferral: connecting waits until it is complete, after an acceptance and after `reject()` alike.

        One that is dropped, or whose `with` block raises, refuses the server. Errors: E_ILLEGAL_METHOD_CALL once the
        handlers have returned and all deferrals are complete.
        """
        return self._validation.deferrals.get_deferral()


@final
@not_constructible
class StreamSocketServerCustomValidationRequestedEventArgs(ServerValidationMembers, Object):
    """A server whose certificate has passed, for the program to have the last word on. Not in WinRT, where WebSockets
    have the same (WebSocketServerCustomValidationRequestedEventArgs).
    """

    __slots__ = ("__weakref__", "_validation")


Args = StreamSocketServerCustomValidationRequestedEventArgs


class ServerValidationEvent:
    """The event of a StreamSocket."""

    __slots__ = ()

    _require: Callable[[str], None]
    _validation_event: EventSource[Any, Any]

    def add_server_custom_validation_requested(
        self, handler: Callable[[Any, Args], object], /
    ) -> EventRegistrationToken:
        """Add a handler that has the last word on a server's certificate, and return the token that removes it.

        It is called with `(socket, args)` in each TLS handshake after the usual checks, the list of ignorable errors
        and the pins have let the certificate pass, and before anything is sent to that server, a certificate of ours
        included. It may refuse, by `args.reject()` or by raising; it cannot accept what was refused. Connecting waits
        for `async def` handlers and for deferrals (`args.get_deferral()`), as long as its own timeout or cancellation
        allows. Handlers run where those of all events do. Not in WinRT, where WebSockets have it.

        Errors: TypeError for something not callable; RO_E_CLOSED after `close()`.
        """
        self._require("add_server_custom_validation_requested")
        with first_use.lock:
            event = validation_event_of(self)
            if event is None:
                event = self._validation_event = EventSource()  # type: ignore[misc]  # its slot is the subclass's
        return event.add(handler)

    def remove_server_custom_validation_requested(self, token: EventRegistrationToken, /) -> None:
        """Remove a handler. An unknown token does nothing. Errors: TypeError for what is no token."""
        event = validation_event_of(self)
        (EventSource[Any, Any]() if event is None else event).remove(token)


def validation_event_of(owner: ServerValidationEvent) -> EventSource[Any, Any] | None:
    """The handlers of a socket, where it has ever had one. (Most never have, and do not pay for the slot.)"""
    found: EventSource[Any, Any] | None = getattr(owner, "_validation_event", None)
    return found


def _make_args(validation: Validation) -> Args:
    args: Args = object.__new__(StreamSocketServerCustomValidationRequestedEventArgs)
    args._validation = validation
    return args


async def decide(
    home: Home,
    event: EventSource[Any, Any],
    sender: object,
    facts: TlsFacts,
    what: str,
    *,
    make_args: Callable[[Validation], Any] = _make_args,
) -> None:
    """Ask the handlers of `event` about a server; `what` names the connection. On the home loop.

    Errors: TRUST_E_SUBJECT_NOT_TRUSTED where one refuses. Cancelling: tasks of handlers are cancelled.
    """
    validation = Validation(facts)
    args = make_args(validation)
    tasks: set[asyncio.Task[None]] = set()

    def own(awaitable: Awaitable[Any], deferral: Deferral) -> None:
        if validation.over:  # cancelled meanwhile
            _give_up(awaitable, deferral)
            return
        task = home.loop.create_task(_follow(awaitable, validation))
        tasks.add(task)
        task.add_done_callback(partial(_give_up, awaitable, deferral))  # (perhaps it never began)

    def start(_handler: object, awaitable: Awaitable[Any]) -> None:
        try:
            deferral = validation.deferrals.get_deferral()
        except OSError:  # cancelled while a worker thread was in the handler
            _give_up(awaitable)
            return
        if not home.background:
            own(awaitable, deferral)
        elif not post(home, partial(own, awaitable, deferral)):  # the end of the program
            _give_up(awaitable, deferral)

    try:
        if home.background:
            handling = validation.deferrals.get_deferral()
            try:
                workers.submit_in_order(sender, partial(_fire_on_worker, event, sender, args, start, handling))
            except RuntimeError as error:  # the system gives no thread
                validation.fail(error)
                handling.close()
        else:
            event.fire(sender, args, validation.fail, start)
        await validation.deferrals.wait()
    finally:
        validation.over = True
        validation.deferrals.close()
        for task in tasks:
            task.cancel()
    if validation.refused:
        why = f": {validation.failure}" if isinstance(validation.failure, Exception) and str(validation.failure) else ""
        reason = f"{what}: the program refused the server's certificate{why}"
        raise errors.make(errors.TRUST_E_SUBJECT_NOT_TRUSTED, reason, cause=validation.failure)


def _fire_on_worker(
    event: EventSource[Any, Any], sender: object, args: ServerValidationMembers, start: Any, handling: Deferral
) -> None:
    """Call the handlers on a worker thread, in a plain script."""
    fail = args._validation.fail
    try:
        event.fire(sender, args, fail, start)
    except BaseException as error:  # noqa: BLE001 - SystemExit and its like end neither the thread nor the program
        fail(error)
    finally:
        handling.close()


def _give_up(awaitable: Awaitable[Any], deferral: Deferral | None = None, _task: object = None) -> None:
    """Nobody waits any more for what a handler returned."""
    if deferral is not None:
        deferral.close()
    if inspect.iscoroutine(awaitable):
        awaitable.close()


async def _follow(awaitable: Awaitable[Any], validation: Validation) -> None:
    """Await what a handler returned; its failure is a refusal."""
    try:
        await awaitable
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a handler is foreign code
        validation.fail(error)


def approving(approve: Callable[[Args], object]) -> Callable[[object, Args], Awaitable[None]]:
    """An event handler that asks `approve`, a function of the Python face: True accepts, False refuses.

    Errors: TypeError for what cannot be called.
    """
    if not callable(approve):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("approve takes a function of the server's certificate that returns True or False")

    async def ask(_socket: object, args: Args) -> None:
        answer: Any = approve(args)
        if isinstance(answer, Awaitable):
            answer = await answer  # pyright: ignore[reportUnknownVariableType]
        if answer is False:
            args.reject()
        elif answer is not True:
            raise TypeError(f"approve must return True or False, not {answer!r}")

    return ask
