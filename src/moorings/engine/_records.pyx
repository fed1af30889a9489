# cython: language_level=3
"""Leaf functions of TLS: OpenSSL's own calls on the session behind an `ssl.SSLObject`; `_pure_records.py` is the twin.

Theory of operation
-------------------
`ssl` makes the session and does the handshake. Then `records_of` takes the session's I/O over: it puts a BIO of its own
in the place of the two memory BIOs, and calls the functions of the very libssl that Python's `_ssl` module has loaded,
found through that module's handle. The BIO (`_ciphertext.pyx`) reads from where `receive` has put the ciphertext, and
writes to the sink of the call that is under way. The SSLObject lives on, for facts; whoever reads or writes through it
finds nothing, since no call is under way then.

What this assumes is looked at once, when the first session comes: known interpreters, where the pointers are in their
objects, the functions (`_openssl.pyx`), and a try with a session that is thrown away. Where anything is otherwise,
`records_of` gives None, `status` says why, and the session goes on through `ssl`.

All is done with the GIL held, and nothing here calls Python but for OpenSSL's own call-backs into `ssl`.
"""

cimport cython

import _ssl
import os
import ssl
import sys
import sysconfig

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.ref cimport PyObject, Py_XDECREF
from libc.errno cimport EINTR, errno
from libc.string cimport memcpy

from moorings._native cimport Block, BufferBase
from moorings.engine._ciphertext cimport Sink, give_back, new_bio, send_some, take_sink
from moorings.engine._openssl cimport (
    BIO_set_data, ERR_clear_error, ERR_peek_last_error, ERR_reason_error_string, SSL_CTRL_CLEAR_MODE, SSL_CTRL_MODE,
    SSL_ERROR_WANT_READ, SSL_ERROR_ZERO_RETURN, SSL_MODE_RELEASE_BUFFERS, SSL_ctrl, SSL_do_handshake, SSL_free_buffers,
    SSL_get_error, SSL_get_rbio, SSL_get_wbio, SSL_has_pending, SSL_pending, SSL_read_ex, SSL_set_bio, SSL_shutdown,
    SSL_write_ex, load
)

from moorings.engine.tls_codec import failure_of


cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) noexcept
    int resize_bytes "_PyBytes_Resize"(PyObject **value, Py_ssize_t size) noexcept

cdef extern from "<sys/socket.h>" nogil:
    int MSG_DONTWAIT
    Py_ssize_t c_recv "recv"(int fd, void *data, size_t length, int flags)

FAILED = -1000000

cdef enum:
    WAITS = -11  # -EAGAIN
    RECORD = 16384  # plaintext of one record at most (RFC 8446 section 5.1)
    OVERHEAD = 600  # and what else of it is on the wire
    ROOM = 20480  # more than the part of one record that OpenSSL may hold already


# -- warm sessions ---------------------------------------------------------------------------------------------------

# OpenSSL frees a session's buffers, of 17 KiB each, whenever they are empty, and takes new ones for the next record.
# The sessions that were used last keep theirs.
cdef enum:
    WARM = 64

cdef PyObject *_warm[WARM]
cdef bint _used[WARM]
cdef int _hand = 0
for _index in range(WARM):
    _warm[_index] = NULL
    _used[_index] = False


def frees_safely(tuple version):
    """Whether SSL_free_buffers of a version leaves alone what is in use. Older ones free a record that has come by half
    (CVE-2024-4741, mended in 3.0.14, 3.1.6, 3.2.2 and 3.3.1); there the buffers go with the next record.
    """
    branch, patch = version[:2], version[3]
    return branch > (3, 3) or patch >= {(3, 0): 14, (3, 1): 6, (3, 2): 2, (3, 3): 1}.get(branch, sys.maxsize)

cdef bint _frees_safely = frees_safely(ssl.OPENSSL_VERSION_INFO)


cdef void _cool(int slot) noexcept:
    """Let OpenSSL free the buffers of the session in a slot; the slot is free then."""
    cdef Records records
    if _warm[slot] is NULL:
        return
    records = <Records>_warm[slot]
    _warm[slot] = NULL
    records.slot = -1
    SSL_ctrl(records.ssl, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, NULL)
    if _frees_safely:
        SSL_free_buffers(records.ssl)  # where they are not empty they are freed later


cdef void _warm_up(Records records) noexcept:
    """Give a session the slot of one that was not used since the hand came by."""
    global _hand
    cdef int tries
    for tries in range(2 * WARM):
        _hand = (_hand + 1) % WARM
        if _warm[_hand] is NULL:
            break
        if not _used[_hand] and (<Records>_warm[_hand]).wire.sink is NULL:  # else a call is under way on another thread
            break
        _used[_hand] = False
    else:
        return
    _cool(_hand)
    _warm[_hand] = <PyObject *>records
    _used[_hand] = True
    records.slot = _hand
    SSL_ctrl(records.ssl, SSL_CTRL_CLEAR_MODE, SSL_MODE_RELEASE_BUFFERS, NULL)


# -- one session -----------------------------------------------------------------------------------------------------

@cython.no_gc_clear  # `__dealloc__` needs the BIO, so the collector must leave us `inner`, which has it
cdef class Records:
    """The records of one session: the calls of a `TlsSession` after its handshake, and two that do I/O as well."""

    def __cinit__(self):
        self.ssl = self.bio = NULL
        self.wire.source = NULL
        self.wire.left = 0
        self.wire.sink = NULL
        self.wire.fd = -1
        self.wire.error = 0
        self.kept = self.answer = NULL
        self.answer_size = 0
        self.drained = self.more = self.partial = self.ended = False
        self.reason = ""
        self.found = None
        self.slot = -1

    def __dealloc__(self):
        if self.slot >= 0:
            _warm[self.slot] = NULL
        if self.bio is not NULL:
            BIO_set_data(self.bio, NULL)
        PyMem_RawFree(self.kept)
        PyMem_RawFree(self.answer)

    # -- with I/O --------------------------------------------------------------------------------------------------

    cdef Py_ssize_t receive(self, int fd, Block block, Py_ssize_t asked) except? -12345:
        """Receive ciphertext for about `asked` bytes; `decrypt` must follow before anything else uses the block.

        The number of bytes, 0 at the end, or a negative errno. `drained` tells whether the kernel has no more.
        """
        cdef Py_ssize_t count
        cdef Py_ssize_t limit = asked if asked > RECORD else RECORD
        if self.wire.left > 0 or block.size < 2 * ROOM:
            raise RuntimeError("what was received before has not been decrypted")
        limit += (limit >> 6) + OVERHEAD
        if limit > block.size - ROOM:
            limit = block.size - ROOM
        while True:
            # Behind what OpenSSL may hold of a record already: so plaintext never overtakes unread ciphertext.
            count = c_recv(fd, block.data + ROOM, limit, MSG_DONTWAIT)
            if count >= 0:
                break
            if errno != EINTR:
                return -errno
        self.drained = count < limit
        if count > 0:
            self.wire.source = block.data + ROOM
            self.wire.left = count
        return count

    cdef Py_ssize_t decrypt(self, Block block, Py_ssize_t asked) except? -12345:
        """Decrypt up to `asked` bytes to the start of the block: as `read_into`, and FAILED instead of raising."""
        if asked > block.size:
            asked = block.size
        return self._read(block.data, asked)

    cdef Py_ssize_t _bound(self, Py_ssize_t asked) noexcept:
        """How many bytes of plaintext there may be: no more memory is taken than that."""
        cdef Py_ssize_t most = self.wire.left
        if self.more or self.partial:
            most += RECORD
        return asked if asked < most else most

    cdef Py_ssize_t decrypt_to(self, BufferBase target, Py_ssize_t offset, Py_ssize_t asked) except? -12345:
        """`decrypt` to a place in a buffer."""
        cdef Py_ssize_t count
        if asked > target.limit - offset:
            asked = target.limit - offset
        asked = self._bound(asked)
        if offset + asked > target.size:
            self._make_room(target, offset + asked)
        count = self._read(target.data + offset, asked)
        if count > 0 and offset + count > target.filled:
            target.filled = offset + count
        return count

    cdef int _make_room(self, BufferBase target, Py_ssize_t size) except -1:
        """Let a buffer grow. Where it cannot, as somebody views it, what was received is there for a later read."""
        try:
            target.reserve(size)
        except BaseException:
            self._keep()
            raise
        return 0

    cdef Py_ssize_t decrypt_new(self, Py_ssize_t asked) except? -12345:
        """`decrypt` to bytes of their own, `found`."""
        cdef Py_ssize_t count
        asked = self._bound(asked)
        cdef PyObject *found = new_bytes(NULL, asked)
        if found is NULL:
            self._keep()
            raise MemoryError
        count = self._read(PyBytes_AS_STRING(<object>found), asked)
        if count > 0 and resize_bytes(&found, count) == 0:
            self.found = <bytes>found
        elif count > 0:
            raise MemoryError
        Py_XDECREF(found)
        return count

    cdef Py_ssize_t encrypt_and_send(self, int fd, object data, Py_ssize_t start, Py_ssize_t size) except? -12345:
        """Encrypt `size` bytes of `data` and send them: 0, a negative errno, or FAILED.

        What the kernel did not take is what `take_ciphertext` gives then.
        """
        cdef BufferBase base
        cdef Py_buffer view
        cdef Sink *sink = take_sink()
        cdef Py_ssize_t count = 0
        cdef int written
        self.wire.sink = sink
        self.wire.error = 0
        if size <= RECORD and self.answer_size == 0:
            self.wire.fd = fd  # one record goes out from where OpenSSL has it
        if PyBytes_CheckExact(data):
            if start + size > PyBytes_GET_SIZE(data):
                size = PyBytes_GET_SIZE(data) - start
            written = self._write(PyBytes_AS_STRING(data) + start, size)
        elif isinstance(data, BufferBase):
            base = <BufferBase>data
            if start + size > base.filled:
                size = base.filled - start
            written = self._write(base.data + start, size)
        else:
            written = 0
            try:
                PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
                if start + size > view.len:
                    size = view.len - start
                written = self._write(<const char *>view.buf + start, size)
                PyBuffer_Release(&view)
            except BaseException:
                self.wire.sink = NULL
                self.wire.fd = -1
                give_back(sink)
                raise
        self.wire.sink = NULL
        if sink.used > 0:
            if written and self.wire.fd < 0 and self.answer_size == 0:
                count = send_some(fd, sink.data, sink.used)
                if count < 0:
                    self.wire.error = <int>-count
                    count = 0
            try:
                self._answer(sink.data + count, sink.used - count)
            finally:
                self.wire.fd = -1
                give_back(sink)
        else:
            self.wire.fd = -1
            give_back(sink)
        return -self.wire.error if written else FAILED

    # -- the network's side ----------------------------------------------------------------------------------------

    cpdef feed(self, object ciphertext):
        """Take what came from the network; it is copied."""
        cdef Py_buffer view
        cdef char *joined
        PyObject_GetBuffer(ciphertext, &view, PyBUF_SIMPLE)
        try:
            joined = <char *>PyMem_RawMalloc(self.wire.left + view.len + 1)
            if joined is NULL:
                raise MemoryError
            if self.wire.left:
                memcpy(joined, self.wire.source, self.wire.left)
            memcpy(joined + self.wire.left, view.buf, view.len)
            PyMem_RawFree(self.kept)
            self.kept = joined
            self.wire.source = joined
            self.wire.left += view.len
        finally:
            PyBuffer_Release(&view)

    cpdef Py_ssize_t wants_send(self) except -1:
        """How many bytes of ciphertext there are to send."""
        return self.answer_size

    cpdef bytes take_ciphertext(self):
        """All that has to be sent."""
        if self.answer_size == 0:
            return b""
        cdef bytes taken = PyBytes_FromStringAndSize(self.answer, self.answer_size)
        PyMem_RawFree(self.answer)
        self.answer = NULL
        self.answer_size = 0
        return taken

    cpdef bint has_buffered(self):
        """Whether `read_into` may give something, or tell an end, without being fed."""
        return self.wire.left > 0 or self.more or self.ended

    # -- the program's side ----------------------------------------------------------------------------------------

    cpdef Py_ssize_t read_into(self, object target, Py_ssize_t count) except? -12345:
        """Decrypt up to `count` bytes into `target`; 0 when the peer has closed, -1 when it has to be fed first."""
        cdef Py_buffer view
        PyObject_GetBuffer(target, &view, PyBUF_WRITABLE)
        try:
            count = self._read(<char *>view.buf, count if count < view.len else view.len)
        finally:
            PyBuffer_Release(&view)
        if count == FAILED:
            raise self.failure()
        return -1 if count < 0 else count

    cpdef Py_ssize_t write(self, object data) except -1:
        """Encrypt all of `data`; the number of bytes."""
        cdef Py_buffer view
        cdef Sink *sink = take_sink()
        cdef int written
        try:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                self.wire.sink = sink
                written = self._write(<const char *>view.buf, view.len)
                self.wire.sink = NULL
                self._answer(sink.data, sink.used)
                if not written:
                    raise self.failure()
                return view.len
            finally:
                PyBuffer_Release(&view)
        finally:
            give_back(sink)

    cpdef close_notify(self):
        """Tell the peer that we send no more. What it has sent must have been read from here before."""
        cdef Sink *sink = take_sink()
        try:
            self.wire.sink = sink
            ERR_clear_error()
            SSL_shutdown(self.ssl)  # what the peer says to it is for reads
            self.wire.sink = NULL
            self._answer(sink.data, sink.used)
        finally:
            give_back(sink)

    def failure(self):
        """What made the session fail."""
        return failure_of(self.reason.upper().replace(" ", "_").replace("/", "_"), self.reason)

    # -- the calls -------------------------------------------------------------------------------------------------

    cdef Py_ssize_t _read(self, char *target, Py_ssize_t asked) except? -12345:
        cdef Py_ssize_t total = 0
        cdef size_t count
        cdef int status
        cdef Sink *sink
        if self.reason:
            return FAILED
        if self.slot >= 0:
            _used[self.slot] = True
        else:
            _warm_up(self)
        sink = take_sink()
        self.wire.sink = sink
        if ERR_peek_last_error():  # of others: it would be taken for ours. (Looking first is much cheaper.)
            ERR_clear_error()
        while total < asked:
            count = 0
            status = SSL_read_ex(self.ssl, target + total, asked - total, &count)
            if status == 1:
                total += count
                if total < asked and self.wire.left > 0:
                    continue
                # It gives less than was asked for only where the record has no more.
                self.more = total == asked and SSL_pending(self.ssl) > 0
                self.partial = False
                break
            self.more = False
            self.partial = SSL_has_pending(self.ssl) != 0
            status = SSL_get_error(self.ssl, status)
            if status == SSL_ERROR_WANT_READ:
                if total == 0:
                    total = WAITS
                break
            self.ended = True  # and a later call tells it, where there was something before it
            self.wire.left = 0
            if status != SSL_ERROR_ZERO_RETURN:
                self._note_reason()
                if total == 0:
                    total = FAILED
            break
        self.wire.sink = NULL
        try:
            if sink.used > 0:
                self._answer(sink.data, sink.used)
            if self.wire.left > 0:
                self._keep()
            elif self.kept is not NULL:
                PyMem_RawFree(self.kept)
                self.kept = NULL
        finally:
            give_back(sink)
        return total

    cdef int _write(self, const char *data, Py_ssize_t size) noexcept:
        """1, or 0 when the session failed."""
        cdef size_t taken
        while size > 0:
            taken = 0
            if SSL_write_ex(self.ssl, data, size, &taken) != 1:
                self._note_reason()
                return 0
            data += taken
            size -= taken
        return 1

    cdef void _note_reason(self) noexcept:
        cdef const char *found = ERR_reason_error_string(ERR_peek_last_error())
        ERR_clear_error()
        try:
            self.reason = "the session is over" if found is NULL else (<bytes>found).decode("ascii", "replace")
        except MemoryError:
            self.reason = "out of memory"

    cdef int _keep(self) except -1:
        """The block is about to be used by others: keep what is left in it."""
        cdef char *kept
        if self.kept is not NULL or self.wire.left == 0:
            return 0  # that is where it is
        kept = <char *>PyMem_RawMalloc(self.wire.left)
        if kept is NULL:
            raise MemoryError
        memcpy(kept, self.wire.source, self.wire.left)
        self.kept = kept
        self.wire.source = kept
        return 0

    cdef int _answer(self, const char *data, Py_ssize_t size) except -1:
        """Something that has to be sent."""
        cdef char *larger
        if size <= 0:
            return 0
        larger = <char *>PyMem_RawRealloc(self.answer, self.answer_size + size)
        if larger is NULL:
            raise MemoryError
        memcpy(larger + self.answer_size, data, size)
        self.answer = larger
        self.answer_size += size
        return 0


# -- taking over -----------------------------------------------------------------------------------------------------

# The heads of `_ssl._SSLSocket` and `_ssl.MemoryBIO` in Modules/_ssl.c of the interpreters in INTERPRETERS.
ctypedef struct SocketHead:
    PyObject head
    PyObject *socket
    void *ssl
    PyObject *context

ctypedef struct MemoryHead:
    PyObject head
    void *bio

INTERPRETERS = ((3, 11), (3, 12), (3, 13), (3, 14))

cdef object _status = None


def status():
    """"" where OpenSSL's own calls are used, else why not."""
    global _status
    if _status is None:
        try:
            _status = _set_up() or _try_out()
        except Exception as error:
            _status = f"the try failed: {error!r}"
    return _status


cdef str _set_up():
    """Find the functions; what is missing, "" for nothing."""
    if os.environ.get("MOORINGS_DIRECT_TLS", "auto") == "off":
        return "MOORINGS_DIRECT_TLS=off"
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in INTERPRETERS:
        return f"not known with Python {sys.version.split()[0]}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this Python has no GIL"
    return load()


cdef object _try_out():
    """Take over a session that is thrown away, and let it begin a handshake and fail; what went wrong, or ""."""
    cdef Sink *sink
    cdef char nothing[64]
    cdef int status
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    cdef Records records = _take_over(made, incoming, outgoing)
    if records is None:
        return "the objects of the module ssl are not laid out as expected"
    sink = take_sink()
    records.wire.sink = sink
    ERR_clear_error()
    status = SSL_do_handshake(records.ssl)
    status = SSL_get_error(records.ssl, status)
    records.wire.sink = NULL
    records._answer(sink.data, sink.used)
    give_back(sink)
    if status != SSL_ERROR_WANT_READ or records.take_ciphertext()[:2] != b"\x16\x03":
        return "a handshake does not begin as expected"
    records.feed(b"HTTP/1.0 400 Bad Request\r\n\r\n")
    if records._read(nothing, sizeof(nothing)) != FAILED or not records.reason:
        return "a failure is not told as expected"
    return ""


cdef Records _take_over(object made, object incoming, object outgoing):
    """The records of a session of `ssl`; None where something is not as it should be, and nothing has changed then."""
    cdef SocketHead *socket
    cdef void *bio
    inner = getattr(made, "_sslobj", None)
    context = made.context
    if (
        type(inner) is not _ssl._SSLSocket
        or type(incoming) is not _ssl.MemoryBIO
        or type(outgoing) is not _ssl.MemoryBIO
        or _ssl._SSLSocket.__basicsize__ < <Py_ssize_t>sizeof(SocketHead)
        or _ssl.MemoryBIO.__basicsize__ < <Py_ssize_t>sizeof(MemoryHead)
    ):
        return None
    socket = <SocketHead *><PyObject *>inner
    if socket.context is not <PyObject *>context or socket.ssl is NULL:
        return None
    if socket.socket is not NULL and socket.socket is not <PyObject *>None:
        return None
    if (
        SSL_get_rbio(socket.ssl) is not (<MemoryHead *><PyObject *>incoming).bio
        or SSL_get_wbio(socket.ssl) is not (<MemoryHead *><PyObject *>outgoing).bio
    ):
        return None
    cdef Records records = Records()
    bio = new_bio(&records.wire)
    if bio is NULL:
        return None
    rest, unsent = incoming.read(), outgoing.read()
    SSL_set_bio(socket.ssl, bio, bio)  # both places share the one reference, which is theirs now
    records.made = made
    records.inner = inner
    records.ssl = socket.ssl
    records.bio = bio
    records.more = SSL_pending(socket.ssl) > 0
    records.partial = SSL_has_pending(socket.ssl) != 0
    if rest:
        records.feed(rest)
    if unsent:
        records._answer(PyBytes_AS_STRING(unsent), len(unsent))
    return records


cpdef Records records_of(object session):
    """Take over the I/O of a session whose handshake is done; None where it goes on by itself."""
    parts = getattr(session, "parts", None)
    if parts is None or status():
        return None
    made, incoming, outgoing = parts()
    cdef Records records = _take_over(made, incoming, outgoing)
    if records is not None:
        session.hand_over()
    return records
