# cython: language_level=3
# low_water: how many bytes of a large message a socket waits for (see low_water.pxd).

cimport cython
from libc.stdint cimport int64_t, uint64_t

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.base.linux cimport SO_RCVLOWAT, SOL_SOCKET, setsockopt

cdef enum:
    FRAME_NBYTES = 16 << 10             # HTTP/2's default frame: clients send this much at once
    GATHER_NBYTES = 256 << 10           # a raised mark: the loop sleeps until this much of a message is there, or GATHER_S is over
    PAUSE_NS = 1_000_000                # a client of whom nothing was read for this long, while its mark was raised, counts as paused
    PAUSED_NBYTES = 16 << 20            # the next bytes of such a client are read as they come: its small calls would be late

GATHER_S = 0.005                        # the longest time that a mark stays raised


cdef class Gathering:
    """The sockets of one server that may wait for more than one byte, and the timer that ends it.

    call_later(seconds, callback): loop.call_later. window_nbytes: the flow-control window of a connection."""

    def __init__(self, call_later, Py_ssize_t window_nbytes):
        self.call_later = call_later
        self.most_nbytes = min(<Py_ssize_t>GATHER_NBYTES, window_nbytes // 2)   # a window opens again when half of it was consumed
        self.marks = []

    def end(self, int64_t now_ns=0):
        """GATHER_S is over: all marks are one byte again. now_ns: monotonic; 0: look at the clock."""
        cdef LowWater mark
        cdef list marks = self.marks
        self.marks = []
        for mark in marks:
            mark.listed = False
            mark.end(now_ns or monotonic_ns())


@cython.final
cdef class LowWater:

    def __cinit__(self, Gathering gathering not None, int descriptor):
        self.gathering, self.descriptor, self.nbytes = gathering, descriptor, 1

    cdef int adjust(self, bint fast, Py_ssize_t missing_nbytes, uint64_t received_nbytes) except -1:
        """Raises the mark when a large message comes fast: the loop sleeps until a good piece of it is there. `end` lowers it."""
        cdef Py_ssize_t nbytes = 1
        self.received_nbytes = received_nbytes
        if missing_nbytes >= FRAME_NBYTES and received_nbytes >= self.from_nbytes and (self.nbytes > 1 or fast):
            nbytes = min(missing_nbytes, self.gathering.most_nbytes)
            self.read_ns = monotonic_ns()
        return self.set(<int>nbytes)

    cdef void end(self, int64_t now_ns) noexcept:
        if self.nbytes > 1 and now_ns - self.read_ns >= PAUSE_NS:
            self.from_nbytes = self.received_nbytes + PAUSED_NBYTES
        self.set(1)

    cdef void close(self) noexcept:
        self.descriptor = -1

    cdef int set(self, int nbytes) except -1:
        if nbytes == self.nbytes or self.descriptor < 0:
            return 0
        if nbytes > 1 and not self.listed:
            if not self.gathering.marks:
                self.gathering.call_later(GATHER_S, self.gathering.end)
            self.gathering.marks.append(self)
            self.listed = True
        if setsockopt(self.descriptor, SOL_SOCKET, SO_RCVLOWAT, &nbytes, sizeof(nbytes)) == 0:
            self.nbytes = nbytes
        return 0
