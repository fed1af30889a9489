from moorings._native cimport Block
from moorings.foundation.operation cimport OperationOwner

cdef class Sink(OperationOwner):
    cdef public bint paused
    cdef public Py_ssize_t piece

    cpdef take(self, Block block, Py_ssize_t count)
    cpdef take_bytes(self, bytes data)
    cpdef ended(self)
    cpdef released(self)

cdef class MessageTaker:
    cpdef take_message(self, object payload)
