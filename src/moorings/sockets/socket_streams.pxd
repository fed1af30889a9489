cimport cython

from moorings._native cimport BufferBase, thread_ident
from moorings.engine.tcp_stream cimport TcpStream
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation

cdef int _OPERATION, _OPERATION_WITH_PROGRESS
cdef Py_ssize_t _UINT32_MAX
cdef int _KNOWN_OPTIONS
cdef int _WRITE, _FLUSH, _OPEN

cdef class SocketInputStream:
    cdef object __weakref__
    cdef public TcpStream stream
    cdef public Home home
    cdef public object lifeline
    cdef public bint closed

    @cython.locals(number=Py_ssize_t, flags=int, target=BufferBase, stream=TcpStream, operation=Operation)
    cpdef read_async(self, buffer, count, options)
    cpdef Operation _start_read(self, BufferBase target, Py_ssize_t count, int options, object hook, int kind)

cdef class SocketOutputStream:
    cdef object __weakref__
    cdef public TcpStream stream
    cdef public Home home
    cdef public object lifeline

    @cython.locals(count=Py_ssize_t, stream=TcpStream, operation=Operation)
    cpdef write_async(self, buffer)
    @cython.locals(here=bint, stream=TcpStream, operation=Operation)
    cpdef Operation _start_write(self, object data, Py_ssize_t count, object hook, int kind)
