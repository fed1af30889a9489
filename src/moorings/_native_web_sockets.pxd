from cpython.ref cimport PyObject

# The mask key as it lies in memory; 0 for no mask.
cdef unsigned int key_at(const unsigned char *data, Py_ssize_t position) noexcept
cdef unsigned int key_of(object key) except? 0xFFFFFFFF
cdef bytes key_bytes(unsigned int key)
cdef bytes unmask(const unsigned char *data, Py_ssize_t start, Py_ssize_t count, unsigned int key, Py_ssize_t phase)
cdef object unmask_text(const unsigned char *data, Py_ssize_t start, Py_ssize_t count, unsigned int key)
cdef int utf8_state(const unsigned char *data, Py_ssize_t start, Py_ssize_t count, int state) noexcept
cpdef int check_utf8(object data, int state) except -2
cpdef bytes make_head(int first, Py_ssize_t length)
cpdef bytes make_frame(int first, object payload, bint masked)

cdef class MessageMemory:
    cdef PyObject *store
    cdef Py_ssize_t capacity
    cdef readonly Py_ssize_t size
    cdef int _reserve(self, Py_ssize_t count, Py_ssize_t announced) except -1
    cdef int add(self, const unsigned char *data, Py_ssize_t start, Py_ssize_t count, unsigned int key, Py_ssize_t phase, Py_ssize_t announced) except -1
    cpdef int add_bytes(self, bytes data, Py_ssize_t announced) except -1
    cpdef int check_last(self, Py_ssize_t count, int state) except -2
    cpdef bytes take(self)
    cpdef object take_text(self)
