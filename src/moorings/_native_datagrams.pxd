cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sys/socket.h>
    #include <netinet/in.h>
    """
    ctypedef unsigned int socklen_t
    cdef struct sockaddr_storage:
        unsigned short ss_family
    cdef struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

cdef enum:
    PIECES = 1024
    GROUPS = 64
    SLOTS = 16
    CONTROL_SIZE = 256
    KNOWN = 2048
    ADDRESS = 28  # a sockaddr_in6, the longer of the two

cdef class Target:
    cdef sockaddr_storage storage
    cdef socklen_t length
    cdef readonly object name
    cdef public int segment_limit

cdef class Outbox:
    cdef iovec pieces[PIECES]
    cdef mmsghdr groups[GROUPS]
    cdef char control[GROUPS][24]
    cdef int counts[GROUPS]
    cdef int sizes[GROUPS]
    cdef int group_count
    cdef int piece_count
    cdef Py_ssize_t last_bytes
    cdef Target last_target
    cdef bint last_open
    cdef readonly Py_ssize_t segmented
    cpdef clear(self)
    cpdef bint add(self, object data, Py_ssize_t size, Target target, bint plain)
    cpdef Py_ssize_t send(self, int fd, object plain_socket)
    cpdef int first_count(self)

cdef class Inbox:
    cdef mmsghdr headers[SLOTS]
    cdef iovec pieces[SLOTS]
    cdef sockaddr_storage names[SLOTS]
    cdef char control[SLOTS][CONTROL_SIZE]
    cdef list slabs
    cdef char known[KNOWN][ADDRESS]
    cdef socklen_t known_lengths[KNOWN]
    cdef list known_names
    cdef sockaddr_storage known_destination
    cdef object known_destination_name
    cdef readonly int count
    cdef readonly unsigned long pinned
    cdef public bint busy
    # Of the message that `open` looked at:
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t segment
    cdef readonly bint truncated
    cdef readonly object name
    cdef readonly object destination
    cdef readonly unsigned int interface
    cdef readonly int hop_limit
    cdef readonly int traffic_class
    cdef readonly long long timestamp_ns
    cpdef int receive(self, int fd, object plain_socket, int limit) except -12345
    cpdef open(self, int index)
    cpdef examine(self, Py_ssize_t size, object controls)
    cpdef bint is_viewed(self, int index)
    cdef _check(self, int index, Py_ssize_t offset, Py_ssize_t count)
    cpdef object copy(self, int index, Py_ssize_t offset, Py_ssize_t count)
    cpdef object view(self, int index, Py_ssize_t offset, Py_ssize_t count)
    cdef object _known(self, const sockaddr_storage *storage, socklen_t length)
    cdef _parse_control(self, msghdr *header)
    cdef _note_destination(self, const sockaddr_storage *storage)
