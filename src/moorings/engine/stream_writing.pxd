cimport cython

from moorings._native cimport send_many, send_one, shut_down_writing, thread_ident
from moorings.engine.hub cimport Hub, Source
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation
from moorings.engine.stream_reading cimport ReadingStream

cdef extern from "Python.h":
    Py_ssize_t reference_count "Py_REFCNT"(object)

cdef Py_ssize_t _FLUSH_MARK, _QUEUE_LIMIT, _HANDED_OVER_LIMIT, _TURN_BYTES_LIMIT
cdef int _VECTOR, _IMMEDIATE_LIMIT
cdef int _COMPLETED, _ERROR, _OPEN
cdef int _WRITE, _FLUSH, _FLUSH_FAILED
cdef int _OPERATION, _OPERATION_WITH_PROGRESS

cdef class WritingStream(ReadingStream):
    cdef public Operation write_head
    cdef public Operation write_tail
    cdef public bint write_blocked
    cdef public bint write_shut
    cdef public Py_ssize_t queued_bytes
    cdef public Py_ssize_t queue_limit
    cdef public unsigned long long bytes_sent
    cdef public unsigned long send_calls
    cdef public unsigned long writes_refused
    cdef public Operation refused_write

    cpdef Operation write(self, object data, Py_ssize_t count)
    @cython.locals(operation=Operation, here=bint)
    cpdef Operation write_copied(self, object data)
    cpdef Operation flush(self)
    @cython.locals(count=Py_ssize_t)
    cpdef submit_write(self, Operation operation)
    cpdef bint has_gap(self)
    @cython.locals(head=Operation)
    cdef bint _has_waiting(self)
    cdef bint _fail_early(self, Operation operation)
    cdef _refuse(self, Operation operation, object error)
    cdef _fail_write(self, Operation operation)
    cdef _hand_over(self, Operation operation)
    cpdef Operation stand_in(self, Operation operation)
    cdef _send_failed(self, int code)
    @cython.locals(count=Py_ssize_t, head=Operation, home=Home)
    cdef _send_queue(self)
    @cython.locals(offset=Py_ssize_t, operation=Operation)
    cdef Py_ssize_t _send_several(self, Operation head) except? -12345
    @cython.locals(left=Py_ssize_t, done=Operation, last=Operation, operation=Operation, following=Operation, resume=bint)
    cdef _account(self, Py_ssize_t count)
    cdef _fail_writes(self)
    cdef _send_fin(self)
