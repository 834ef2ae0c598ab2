# low_water: how many bytes of a large message a socket waits for before it wakes the loop (SO_RCVLOWAT). When a message comes fast, a
# wake-up for each piece costs the process more than taking the bytes.
# Never in here: frames, calls, reading.

from libc.stdint cimport int64_t, uint64_t

cdef class Gathering:           # shared by all connections of a server
    cdef object call_later      # call_later(seconds, callback)
    cdef Py_ssize_t most_nbytes # the most that a socket waits for
    cdef list marks             # LowWater: those that may be raised

cdef class LowWater:            # one socket's low-water mark
    cdef Gathering gathering
    cdef int descriptor         # the socket's; -1: it is closed
    cdef int nbytes             # the mark: so many bytes must be there before the loop is woken
    cdef int64_t read_ns        # monotonic: the last read that raised the mark
    cdef uint64_t received_nbytes       # what the connection had received at the last read
    cdef uint64_t from_nbytes   # until received_nbytes reaches this, the mark stays at one byte
    cdef bint listed            # it is in the gathering's marks
    # Something was read. fast: so much at once that more is probably on its way. missing_nbytes: bytes that an incomplete message still
    # lacks, 0: none. received_nbytes: what the connection has received so far. Raises what call_later does; the mark stays then.
    cdef int adjust(self, bint fast, Py_ssize_t missing_nbytes, uint64_t received_nbytes) except -1
    # The socket is closed: another may get its number soon.
    cdef void close(self) noexcept
    cdef void end(self, int64_t now_ns) noexcept    # the time for raised marks is over
    cdef int set(self, int nbytes) except -1
