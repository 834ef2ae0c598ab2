# cython: language_level=3
"""tally: a tap that counts what came of a model's requests, and keeps none of them.

Never in here: what the counts mean, other versions.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.batching.request cimport Request
from inferd._core.batching.tap cimport Tap, Tapped

from inferd._core.batching.local import LocalRequest


@cython.final
cdef class Tally(Tap):
    """Counts requests of clients that a model has answered: all of them, those with an error, and those that took longer than
    `threshold_ns`. A request that its client cancels counts once it has taken longer than that: as slow, and as no error. Requests that
    a shadow makes are none of clients.

    sample: so many first latencies are kept in `latencies_ns`.
    """

    cdef readonly uint64_t answered, errors, slow
    cdef public int64_t threshold_ns        # 0: nothing counts as slow
    cdef readonly list latencies_ns         # of responses, not of errors
    cdef Py_ssize_t sample

    def __init__(self, Py_ssize_t sample=0, int64_t threshold_ns=0):
        super().__init__(1.0)
        self.sample, self.threshold_ns, self.latencies_ns = sample, threshold_ns, []

    cdef bint wants(self, Request request) except -1:
        return type(request) is not LocalRequest

    cdef Tapped keep(self, Request request, object error):
        cdef int64_t total_ns = monotonic_ns() - request.received_ns
        self.answered += 1
        self.errors += error is not None
        self.slow += 0 < self.threshold_ns < total_ns
        if error is None and len(self.latencies_ns) < self.sample:
            self.latencies_ns.append(total_ns)
        return None

    cdef int left(self, Request request) except -1:
        if self.wants(request) and 0 < self.threshold_ns < monotonic_ns() - request.received_ns:
            self.answered += 1
            self.slow += 1
        return 0
