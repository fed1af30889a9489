cimport cython

from moorings.engine.tcp_stream cimport TcpStream
from moorings.foundation.home cimport Home

cdef class Connection:
    cdef object __weakref__
    cdef public bint accepted
    cdef public object final_info
    cdef public Home home
    cdef public object host_name
    cdef public object ignorable_errors
    cdef public object local_sockaddr
    cdef public object on_finished
    cdef public object on_last_look
    cdef public double opened_at
    cdef public object peak_rtt
    cdef public object rates
    cdef public object remote_sockaddr
    cdef public object service_name
    cdef public object settings
    cdef public object state
    cdef public TcpStream stream
    cdef public object tls

    cpdef opened(self, TcpStream stream, object remote_sockaddr, object local_sockaddr=*)
    cpdef finished(self, TcpStream stream)
    cpdef local_address_of(self, int fd)

cdef class Name:
    cdef public bint accepted
    cdef public object kind
    cdef public object local
    cdef public object remote
    cdef public object state
    cdef public object target

cdef class Lifeline:
    cdef public object place
    cdef public TcpStream stream
