"""A TLS session whose connection may move into the kernel, and from there to another process.

Theory of operation
-------------------
The kernel needs the keys of both directions, and the number of the next record in each. OpenSSL tells neither. Its key
log has the secrets: one context is used by one thread, so what is logged during a step of a handshake is of that
handshake, and is taken from the log, and overwritten there, at once. The numbers are counted: a `RecordTrail` walks
along the headers of all records that go in and out. TLS 1.2 counts from ChangeCipherSpec; TLS 1.3 from the end of the
handshake, which cannot be seen from outside: so during the handshake the records are fed one by one, and the one with
which it ends is the last that was made with the handshake's keys.

That the count is right, and the keys are still the first ones, is not believed but tried: the last record of each
direction must open with them. After a key update (RFC 8446 section 4.6.3) it does not, and then the connection stays.

A record that has come by half cannot be given to the kernel. The rest is waited for (`missing` says how much), while
all whole records are decrypted here and travel as unread plaintext.

Only sessions that were asked for it are wrapped in this: nobody else pays.
"""

from __future__ import annotations

import os
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from moorings.engine.tls_keys import (
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    HEADER_SIZE,
    KEY_UPDATE,
    DirectionKeys,
    Suite,
    crypto_info,
    keys_of_master,
    keys_of_traffic_secret,
    open_record,
    suite_of,
    wipe,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Writer = Callable[[Any, bytes], object]

__all__ = [
    "CallbackKeyLog",
    "FileKeyLog",
    "KernelKeys",
    "MovableSession",
    "MoveRefused",
    "RecordTrail",
    "keep_keys",
    "movable",
    "parse_key_log",
]

#: Bytes that a record may have (RFC 8446 section 5.2, with the slack of RFC 5246 section 6.2.3).
LARGEST_RECORD = 16384 + 2048 + HEADER_SIZE
_CLIENT, _SERVER, _MASTER = "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0", "CLIENT_RANDOM"
_LABELS = {label.encode(): label for label in (_CLIENT, _SERVER, _MASTER)}
# Of the first handshake message: type, length, version, random.
_RANDOM_START, _RANDOM_END = 6, 38


class MoveRefused(Exception):  # noqa: N818 - it never leaves the library; the stream makes an error of it
    """The connection cannot move now, or ever; the text is the reason."""


# -- secrets -----------------------------------------------------------------------------------------------------------


class FileKeyLog:
    """The key log of a context of the standard library, which writes to files only: one in memory, for a step."""

    def __init__(self, context: ssl.SSLContext, also: Writer | None = None) -> None:
        """`also` gets each line, as a callback of pyOpenSSL does."""
        self._context = context
        self._also = also

    def during(self, step: Callable[[], bool], found: bytearray) -> bool:
        """What `step` gives; what is logged meanwhile is added to `found`."""
        descriptor = os.memfd_create("moorings-keys", os.MFD_CLOEXEC)
        try:
            self._context.keylog_filename = f"/proc/self/fd/{descriptor}"
            try:
                return step()
            finally:
                self._context.keylog_filename = None  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
                self._take(descriptor, found)
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int, found: bytearray) -> None:
        text = bytearray(os.fstat(descriptor).st_size)
        os.preadv(descriptor, [text], 0)
        found += text
        if self._also is not None:
            for line in bytes(text).splitlines():
                if not line.startswith(b"#"):
                    self._also(None, line)
        wipe(text)


class CallbackKeyLog:
    """The key log of a context of pyOpenSSL."""

    def __init__(self, context: Any, also: Writer | None = None) -> None:
        lines = self._lines = bytearray()

        def keep(connection: Any, line: bytes) -> None:
            lines.extend(line)
            lines.extend(b"\n")
            if also is not None:
                also(connection, line)

        context.set_keylog_callback(keep)

    def shared(self, _context: Any) -> CallbackKeyLog:
        """The log of a session: all of a context have the same."""
        return self

    def during(self, step: Callable[[], bool], found: bytearray) -> bool:
        """As `FileKeyLog.during`."""
        try:
            return step()
        finally:
            found += self._lines
            wipe(self._lines)
            self._lines.clear()


#: Under which name a context says how the keys of its sessions are kept.
_ATTRIBUTE = "moorings_key_log"


def keep_keys(context: Any, also: Writer | None = None) -> None:
    """Let the sessions of a new context, of either library, be movable. One thread only may use it then.

    `also` is called with each line of the key log, which is ours now.
    """
    if isinstance(context, ssl.SSLContext):
        setattr(context, _ATTRIBUTE, partial(FileKeyLog, also=also))
    else:
        setattr(context, _ATTRIBUTE, CallbackKeyLog(context, also).shared)


def movable(session: Any, context: Any, *, server_side: bool = False) -> Any:
    """A session made of `context`: one that may move, where `keep_keys` was called, else as it is."""
    log: Any = getattr(context, _ATTRIBUTE, None)
    if log is None:
        return session
    return MovableSession(session, log(context), server_side=server_side)


def parse_key_log(text: bytearray) -> dict[str, tuple[bytes, bytearray]]:
    """The useful lines of a key log (RFC 9850): label to client random and secret. Others are passed over."""
    found: dict[str, tuple[bytes, bytearray]] = {}
    for line in text.split(b"\n"):
        words = line.split(b" ")
        label = _LABELS.get(bytes(words[0]))
        if label is not None and len(words) == 3:
            secret = _unhex(words[2])
            if secret:
                found[label] = (bytes(_unhex(words[1])), secret)
        wipe(line)
        for word in words:
            wipe(word)
    return found


_DIGITS = {ord(digit): number for number, digit in enumerate("0123456789abcdef")}
_DIGITS.update({ord(digit): number for number, digit in enumerate("ABCDEF", 10)})


def _unhex(text: bytearray) -> bytearray:
    """The octets of a hexadecimal text, without copies that nobody can overwrite; none for what is no such text."""
    made = bytearray(len(text) // 2)
    for place in range(len(made)):
        high, low = _DIGITS.get(text[2 * place], -1), _DIGITS.get(text[2 * place + 1], -1)
        if high < 0 or low < 0:
            return bytearray()
        made[place] = high << 4 | low
    return made


# -- records -----------------------------------------------------------------------------------------------------------


class RecordTrail:
    """The records of one direction: how many since the keys took effect, the last one, and what has come by half."""

    __slots__ = ("_opening", "_partial", "count", "last")

    def __init__(self) -> None:
        #: Records since the keys took effect: the number of the next one.
        self.count = 0
        self.last = b""
        self._partial = bytearray()
        self._opening = bytearray()

    def add(self, data: Any) -> None:
        """Walk along what has come, or gone out."""
        self._partial += data
        whole = self._partial
        start = 0
        size = len(whole)
        last = (0, 0)
        while size - start >= HEADER_SIZE:
            end = start + HEADER_SIZE + (whole[start + 3] << 8 | whole[start + 4])
            if end > size:
                break
            self._note(whole, start, end)
            last = (start, end)
            start = end
        if self.count:
            self.last = bytes(whole[last[0] : last[1]]) if last[1] else self.last
        del whole[:start]

    def _note(self, whole: bytearray, start: int, end: int) -> None:
        kind = whole[start]
        if kind == CHANGE_CIPHER_SPEC:
            self.restart()
            return
        self.count += 1
        if kind == HANDSHAKE and len(self._opening) < _RANDOM_END:
            room = _RANDOM_END - len(self._opening)
            self._opening += whole[start + HEADER_SIZE : min(end, start + HEADER_SIZE + room)]

    def restart(self) -> None:
        """New keys take effect here."""
        self.count = 0
        self.last = b""

    @property
    def missing(self) -> int:
        """Bytes that the record which has come by half lacks, as far as is known; 0 where there is none."""
        partial = self._partial
        if not partial:
            return 0
        if len(partial) < HEADER_SIZE:
            return HEADER_SIZE - len(partial)
        return HEADER_SIZE + (partial[3] << 8 | partial[4]) - len(partial)

    @property
    def hello_random(self) -> bytes:
        """The random octets of this direction's Hello; b"" where it was not seen."""
        return bytes(self._opening[_RANDOM_START:]) if len(self._opening) == _RANDOM_END else b""


class KernelKeys(NamedTuple):
    """What the kernel is given for each direction."""

    suite: Suite
    sending: bytearray
    receiving: bytearray

    def wipe(self) -> None:
        """Overwrite the keys."""
        wipe(self.sending)
        wipe(self.receiving)


# -- the session -------------------------------------------------------------------------------------------------------


class MovableSession:
    """A session of `tls_codec` or `tls_full_codec`, with the same interface, that can give its keys to the kernel."""

    __slots__ = ("_done", "_inner", "_kept", "_log", "_queue", "_secrets", "_server_side", "incoming", "outgoing")

    def __init__(self, inner: Any, log: FileKeyLog | CallbackKeyLog, *, server_side: bool = False) -> None:
        self._inner = inner
        self._log = log
        self._server_side = server_side
        self._done = False
        self._queue = bytearray()
        self._kept = b""
        self._secrets: dict[str, tuple[bytes, bytearray]] = {}
        self.incoming = RecordTrail()
        self.outgoing = RecordTrail()

    def __del__(self) -> None:
        self.wipe()

    def wipe(self) -> None:
        """Overwrite the secrets: this connection does not move any more."""
        for _, secret in self._secrets.values():
            wipe(secret)
        self._secrets.clear()

    # -- handshake ---------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Go on with the handshake as far as the bytes go; True when it is done."""
        while True:
            done = self._inner_step()
            fresh: bytes = self._inner.take_ciphertext()
            self._kept += fresh
            if done:
                self._finish(fresh)
                return True
            self.outgoing.add(fresh)
            record = self._next_record()
            if not record:
                return False
            self.incoming.add(record)
            self._inner.feed(record)

    def _inner_step(self) -> bool:
        text = bytearray()
        try:
            done = self._log.during(self._inner.step, text)
            self._secrets.update(parse_key_log(text))
        finally:
            wipe(text)
        return done

    def _next_record(self) -> bytes:
        """The next whole record that has come; what is no record at all goes on as it is: OpenSSL says what it is."""
        queue = self._queue
        size = len(queue)
        if size >= 2 and not (20 <= queue[0] <= 23 and queue[1] == 3):
            end = size
        elif size < HEADER_SIZE:
            return b""
        else:
            end = HEADER_SIZE + (queue[3] << 8 | queue[4])
            if end > LARGEST_RECORD:
                end = size
            elif end > size:
                return b""
        record = bytes(queue[:end])
        del queue[:end]
        return record

    def _finish(self, fresh: bytes) -> None:
        """The handshake is done; `fresh` is what its last step said."""
        self._done = True
        if self._inner.version() == "TLSv1.3":
            self.incoming.restart()
            self.outgoing.restart()
            if self._server_side:
                self.outgoing.add(fresh)  # session tickets; a client's last words are of the handshake
        else:
            self.outgoing.add(fresh)
        rest, self._queue = bytes(self._queue), bytearray()
        if rest:
            self.feed(rest)

    # -- the network's side ------------------------------------------------------------------------------------------

    def feed(self, ciphertext: Any) -> None:
        """Take what came from the network; it is copied."""
        if not self._done:
            self._queue += ciphertext
            return
        self.incoming.add(ciphertext)
        self._inner.feed(ciphertext)

    def wants_send(self) -> int:
        """How many bytes of ciphertext there are to send."""
        return len(self._kept) + int(self._inner.wants_send())

    def take_ciphertext(self) -> bytes:
        """All that has to be sent."""
        kept, self._kept = self._kept, b""
        fresh: bytes = self._inner.take_ciphertext()
        if fresh:
            self.outgoing.add(fresh)
        return kept + fresh if kept else fresh

    def has_buffered(self) -> bool:
        """Whether `read_into` may give something without being fed."""
        return bool(self._inner.has_buffered())

    # -- the program's side ------------------------------------------------------------------------------------------

    @property
    def peer_closed(self) -> bool:
        """Whether the peer has said that it sends no more."""
        return bool(self._inner.peer_closed)

    def read_into(self, target: Any, count: int) -> int:
        """As of the session inside."""
        return int(self._inner.read_into(target, count))

    def write(self, data: Any) -> int:
        """As of the session inside."""
        return int(self._inner.write(data))

    #: No other way to the bytes than through here (see `records_of`): records are counted.
    parts = None

    def __getattr__(self, name: str) -> Any:
        """Facts, and what else there is, as of the session inside."""
        return getattr(self._inner, name)

    # -- moving ------------------------------------------------------------------------------------------------------

    def kernel_keys(self) -> KernelKeys:
        """What the kernel needs to go on from here. Nothing may be buffered, and nothing be left to send.

        Raises MoveRefused with the reason where the connection has to stay.
        """
        version, cipher = str(self._inner.version()), str(self._inner.cipher())
        suite = suite_of(version, cipher)
        if suite is None:
            raise MoveRefused(f"kernels do not carry {cipher} with {version}")
        if self.incoming.missing:
            raise MoveRefused("a record has come by half, and the rest did not follow; cancel_io_async() waits for it")
        if self.wants_send():
            raise MoveRefused("an answer of TLS to the peer is still to be sent, such as to a key update")
        ours, theirs = self._direction_keys(suite)
        try:
            for keys, trail in ((ours, self.outgoing), (theirs, self.incoming)):
                _check(suite, keys, trail)
            explicit = _next_explicit(self.outgoing.last) if suite.explicit_nonce else b""
            # The kernel reads the explicit part of what comes from the records.
            return KernelKeys(
                suite,
                crypto_info(suite, ours, self.outgoing.count, explicit),
                crypto_info(suite, theirs, self.incoming.count, bytes(8) if suite.explicit_nonce else b""),
            )
        finally:
            ours.wipe()
            theirs.wipe()

    def _direction_keys(self, suite: Suite) -> tuple[DirectionKeys, DirectionKeys]:
        """The keys with which we send, and those with which the peer does."""
        try:
            if suite.version == "TLSv1.3":
                client = keys_of_traffic_secret(suite, self._secrets[_CLIENT][1])
                server = keys_of_traffic_secret(suite, self._secrets[_SERVER][1])
            else:
                client_random, master = self._secrets[_MASTER]
                trail = self.outgoing if self._server_side else self.incoming
                if not trail.hello_random:
                    raise MoveRefused("the server's Hello came in pieces that were too small")
                client, server = keys_of_master(suite, master, client_random, trail.hello_random)
        except KeyError as error:
            raise MoveRefused("OpenSSL has not told the secrets of this connection") from error
        return (server, client) if self._server_side else (client, server)


def _check(suite: Suite, keys: DirectionKeys, trail: RecordTrail) -> None:
    """The last record of a direction must open with its keys and number, and not announce others."""
    if not trail.count:
        return
    opened = open_record(suite, keys, trail.count - 1, trail.last)
    if opened is None:
        raise MoveRefused("its keys are not those of the handshake any more: one side has updated them")
    kind, plain = opened
    if suite.version == "TLSv1.3" and kind == HANDSHAKE and _updates_keys(plain):
        raise MoveRefused("a key update is pending")


def _updates_keys(messages: bytes) -> bool:
    """Whether there is a key update among the handshake messages of a record."""
    while messages:
        if messages[0] == KEY_UPDATE:
            return True
        messages = messages[4 + int.from_bytes(messages[1:4], "big") :]
    return False


def _next_explicit(record: bytes) -> bytes:
    """The explicit part of the nonce that follows that of `record`."""
    number = int.from_bytes(record[HEADER_SIZE : HEADER_SIZE + 8], "big") + 1
    return (number % (1 << 64)).to_bytes(8, "big")
