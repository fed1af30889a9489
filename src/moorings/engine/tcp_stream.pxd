cimport cython

from moorings._native cimport buffer_set_used
from moorings.engine.hub cimport Hub, Source
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation
from moorings.engine.stream_writing cimport WritingStream

cdef int _COMPLETED, _CANCELED, _ERROR
cdef int _OPEN, _CLOSING, _CLOSED
cdef int _FILL, _WRITE, _FLUSH, _CLOSE
cdef unsigned int _READ_EVENTS, _HANG_UP_EVENTS, _WRITE_EVENTS
cdef int _ACTION, _OPERATION, _OPERATION_WITH_PROGRESS

cdef class TcpStream(WritingStream):
    cdef public double close_timeout
    cdef public Operation close_operation
    cdef public object lingering
    cdef public object on_release

    cdef _abort_reads(self)
    cdef _replace(self, Operation operation, Operation other)
    cpdef bint is_open(self)
    cpdef bint is_released(self)
    cpdef bint busy(self)
