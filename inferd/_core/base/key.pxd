# key: a text that a request is routed by, as a number: equal in all processes, of all transports and after a restart. Header-only.

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    GROUPS = 64                 # of keys, as compare.statistics.GROUPS has them


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    """Each bit of the result depends on all of x (the finalizer of MurmurHash3)."""
    x = (x ^ x >> 33) * <uint64_t>0xFF51AFD7ED558CCDULL
    x = (x ^ x >> 33) * <uint64_t>0xC4CEB9FE1A85EC53ULL
    return x ^ x >> 33


cdef inline uint64_t key_of(const void *text, Py_ssize_t nbytes) noexcept nogil:
    """FNV-1a of a text; never 0, which means that there is no key. An empty text is none."""
    cdef const uint8_t *at = <const uint8_t *>text
    cdef uint64_t hash = <uint64_t>0xCBF29CE484222325ULL
    cdef Py_ssize_t i
    if nbytes == 0:
        return 0
    for i in range(nbytes):
        hash = (hash ^ at[i]) * <uint64_t>0x100000001B3ULL
    return hash or 1


cdef inline int group_of(uint64_t key) noexcept nogil:
    """The group of a key, from 0; GROUPS: there is no key. It says nothing about a canary's share, which a salted hash decides."""
    return GROUPS if key == 0 else <int>(mixed(key) % GROUPS)
