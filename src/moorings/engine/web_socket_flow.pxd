cimport cython

from moorings._native cimport Block, block_bytes
from moorings.engine.tcp_stream cimport TcpStream
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation
from moorings.protocols.sink cimport MessageTaker
from moorings.protocols.web_socket_frames cimport FrameReceiver
from moorings.protocols.web_socket_sending cimport FrameSender

cdef int _MESSAGES_LIMIT, _BURST, _PONG_BURST, _IMMEDIATE_LIMIT
cdef Py_ssize_t _BYTES_LIMIT, _HEAD_SIZE, _ANY_SIZE
cdef int _OPEN, _CLOSING, _CLOSED, _DEAF, _ENDED
cdef int _COMPLETED, _CANCELED, _ERROR
cdef int _OPERATION, _OPERATION_WITH_PROGRESS
cdef int _RECEIVE, _NEXT, _WRITE, _PING

cdef class MessageFlow(FrameReceiver):
    cdef public TcpStream stream
    cdef public Home home
    cdef public FrameSender sender
    cdef public int stage
    cdef public list queue
    cdef public Py_ssize_t first
    cdef public Py_ssize_t queued_payload
    cdef public object held
    cdef public Py_ssize_t held_start
    cdef public bint receiving
    cdef public bint delivering
    cdef public Operation receive_head
    cdef public Operation receive_tail
    cdef public object handler
    cdef public MessageTaker taker
    cdef public bint handling
    cdef public object make_part
    cdef public bint over
    cdef public bint close_received
    cdef public object violation
    cdef public object pongs_due
    cdef public Operation pong_write
    cdef public Operation ping_head
    cdef public Py_ssize_t pings_waiting
    cdef public unsigned long long messages_discarded
    cdef public unsigned long long pings_received
    cdef public unsigned long long pings_unanswered
    cdef public unsigned long long times_paused

    cpdef on_message(self, int kind, object payload)
    cpdef on_part(self, int kind, bytes payload, bint is_final)
    cdef _keep(self, object entry, Py_ssize_t size)
    cpdef on_ping(self, bytes payload)
    @cython.locals(operation=Operation)
    cpdef on_pong(self, bytes payload)
    cpdef note_pong(self, Operation last)
    @cython.locals(used=Py_ssize_t)
    cpdef take(self, Block block, Py_ssize_t count)
    cpdef take_bytes(self, bytes data)
    cdef _take_held(self)
    cdef _taken(self)
    cdef _broken(self, object error)
    cdef _tell_end(self)
    cdef _go_on(self)
    @cython.locals(left=int)
    cpdef deliver(self)
    @cython.locals(queue=list)
    cdef _pop(self)
    @cython.locals(operation=Operation, resume=bint)
    cdef _give(self)
    @cython.locals(home=Home, eager=bint, taker=MessageTaker)
    cdef _call(self)
    @cython.locals(operation=Operation)
    cpdef Operation receive(self, int options)
    @cython.locals(home=Home)
    cpdef submit_receive(self, Operation operation)
    @cython.locals(previous=Operation, current=Operation)
    cdef _unlink(self, Operation operation)
    @cython.locals(previous=Operation, current=Operation)
    cdef _unlink_ping(self, Operation operation)
    @cython.locals(size=Py_ssize_t)
    cpdef Operation send(self, int kind, object payload, bint face)
    @cython.locals(size=Py_ssize_t)
    cpdef Operation send_fragment(self, int kind, object payload, bint is_final, bint face)
    @cython.locals(stream=TcpStream)
    cdef bint _is_full(self, Py_ssize_t size) except -1
    @cython.locals(stream=TcpStream, operation=Operation)
    cdef Operation _refused(self, bint face)
    @cython.locals(stream=TcpStream, operation=Operation, count=Py_ssize_t, limit=Py_ssize_t)
    cpdef Operation submit(self, object frame, Py_ssize_t size, bint face)
    @cython.locals(operation=Operation)
    cdef Operation _queue(self, bytes data)
    @cython.locals(operation=Operation)
    cpdef answer_pings(self)
    cpdef violated(self, object error)
    cpdef peer_closed(self)
    cpdef told_all(self)
    cpdef refusal(self)
    cpdef end_of(self, Operation operation)
