from moorings._native cimport BufferBase

cdef class Buffer(BufferBase):
    pass
