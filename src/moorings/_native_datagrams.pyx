# cython: language_level=3
"""Leaf functions for datagrams: batches that reach the kernel in one system call, and come from it in one.

`Outbox` groups what is to be sent: consecutive datagrams of one size for one peer become a segmented one (UDP_SEGMENT,
the last may be shorter), everything together one `sendmmsg`. `Inbox` holds the memory for one `recvmmsg`, whose messages
may each be several datagrams in a row (UDP_GRO). The pure twin is `_pure_datagrams.py`. Sources: udp(7), ip(7), ipv6(7),
socket(7), linux/udp.h.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.string cimport memcmp, memcpy, memset

from moorings._native cimport BufferBase

cdef extern from "Python.h":
    bint PyMemoryView_Check(object value)

cdef extern from *:
    """
    typedef struct { PyObject_VAR_HEAD Py_ssize_t ob_alloc; char *ob_bytes; char *ob_start; Py_ssize_t exports; }
        moorings_byte_array;
    static Py_ssize_t moorings_exports(PyObject *array) { return ((moorings_byte_array *)array)->exports; }
    """
    Py_ssize_t moorings_exports(object array)

cdef extern from "<sys/socket.h>" nogil:
    cdef struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int MSG_TRUNC
    int AF_INET
    int AF_INET6
    int SOL_SOCKET
    cmsghdr *CMSG_FIRSTHDR(msghdr *header)
    cmsghdr *CMSG_NXTHDR(msghdr *header, cmsghdr *control)
    unsigned char *CMSG_DATA(cmsghdr *control)
    size_t CMSG_LEN(size_t length)
    size_t CMSG_SPACE(size_t length)
    int c_sendmmsg "sendmmsg"(int fd, mmsghdr *messages, unsigned int count, int flags)
    Py_ssize_t c_sendmsg "sendmsg"(int fd, const msghdr *message, int flags)
    Py_ssize_t c_sendto "sendto"(int fd, const void *data, size_t size, int flags, const void *to, socklen_t length)
    Py_ssize_t c_recvmsg "recvmsg"(int fd, msghdr *message, int flags)
    int c_recvmmsg "recvmmsg"(int fd, mmsghdr *messages, unsigned int count, int flags, void *timeout)

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_IP
    int IPPROTO_IPV6
    cdef struct in_addr:
        unsigned int s_addr
    cdef struct sockaddr_in:
        unsigned short sin_family
        unsigned short sin_port
        in_addr sin_addr
    cdef struct in6_addr:
        unsigned char s6_addr[16]
    cdef struct sockaddr_in6:
        unsigned short sin6_family
        unsigned short sin6_port
        unsigned int sin6_flowinfo
        in6_addr sin6_addr
        unsigned int sin6_scope_id
    cdef struct in_pktinfo:
        int ipi_ifindex
        in_addr ipi_spec_dst
        in_addr ipi_addr
    cdef struct in6_pktinfo:
        in6_addr ipi6_addr
        unsigned int ipi6_ifindex
    unsigned short htons(unsigned short number)
    unsigned short ntohs(unsigned short number)
    unsigned int htonl(unsigned int number)
    unsigned int ntohl(unsigned int number)

cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *source, char *text, socklen_t size)
    int inet_pton(int family, const char *text, void *result)

# linux/udp.h, linux/in.h, linux/in6.h, asm-generic/socket.h: what older headers do not have.
cdef enum:
    SOL_UDP = 17
    UDP_SEGMENT = 103
    UDP_GRO = 104
    IP_TOS = 1
    IP_TTL = 2
    IP_PKTINFO = 8
    IPV6_PKTINFO = 50
    IPV6_HOPLIMIT = 52
    IPV6_TCLASS = 67
    SO_TIMESTAMPNS = 35

cdef enum:
    SEGMENTS = 64            # what every kernel takes that knows UDP_SEGMENT
    SEGMENTED_BYTES = 65000  # with headers, below what an IP packet holds
    SLAB = 65536

cdef struct seconds_and_nanoseconds:
    long long seconds
    long long nanoseconds


cdef object _name_of(const sockaddr_storage *storage):
    """An address as the socket module has it; None for other families than IPv4 and IPv6."""
    cdef char text[64]
    cdef const sockaddr_in *v4
    cdef const sockaddr_in6 *v6
    if storage.ss_family == AF_INET:
        v4 = <const sockaddr_in *>storage
        inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text))
        return (<bytes>text).decode("ascii"), ntohs(v4.sin_port)
    if storage.ss_family == AF_INET6:
        v6 = <const sockaddr_in6 *>storage
        inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text))
        return (<bytes>text).decode("ascii"), ntohs(v6.sin6_port), ntohl(v6.sin6_flowinfo), v6.sin6_scope_id
    return None


cdef class Target:
    """Where datagrams go: an address, or None for the peer of a connected socket.

    `segment_limit`: datagrams of at most this size may be sent segmented on this way; 0 for none.
    """

    def __init__(self, object name, int segment_limit=65535):
        cdef sockaddr_in *v4 = <sockaddr_in *>&self.storage
        cdef sockaddr_in6 *v6 = <sockaddr_in6 *>&self.storage
        cdef bytes text
        memset(&self.storage, 0, sizeof(self.storage))
        self.name = name
        self.segment_limit = segment_limit
        self.length = 0
        if name is None:
            return
        if not (
            isinstance(name, tuple)
            and len(name) in (2, 4)
            and isinstance(name[0], str)
            and isinstance(name[1], int)
            and 0 <= name[1] <= 65535
        ):
            raise ValueError(f"{name!r} is no numeric address")
        text = name[0].encode()
        if len(name) == 2:
            v4.sin_family = AF_INET
            v4.sin_port = htons(name[1])
            self.length = sizeof(sockaddr_in)
            if 0 not in text and inet_pton(AF_INET, text, &v4.sin_addr) == 1:
                return
        elif (
            isinstance(name[2], int) and isinstance(name[3], int)
            and 0 <= name[2] <= 0xFFFFF and 0 <= name[3] <= 0xFFFFFFFF
        ):
            v6.sin6_family = AF_INET6
            v6.sin6_port = htons(name[1])
            v6.sin6_flowinfo = htonl(name[2])
            v6.sin6_scope_id = name[3]
            self.length = sizeof(sockaddr_in6)
            if 0 not in text and inet_pton(AF_INET6, text, &v6.sin6_addr) == 1:
                return
        raise ValueError(f"{name!r} is no numeric address")


cdef class Outbox:
    """What goes out in one system call. `add` until it says no, `send`, `clear`; it keeps nothing alive.

    After `send`, `segmented` is the number of its datagrams that went as parts of segmented ones.
    """

    def __init__(self):
        memset(self.groups, 0, sizeof(self.groups))
        self.clear()

    cpdef clear(self):
        self.group_count = 0
        self.piece_count = 0
        self.last_open = False
        self.last_target = None
        self.segmented = 0

    cpdef bint add(self, object data, Py_ssize_t size, Target target, bint plain):
        """Take a datagram of `size` bytes along; `plain`: not as part of a segmented one. False when there is no room."""
        cdef void *start
        cdef Py_ssize_t length
        cdef Py_buffer view
        cdef int index
        cdef msghdr *header
        if self.piece_count == PIECES:
            return False
        if size < 0:
            raise BufferError("a negative size")
        if PyBytes_Check(data):
            length = PyBytes_GET_SIZE(data)
            start = PyBytes_AS_STRING(data)
        elif isinstance(data, BufferBase):
            length = (<BufferBase>data).filled
            start = (<BufferBase>data).data
        elif PyMemoryView_Check(data):
            # Not its fields: they say nothing about a view that was released or has gaps. It keeps the memory in place.
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            length = view.len
            start = view.buf
            PyBuffer_Release(&view)
        else:
            raise TypeError("bytes, a Buffer or a memoryview is needed")
        if size > length:
            raise BufferError("the data became shorter")
        index = self.group_count - 1
        if (
            self.last_open
            and not plain
            and target is self.last_target
            and size <= self.sizes[index]
            and size > 0
            and self.counts[index] < SEGMENTS
            and self.last_bytes + size <= SEGMENTED_BYTES
        ):
            self.counts[index] += 1
            self.last_bytes += size
            self.last_open = size == self.sizes[index]
            self.groups[index].msg_hdr.msg_iovlen += 1
        else:
            if self.group_count == GROUPS:
                return False
            index = self.group_count
            self.group_count += 1
            self.counts[index] = 1
            self.sizes[index] = <int>size if size <= SEGMENTED_BYTES else 0
            self.last_bytes = size
            self.last_target = target
            self.last_open = 0 < size <= target.segment_limit and size <= SEGMENTED_BYTES and not plain
            header = &self.groups[index].msg_hdr
            header.msg_name = &target.storage if target.length else NULL
            header.msg_namelen = target.length
            header.msg_iov = &self.pieces[self.piece_count]
            header.msg_iovlen = 1
            header.msg_control = NULL
            header.msg_controllen = 0
        self.pieces[self.piece_count].iov_base = start
        self.pieces[self.piece_count].iov_len = size
        self.piece_count += 1
        return True

    cpdef Py_ssize_t send(self, int fd, object plain_socket):
        """Send; the number of datagrams that the kernel took, or a negative errno when it did not take the first group."""
        cdef int index, done
        cdef Py_ssize_t datagrams = 0
        cdef msghdr *header
        cdef cmsghdr *control
        self.segmented = 0
        for index in range(self.group_count):
            if self.counts[index] > 1:
                header = &self.groups[index].msg_hdr
                control = <cmsghdr *>self.control[index]
                control.cmsg_level = SOL_UDP
                control.cmsg_type = UDP_SEGMENT
                control.cmsg_len = CMSG_LEN(sizeof(unsigned short))
                (<unsigned short *>CMSG_DATA(control))[0] = <unsigned short>self.sizes[index]
                header.msg_control = control
                header.msg_controllen = CMSG_SPACE(sizeof(unsigned short))
        while True:
            if self.piece_count == 1:
                # By far the most common case has the cheapest call.
                header = &self.groups[0].msg_hdr
                done = 1 if c_sendto(
                    fd, self.pieces[0].iov_base, self.pieces[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL, header.msg_name,
                    header.msg_namelen,
                ) >= 0 else -1
            elif self.group_count == 1:
                done = 1 if c_sendmsg(fd, &self.groups[0].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 else -1
            else:
                done = c_sendmmsg(fd, self.groups, self.group_count, MSG_DONTWAIT | MSG_NOSIGNAL)
            if done >= 0:
                break
            if errno != EINTR:
                return -errno
        for index in range(done):
            datagrams += self.counts[index]
            if self.counts[index] > 1:
                self.segmented += self.counts[index]
        return datagrams

    cpdef int first_count(self):
        """Datagrams in the first group: more than one when it is segmented."""
        return self.counts[0] if self.group_count > 0 else 0


cdef class Inbox:
    """Memory for one receive call, shared by the sockets of a loop: what somebody wants to keep is copied out.

    A view that outlives the handler *pins* its slab: the slab is replaced by a new one, and counted. `busy` is the
    user's: somebody hands out what is in it.
    """

    def __init__(self):
        cdef int index
        self.slabs = [bytearray(SLAB) for _ in range(SLOTS)]
        memset(self.headers, 0, sizeof(self.headers))
        memset(self.known_lengths, 0, sizeof(self.known_lengths))
        self.known_names = [None] * KNOWN
        for index in range(SLOTS):
            self._use(index)

    def _use(self, int index):
        self.pieces[index].iov_base = PyByteArray_AS_STRING(self.slabs[index])
        self.pieces[index].iov_len = SLAB

    cpdef int receive(self, int fd, object plain_socket, int limit) except -12345:
        """Receive up to `limit` messages (16 at most); their number, or a negative errno."""
        cdef int index, count
        cdef Py_ssize_t size
        if limit > SLOTS:
            limit = SLOTS
        elif limit < 0:
            limit = 0
        for index in range(limit):
            if moorings_exports(self.slabs[index]) > 0:
                self.pinned += 1
                self.slabs[index] = bytearray(SLAB)
                self._use(index)
            self.headers[index].msg_hdr.msg_name = &self.names[index]
            self.headers[index].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
            self.headers[index].msg_hdr.msg_iov = &self.pieces[index]
            self.headers[index].msg_hdr.msg_iovlen = 1
            self.headers[index].msg_hdr.msg_control = self.control[index]
            self.headers[index].msg_hdr.msg_controllen = CONTROL_SIZE
            self.headers[index].msg_hdr.msg_flags = 0
        self.count = 0
        while True:
            if limit == 1:
                size = c_recvmsg(fd, &self.headers[0].msg_hdr, MSG_DONTWAIT)
                self.headers[0].msg_len = <unsigned int>size if size > 0 else 0
                count = 1 if size >= 0 else -1
            else:
                count = c_recvmmsg(fd, self.headers, limit, MSG_DONTWAIT, NULL)
            if count >= 0:
                self.count = count
                return count
            if errno != EINTR:
                return -errno

    cpdef open(self, int index):
        """Look at a received message: sets `size`, `segment`, `name` and the rest."""
        cdef msghdr *header
        cdef socklen_t length
        if index < 0 or index >= self.count:
            raise IndexError("no such message")
        header = &self.headers[index].msg_hdr
        length = header.msg_namelen if header.msg_namelen <= sizeof(sockaddr_storage) else 0
        self.name = self._known(&self.names[index], length)
        self.size = self.headers[index].msg_len
        self.truncated = (header.msg_flags & MSG_TRUNC) != 0
        self._parse_control(header)

    cpdef examine(self, Py_ssize_t size, object controls):
        """For tests: `open` of a message of `size` bytes with these control messages, (level, kind, data) each."""
        cdef msghdr header
        cdef cmsghdr *control
        cdef size_t used = 0
        cdef bytes payload
        memset(&header, 0, sizeof(header))
        memset(self.control[0], 0, CONTROL_SIZE)
        for level, kind, payload in controls:
            if used + CMSG_SPACE(len(payload)) > CONTROL_SIZE:
                raise ValueError("too many control messages")
            control = <cmsghdr *>(self.control[0] + used)
            control.cmsg_level = level
            control.cmsg_type = kind
            control.cmsg_len = CMSG_LEN(len(payload))
            memcpy(CMSG_DATA(control), PyBytes_AS_STRING(payload), len(payload))
            used += CMSG_SPACE(len(payload))
        header.msg_control = self.control[0]
        header.msg_controllen = used
        self.size = size
        self._parse_control(&header)

    cdef object _known(self, const sockaddr_storage *storage, socklen_t length):
        """The address as the socket module has it; of those that came lately, the same object again."""
        cdef const unsigned int *words = <const unsigned int *>storage
        cdef unsigned int mixed = 0
        cdef int slot, word
        if length == 0 or length > ADDRESS:
            return None
        for word in range(<int>(length // sizeof(unsigned int))):
            mixed = mixed * 31 + words[word]
        slot = (mixed ^ (mixed >> 16)) % KNOWN
        if self.known_lengths[slot] != 0 and (
            length != self.known_lengths[slot] or memcmp(storage, self.known[slot], length) != 0
        ):
            # Each address has two places: those of two peers that change about do not push each other out.
            slot ^= 1
        if length != self.known_lengths[slot] or memcmp(storage, self.known[slot], length) != 0:
            memcpy(self.known[slot], storage, length)
            self.known_lengths[slot] = length
            self.known_names[slot] = _name_of(storage)
        return self.known_names[slot]

    cdef _parse_control(self, msghdr *header):
        cdef cmsghdr *control = CMSG_FIRSTHDR(header)
        cdef unsigned char *data
        cdef size_t length
        cdef sockaddr_storage storage
        cdef seconds_and_nanoseconds when
        cdef int number
        cdef int cut = 0
        self.destination = None
        self.interface = 0
        self.hop_limit = self.traffic_class = -1
        self.timestamp_ns = 0
        while control is not NULL:
            data = CMSG_DATA(control)
            # The last one may be cut where there was no room for it (MSG_CTRUNC): nothing is read beyond its end.
            length = control.cmsg_len - CMSG_LEN(0) if control.cmsg_len >= CMSG_LEN(0) else 0
            if control.cmsg_level == IPPROTO_IP and control.cmsg_type == IP_TOS:
                if length >= 1:
                    self.traffic_class = data[0]
            elif length < sizeof(int):
                pass
            elif control.cmsg_level == SOL_UDP and control.cmsg_type == UDP_GRO:
                memcpy(&number, data, sizeof(int))
                if number > 0:
                    cut = number
            elif control.cmsg_level == IPPROTO_IP:
                if control.cmsg_type == IP_PKTINFO and length >= sizeof(in_pktinfo):
                    memset(&storage, 0, sizeof(storage))
                    (<sockaddr_in *>&storage).sin_family = AF_INET
                    (<sockaddr_in *>&storage).sin_addr = (<in_pktinfo *>data).ipi_addr
                    self._note_destination(&storage)
                    self.interface = (<in_pktinfo *>data).ipi_ifindex
                elif control.cmsg_type == IP_TTL:
                    memcpy(&self.hop_limit, data, sizeof(int))
            elif control.cmsg_level == IPPROTO_IPV6:
                if control.cmsg_type == IPV6_PKTINFO and length >= sizeof(in6_pktinfo):
                    memset(&storage, 0, sizeof(storage))
                    (<sockaddr_in6 *>&storage).sin6_family = AF_INET6
                    (<sockaddr_in6 *>&storage).sin6_addr = (<in6_pktinfo *>data).ipi6_addr
                    self.interface = (<in6_pktinfo *>data).ipi6_ifindex
                    if data[0] == 0xFE and (data[1] & 0xC0) == 0x80:
                        (<sockaddr_in6 *>&storage).sin6_scope_id = self.interface
                    self._note_destination(&storage)
                elif control.cmsg_type == IPV6_HOPLIMIT:
                    memcpy(&self.hop_limit, data, sizeof(int))
                elif control.cmsg_type == IPV6_TCLASS:
                    memcpy(&self.traffic_class, data, sizeof(int))
            elif control.cmsg_level == SOL_SOCKET and control.cmsg_type == SO_TIMESTAMPNS:
                if length >= sizeof(seconds_and_nanoseconds):
                    memcpy(&when, data, sizeof(when))
                    if 0 <= when.seconds < 9000000000 and 0 <= when.nanoseconds < 1000000000:
                        self.timestamp_ns = when.seconds * 1000000000 + when.nanoseconds
            control = CMSG_NXTHDR(header, control)
        self.segment = cut if 0 < cut < self.size else self.size

    cdef _note_destination(self, const sockaddr_storage *storage):
        if self.known_destination_name is None or memcmp(storage, &self.known_destination, sizeof(sockaddr_in6)) != 0:
            memcpy(&self.known_destination, storage, sizeof(sockaddr_storage))
            self.known_destination_name = _name_of(storage)
        self.destination = self.known_destination_name

    cdef _check(self, int index, Py_ssize_t offset, Py_ssize_t count):
        if index < 0 or index >= self.count:
            raise IndexError("no such message")
        if offset < 0 or count < 0 or offset > SLAB or count > <Py_ssize_t>self.headers[index].msg_len - offset:
            raise IndexError("beyond the message")

    cpdef bint is_viewed(self, int index):
        """Whether views of a message's memory are alive."""
        return 0 <= index < self.count and moorings_exports(self.slabs[index]) > 0

    cpdef object copy(self, int index, Py_ssize_t offset, Py_ssize_t count):
        """Part of a message as bytes."""
        self._check(index, offset, count)
        return PyBytes_FromStringAndSize(PyByteArray_AS_STRING(self.slabs[index]) + offset, count)

    cpdef object view(self, int index, Py_ssize_t offset, Py_ssize_t count):
        """Part of a message without a copy."""
        self._check(index, offset, count)
        return memoryview(self.slabs[index])[offset : offset + count].toreadonly()
