cimport cython

from moorings._native cimport BufferBase, thread_ident
from moorings._native_datagrams cimport Target
from moorings.engine.datagram_port cimport DatagramPort
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation

cdef int _OPERATION, _OPERATION_WITH_PROGRESS
cdef int _WRITE, _FLUSH, _OPEN

cdef class DatagramOutputStream:
    cdef object __weakref__
    cdef public object link
    cdef public object lifeline
    cdef public object sockaddr
    cdef public Home home
    cdef public DatagramPort port
    cdef public Target target
    cdef public bint closed

    @cython.locals(count=Py_ssize_t, port=DatagramPort)
    cpdef write_async(self, buffer)
    @cython.locals(operation=Operation)
    cpdef Operation _start_write(self, object data, Py_ssize_t count, object hook, int kind)
