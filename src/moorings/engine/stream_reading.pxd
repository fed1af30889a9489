cimport cython

from moorings._native cimport Block, BufferBase, block_bytes, block_fills_buffer, block_to_buffer, block_to_stash, buffer_set_used, receive_block, receive_buffer, stash_to_buffer
from moorings.engine.hub cimport Hub, Source
from moorings.protocols.sink cimport Sink
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation

cdef Py_ssize_t _FILL_SIZE, _BULK_SIZE, _DIRECT_SIZE
cdef int _COMPLETED, _ERROR, _OPEN
cdef int _PARTIAL, _READ_AHEAD, _FILL
cdef int _EAGAIN, _IMMEDIATE_LIMIT
cdef Py_ssize_t _TURN_BYTES_LIMIT
cdef int _OPERATION, _OPERATION_WITH_PROGRESS

cdef class ReadingStream(Source):
    cdef public Home home
    cdef public object label
    cdef public object plain_socket
    cdef public int phase
    cdef public object end_reason
    cdef public Operation read_head
    cdef public Operation read_tail
    cdef public bint readable
    cdef public bint hang_up
    cdef public bint armed
    cdef public bint eof
    cdef public bint bulk
    cdef public bint shut_wanted
    cdef public object read_error
    cdef public object write_error
    cdef public object stash
    cdef public Sink sink
    cdef public Py_ssize_t stash_start
    cdef public unsigned long long bytes_received
    cdef public unsigned long receive_calls

    cpdef Operation new_operation(self, int kind)
    cpdef Operation read(self, BufferBase target, Py_ssize_t count, int options)
    cpdef Operation fill(self)
    @cython.locals(outcome=int)
    cpdef submit_read(self, Operation operation)
    cdef _arm(self)
    cpdef give_to(self, Sink sink)
    cpdef resume_sink(self)
    @cython.locals(count=Py_ssize_t, sink=Sink, hub=Hub, block=Block)
    cdef _pump_sink(self)
    @cython.locals(count=Py_ssize_t, hub=Hub)
    cdef Py_ssize_t _fetch(self, Py_ssize_t asked) except? -12345
    @cython.locals(home=Home)
    cdef int _serve(self, Operation operation) except -1
    @cython.locals(count=Py_ssize_t, wanted=Py_ssize_t)
    cdef _serve_from_stash(self, Operation operation)
    cpdef skip_stash(self, Py_ssize_t count)
    @cython.locals(count=Py_ssize_t, asked=Py_ssize_t, wanted=Py_ssize_t, options=int, direct=bint)
    cdef Py_ssize_t _receive(self, Operation operation) except? -12345
    @cython.locals(taken=Py_ssize_t)
    cdef _deliver(self, Operation operation, Block block, Py_ssize_t count, Py_ssize_t wanted)
    cdef _nothing_received(self, Py_ssize_t count)
    cdef _broken(self, int code, object verb)
    cdef bint _end_read(self, Operation operation, int outcome) except -1
    @cython.locals(outcome=int, resume=bint, operation=Operation)
    cdef _pump_reads(self)
    @cython.locals(asked=Py_ssize_t, count=Py_ssize_t, resume=bint, home=Home, hub=Hub, block=Block, operation=Operation)
    cdef _receive_waiting(self)
    cpdef Py_ssize_t stash_size(self)
    cpdef bint reading(self)
