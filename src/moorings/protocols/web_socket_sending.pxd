cimport cython

from moorings._native_web_sockets cimport check_utf8, make_frame, make_head

cdef Py_ssize_t _SEPARATE
cdef int _TEXT, _BINARY

cdef class FrameSender:
    cdef public bint is_client
    cdef public object deflater
    cdef public int kind
    cdef public bint close_sent
    cdef public unsigned long long frames_sent
    cdef public unsigned long long messages_sent
    cdef public unsigned long long payload_sent
    cdef int state
    cdef bint compressed

    cpdef object message(self, int kind, object payload)
    @cython.locals(size=Py_ssize_t, state=int)
    cpdef object fragment(self, int kind, object payload, bint is_final)
    cpdef bytes ping(self, object payload=*)
    cpdef bytes pong(self, object payload=*)
    cpdef bytes close(self, object code=*, str reason=*)
    cpdef bytes close_answer(self, int code)
    cdef bytes _control(self, int first, object payload)
    @cython.locals(size=Py_ssize_t)
    cdef object _frame(self, int first, object payload)
    cdef int _check_open(self) except -1
