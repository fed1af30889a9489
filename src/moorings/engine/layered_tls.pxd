cimport cython

from moorings.engine.hub cimport Hub, Source
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation
from moorings.engine.tls_stream cimport TlsStream

cdef int _OPEN, _CLOSING, _CLOSED, _EAGAIN

cdef class LayeredTlsStream(TlsStream):
    cdef public object lower
    cdef public Operation filling
    cdef public Operation sending
    cdef public bint wire_sent
    cdef public bint lower_eof
    cdef public object receive_failure
    cdef public object send_failure
    cdef public bint ending
    cdef public bint looking

    cdef Py_ssize_t _receive_wire(self, Py_ssize_t asked) except? -12345
    @cython.locals(operation=Operation)
    cdef _fill(self)
    cdef _note_fill(self, Operation operation)
    cdef _go_on(self)
    @cython.locals(operation=Operation)
    cdef Py_ssize_t _send_wire(self) except? -12345
    cdef _note_sent(self, Operation operation)
    cdef _broken(self, int code, object verb)
    cdef _send_fin(self)
    cdef _forget_pending(self)
    cpdef on_flush(self)
