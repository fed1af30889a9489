cdef extern from "<sys/epoll.h>" nogil:
    cdef union epoll_data_t:
        unsigned long long u64
    cdef struct epoll_event:
        unsigned int events
        epoll_data_t data

cdef unsigned long thread_ident() noexcept
cdef bint is_task_callback(object callback) noexcept
cdef bint is_sole(object value) noexcept
cdef bint run_task_callback(object context, object callback, object argument) except -1

cdef class Block:
    cdef char *data
    cdef readonly Py_ssize_t size

cdef class BufferBase:
    cdef char *data
    cdef char *retired
    cdef Py_ssize_t size
    cdef Py_ssize_t used
    cdef Py_ssize_t limit
    cdef Py_ssize_t filled
    cdef int exports
    cdef bint wrapped
    cdef Py_buffer view
    cpdef Py_ssize_t _used(self)
    cpdef Py_ssize_t _limit(self)
    cdef int reserve(self, Py_ssize_t size) except -1
    cdef int put(self, Py_ssize_t offset, const char *source, Py_ssize_t count) except -1
    cdef int set_used(self, Py_ssize_t used) except -1

cdef int buffer_set_used(BufferBase target, Py_ssize_t used) except -1
cdef object block_bytes(Block block, Py_ssize_t start, Py_ssize_t count)
cdef int block_to_buffer(Block block, Py_ssize_t count, BufferBase target, Py_ssize_t offset) except -1
cdef int block_fills_buffer(Block block, Py_ssize_t count, BufferBase target) except -1
cdef int block_to_stash(Block block, Py_ssize_t start, Py_ssize_t count, bytearray stash) except -1
cdef int stash_to_buffer(object stash, Py_ssize_t start, Py_ssize_t count, BufferBase target, Py_ssize_t offset) except -1

cdef Py_ssize_t receive_block(int fd, object plain_socket, Block block, Py_ssize_t limit) noexcept
cdef Py_ssize_t receive_buffer(int fd, object plain_socket, BufferBase target, Py_ssize_t offset, Py_ssize_t limit) except? -12345
cdef Py_ssize_t send_one(int fd, object plain_socket, object data, Py_ssize_t offset, Py_ssize_t length) except? -12345
cdef Py_ssize_t send_many(int fd, object plain_socket, list pieces, Py_ssize_t offset) except? -12345

cdef int shut_down_writing(int fd, object plain_socket) noexcept

cdef class Epoll:
    cdef int fd
    cdef int count
    cdef epoll_event events[128]
    cdef int _control(self, int verb, int fd, unsigned int events, unsigned int slot, unsigned int serial) noexcept
    cpdef int add(self, int fd, unsigned int events, unsigned int slot, unsigned int serial)
    cpdef int modify(self, int fd, unsigned int events, unsigned int slot, unsigned int serial)
    cpdef int remove(self, int fd)
    cpdef int poll(self)
    cpdef unsigned int slot(self, int index)
    cpdef unsigned int serial(self, int index)
    cpdef unsigned int mask(self, int index)
