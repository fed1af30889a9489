cimport cython

from moorings._native cimport block_bytes, block_to_stash, receive_block, send_one
from moorings._native cimport Block
from moorings.engine._records cimport FAILED, Records, records_of
from moorings.engine.hub cimport Hub, Source
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation
from moorings.engine.tcp_stream cimport TcpStream

cdef Py_ssize_t _RUN_SIZE, _FILL_SIZE, _IDLE_LIMIT, _ANSWERS_LIMIT, _BULK_SIZE, _TURN_BYTES_LIMIT
cdef int _LAST_LOOKS, _VECTOR, _READ_AHEAD, _FILL
cdef int _OPEN, _CLOSING, _CLOSED, _EAGAIN
cdef unsigned int _READ_EVENTS

cdef class TlsStream(TcpStream):
    cdef public object session
    cdef public Records records
    cdef public object codec
    cdef public int send_error
    cdef public bint expects_tickets
    cdef public bint wire_readable
    cdef public object wire
    cdef public Py_ssize_t wire_start
    cdef public Py_ssize_t wire_size
    cdef public Py_ssize_t run_bytes
    cdef public bint run_open
    cdef public bint notified
    cdef public bint session_failed
    cdef public Py_ssize_t idle_bytes
    cdef public Py_ssize_t overhead

    cpdef on_events(self, unsigned int mask)
    @cython.locals(count=Py_ssize_t, resume=bint, home=Home, operation=Operation)
    cdef _receive_waiting(self)
    cdef Py_ssize_t _fetch(self, Py_ssize_t asked) except? -12345
    @cython.locals(asked=Py_ssize_t, wanted=Py_ssize_t, count=Py_ssize_t, options=int, hub=Hub, direct=bint, records=Records)
    cdef Py_ssize_t _receive(self, Operation operation) except? -12345
    @cython.locals(count=Py_ssize_t, answers=Py_ssize_t, buffered=bint, records=Records)
    cdef Py_ssize_t _decrypt(self, Operation operation, Py_ssize_t asked) except? -12345
    @cython.locals(count=Py_ssize_t, hub=Hub, records=Records)
    cdef Py_ssize_t _read_session(self, Operation operation, Py_ssize_t asked) except? -12345
    @cython.locals(count=Py_ssize_t, hub=Hub, block=Block, records=Records)
    cdef Py_ssize_t _receive_wire(self, Py_ssize_t asked) except? -12345
    cdef bint _keep_bounds(self, Py_ssize_t answers, Py_ssize_t count) except -1
    cdef bint _charge(self) except -1
    cdef _no_wire(self, Py_ssize_t count)
    cdef _truncated(self)
    cdef _failed(self, object failure)
    @cython.locals(count=Py_ssize_t)
    cdef _send_queue(self)
    @cython.locals(count=Py_ssize_t)
    cdef _end_run(self)
    @cython.locals(code=int)
    cdef Py_ssize_t _send_wire(self) except? -12345
    cdef bint _fill_wire(self) except -1
    cdef _send_next(self, object ciphertext)
    @cython.locals(size=Py_ssize_t, left=Py_ssize_t, start=Py_ssize_t, number=int, taken=Py_ssize_t, head=Operation, operation=Operation)
    cdef _encrypt_run(self)
    @cython.locals(count=Py_ssize_t, records=Records)
    cdef _send_records(self, object data, Py_ssize_t start, Py_ssize_t size)
    cdef _send_failed(self, int code)
    cdef _fail_writes(self)
    cpdef on_flush(self)
    @cython.locals(hub=Hub, count=Py_ssize_t, wire_readable=bint)
    cpdef keep_buffered(self)
