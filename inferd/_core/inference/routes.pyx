# cython: language_level=3
"""routes: which model a request names (see routes.pxd).

Never in here: what a route is, the error of a name that is not there.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from inferd._core.codec.wire cimport Bytes

cdef enum:
    LEAST_SLOTS = 8

cdef uint64_t FACTOR = 0x9E3779B97F4A7C15       # 2^64 divided by the golden ratio: spreads what differs in few bits


cdef inline uint64_t add_text(uint64_t hash, const Bytes *text) noexcept nogil:
    """The hash of `hash` and this text, with its length."""
    cdef uint64_t word = 0
    cdef Py_ssize_t i = 0
    while i + 8 <= text.nbytes:
        memcpy(&word, text.data + i, 8)
        hash = (hash ^ word) * FACTOR
        hash ^= hash >> 32
        i += 8
    word = <uint64_t>text.nbytes
    while i < text.nbytes:
        word = word << 8 | <uint8_t>text.data[i]
        i += 1
    hash = (hash ^ word) * FACTOR
    return hash ^ hash >> 32


cdef inline bint equal(const Bytes *one, const Bytes *other) noexcept nogil:
    return one.nbytes == other.nbytes and memcmp(one.data, other.data, one.nbytes) == 0


cdef inline Bytes bytes_of(bytes text) noexcept:
    cdef Bytes found
    found.data = PyBytes_AS_STRING(text)
    found.nbytes = PyBytes_GET_SIZE(text)
    return found


@cython.final
cdef class Routes:
    """A hash table from (model name, version) to routes. Used with the GIL held."""

    def __cinit__(self):
        self.fill({})

    def __dealloc__(self):
        free(self.slots)

    def fill(self, routes not None):
        """These are all routes from now on: {(name, version): anything but None}."""
        cdef size_t count = LEAST_SLOTS
        cdef list texts = []
        cdef list kept = []
        cdef Slot *slots
        cdef Slot *slot
        cdef Py_ssize_t longest = 0
        cdef size_t at
        cdef Bytes name, version
        cdef uint64_t hash
        while count < 2 * <size_t>len(routes):
            count *= 2
        slots = <Slot *>calloc(count, sizeof(Slot))
        if slots == NULL:
            raise MemoryError
        for (name_text, version_text), route in routes.items():
            texts += [name_text.encode(), version_text.encode()]
            kept.append(route)
            name, version = bytes_of(texts[len(texts) - 2]), bytes_of(texts[len(texts) - 1])
            longest = max(longest, max(name.nbytes, version.nbytes))
            hash = add_text(add_text(0, &name), &version)
            at = hash & (count - 1)
            while slots[at].route != NULL:
                at = (at + 1) & (count - 1)
            slot = &slots[at]
            slot.hash, slot.name, slot.version, slot.route = hash, name, version, <PyObject *>route
        slots, self.slots = self.slots, slots
        self.mask, self.max_nbytes, self.texts, self.routes = count - 1, longest, texts, kept
        free(slots)

    cdef object get(self, const Bytes *name, const Bytes *version):
        cdef uint64_t hash
        cdef size_t at
        cdef const Slot *slot
        if name.nbytes > self.max_nbytes or version.nbytes > self.max_nbytes:
            return None
        hash = add_text(add_text(0, name), version)
        at = hash & self.mask
        while True:
            slot = &self.slots[at]
            if slot.route == NULL:
                return None
            if slot.hash == hash and equal(&slot.name, name) and equal(&slot.version, version):
                return <object>slot.route
            at = (at + 1) & self.mask

    def find(self, str name not None, str version not None):
        """The route of that name and version, or None. For callers that have no message."""
        cdef bytes name_bytes = name.encode("utf-8", "surrogatepass")
        cdef bytes version_bytes = version.encode("utf-8", "surrogatepass")
        cdef Bytes name_text = bytes_of(name_bytes)
        cdef Bytes version_text = bytes_of(version_bytes)
        return self.get(&name_text, &version_text)
