# arrivals: when an open loop is to send, and is late if it has not: arrays of times, one after the other.

from libc.stdint cimport int64_t

cdef class Arrivals:
    cdef list queue             # arrays that have not begun, oldest first
    cdef bint queued            # whether there are any, for those who have no GIL
    cdef int64_t[::1] times     # the array being used up
    cdef Py_ssize_t next        # of it
    cdef Py_ssize_t count       # behind its last

    # Times behind all others, ascending.
    cdef int put(self, int64_t[::1] times) except -1
    # When the next request is due; INT64_MAX: this array is used up.
    cdef int64_t due_ns(self) noexcept nogil
    # Begins the next array if this one is used up.
    cdef int go_on(self) except -1
    # Times that were not used, in arrays, ascending; and how many.
    cdef list waiting(self)
    cdef Py_ssize_t left(self) except -1
