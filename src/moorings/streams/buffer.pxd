cimport cython

from moorings._native cimport BufferBase

@cython.final
cdef class Buffer(BufferBase):
    cdef object __weakref__
