# compression: gzip and deflate (zlib's format) of one message, a piece at a time. The loop may do a small message, a thread does the rest.
# Work for a client that has left ends between two pieces. zlib works without the GIL.
# Never in here: calls, threads, when the work is done.

from libc.stdint cimport int64_t
from inferd._core.grpc.message cimport Message

cdef class Conversion:          # one message's; one thread at a time uses it, but any may call cancel and read `over`
    cdef Message source         # the message that is converted; None when it is not needed any more
    cdef readonly Message result        # the converted message, or its first part; None, too, if compression does not make it smaller
    cdef str encoding           # "gzip" or "deflate"
    cdef object zlib            # zlib's object, with the state of the work; None before it begins
    cdef readonly Py_ssize_t nbytes     # the size of `source`
    cdef object view            # a memoryview of `source`
    cdef Py_ssize_t taken_nbytes        # bytes of `source` that zlib has
    cdef Py_ssize_t inline_nbytes       # how much the loop may attempt, as `attempt` counts it; 0: nothing
    cdef int weight             # how long a byte takes, compared with a decompressed one
    cdef Py_ssize_t moved_nbytes        # bytes that a Decompression has made, or a Compression has read
    cdef int64_t deadline_ns    # monotonic: run() fails then
    cdef object when_over       # done() calls it without arguments
    cdef public object when_cancelled   # cancel() calls it with this object, until done(); or None
    cdef readonly object error  # the exception that ended it, or None
    cdef readonly bint over     # it has a result, or an error
    cdef bint running           # a thread works at it
    cdef readonly bint cancelled
    # Makes at most `nbytes` more bytes of a Decompression, or has a Compression read as many. True: it is over.
    cdef bint attempt(self, Py_ssize_t nbytes) noexcept
    cdef void fail(self, error) noexcept
    cdef bint step(self, Py_ssize_t nbytes) except -1           # attempt, with exceptions; subclasses define it
    cdef void restart(self) noexcept    # as if nothing had been attempted
    cdef int append(self, bytes piece) except -1
    # No caller wants the result any more: its memory is freed, by the thread that works at it if there is one.
    cpdef void cancel(self) noexcept
    cdef void drop(self) noexcept

cdef class Decompression(Conversion):
    cdef Py_ssize_t max_nbytes  # the largest result
    cdef bytes next_piece(self, Py_ssize_t max_nbytes)
    cdef bad(self, str what)

cdef class Compression(Conversion):
    pass
