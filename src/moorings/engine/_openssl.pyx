# cython: language_level=3
"""OpenSSL's functions, out of the very libraries that Python's `_ssl` module has loaded: public ones, all of them.

`_ssl` is loaded already, and its handle finds the symbols of what it depends on; so nothing else can be meant. Where
OpenSSL is built into Python, or hidden in it, nothing is found.
"""

import _ssl

cdef extern from "<dlfcn.h>" nogil:
    int RTLD_NOW
    int RTLD_NOLOAD
    void *dlopen(const char *path, int flags)
    void *dlsym(void *handle, const char *name)

#: In the order in which `load` hands them out.
NAMES = (
    b"SSL_read_ex",
    b"SSL_write_ex",
    b"SSL_get_error",
    b"SSL_pending",
    b"SSL_has_pending",
    b"SSL_shutdown",
    b"SSL_do_handshake",
    b"SSL_ctrl",
    b"SSL_free_buffers",
    b"SSL_get_rbio",
    b"SSL_get_wbio",
    b"SSL_set_bio",
    b"BIO_new",
    b"BIO_set_data",
    b"BIO_get_data",
    b"BIO_set_init",
    b"BIO_set_flags",
    b"BIO_clear_flags",
    b"BIO_get_new_index",
    b"BIO_meth_new",
    b"BIO_meth_set_read",
    b"BIO_meth_set_write",
    b"BIO_meth_set_ctrl",
    b"ERR_clear_error",
    b"ERR_peek_last_error",
    b"ERR_reason_error_string",
)


cdef str load():
    """Find all functions; what is missing, "" for nothing."""
    path = getattr(_ssl, "__file__", None)
    if path is None:
        return "the module _ssl is no file"
    cdef void *library = dlopen(path.encode(), RTLD_NOW | RTLD_NOLOAD)
    if library is NULL:
        return "the module _ssl cannot be opened"
    cdef void *found[26]
    cdef int index
    for index, name in enumerate(NAMES):
        found[index] = dlsym(library, name)
        if found[index] is NULL:
            return f"the module _ssl does not show {name.decode()}"
    global SSL_read_ex, SSL_write_ex, SSL_get_error, SSL_pending, SSL_has_pending, SSL_shutdown, SSL_do_handshake
    global SSL_ctrl, SSL_free_buffers, SSL_get_rbio, SSL_get_wbio, SSL_set_bio, BIO_new, BIO_set_data, BIO_get_data
    global BIO_set_init, BIO_set_flags, BIO_clear_flags, BIO_get_new_index, BIO_meth_new, BIO_meth_set_read
    global BIO_meth_set_write, BIO_meth_set_ctrl, ERR_clear_error, ERR_peek_last_error, ERR_reason_error_string
    SSL_read_ex = <int (*)(void *, void *, size_t, size_t *) noexcept>found[0]
    SSL_write_ex = <int (*)(void *, const void *, size_t, size_t *) noexcept>found[1]
    SSL_get_error = <int (*)(const void *, int) noexcept>found[2]
    SSL_pending = <int (*)(const void *) noexcept>found[3]
    SSL_has_pending = <int (*)(const void *) noexcept>found[4]
    SSL_shutdown = <int (*)(void *) noexcept>found[5]
    SSL_do_handshake = <int (*)(void *) noexcept>found[6]
    SSL_ctrl = <long (*)(void *, int, long, void *) noexcept>found[7]
    SSL_free_buffers = <int (*)(void *) noexcept>found[8]
    SSL_get_rbio = <void *(*)(const void *) noexcept>found[9]
    SSL_get_wbio = <void *(*)(const void *) noexcept>found[10]
    SSL_set_bio = <void (*)(void *, void *, void *) noexcept>found[11]
    BIO_new = <void *(*)(const void *) noexcept>found[12]
    BIO_set_data = <void (*)(void *, void *) noexcept>found[13]
    BIO_get_data = <void *(*)(void *) noexcept>found[14]
    BIO_set_init = <void (*)(void *, int) noexcept>found[15]
    BIO_set_flags = <void (*)(void *, int) noexcept>found[16]
    BIO_clear_flags = <void (*)(void *, int) noexcept>found[17]
    BIO_get_new_index = <int (*)() noexcept>found[18]
    BIO_meth_new = <void *(*)(int, const char *) noexcept>found[19]
    BIO_meth_set_read = <int (*)(void *, bio_read_type) noexcept>found[20]
    BIO_meth_set_write = <int (*)(void *, bio_write_type) noexcept>found[21]
    BIO_meth_set_ctrl = <int (*)(void *, bio_control_type) noexcept>found[22]
    ERR_clear_error = <void (*)() noexcept>found[23]
    ERR_peek_last_error = <unsigned long (*)() noexcept>found[24]
    ERR_reason_error_string = <const char *(*)(unsigned long) noexcept>found[25]
    return ""
