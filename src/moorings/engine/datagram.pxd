from moorings._native_datagrams cimport Inbox

cdef Py_ssize_t _KEPT_COPY_LIMIT

cdef class Datagram:
    cdef object __weakref__
    cdef public Inbox inbox
    cdef public int index
    cdef public Py_ssize_t offset
    cdef public Py_ssize_t size
    cdef public bint truncated
    cdef public object kept
    cdef public object error
    cdef public object name
    cdef public object destination
    cdef public object socket_name
    cdef public unsigned int interface
    cdef public int hop_limit
    cdef public int traffic_class
    cdef public long long timestamp_ns
    cdef public object reader

    cpdef payload(self)
    cpdef keep(self)
    cpdef clear(self)
