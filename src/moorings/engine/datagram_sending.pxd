cimport cython

from moorings._native cimport is_sole
from moorings._native_datagrams cimport Outbox, Target
from moorings.engine.hub cimport Hub, Source
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation

cdef Py_ssize_t _FLUSH_MARK, _FLUSH_COUNT, _QUEUE_LIMIT, _TURN_BYTES_LIMIT, _OVERHEAD
cdef int _IMMEDIATE_LIMIT, _FREE_LIMIT
cdef int _STARTED, _COMPLETED, _ERROR, _OPEN
cdef int _WRITE, _FLUSH
cdef int _OPERATION, _OPERATION_WITH_PROGRESS

cdef class SendingPort(Source):
    cdef public Home home
    cdef public object label
    cdef public object plain_socket
    cdef public int phase
    cdef public bint reading
    cdef public Outbox outbox
    cdef public Operation write_head
    cdef public Operation write_tail
    cdef public bint write_blocked
    cdef public Py_ssize_t plain_left
    cdef public bint retrying
    cdef public Py_ssize_t queued_bytes
    cdef public Py_ssize_t queued_count
    cdef public Py_ssize_t queue_limit
    cdef public Operation failed_write
    cdef public Operation free_operations
    cdef public int free_count
    cdef public unsigned long long bytes_sent
    cdef public unsigned long long datagrams_sent
    cdef public unsigned long long segmented_sent
    cdef public unsigned long send_calls
    cdef public unsigned long batches_refused
    cdef public unsigned long writes_failed
    cdef public unsigned long writes_refused

    @cython.locals(operation=Operation)
    cpdef Operation write(self, object data, Py_ssize_t count, Target target)
    cpdef Operation flush(self)
    @cython.locals(count=Py_ssize_t)
    cpdef submit_write(self, Operation operation)
    @cython.locals(outbox=Outbox, count=Py_ssize_t, sent=Py_ssize_t, operation=Operation)
    cdef _send_queue(self)
    @cython.locals(size=Py_ssize_t, done=Operation, last=Operation, operation=Operation, following=Operation, resume=bint)
    cdef _account(self, Py_ssize_t sent)
    cdef _recycle(self, Operation operation)
    cdef _unqueue(self, Operation operation)
    @cython.locals(marker=Operation, failed=Operation)
    cdef _end_flush(self)
    cdef _refused(self, int code, int group)
    cpdef forget_queued(self, Operation operation)
    cdef _fail(self, Operation operation, object error)
    cpdef _fail_writes(self, object error)
    cpdef update_events(self)
    cpdef int read_errors(self) except -1
