cimport cython

from moorings._native cimport is_sole
from moorings._native_datagrams cimport Inbox
from moorings.engine.datagram cimport Datagram
from moorings.engine.datagram_sending cimport SendingPort
from moorings.engine.hub cimport Hub, Source
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation

cdef int _BURST
cdef unsigned int _READABLE, _WRITABLE, _FAILED
cdef int _STARTED, _COMPLETED, _CANCELED, _ERROR
cdef int _OPEN, _CLOSED, _TAKEN, _WRITE, _FLUSH, _OPERATION, _PATIENCE

cdef class DatagramPort(SendingPort):
    cdef public Inbox inbox
    cdef public object handler
    cdef public bint handler_of_owner
    cdef public object owner
    cdef public object report
    cdef public object start
    cdef public object sink
    cdef public object filter
    cdef public object make_datagram
    cdef public Datagram spare_datagram
    cdef public object queue
    cdef public Py_ssize_t queue_length_limit
    cdef public bint drop_newest
    cdef public Operation receive_head
    cdef public Operation receive_tail
    cdef public object on_release
    cdef public unsigned long long bytes_received
    cdef public unsigned long long datagrams_received
    cdef public unsigned long datagrams_dropped
    cdef public unsigned long long coalesced_received
    cdef public unsigned long errors_received
    cdef public unsigned long pinned
    cdef public unsigned long receive_calls
    cdef public int burst
    cdef public int burst_filled
    cdef public bint can_coalesce

    cpdef bint may_receive(self)
    cpdef Operation receive(self)
    cpdef submit_receive(self, Operation operation)
    cdef bint _complete_receive(self, Operation operation, Datagram datagram) except -1
    @cython.locals(operation=Operation, resume=bint)
    cdef _complete_first(self, Datagram datagram)
    cpdef _put(self, Datagram datagram)
    @cython.locals(inbox=Inbox, count=int, home=Home)
    cdef bint _receive_batch(self) except -1
    @cython.locals(index=int)
    cdef _hand_out_all(self, Inbox inbox, int count, object handler, object owner)
    @cython.locals(inbox=Inbox)
    cdef Inbox _find_inbox(self)
    cpdef int read_errors(self) except -1
    cpdef int take_reports(self, int code) except -1
    cpdef Datagram take(self)
    cpdef put_back(self, Datagram datagram)
    @cython.locals(offset=Py_ssize_t, size=Py_ssize_t, segment=Py_ssize_t, datagram=Datagram)
    cdef _hand_out(self, Inbox inbox, int index, object handler, object owner)
    cdef _handler_for(self, object owner)
    cdef _call(self, object handler, object owner, Datagram datagram)
