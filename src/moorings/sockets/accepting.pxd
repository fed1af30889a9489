cimport cython

from moorings.engine.hub cimport Hub
from moorings.engine.tcp_stream cimport TcpStream
from moorings.foundation.home cimport Home
from moorings.sockets.connection cimport Connection

cdef class Accepting:
    cdef object __weakref__
    cdef public object _finished_callback
    cdef public object _deadlines
    cdef public set _waiters
    cdef public object accepted
    cdef public object acceptor
    cdef public object broken
    cdef public object ending
    cdef public dict handshakes
    cdef public object handshakes_failed
    cdef public Home home
    cdef public bint iterating
    cdef public object kind
    cdef public object local_sockaddr
    cdef public object max_connections
    cdef public set open
    cdef public object owner
    cdef public object place
    cdef public object port
    cdef public Py_ssize_t running
    cdef public object secure
    cdef public object settings
    cdef public Py_ssize_t slack
    cdef public object state
    cdef public bint stopped
    cdef public object taken
    cdef public dict tasks
    cdef public object tls
    cdef public object untaken

    @cython.locals(connection=Connection, stream=TcpStream, home=Home)
    cpdef _take(self, object connected, object address, object session)
