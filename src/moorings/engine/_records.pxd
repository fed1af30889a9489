from moorings._native cimport Block, BufferBase
from moorings.engine._ciphertext cimport Wire

cdef Py_ssize_t FAILED

cdef class Records:
    cdef object made
    cdef object inner
    cdef void *ssl
    cdef void *bio
    cdef Wire wire
    cdef char *kept
    cdef char *answer
    cdef Py_ssize_t answer_size
    cdef readonly bint drained
    cdef readonly bint more
    cdef readonly bint ended
    cdef readonly str reason
    cdef int slot
    cdef bint partial
    cdef bytes found

    cdef Py_ssize_t receive(self, int fd, Block block, Py_ssize_t asked) except? -12345
    cdef Py_ssize_t decrypt(self, Block block, Py_ssize_t asked) except? -12345
    cdef Py_ssize_t _bound(self, Py_ssize_t asked) noexcept
    cdef Py_ssize_t decrypt_to(self, BufferBase target, Py_ssize_t offset, Py_ssize_t asked) except? -12345
    cdef int _make_room(self, BufferBase target, Py_ssize_t size) except -1
    cdef Py_ssize_t decrypt_new(self, Py_ssize_t asked) except? -12345
    cdef Py_ssize_t encrypt_and_send(self, int fd, object data, Py_ssize_t start, Py_ssize_t size) except? -12345
    cpdef feed(self, object ciphertext)
    cpdef Py_ssize_t wants_send(self) except -1
    cpdef bytes take_ciphertext(self)
    cpdef bint has_buffered(self)
    cpdef Py_ssize_t read_into(self, object target, Py_ssize_t count) except? -12345
    cpdef Py_ssize_t write(self, object data) except -1
    cpdef close_notify(self)
    cdef Py_ssize_t _read(self, char *target, Py_ssize_t asked) except? -12345
    cdef int _write(self, const char *data, Py_ssize_t size) noexcept
    cdef void _note_reason(self) noexcept
    cdef int _keep(self) except -1
    cdef int _answer(self, const char *data, Py_ssize_t size) except -1

cpdef Records records_of(object session)
