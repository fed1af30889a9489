"""Asking all monitored programs of this user at once, each with a deadline."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from moorings.monitoring import directory as directories
from moorings.monitoring import wire

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from moorings.monitoring.directory import Place
    from moorings.monitoring.reports import ProgramSnapshot

#: Seconds that a program gets to answer.
ANSWER_DEADLINE = 5.0
#: Programs that are asked; further ones are counted.
PROGRAM_LIMIT = 256
#: Programs that are asked at the same time.
_AT_ONCE = 16
_PIECE = 262144


class Unanswered(NamedTuple):
    """A program, or a directory, of which nothing can be told."""

    #: Process id; None for a directory.
    pid: int | None
    reason: str


class Listing(NamedTuple):
    """What all programs told."""

    programs: tuple[ProgramSnapshot, ...]
    unanswered: tuple[Unanswered, ...] = ()


def find(directories_to_search: Sequence[Path] | None = None) -> tuple[list[Place], list[Unanswered]]:
    """The sockets of programs, those that died without cleaning up included, and the directories that are not used."""
    found: list[Place] = []
    refused: list[Unanswered] = []
    chosen = directories.usual_directories() if directories_to_search is None else directories_to_search
    for directory in chosen:
        try:
            found.extend(directories.places(directory))
        except FileNotFoundError:
            continue
        except OSError as error:
            refused.append(Unanswered(None, f"{directory} is not used: {error.strerror}"))
    return found, refused


async def ask(place: Place, limit: int | None = None) -> ProgramSnapshot | None:
    """What one program tells; None when it is gone. Errors: OSError, TimeoutError, BadAnswerError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            code = directories.connect(client, place)
        except FileNotFoundError:
            return None
        if code == errno.ECONNREFUSED:
            if directories.remove_if_dead(place):
                return None
            raise ConnectionRefusedError("it is there, and does not listen any more")
        if code == errno.EAGAIN:
            raise ConnectionRefusedError("too many others wait for its answer")
        if code:
            raise OSError(code, os.strerror(code))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, wire.request_line(limit))
        answer = bytearray()
        # Only the last byte of an answer is an end of line.
        while not answer.endswith(b"\n"):
            piece = await loop.sock_recv(client, _PIECE)
            if not piece:
                raise ConnectionResetError("it ended before it had answered")
            answer += piece
            if len(answer) > wire.ANSWER_LIMIT:
                raise wire.BadAnswerError("its answer is too long")
    snapshot = wire.parse_answer(bytes(answer))
    if snapshot.pid != place.pid:
        raise wire.BadAnswerError(f"it says that it is process {snapshot.pid}")
    return snapshot


async def ask_all(
    directories_to_search: Sequence[Path] | None = None,
    *,
    pids: Collection[int] = (),
    limit: int | None = None,
    deadline: float = ANSWER_DEADLINE,
) -> Listing:
    """What all programs tell, or those with one of the `pids`. Who does not answer stops nobody."""
    places, unanswered = find(directories_to_search)
    if pids:
        places = [place for place in places if place.pid in pids]
    if len(places) > PROGRAM_LIMIT:
        unanswered.append(Unanswered(None, f"{len(places) - PROGRAM_LIMIT} more programs are not asked"))
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(place: Place) -> ProgramSnapshot | Unanswered | None:
        async with gate:
            try:
                async with asyncio.timeout(deadline):
                    return await ask(place, limit)
            except TimeoutError:
                return Unanswered(place.pid, f"no answer within {deadline:g} s; its event loop may be blocked")
            except OSError as error:
                return Unanswered(place.pid, error.strerror or str(error))
            except wire.BadAnswerError as error:
                return Unanswered(place.pid, str(error))

    answers = await asyncio.gather(*(one(place) for place in places[:PROGRAM_LIMIT]))
    programs = [answer for answer in answers if answer is not None and not isinstance(answer, Unanswered)]
    unanswered += [answer for answer in answers if isinstance(answer, Unanswered)]
    return Listing(tuple(programs), tuple(unanswered))
