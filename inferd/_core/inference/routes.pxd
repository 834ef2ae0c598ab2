# routes: which model a request names, by the bytes of its message: no str is made for a request.

cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from cpython.object cimport PyObject
from inferd._core.codec.wire cimport Bytes

cdef struct Slot:               # a place in the hash table; a free one has no route
    uint64_t hash
    Bytes name, version         # in the table's `texts`
    PyObject *route             # borrowed from the table's `routes`

@cython.final
cdef class Routes:
    cdef Slot *slots            # open addressing, at most half full
    cdef size_t mask            # the number of slots, a power of 2, less 1
    cdef Py_ssize_t max_nbytes  # the length of the longest name or version: longer ones are not even hashed
    cdef list texts, routes     # keep what the slots point to
    # The route of that name and version, or None.
    cdef object get(self, const Bytes *name, const Bytes *version)
