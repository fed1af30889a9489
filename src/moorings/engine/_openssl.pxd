# The functions of OpenSSL that `_records.pyx` calls; `load` finds them.

ctypedef int (*bio_read_type)(void *, char *, int) noexcept
ctypedef int (*bio_write_type)(void *, const char *, int) noexcept
ctypedef long (*bio_control_type)(void *, int, long, void *) noexcept

cdef int (*SSL_read_ex)(void *, void *, size_t, size_t *) noexcept
cdef int (*SSL_write_ex)(void *, const void *, size_t, size_t *) noexcept
cdef int (*SSL_get_error)(const void *, int) noexcept
cdef int (*SSL_pending)(const void *) noexcept
cdef int (*SSL_has_pending)(const void *) noexcept
cdef int (*SSL_shutdown)(void *) noexcept
cdef int (*SSL_do_handshake)(void *) noexcept
cdef long (*SSL_ctrl)(void *, int, long, void *) noexcept
cdef int (*SSL_free_buffers)(void *) noexcept
cdef void *(*SSL_get_rbio)(const void *) noexcept
cdef void *(*SSL_get_wbio)(const void *) noexcept
cdef void (*SSL_set_bio)(void *, void *, void *) noexcept
cdef void *(*BIO_new)(const void *) noexcept
cdef void (*BIO_set_data)(void *, void *) noexcept
cdef void *(*BIO_get_data)(void *) noexcept
cdef void (*BIO_set_init)(void *, int) noexcept
cdef void (*BIO_set_flags)(void *, int) noexcept
cdef void (*BIO_clear_flags)(void *, int) noexcept
cdef int (*BIO_get_new_index)() noexcept
cdef void *(*BIO_meth_new)(int, const char *) noexcept
cdef int (*BIO_meth_set_read)(void *, bio_read_type) noexcept
cdef int (*BIO_meth_set_write)(void *, bio_write_type) noexcept
cdef int (*BIO_meth_set_ctrl)(void *, bio_control_type) noexcept
cdef void (*ERR_clear_error)() noexcept
cdef unsigned long (*ERR_peek_last_error)() noexcept
cdef const char *(*ERR_reason_error_string)(unsigned long) noexcept

# openssl/ssl.h and openssl/bio.h
cdef enum:
    SSL_ERROR_WANT_READ = 2
    SSL_ERROR_ZERO_RETURN = 6
    SSL_CTRL_MODE = 33
    SSL_CTRL_CLEAR_MODE = 78
    SSL_MODE_RELEASE_BUFFERS = 0x10
    BIO_TYPE_SOURCE_SINK = 0x400
    BIO_FLAGS_READ = 1
    BIO_FLAGS_RWS = 7
    BIO_FLAGS_SHOULD_RETRY = 8
    BIO_CTRL_PENDING = 10
    BIO_CTRL_FLUSH = 11

cdef str load()
