cimport cython

from moorings._native cimport Block, Epoll
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation, OperationOwner

cdef int _GUESS_BURST

cdef class Source(OperationOwner):
    cdef public int fd
    cdef public unsigned int slot
    cdef public unsigned int serial
    cdef public Hub hub
    cdef public bint dirty
    cdef public Source next_dirty
    cdef public bint deferred
    cdef public Source next_deferred
    cdef public bint guessable
    cdef public Source successor
    cpdef bint on_guess(self) except -1
    cpdef on_events(self, unsigned int mask)
    cpdef on_flush(self)
    cpdef on_turn(self)
    cpdef on_drop(self)

cdef class Hub:
    cdef object __weakref__
    cdef public Home home
    cdef public Epoll epoll
    cdef public Block block
    cdef public object block_view
    cdef public object inbox
    cdef public object tls_memory
    cdef public object link_watch
    cdef public list slots
    cdef public list free_slots
    cdef public Py_ssize_t count
    cdef public unsigned int next_serial
    cdef public Py_ssize_t guessable
    cdef public Source last_ready
    cdef public int guessed
    cdef public Source dirty_head
    cdef public Source deferred_head
    cdef public Source deferred_tail
    cdef public bint flush_scheduled
    cdef public bint turn_scheduled
    cdef public object guard

    @cython.locals(home=Home)
    cpdef on_ready(self)
    @cython.locals(index=int, slot=Py_ssize_t, source=Source, epoll=Epoll)
    cdef _serve_ready(self)
    cpdef learn(self, Source source)
    @cython.locals(guess=Source)
    cdef bint _serve_guess(self) except -1
    @cython.locals(slot=Py_ssize_t, result=int)
    cpdef register(self, Source source, int fd, unsigned int events)
    cpdef attach(self, Source source)
    cdef Py_ssize_t _free_slot(self) except -1
    @cython.locals(serial=cython.uint)
    cdef _keep(self, Source source, Py_ssize_t slot)
    cpdef unregister(self, Source source)
    cpdef change(self, Source source, unsigned int events)
    cpdef mark_dirty(self, Source source)
    cpdef flush_dirty(self)
    cpdef defer(self, Source source)
