# low_water: how many bytes of a large message a socket waits for before it wakes the loop. Where one comes fast, being woken for
# each piece costs the process more than taking the bytes.
# Never in here: frames, calls, reading.

from libc.stdint cimport int64_t, uint64_t

cdef class Gathering:           # of all connections of a server
    cdef object call_later      # call_later(seconds, callback)
    cdef Py_ssize_t most_nbytes # that a socket waits for
    cdef list marks             # those that may be raised

cdef class LowWater:            # one socket's low-water mark
    cdef Gathering gathering
    cdef int descriptor         # of the socket; -1: it is closed
    cdef int nbytes             # what must have come before the loop is woken
    cdef int64_t read_ns        # monotonic; the last read after which more than one byte is waited for
    cdef uint64_t received_nbytes       # by the last read
    cdef uint64_t from_nbytes   # of received_nbytes: until then the mark stays at one byte
    cdef bint listed            # in the gathering's marks
    # Something was read. fast: so much at once as shows that more is on its way. missing_nbytes: what a message lacks that a piece came of,
    # 0: none. received_nbytes: by the connection so far. Raises what call_later does, with the mark as it was.
    cdef int look(self, bint fast, Py_ssize_t missing_nbytes, uint64_t received_nbytes) except -1
    # The socket is closed: its number may be another's soon.
    cdef void close(self) noexcept
    cdef void end(self, int64_t now_ns) noexcept
    cdef int set(self, int nbytes) except -1
