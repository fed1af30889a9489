cimport cython

from moorings._native cimport (
    BufferBase, block_to_buffer, block_to_stash, buffer_set_used, receive_block, receive_buffer, send_many, send_one,
    shut_down_writing, stash_to_buffer,
)
from moorings.engine.hub cimport Hub, Source
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation

cdef Py_ssize_t _FLUSH_MARK, _QUEUE_LIMIT, _FILL_SIZE, _BULK_SIZE
cdef int _VECTOR
cdef int _COMPLETED, _CANCELED, _ERROR
cdef int _OPEN, _CLOSING, _CLOSED
cdef int _PARTIAL, _READ_AHEAD, _FILL, _WRITE, _FLUSH, _CLOSE
cdef int _EAGAIN
cdef unsigned int _READ_EVENTS, _HANG_UP_EVENTS, _WRITE_EVENTS
cdef int _ACTION, _OPERATION, _OPERATION_WITH_PROGRESS

cdef class TcpStream(Source):
    cdef public Home home
    cdef public object label
    cdef public object plain_socket
    cdef public int phase
    cdef public object end_reason
    cdef public Operation read_head
    cdef public Operation read_tail
    cdef public Operation write_head
    cdef public Operation write_tail
    cdef public bint readable
    cdef public bint hang_up
    cdef public bint armed
    cdef public bint eof
    cdef public bint bulk
    cdef public bint write_blocked
    cdef public bint write_shut
    cdef public bint shut_wanted
    cdef public object read_error
    cdef public object write_error
    cdef public bytearray stash
    cdef public Py_ssize_t stash_start
    cdef public Py_ssize_t queued_bytes
    cdef public Py_ssize_t queue_limit
    cdef public unsigned long long bytes_received
    cdef public unsigned long long bytes_sent
    cdef public unsigned long receive_calls
    cdef public unsigned long send_calls
    cdef public unsigned long writes_refused
    cdef public double close_timeout
    cdef public Operation close_operation
    cdef public object deadline
    cdef public object on_closed

    cpdef Operation new_operation(self, int kind)
    cpdef Operation read(self, BufferBase target, Py_ssize_t count, int options)
    cpdef Operation fill(self)
    @cython.locals(outcome=int)
    cpdef submit_read(self, Operation operation)
    cdef int _serve(self, Operation operation) except -1
    cdef bint _satisfied(self, Operation operation) except -1
    @cython.locals(count=Py_ssize_t, wanted=Py_ssize_t)
    cdef _serve_from_stash(self, Operation operation)
    cpdef skip_stash(self, Py_ssize_t count)
    @cython.locals(count=Py_ssize_t, asked=Py_ssize_t, wanted=Py_ssize_t, taken=Py_ssize_t, options=int, direct=bint)
    cdef Py_ssize_t _receive(self, Operation operation) except? -12345
    cdef _nothing_received(self, Py_ssize_t count)
    cdef _broken(self, int code, object verb)
    cdef bint _end_read(self, Operation operation, int outcome) except -1
    @cython.locals(outcome=int, resume=bint, operation=Operation)
    cdef _pump_reads(self)
    cpdef Py_ssize_t stash_size(self)
    cpdef Operation write(self, object data, Py_ssize_t count)
    cpdef Operation flush(self)
    @cython.locals(count=Py_ssize_t)
    cpdef submit_write(self, Operation operation)
    cdef _fail_write(self, Operation operation)
    @cython.locals(count=Py_ssize_t, head=Operation)
    cdef _send_queue(self)
    @cython.locals(offset=Py_ssize_t, operation=Operation)
    cdef Py_ssize_t _send_several(self, Operation head) except? -12345
    @cython.locals(left=Py_ssize_t, done=Operation, last=Operation, operation=Operation, following=Operation, resume=bint)
    cdef _account(self, Py_ssize_t count)
    cdef _fail_writes(self)
    cdef _send_fin(self)
    cdef _abort_reads(self)
    cdef _replace(self, Operation operation, Operation other)
    cpdef bint is_open(self)
    cpdef bint is_released(self)
    cpdef bint busy(self)
    cpdef bint reading(self)
