# compression: gzip and deflate (zlib's format) of one message, a piece at a time, so that the loop does little of it, a thread the rest,
# and nobody goes on for a client that has left. zlib itself works without the GIL.
# Never in here: calls, which thread does it, when.

from libc.stdint cimport int64_t
from inferd._core.grpc.message cimport Message

cdef class Conversion:          # of one message; used by one thread at a time, but for cancel and over
    cdef Message source         # what is converted; None when it is not needed any more
    cdef readonly Message result        # what has come of it; None as well where compressing does not make it smaller
    cdef str encoding           # "gzip" or "deflate"
    cdef object zlib            # zlib's own object, which remembers where it is; None while none of this has begun
    cdef readonly Py_ssize_t nbytes     # of source
    cdef object view            # of source's bytes
    cdef Py_ssize_t taken_nbytes        # of them, given to zlib
    cdef Py_ssize_t inline_nbytes       # what of it the loop may attempt; 0: nothing
    cdef int weight             # how long a byte of it takes, a decompressed one being 1
    cdef Py_ssize_t moved_nbytes        # the larger side of what was done: bytes made by a Decompression, read by a Compression
    cdef int64_t deadline_ns    # monotonic; run() ends there
    cdef object when_over       # called without arguments by done()
    cdef public object when_cancelled   # called with this by cancel(), until done(); None: nobody asks
    cdef readonly object error  # the exception that ended it, or None
    cdef readonly bint over     # the result, or the error, is there
    cdef bint running           # a thread has it
    cdef readonly bint cancelled
    # Goes on for a while: a Decompression until it has made `nbytes` more bytes, a Compression until it has read so many. True: it is
    # over.
    cdef bint attempt(self, Py_ssize_t nbytes) noexcept
    cdef void fail(self, error) noexcept
    cdef bint convert(self, Py_ssize_t nbytes) except -1
    cdef void restart(self) noexcept    # as if nothing had been attempted
    cdef int append(self, bytes piece) except -1
    # Nobody wants the result any more: the memory is free, at once or when a thread that has it has seen this.
    cpdef void cancel(self) noexcept
    cdef void drop(self) noexcept

cdef class Decompression(Conversion):
    cdef Py_ssize_t max_nbytes  # of the result
    cdef bytes next_piece(self, Py_ssize_t max_nbytes)
    cdef bad(self, str what)

cdef class Compression(Conversion):
    pass
