# cython: language_level=3
"""The BIO between OpenSSL and a connection, which copies nothing by itself, and the buffers it writes to.

It reads what its `Wire` points to, and writes to a *sink*, a buffer that somebody holds for the time of one call, or
straight to a descriptor. Sinks are taken from a list: OpenSSL may call back into Python while one is in use.
"""

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.errno cimport EINTR, errno
from libc.string cimport memcpy

from moorings.engine._openssl cimport (
    BIO_CTRL_FLUSH, BIO_CTRL_PENDING, BIO_FLAGS_READ, BIO_FLAGS_RWS, BIO_FLAGS_SHOULD_RETRY, BIO_TYPE_SOURCE_SINK,
    BIO_clear_flags, BIO_get_data, BIO_get_new_index, BIO_meth_new, BIO_meth_set_ctrl, BIO_meth_set_read,
    BIO_meth_set_write, BIO_new, BIO_set_data, BIO_set_flags, BIO_set_init
)

cdef extern from "<sys/socket.h>" nogil:
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    Py_ssize_t c_send "send"(int fd, const void *data, size_t length, int flags)

cdef enum:
    SINK_SIZE = 69632

# -- sinks -----------------------------------------------------------------------------------------------------------

cdef Sink *_spare_sinks = NULL


cdef Sink *take_sink() except NULL:
    global _spare_sinks
    cdef Sink *sink = _spare_sinks
    if sink is not NULL:
        _spare_sinks = sink.next
        sink.used = 0
        return sink
    sink = <Sink *>PyMem_RawMalloc(sizeof(Sink))
    if sink is NULL:
        raise MemoryError
    sink.data = <char *>PyMem_RawMalloc(SINK_SIZE)
    if sink.data is NULL:
        PyMem_RawFree(sink)
        raise MemoryError
    sink.size = SINK_SIZE
    sink.used = 0
    return sink


cdef void give_back(Sink *sink) noexcept:
    global _spare_sinks
    sink.next = _spare_sinks
    _spare_sinks = sink


# -- the BIO ---------------------------------------------------------------------------------------------------------

cdef int _bio_read(void *bio, char *target, int wanted) noexcept:
    cdef Wire *wire = <Wire *>BIO_get_data(bio)
    BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY)
    if wire is NULL or wire.left == 0:
        BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
        return -1
    if wanted > wire.left:
        wanted = <int>wire.left
    if wanted <= 0:
        return 0
    memcpy(target, wire.source, wanted)
    wire.source += wanted
    wire.left -= wanted
    return wanted


cdef Py_ssize_t send_some(int fd, const char *data, Py_ssize_t size) noexcept:
    cdef Py_ssize_t count
    while True:
        count = c_send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if count >= 0:
            return count
        if errno != EINTR:
            return -errno


cdef int _bio_write(void *bio, const char *data, int size) noexcept:
    cdef Wire *wire = <Wire *>BIO_get_data(bio)
    cdef Sink *sink
    cdef char *larger
    BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY)
    cdef Py_ssize_t count = 0
    cdef int whole = size
    if wire is NULL or wire.sink is NULL or size <= 0:
        return -1
    sink = <Sink *>wire.sink
    if wire.fd >= 0 and wire.error == 0 and sink.used == 0:
        count = send_some(wire.fd, data, size)
        if count == size:
            return size
        if count < 0:
            wire.error = <int>-count
        else:
            data += count
            size -= <int>count
    if size > sink.size - sink.used:
        larger = <char *>PyMem_RawRealloc(sink.data, 2 * sink.size + size)
        if larger is NULL:
            return -1
        sink.data = larger
        sink.size = 2 * sink.size + size
    memcpy(sink.data + sink.used, data, size)
    sink.used += size
    return whole


cdef long _bio_control(void *bio, int verb, long number, void *pointer) noexcept:
    cdef Wire *wire = <Wire *>BIO_get_data(bio)
    if verb == BIO_CTRL_FLUSH:
        return 1
    if verb == BIO_CTRL_PENDING and wire is not NULL:
        return wire.left
    return 0


# Made once.
cdef void *_method = NULL


cdef void *new_bio(Wire *wire) noexcept:
    global _method
    cdef void *bio
    if _method is NULL:
        _method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "moorings")
        if _method is NULL or not (
            BIO_meth_set_read(_method, _bio_read)
            and BIO_meth_set_write(_method, _bio_write)
            and BIO_meth_set_ctrl(_method, _bio_control)
        ):
            return NULL
    bio = BIO_new(_method)
    if bio is not NULL:
        BIO_set_data(bio, wire)
        BIO_set_init(bio, 1)
    return bio
