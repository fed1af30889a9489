cdef struct Sink:
    char *data
    Py_ssize_t used
    Py_ssize_t size
    Sink *next

cdef struct Wire:
    # Ciphertext to read, and where ciphertext goes while a call is under way.
    const char *source
    Py_ssize_t left
    Sink *sink
    # A descriptor to send to right away, or -1, and the errno of a send that failed.
    int fd
    int error

cdef Sink *take_sink() except NULL
cdef void give_back(Sink *sink) noexcept
cdef Py_ssize_t send_some(int fd, const char *data, Py_ssize_t size) noexcept

# NULL where OpenSSL gives none; it forgets the wire when its data is set to NULL.
cdef void *new_bio(Wire *wire) noexcept
