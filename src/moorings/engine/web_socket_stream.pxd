cimport cython

from moorings._native cimport stash_to_buffer
from moorings.engine.hub cimport Hub, Source
from moorings.engine.tcp_stream cimport TcpStream
from moorings.engine.web_socket cimport WebSocketLink
from moorings.engine.web_socket_flow cimport MessageFlow
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation

cdef Py_ssize_t _RUN_SIZE, _INCOMING_LIMIT, _SEPARATE
cdef int _VECTOR, _BINARY, _TEXT
cdef int _OPEN, _CLOSING, _CLOSED, _COMPLETED, _ERROR, _FILL, _EAGAIN

cdef class WebSocketStream(TcpStream)

cdef class StreamLink(WebSocketLink):
    cdef public WebSocketStream owner

    @cython.locals(owner=WebSocketStream)
    cpdef on_part(self, int kind, bytes payload, bint is_final)
    @cython.locals(owner=WebSocketStream)
    cdef _taken(self)

cdef class WebSocketStream(TcpStream):
    cdef public TcpStream lower
    cdef public StreamLink link
    cdef public object incoming
    cdef public bint peer_closed
    cdef public object failure
    cdef public Operation sending
    cdef public Py_ssize_t run_bytes
    cdef public bint run_open
    cdef public bint ending
    cdef public object close_code_sent
    cdef public str close_reason_sent
    cdef public object closed_handler

    cdef keep(self, bytes payload)
    cdef serve(self)
    @cython.locals(link=StreamLink)
    cdef _take_incoming(self)
    cpdef submit_read(self, Operation operation)
    cdef _receive_waiting(self)
    @cython.locals(count=Py_ssize_t, taken=Py_ssize_t)
    cdef Py_ssize_t _receive(self, Operation operation) except? -12345
    cdef Py_ssize_t _fetch(self, Py_ssize_t asked) except? -12345
    cdef _pump_fresh(self)
    cdef _send_queue(self)
    @cython.locals(lower=TcpStream, size=Py_ssize_t, count=Py_ssize_t, number=int, operation=Operation, below=Operation)
    cdef _send_run(self)
    cdef _run_sent(self)
    @cython.locals(count=Py_ssize_t)
    cdef _end_run(self)
    cdef _fail_writes(self)
    cdef _send_fin(self)
    cpdef on_flush(self)
    cdef _broke(self, object error)
    cdef _stop_writes(self, object error)
    cdef _note_end(self, TcpStream lower)
    @cython.locals(operation=Operation, following=Operation)
    cdef _abort_reads(self)
