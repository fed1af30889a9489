# cython: language_level=3
"""Leaf functions of the hot path: one system call, one copy or one check each. The pure twin is `_pure.py`.

Rules: pointers and lengths in, a count or a negative errno out; bounds are checked by the caller's typed fields; no
descriptor is closed here; nothing handed out outlives the memory it views (a `BufferBase` frees its storage only when
no view of it is left).
"""

from asyncio import Task
from socket import socket

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memcpy, memset

cdef extern from "Python.h":
    int PyContext_Enter(object context) noexcept
    int PyContext_Exit(object context) noexcept
    void PyErr_Clear() noexcept
    object PyErr_SetFromErrno(object kind)
    bint PyCFunction_CheckExact(object value) noexcept
    PyObject *PyCFunction_GET_SELF(object value) noexcept
    PyObject *Py_TYPE "(PyObject *)Py_TYPE"(PyObject *value) noexcept
    Py_ssize_t Py_REFCNT(PyObject *value) noexcept
    object PyObject_CallOneArg(object callable, object argument)

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() noexcept

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    cdef struct msghdr:
        void *msg_name
        unsigned int msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int SHUT_WR
    int c_shutdown "shutdown"(int fd, int how)
    Py_ssize_t c_recv "recv"(int fd, void *data, size_t length, int flags)
    Py_ssize_t c_send "send"(int fd, const void *data, size_t length, int flags)
    Py_ssize_t c_sendmsg "sendmsg"(int fd, const msghdr *message, int flags)
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct sockaddr_storage:
        unsigned short ss_family
    int AF_INET
    int AF_INET6
    int SOCK_CLOEXEC
    int SOCK_NONBLOCK
    int c_accept4 "accept4"(int fd, sockaddr *address, socklen_t *length, int flags)
    int c_getsockname "getsockname"(int fd, sockaddr *address, socklen_t *length)
    int c_getsockopt "getsockopt"(int fd, int level, int name, void *value, socklen_t *length)

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        unsigned int s_addr
    cdef struct sockaddr_in:
        unsigned short sin_port
        in_addr sin_addr
    cdef struct in6_addr:
        unsigned char s6_addr[16]
    cdef struct sockaddr_in6:
        unsigned short sin6_port
        unsigned int sin6_flowinfo
        in6_addr sin6_addr
        unsigned int sin6_scope_id
    unsigned short ntohs(unsigned short number)
    unsigned int ntohl(unsigned int number)

cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *source, char *text, socklen_t size)

cdef extern from "<sys/epoll.h>" nogil:
    cdef union epoll_data_t:
        unsigned long long u64
    cdef struct epoll_event:
        unsigned int events
        epoll_data_t data
    int EPOLL_CTL_ADD
    int EPOLL_CTL_MOD
    int EPOLL_CTL_DEL
    int EPOLL_CLOEXEC
    int c_epoll_create1 "epoll_create1"(int flags)
    int c_epoll_ctl "epoll_ctl"(int epfd, int op, int fd, epoll_event *event)
    int c_epoll_wait "epoll_wait"(int epfd, epoll_event *events, int maximum, int timeout)

cdef object _task_type = Task
cdef object _socket_type = socket
cdef char _nothing = 0



# -- threads and tasks ---------------------------------------------------------------------------------------------

cdef unsigned long thread_ident() noexcept:
    return PyThread_get_thread_ident()


cdef bint is_task_callback(object callback) noexcept:
    if not PyCFunction_CheckExact(callback):
        return False
    cdef PyObject *owner = PyCFunction_GET_SELF(callback)
    return owner is not NULL and Py_TYPE(owner) is <PyObject *>_task_type


cdef bint is_sole(object value) noexcept:
    return Py_REFCNT(<PyObject *>value) == 1


cdef bint run_task_callback(object context, object callback, object argument) except -1:
    if PyContext_Enter(context) < 0:
        PyErr_Clear()
        return False
    try:
        PyObject_CallOneArg(callback, argument)
    finally:
        if PyContext_Exit(context) < 0:
            PyErr_Clear()
    return True


# -- once for each connection --------------------------------------------------------------------------------------

cdef Py_ssize_t _dotted(const unsigned char *address, char *text) noexcept nogil:
    """Four octets as text (16 bytes are enough); its length. The C library goes through printf, ten times as long."""
    cdef Py_ssize_t length = 0
    cdef int place
    cdef unsigned char octet
    for place in range(4):
        if place:
            text[length] = b"."
            length += 1
        octet = address[place]
        if octet >= 100:
            text[length] = 48 + octet // 100
            length += 1
        if octet >= 10:
            text[length] = 48 + octet // 10 % 10
            length += 1
        text[length] = 48 + octet % 10
        length += 1
    return length


cdef object _address_of(const sockaddr_storage *storage):
    """A socket address as the socket module has it; None for other families than those of TCP."""
    cdef char text[64]
    cdef Py_ssize_t length
    cdef const sockaddr_in *v4
    cdef const sockaddr_in6 *v6
    if storage.ss_family == AF_INET:
        v4 = <const sockaddr_in *>storage
        length = _dotted(<const unsigned char *>&v4.sin_addr, text)
        return PyUnicode_DecodeASCII(text, length, NULL), ntohs(v4.sin_port)
    if storage.ss_family == AF_INET6:
        v6 = <const sockaddr_in6 *>storage
        if inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text)) is NULL:
            return None
        return (<bytes>text).decode("ascii"), ntohs(v6.sin6_port), ntohl(v6.sin6_flowinfo), v6.sin6_scope_id
    return None


def accept_by_socket(int fd, object plain_socket):
    """The same for any kind of socket: the connection is a socket, too."""
    try:
        connection, address = plain_socket.accept()
    except BlockingIOError:
        return None
    connection.setblocking(False)
    return connection, address


def accept_connection(int fd, object plain_socket):
    """Accept on a listening socket: (descriptor, non-blocking; address), or None when nobody waits. OSError.

    Of a stand-in for a socket (`moorings.testing`) the connection is a socket.
    """
    if type(plain_socket) is not _socket_type:
        return accept_by_socket(fd, plain_socket)
    cdef sockaddr_storage storage
    cdef socklen_t length
    cdef int connection
    while True:
        length = sizeof(storage)
        connection = c_accept4(fd, <sockaddr *>&storage, &length, SOCK_CLOEXEC | SOCK_NONBLOCK)
        if connection >= 0:
            return connection, _address_of(&storage)
        if errno == EAGAIN:
            return None
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)


def socket_name(int fd):
    """The local address of a socket. OSError."""
    cdef sockaddr_storage storage
    cdef socklen_t length = sizeof(storage)
    if c_getsockname(fd, <sockaddr *>&storage, &length) < 0:
        PyErr_SetFromErrno(OSError)
    return _address_of(&storage)


def socket_option(int fd, int level, int name, int size):
    """A socket option as bytes, as many as the kernel knows, 1,024 at most. OSError."""
    cdef char value[1024]
    cdef socklen_t length = size if 0 < size < 1024 else 1024
    if c_getsockopt(fd, level, name, value, &length) < 0:
        PyErr_SetFromErrno(OSError)
    return PyBytes_FromStringAndSize(value, length)


# -- memory --------------------------------------------------------------------------------------------------------

cdef class Block:
    """Memory that every receiving stream of a loop shares: data is copied out before anybody else runs."""

    def __cinit__(self, Py_ssize_t size):
        self.data = <char *>PyMem_Malloc(size)
        if self.data is NULL:
            raise MemoryError
        self.size = size

    def __dealloc__(self):
        PyMem_Free(self.data)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 0, flags)


cdef class BufferBase:
    """Memory of a `Buffer`: allocated when data arrives, moved only while nobody views it."""

    def __cinit__(self):
        self.data = NULL
        self.retired = NULL
        self.wrapped = False

    def __dealloc__(self):
        if self.wrapped:
            PyBuffer_Release(&self.view)
        else:
            PyMem_Free(self.data)
        PyMem_Free(self.retired)

    def _allocate(self, Py_ssize_t capacity):
        """The capacity in bytes; nothing is allocated yet."""
        self.limit = capacity

    def _wrap(self, object source):
        """Use the memory of a writable bytes-like object instead of memory of its own."""
        PyObject_GetBuffer(source, &self.view, PyBUF_WRITABLE)
        self.wrapped = True
        self.data = <char *>self.view.buf
        self.size = self.limit = self.filled = self.view.len

    cdef int reserve(self, Py_ssize_t size) except -1:
        """Make room for `size` bytes, which must not exceed the capacity."""
        cdef char *data
        if size <= self.size:
            return 0
        cdef Py_ssize_t rounded = (size + 63) & ~<Py_ssize_t>63
        if rounded > self.limit:
            rounded = self.limit
        if self.exports == 0:
            data = <char *>PyMem_Realloc(self.data, rounded)
            if data is NULL:
                raise MemoryError
        else:
            # Somebody views the old storage: it stays until the last view is gone. There is one such place, and so the
            # new storage has room for all that may come.
            if self.retired is not NULL:
                raise BufferError("the buffer has to grow while views of it are held")
            rounded = self.limit
            data = <char *>PyMem_Malloc(rounded)
            if data is NULL:
                raise MemoryError
            if self.filled:
                memcpy(data, self.data, self.filled)
            self.retired = self.data
        self.data = data
        self.size = rounded
        return 0

    cdef int put(self, Py_ssize_t offset, const char *source, Py_ssize_t count) except -1:
        """Copy `count` bytes to `offset` (offset + count <= capacity)."""
        self.reserve(offset + count)
        memcpy(self.data + offset, source, count)
        if offset + count > self.filled:
            self.filled = offset + count
        return 0

    cdef int set_used(self, Py_ssize_t used) except -1:
        self.reserve(used)
        if used > self.filled:
            memset(self.data + self.filled, 0, used - self.filled)
            self.filled = used
        self.used = used
        return 0

    def _put(self, Py_ssize_t offset, object source):
        cdef Py_buffer view
        PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
        try:
            if offset < 0 or offset + view.len > self.limit:
                raise BufferError("the data does not fit into the buffer")
            self.put(offset, <const char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def _set_used(self, Py_ssize_t used):
        if used < 0 or used > self.limit:
            raise BufferError("length beyond capacity")
        self.set_used(used)

    cpdef Py_ssize_t _used(self):
        return self.used

    cpdef Py_ssize_t _limit(self):
        return self.limit

    def _storage_size(self):
        return self.size

    def __len__(self):
        return self.used

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef char *data = self.data if self.data is not NULL else &_nothing
        PyBuffer_FillInfo(view, self, data, self.used, False, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1
        if self.exports == 0 and self.retired is not NULL:
            PyMem_Free(self.retired)
            self.retired = NULL


cdef int buffer_set_used(BufferBase target, Py_ssize_t used) except -1:
    return target.set_used(used)


cdef object block_bytes(Block block, Py_ssize_t start, Py_ssize_t count):
    return PyBytes_FromStringAndSize(block.data + start, count)


cdef int block_to_buffer(Block block, Py_ssize_t count, BufferBase target, Py_ssize_t offset) except -1:
    return target.put(offset, block.data, count)


cdef int block_fills_buffer(Block block, Py_ssize_t count, BufferBase target) except -1:
    target.put(0, block.data, count)
    return target.set_used(count)


cdef int block_to_stash(Block block, Py_ssize_t start, Py_ssize_t count, bytearray stash) except -1:
    cdef Py_ssize_t old = PyByteArray_GET_SIZE(stash)
    PyByteArray_Resize(stash, old + count)
    memcpy(PyByteArray_AS_STRING(stash) + old, block.data + start, count)
    return 0


cdef int stash_to_buffer(object stash, Py_ssize_t start, Py_ssize_t count, BufferBase target,
                         Py_ssize_t offset) except -1:
    if PyBytes_CheckExact(stash):
        return target.put(offset, PyBytes_AS_STRING(stash) + start, count)
    return target.put(offset, PyByteArray_AS_STRING(stash) + start, count)


# -- sockets -------------------------------------------------------------------------------------------------------

cdef Py_ssize_t receive_block(int fd, object plain_socket, Block block, Py_ssize_t limit) noexcept:
    cdef Py_ssize_t count
    if limit > block.size:
        limit = block.size
    while True:
        count = c_recv(fd, block.data, limit, MSG_DONTWAIT)
        if count >= 0:
            return count
        if errno != EINTR:
            return -errno


cdef Py_ssize_t receive_buffer(int fd, object plain_socket, BufferBase target, Py_ssize_t offset,
                               Py_ssize_t limit) except? -12345:
    cdef Py_ssize_t count
    if offset + limit > target.limit:
        limit = target.limit - offset
    target.reserve(offset + limit)
    while True:
        count = c_recv(fd, target.data + offset, limit, MSG_DONTWAIT)
        if count >= 0:
            if offset + count > target.filled:
                target.filled = offset + count
            return count
        if errno != EINTR:
            return -errno


cdef Py_ssize_t _send(int fd, const char *data, Py_ssize_t length) noexcept:
    cdef Py_ssize_t count
    while True:
        count = c_send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
        if count >= 0:
            return count
        if errno != EINTR:
            return -errno


cdef Py_ssize_t send_one(int fd, object plain_socket, object data, Py_ssize_t offset,
                         Py_ssize_t length) except? -12345:
    """Send bytes [offset, length) of a bytes-like object."""
    cdef BufferBase base
    cdef Py_buffer view
    cdef Py_ssize_t count
    if PyBytes_CheckExact(data):
        if length > PyBytes_GET_SIZE(data):
            length = PyBytes_GET_SIZE(data)
        return _send(fd, PyBytes_AS_STRING(data) + offset, length - offset)
    if isinstance(data, BufferBase):
        base = <BufferBase>data
        if length > base.filled:
            length = base.filled
        return _send(fd, base.data + offset, length - offset)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if length > view.len:
        length = view.len
    count = _send(fd, <const char *>view.buf + offset, length - offset)
    PyBuffer_Release(&view)
    return count


cdef Py_ssize_t send_many(int fd, object plain_socket, list pieces, Py_ssize_t offset) except? -12345:
    """Send several bytes-like objects in one system call, the first one from `offset` on."""
    cdef iovec vector[256]
    cdef Py_buffer views[256]
    cdef msghdr message
    cdef Py_ssize_t count = -1
    cdef Py_ssize_t number = len(pieces)
    cdef Py_ssize_t taken = 0
    if number > 256:
        number = 256
    try:
        while taken < number:
            PyObject_GetBuffer(pieces[taken], &views[taken], PyBUF_SIMPLE)
            vector[taken].iov_base = views[taken].buf
            vector[taken].iov_len = views[taken].len
            taken += 1
        if offset > <Py_ssize_t>vector[0].iov_len:
            offset = vector[0].iov_len
        vector[0].iov_base = <char *>vector[0].iov_base + offset
        vector[0].iov_len -= offset
        memset(&message, 0, sizeof(message))
        message.msg_iov = vector
        message.msg_iovlen = number
        while True:
            count = c_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
            if count >= 0:
                return count
            if errno != EINTR:
                count = -errno
                return count
    finally:
        while taken > 0:
            taken -= 1
            PyBuffer_Release(&views[taken])


cdef int shut_down_writing(int fd, object plain_socket) noexcept:
    if c_shutdown(fd, SHUT_WR) < 0:
        return -errno
    return 0


# -- epoll ---------------------------------------------------------------------------------------------------------

cdef class Epoll:
    """One epoll set. A slot and a serial number come back with each event; the descriptor is closed by the caller through os.close."""

    def __cinit__(self):
        self.fd = c_epoll_create1(EPOLL_CLOEXEC)
        if self.fd < 0:
            raise OSError(errno, "epoll_create1")
        self.count = 0

    cdef int _control(self, int verb, int fd, unsigned int events, unsigned int slot, unsigned int serial) noexcept:
        cdef epoll_event event
        event.events = events
        event.data.u64 = (<unsigned long long>serial << 32) | slot
        if c_epoll_ctl(self.fd, verb, fd, &event) < 0:
            return -errno
        return 0

    cpdef int add(self, int fd, unsigned int events, unsigned int slot, unsigned int serial):
        return self._control(EPOLL_CTL_ADD, fd, events, slot, serial)

    cpdef int modify(self, int fd, unsigned int events, unsigned int slot, unsigned int serial):
        return self._control(EPOLL_CTL_MOD, fd, events, slot, serial)

    cpdef int remove(self, int fd):
        return self._control(EPOLL_CTL_DEL, fd, 0, 0, 0)

    cpdef int poll(self):
        """Fetch what is ready now; the number of events, or a negative errno."""
        self.count = c_epoll_wait(self.fd, self.events, 128, 0)
        if self.count < 0:
            self.count = 0
            return 0 if errno == EINTR else -errno
        return self.count

    cpdef unsigned int slot(self, int index):
        return <unsigned int>self.events[index].data.u64

    cpdef unsigned int serial(self, int index):
        return <unsigned int>(self.events[index].data.u64 >> 32)

    cpdef unsigned int mask(self, int index):
        return self.events[index].events

    def fileno(self):
        return self.fd
