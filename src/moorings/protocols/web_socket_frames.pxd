cimport cython

from moorings._native cimport Block
from moorings.protocols.sink cimport Sink
from moorings._native_web_sockets cimport MessageMemory, key_at, key_bytes, key_of, unmask, unmask_text, utf8_state

cdef int _TEXT, _BINARY, _CLOSE, _PING, _INFLATE_PIECE

cdef class FrameReceiver(Sink):
    cdef public bint expects_mask
    cdef public bint partial
    cdef public bint decode_text
    cdef public bint closed
    cdef public object failure
    cdef public object inflater
    cdef public Py_ssize_t frame_limit
    cdef public Py_ssize_t message_limit
    cdef public unsigned long long bytes_received
    cdef public unsigned long long frames_received
    cdef public unsigned long long messages_received
    cdef public unsigned long long payload_received
    cdef public Py_ssize_t position
    cdef bint parsing
    cdef bytes head
    cdef bint in_frame
    cdef int opcode
    cdef bint is_final
    cdef Py_ssize_t remaining
    cdef Py_ssize_t taken
    cdef unsigned int key
    cdef int kind
    cdef bint compressed
    cdef bint inflating
    cdef Py_ssize_t message_size
    cdef int state
    cdef MessageMemory memory
    cdef bytes control

    cpdef on_message(self, int kind, object payload)
    cpdef on_part(self, int kind, bytes payload, bint is_final)
    cpdef on_ping(self, bytes payload)
    cpdef on_pong(self, bytes payload)
    cpdef on_close(self, int code, str reason)

    @cython.locals(begin=Py_ssize_t)
    cpdef Py_ssize_t receive_block(self, Block block, Py_ssize_t start, Py_ssize_t count) except -1
    @cython.locals(begin=Py_ssize_t, whole=bytes)
    cpdef Py_ssize_t receive_bytes(self, object data, Py_ssize_t start=*, Py_ssize_t count=*) except -1
    cdef int _begin(self) except -1
    cdef int _ended(self, Py_ssize_t begin) except -1
    @cython.locals(used=Py_ssize_t, count=Py_ssize_t)
    cdef int _parse(self, const unsigned char *data, Py_ssize_t position, Py_ssize_t end) except -1
    @cython.locals(joined=bytes, used=Py_ssize_t, old=Py_ssize_t, more=Py_ssize_t)
    cdef Py_ssize_t _go_on_with_head(self, const unsigned char *data, Py_ssize_t position, Py_ssize_t end) except -1
    @cython.locals(first=int, second=int, opcode=int, size=Py_ssize_t, need=Py_ssize_t, place=Py_ssize_t)
    cdef Py_ssize_t _read_head(self, const unsigned char *data, Py_ssize_t position, Py_ssize_t available) except -1
    cdef int _check_first(self, int first, int opcode) except -1
    @cython.locals(place=Py_ssize_t)
    cdef Py_ssize_t _long_size(self, const unsigned char *data, Py_ssize_t position, Py_ssize_t available, int opcode, Py_ssize_t size) except -2
    cdef int _check_limits(self, Py_ssize_t size) except -1
    @cython.locals(kind=int)
    cdef int _whole(self, const unsigned char *data, Py_ssize_t position, Py_ssize_t count) except -1
    @cython.locals(phase=Py_ssize_t)
    cdef int _take(self, const unsigned char *data, Py_ssize_t position, Py_ssize_t count) except -1
    @cython.locals(phase=Py_ssize_t, announced=Py_ssize_t)
    cdef int _take_plain(self, const unsigned char *data, Py_ssize_t position, Py_ssize_t count) except -1
    @cython.locals(piece=bytes)
    cdef bint _drain(self) except -1
    @cython.locals(kind=int)
    cdef int _end_frame(self) except -1
    @cython.locals(kind=int)
    cdef int _end_message(self) except -1
    cdef int _control_frame(self) except -1
    @cython.locals(code=int)
    cdef int _close_frame(self, bytes payload) except -1
    cdef int _bad_text(self) except -1
