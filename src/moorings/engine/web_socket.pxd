cimport cython

from moorings.engine.tcp_stream cimport TcpStream
from moorings.engine.web_socket_flow cimport MessageFlow
from moorings.foundation.operation cimport Operation

cdef int _OPEN, _CLOSING, _CLOSED, _DEAF, _ENDED
cdef int _COMPLETED, _ERROR, _OPERATION, _NEXT, _PING

cdef class WebSocketLink(MessageFlow):
    cdef public double close_wait
    cdef public int close_code
    cdef public str close_reason
    cdef public object closed_handler
    cdef public object failed_handler
    cdef public bint told_closed
    cdef public bint told_failed
    cdef public bint left
    cdef public object error
    cdef public object pending_violation
    cdef public object timer
    cdef public object life
    cdef public unsigned long long pings_sent
    cdef public unsigned long long protocol_failures
    cdef public double latency

    cpdef on_close(self, int code, str reason)
    cpdef peer_closed(self)
    cpdef violated(self, object error)
    cpdef ended(self)
    cpdef released(self)
    @cython.locals(operation=Operation, following=Operation)
    cpdef told_all(self)
    cpdef end_of(self, Operation operation)
    cpdef refusal(self)
    @cython.locals(operation=Operation, following=Operation)
    cpdef note_pong(self, Operation last)
