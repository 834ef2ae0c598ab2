# utf8: is this text UTF-8? Header-only; the rules of RFC 3629 (no overlong forms, no surrogates, nothing over U+10FFFF).

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef inline bint is_utf8(const char *text, Py_ssize_t nbytes) noexcept nogil:
    cdef const uint8_t *at = <const uint8_t *>text
    cdef const uint8_t *end = at + nbytes
    cdef uint64_t word
    while end - at >= 8:                    # names are ASCII nearly always: eight bytes at a time
        memcpy(&word, at, 8)
        if word & <uint64_t>0x8080808080808080:
            break
        at += 8
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
