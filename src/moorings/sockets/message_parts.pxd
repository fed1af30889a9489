cimport cython

from moorings._native cimport thread_ident
from moorings.engine.web_socket cimport WebSocketLink
from moorings.protocols.sink cimport MessageTaker

cdef int _TEXT, _BINARY, _NEXT

cdef class MessageSettings:
    cdef public object message_type

cdef class ReceivedMessage:
    cdef public object _kind
    cdef public object _payload
    cdef public object _reader
    cdef public object error
    cdef public bint _complete

    cpdef _fill(self, object kind, object payload, bint complete, object error)

cdef class OutputParts:
    cdef public object _owner
    cdef public bint _closed

    @cython.locals(kind=int)
    cpdef write_async(self, object buffer)
    cpdef _check(self)

cdef class HandOut(MessageTaker):
    cdef object _owner
    cdef object _home
    cdef object _event
    cdef object _kind
    cdef object _several
    cdef object _seen
    cdef object _only
    cdef bint _aside

    cdef _look(self, tuple handlers)
    @cython.locals(args=ReceivedMessage)
    cpdef take_message(self, object payload)
