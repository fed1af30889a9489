cimport cython

from moorings._native cimport block_bytes, receive_block
from moorings._native cimport Block
from moorings.engine.hub cimport Hub, Source
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation
from moorings.engine.stream_writing cimport WritingStream
from moorings.engine.tcp_stream cimport TcpStream

cdef int _LAST_RECORDS, _OPEN, _CLOSING, _CLOSED, _EAGAIN, _EIO

cdef class KernelTlsStream(TcpStream):
    cdef public object follow_ups
    cdef public Py_ssize_t idle_bytes
    cdef public unsigned long long idle_since
    cdef public bint notified
    cdef public bint session_failed

    cdef _nothing_received(self, Py_ssize_t count)
    cdef _take_record(self)
    cdef _send_queue(self)
    cdef _send_fin(self)
