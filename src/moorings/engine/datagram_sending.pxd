cimport cython

from moorings._native cimport is_sole, thread_ident
from moorings._native_datagrams cimport Outbox, Target
from moorings.engine.hub cimport Hub, Source
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation

cdef Py_ssize_t _FLUSH_MARK, _FLUSH_COUNT, _QUEUE_LIMIT, _TURN_BYTES_LIMIT, _OVERHEAD
cdef int _IMMEDIATE_LIMIT, _FREE_LIMIT
cdef int _STARTED, _COMPLETED, _ERROR, _OPEN
cdef int _WRITE, _FLUSH, _TAKEN, _UNSEEN_LIMIT, _RETRY_LIMIT
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
    cdef public bint can_segment
    cdef public int retries
    cdef public Py_ssize_t queued_bytes
    cdef public Py_ssize_t queued_count
    cdef public Py_ssize_t queue_limit
    cdef public list failed_writes
    cdef public bint unseen_failure
    cdef public Operation free_operations
    cdef public int free_count
    cdef public list free_list
    cdef public unsigned long long bytes_sent
    cdef public unsigned long long datagrams_sent
    cdef public unsigned long long segmented_sent
    cdef public unsigned long send_calls
    cdef public unsigned long batches_refused
    cdef public unsigned long writes_failed
    cdef public unsigned long writes_refused

    @cython.locals(operation=Operation)
    cpdef Operation write(self, object data, Py_ssize_t count, Target target)
    @cython.locals(home=Home)
    cpdef bint usable_here(self)
    cpdef Operation flush(self)
    @cython.locals(count=Py_ssize_t)
    cpdef submit_write(self, Operation operation)
    cdef _mark_reached(self)
    @cython.locals(outbox=Outbox, sent=Py_ssize_t)
    cdef _send_queue(self)
    @cython.locals(count=Py_ssize_t, operation=Operation, plain=bint)
    cdef bint _fill(self, Outbox outbox) except -1
    @cython.locals(size=Py_ssize_t, done=Operation, last=Operation, operation=Operation, following=Operation, resume=bint)
    cdef _account(self, Py_ssize_t sent)
    cdef _recycle(self, Operation operation)
    cdef _unqueue(self, Operation operation)
    @cython.locals(marker=Operation)
    cdef _end_flush(self)
    @cython.locals(operation=Operation)
    cdef bint _take_unseen(self) except -1
    @cython.locals(head=Operation)
    cdef _refused(self, int code, int group)
    cdef _remember(self, Operation operation)
    cpdef forget_queued(self, Operation operation)
    cdef _fail(self, Operation operation, object error)
    cpdef _fail_writes(self, object error)
    cpdef update_events(self)
    cpdef int take_reports(self, int code) except -1
