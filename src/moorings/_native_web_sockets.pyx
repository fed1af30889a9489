# cython: language_level=3
"""Leaf functions of WebSocket frames: masking, UTF-8, and bytes objects that need no second copy.

The C functions take pointers and lengths; their callers check the bounds. The pure twin is `_pure_web_sockets.py`.
Sources: RFC 6455 sections 5.2, 5.3 and 8.1; RFC 3629 section 4 (the state numbers are those of `_pure_web_sockets`).
"""

import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF, PyObject
from cpython.unicode cimport PyUnicode_Check
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    typedef uint64_t moorings_lanes __attribute__((vector_size(16), may_alias, aligned(1)));

    /* The key, turned so that its first byte is for the payload's byte number `phase`, twice. */
    static inline uint64_t moorings_turned(uint32_t key, size_t phase) {
        unsigned turn = (unsigned)(phase & 3) * 8;
        if (turn) {
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            key = (key >> turn) | (key << (32 - turn));
    #else
            key = (key << turn) | (key >> (32 - turn));
    #endif
        }
        return (uint64_t)key | ((uint64_t)key << 32);
    }

    /* Copy with the mask on. `to` may be `from`. The bits of all bytes that were written, or-ed (0x80: not ASCII). */
    static unsigned moorings_mask(unsigned char *to, const unsigned char *from, size_t count, uint32_t key,
                                  size_t phase) {
        uint64_t twice = moorings_turned(key, phase), word, seen = 0;
        moorings_lanes lanes = {twice, twice}, a, b, all = {0, 0};
        unsigned char bytes[8], one;
        size_t place = 0;
        for (; count - place >= 32; place += 32) {
            memcpy(&a, from + place, 16);
            memcpy(&b, from + place + 16, 16);
            a ^= lanes;
            b ^= lanes;
            all |= a | b;
            memcpy(to + place, &a, 16);
            memcpy(to + place + 16, &b, 16);
        }
        for (; count - place >= 8; place += 8) {
            memcpy(&word, from + place, 8);
            word ^= twice;
            seen |= word;
            memcpy(to + place, &word, 8);
        }
        memcpy(bytes, &twice, 8);
        for (unsigned i = 0; place < count; place++, i++) {
            one = from[place] ^ bytes[i];
            seen |= one;
            to[place] = one;
        }
        seen |= all[0] | all[1];
        return (seen & UINT64_C(0x8080808080808080)) ? 0x80 : 0;
    }

    /* What the next byte must lie between in each state, and where it leads. */
    static const unsigned char moorings_low[8] = {0, 0x80, 0x80, 0x80, 0xA0, 0x80, 0x90, 0x80};
    static const unsigned char moorings_high[8] = {0, 0xBF, 0xBF, 0xBF, 0xBF, 0x9F, 0xBF, 0x8F};
    static const signed char moorings_next[8] = {0, 0, 1, 2, 1, 1, 2, 2};

    static inline int moorings_lead(unsigned char lead) {
        if (lead < 0xC2) return -1;
        if (lead < 0xE0) return 1;
        if (lead < 0xF0) return lead == 0xE0 ? 4 : lead == 0xED ? 5 : 2;
        if (lead < 0xF5) return lead == 0xF0 ? 6 : lead == 0xF4 ? 7 : 3;
        return -1;
    }

    /* The state behind `count` bytes; 0: a character has ended, -1: no UTF-8 begins like this. */
    static int moorings_utf8(const unsigned char *data, size_t count, int state) {
        size_t place = 0;
        moorings_lanes a, b;
        uint64_t word;
        while (place < count) {
            if (state == 0) {
                for (; count - place >= 32; place += 32) {
                    memcpy(&a, data + place, 16);
                    memcpy(&b, data + place + 16, 16);
                    a |= b;
                    if ((a[0] | a[1]) & UINT64_C(0x8080808080808080)) break;
                }
                for (; count - place >= 8; place += 8) {
                    memcpy(&word, data + place, 8);
                    if (word & UINT64_C(0x8080808080808080)) break;
                }
                while (place < count && data[place] < 0x80) place++;
                if (place == count) return 0;
                do {  /* text that is not ASCII mostly goes on like that */
                    state = moorings_lead(data[place++]);
                    while (state > 0 && place < count) {
                        if (data[place] < moorings_low[state] || data[place] > moorings_high[state]) return -1;
                        state = moorings_next[state];
                        place++;
                    }
                    if (state < 0) return -1;
                } while (place < count && data[place] >= 0x80);
            } else {
                if (data[place] < moorings_low[state] || data[place] > moorings_high[state]) return -1;
                state = moorings_next[state];
                place++;
            }
        }
        return state;
    }

    /* The head of a frame without the mask key; its length, 10 at most. */
    static size_t moorings_head(unsigned char *to, int first, size_t length, int masked) {
        to[0] = (unsigned char)first;
        to[1] = masked ? 0x80 : 0;
        if (length < 126) {
            to[1] |= (unsigned char)length;
            return 2;
        }
        if (length < 65536) {
            to[1] |= 126;
            to[2] = (unsigned char)(length >> 8);
            to[3] = (unsigned char)length;
            return 4;
        }
        to[1] |= 127;
        for (int i = 0; i < 8; i++) to[2 + i] = (unsigned char)((uint64_t)length >> (56 - 8 * i));
        return 10;
    }
    """
    unsigned int moorings_mask(unsigned char *to, const unsigned char *source, size_t count, unsigned int key,
                               size_t phase) noexcept nogil
    int moorings_utf8(const unsigned char *data, size_t count, int state) noexcept nogil
    size_t moorings_head(unsigned char *to, int first, size_t length, bint masked) noexcept nogil

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **value, Py_ssize_t size) except -1
    PyObject *bytes_without_owner "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    object PyUnicode_New(Py_ssize_t size, unsigned int maximum)
    void *PyUnicode_DATA(object text) noexcept
    object PyUnicode_DecodeUTF8(const char *data, Py_ssize_t size, const char *errors)
    object PyUnicode_AsUTF8String(object text)
    bint PyUnicode_IS_COMPACT_ASCII(object text) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept

cdef enum:
    LEAST = 4096      # bytes of a message's memory when its first byte comes
    POOL = 4096       # random bytes that are drawn at once


# -- mask keys -----------------------------------------------------------------------------------------------------

cdef bytes _pool = b""
cdef Py_ssize_t _pool_used = 0


def forget_mask_keys():
    """Throw the drawn random bytes away: the parent process goes on with them."""
    global _pool, _pool_used
    _pool = b""
    _pool_used = 0


os.register_at_fork(after_in_child=forget_mask_keys)


cdef unsigned int _fresh_key() except? 0xFFFFFFFF:
    """Four bytes of the system's random source, which nobody gets again."""
    global _pool, _pool_used
    cdef bytes drawn
    cdef unsigned int key
    if PyBytes_GET_SIZE(_pool) - _pool_used < 4:
        drawn = os.urandom(POOL)  # other threads may draw, too: theirs or ours is used, nothing twice
        _pool = drawn
        _pool_used = 0
    memcpy(&key, PyBytes_AS_STRING(_pool) + _pool_used, 4)
    _pool_used += 4
    return key


def fresh_key():
    """A mask key: four bytes of the system's random source, which nobody gets again."""
    return key_bytes(_fresh_key())


cdef unsigned int key_at(const unsigned char *data, Py_ssize_t position) noexcept:
    cdef unsigned int key
    memcpy(&key, data + position, 4)
    return key


cdef unsigned int key_of(object key) except? 0xFFFFFFFF:
    """The key of four bytes, or of none."""
    cdef bytes four = key or bytes(4)
    if PyBytes_GET_SIZE(four) != 4:
        raise ValueError("a mask key has four bytes")
    return key_at(<const unsigned char *>PyBytes_AS_STRING(four), 0)


cdef bytes key_bytes(unsigned int key):
    return PyBytes_FromStringAndSize(<const char *>&key, 4)


# -- masking and UTF-8 ---------------------------------------------------------------------------------------------

cdef bytes unmask(const unsigned char *data, Py_ssize_t start, Py_ssize_t count, unsigned int key, Py_ssize_t phase):
    if key == 0:
        return PyBytes_FromStringAndSize(<const char *>data + start, count)
    cdef bytes result = PyBytes_FromStringAndSize(NULL, count)
    moorings_mask(<unsigned char *>PyBytes_AS_STRING(result), data + start, count, key, phase)
    return result


cdef object unmask_text(const unsigned char *data, Py_ssize_t start, Py_ssize_t count, unsigned int key):
    cdef object text
    try:
        if key == 0:
            return PyUnicode_DecodeUTF8(<const char *>data + start, count, NULL)
        text = PyUnicode_New(count, 127)
        if moorings_mask(<unsigned char *>PyUnicode_DATA(text), data + start, count, key, 0):
            return PyUnicode_DecodeUTF8(<const char *>PyUnicode_DATA(text), count, NULL)
        return text
    except UnicodeDecodeError:
        return None


cdef int utf8_state(const unsigned char *data, Py_ssize_t start, Py_ssize_t count, int state) noexcept:
    return moorings_utf8(data + start, count, state)


cpdef int check_utf8(object data, int state) except -2:
    """The UTF-8 state behind a bytes-like object that begins in `state` (0..7); -1 where no text begins like this."""
    cdef Py_buffer view
    if not 0 <= state <= 7:
        raise ValueError("a UTF-8 state is a number from 0 to 7")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    state = moorings_utf8(<const unsigned char *>view.buf, view.len, state)
    PyBuffer_Release(&view)
    return state


def mask(object data, bytes key not None, Py_ssize_t phase=0):
    """A masked or unmasked copy of a bytes-like object that begins at byte `phase` of a payload."""
    cdef Py_buffer view
    cdef unsigned int number = key_of(key)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return unmask(<const unsigned char *>view.buf, 0, view.len, number, phase)
    finally:
        PyBuffer_Release(&view)


def mask_in_place(object data, bytes key not None, Py_ssize_t phase=0):
    """The same on the writable object itself."""
    cdef Py_buffer view
    cdef unsigned int number = key_of(key)
    PyObject_GetBuffer(data, &view, PyBUF_WRITABLE)
    moorings_mask(<unsigned char *>view.buf, <const unsigned char *>view.buf, view.len, number, phase)
    PyBuffer_Release(&view)


# -- frames --------------------------------------------------------------------------------------------------------

cpdef bytes make_head(int first, Py_ssize_t length):
    """The head of an unmasked frame whose first byte is `first`."""
    cdef unsigned char head[10]
    if length < 0:
        raise ValueError("a length is not negative")
    return PyBytes_FromStringAndSize(<const char *>head, moorings_head(head, first, length, False))


cdef bytes _frame(int first, const unsigned char *data, Py_ssize_t length, bint masked):
    cdef unsigned char head[14]
    cdef size_t size = moorings_head(head, first, length, masked)
    cdef unsigned int key
    cdef bytes frame
    cdef unsigned char *place
    if masked:
        key = _fresh_key()
        memcpy(head + size, &key, 4)
        size += 4
    frame = PyBytes_FromStringAndSize(NULL, size + length)
    place = <unsigned char *>PyBytes_AS_STRING(frame)
    memcpy(place, head, size)
    if masked:
        moorings_mask(place + size, data, length, key, 0)
    else:
        memcpy(place + size, data, length)
    return frame


cpdef bytes make_frame(int first, object payload, bint masked):
    """Head and payload (bytes-like, or str as UTF-8) in one object; masked with a fresh key if wanted."""
    cdef Py_buffer view
    cdef object encoded = payload
    if PyUnicode_Check(payload):
        if PyUnicode_IS_COMPACT_ASCII(payload):
            return _frame(
                first, <const unsigned char *>PyUnicode_DATA(payload), PyUnicode_GET_LENGTH(payload), masked
            )
        encoded = PyUnicode_AsUTF8String(payload)
    if PyBytes_CheckExact(encoded):
        return _frame(first, <const unsigned char *>PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded), masked)
    PyObject_GetBuffer(encoded, &view, PyBUF_SIMPLE)
    try:
        return _frame(first, <const unsigned char *>view.buf, view.len, masked)
    finally:
        PyBuffer_Release(&view)


cdef class MessageMemory:
    """A message that comes in pieces: bytes whose memory grows with what has come, and which are handed out as they are.

    `limit`: more bytes than these are never reserved; the caller adds no more.
    """

    def __cinit__(self):
        self.store = NULL

    def __dealloc__(self):
        Py_XDECREF(self.store)

    cdef int _reserve(self, Py_ssize_t count, Py_ssize_t announced) except -1:
        """Room for `count` bytes now; `announced` bytes, these among them, are the most that will come."""
        cdef Py_ssize_t wanted = self.size + count
        if wanted <= self.capacity:
            return 0
        cdef Py_ssize_t size = self.size
        cdef Py_ssize_t capacity = 2 * wanted
        if capacity < LEAST:
            capacity = LEAST
        if capacity - self.size > announced:
            capacity = self.size + (announced if announced > count else count)
        if self.store is NULL:
            self.store = bytes_without_owner(NULL, capacity)
        else:
            self.size = self.capacity = 0  # where this fails the memory is gone
            _PyBytes_Resize(&self.store, capacity)
            self.size = size
        self.capacity = capacity
        return 0

    cdef int add(self, const unsigned char *data, Py_ssize_t start, Py_ssize_t count, unsigned int key,
                 Py_ssize_t phase, Py_ssize_t announced) except -1:
        if count == 0:
            return 0
        self._reserve(count, announced)
        cdef unsigned char *place = <unsigned char *>PyBytes_AS_STRING(<object>self.store) + self.size
        if key == 0:
            memcpy(place, data + start, count)
        else:
            moorings_mask(place, data + start, count, key, phase)
        self.size += count
        return 0

    cpdef int add_bytes(self, bytes data, Py_ssize_t announced) except -1:
        """Append; `announced` as the caller knows it."""
        if data is None:
            raise TypeError("bytes, not None")
        return self.add(<const unsigned char *>PyBytes_AS_STRING(data), 0, PyBytes_GET_SIZE(data), 0, 0, announced)

    cpdef int check_last(self, Py_ssize_t count, int state) except -2:
        """The UTF-8 state behind the last `count` bytes, which begin in `state`."""
        if not 0 <= count <= self.size or not 0 <= state <= 7:
            raise ValueError("there are not so many bytes, or no such state")
        if count == 0:
            return state
        return moorings_utf8(
            <const unsigned char *>PyBytes_AS_STRING(<object>self.store) + self.size - count, count, state
        )

    cpdef bytes take(self):
        """All bytes; the memory is empty then."""
        if self.size == 0:
            return b""
        cdef PyObject *store = self.store
        cdef Py_ssize_t size = self.size
        cdef Py_ssize_t capacity = self.capacity
        self.store = NULL
        self.size = self.capacity = 0
        if size != capacity:
            _PyBytes_Resize(&store, size)
        cdef bytes result = <bytes>store
        Py_XDECREF(store)
        return result

    cpdef object take_text(self):
        """The same as str; the bytes have been checked."""
        if self.size == 0:
            return ""
        text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(<object>self.store), self.size, NULL)
        Py_XDECREF(self.store)
        self.store = NULL
        self.size = self.capacity = 0
        return text
