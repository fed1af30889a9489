from moorings._native cimport Block

cdef class Sink:
    cdef public bint paused

    cpdef take(self, Block block, Py_ssize_t count)
    cpdef take_bytes(self, bytes data)
    cpdef ended(self)
