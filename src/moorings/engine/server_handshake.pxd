cimport cython

from moorings._native cimport Block, receive_block, send_one
from moorings.engine.hub cimport Hub, Source
from moorings.foundation.home cimport Home

cdef Py_ssize_t _STEP_COST, _RECEIVE_SIZE
cdef int _EAGAIN, _EPIPE
cdef unsigned int _READ_EVENTS, _HANG_UP_EVENTS

cdef class ServerHandshake(Source):
    cdef object __weakref__
    cdef Hub _owner_hub
    cdef public object _connected
    cdef object _plain_socket
    cdef int _descriptor
    cdef object _on_ended
    cdef bint _readable
    cdef bint _hang_up
    cdef bint _done
    cdef bytes _unsent
    cdef Py_ssize_t _unsent_start
    cdef public object address
    cdef public object session

    cpdef on_events(self, unsigned int mask)
    cpdef on_turn(self)
    cdef _go_on(self)
    @cython.locals(count=Py_ssize_t, hub=Hub, home=Home, block=Block)
    cdef bint _step(self) except -1
    @cython.locals(count=Py_ssize_t, data=bytes)
    cdef bint _send(self) except -1
    cdef _watch(self)
    cdef _end(self, object error)
    cdef _forget(self)
    cpdef on_drop(self)
