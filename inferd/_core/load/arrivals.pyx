# cython: language_level=3, boundscheck=False, wraparound=False
# arrivals: when an open loop is to send (see arrivals.pxd).

cimport cython
import numpy as np

from libc.stdint cimport INT64_MAX, int64_t


@cython.final
cdef class Arrivals:
    """Arrival times of one Generator that were handed over and not used."""

    def __cinit__(self):
        self.queue = []

    cdef int put(self, int64_t[::1] times) except -1:
        if times.shape[0] > 0:
            self.queue.append(times)
            self.queued = True
        return 0

    cdef int64_t due_ns(self) noexcept nogil:
        return INT64_MAX if self.next >= self.count else self.times[self.next]

    cdef int go_on(self) except -1:
        if self.next >= self.count and self.queue:
            self.times = self.queue.pop(0)
            self.next = 0
            self.count = self.times.shape[0]
            self.queued = len(self.queue) > 0
        return 0

    cdef list waiting(self):
        return [np.asarray(self.times)[self.next:], *self.queue] if self.count else list(self.queue)

    cdef Py_ssize_t left(self) except -1:
        return self.count - self.next + sum([len(times) for times in self.queue])
