# utf8: is this text UTF-8? Header-only; the rules of RFC 3629 (no overlong forms, no surrogates, nothing over U+10FFFF).

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef inline bint is_ascii(const char *text, Py_ssize_t nbytes) noexcept nogil:
    """A few loads that overlap, instead of one for each byte: names are short, and nearly always ASCII."""
    cdef const uint8_t *at = <const uint8_t *>text
    cdef uint64_t bits = 0
    cdef uint64_t word
    cdef uint32_t first, last
    cdef Py_ssize_t i
    if nbytes >= 8:
        for i in range(0, nbytes - 8, 8):
            memcpy(&word, at + i, 8)
            bits |= word
        memcpy(&word, at + nbytes - 8, 8)
        return (bits | word) & <uint64_t>0x8080808080808080 == 0
    if nbytes >= 4:
        memcpy(&first, at, 4)
        memcpy(&last, at + nbytes - 4, 4)
        return (first | last) & <uint32_t>0x80808080 == 0
    return nbytes == 0 or (at[0] | at[nbytes >> 1] | at[nbytes - 1]) < 0x80


cdef inline bint is_long_utf8(const char *text, Py_ssize_t nbytes) noexcept nogil:
    """Looks at each character."""
    cdef const uint8_t *at = <const uint8_t *>text
    cdef const uint8_t *end = at + nbytes
    while at < end:
        if at[0] < 0x80:
            at += 1
        elif at[0] < 0xC2:                  # a continuation byte, or an overlong form of ASCII
            return False
        elif at[0] < 0xE0:
            if end - at < 2 or at[1] & 0xC0 != 0x80:
                return False
            at += 2
        elif at[0] < 0xF0:
            if end - at < 3 or at[1] & 0xC0 != 0x80 or at[2] & 0xC0 != 0x80:
                return False
            if (at[0] == 0xE0 and at[1] < 0xA0) or (at[0] == 0xED and at[1] > 0x9F):
                return False
            at += 3
        elif at[0] < 0xF5:
            if end - at < 4 or at[1] & 0xC0 != 0x80 or at[2] & 0xC0 != 0x80 or at[3] & 0xC0 != 0x80:
                return False
            if (at[0] == 0xF0 and at[1] < 0x90) or (at[0] == 0xF4 and at[1] > 0x8F):
                return False
            at += 4
        else:
            return False
    return True


cdef inline bint is_utf8(const char *text, Py_ssize_t nbytes) noexcept nogil:
    return is_ascii(text, nbytes) or is_long_utf8(text, nbytes)
