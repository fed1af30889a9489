cimport cython

from moorings.engine.hub cimport Hub, Source

cdef class Acceptor(Source):
    cdef public object _socket
    cdef object _on_connection
    cdef object _on_failure
    cdef Hub _owner_hub
    cdef object _accept_one
    cdef public bint _paused
    cdef public object _retry
    cdef public Py_ssize_t accepted
    cdef public Py_ssize_t exhausted
    cdef public object label

    cpdef on_events(self, unsigned int mask)
    @cython.locals(accepted=tuple)
    cdef _accept(self)
    cpdef on_drop(self)
