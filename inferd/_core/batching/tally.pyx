# cython: language_level=3
"""tally: a tap that counts the outcomes of a model's requests, and keeps none of them.

Never in here: what the counts mean, other versions.
"""

cimport cython
from libc.stdint cimport int64_t

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.base.key cimport GROUPS, group_of
from inferd._core.batching.request cimport Request
from inferd._core.batching.tap cimport Tap, Tapped

from inferd._core.batching.local import LocalRequest
from inferd._core.batching.tap import UNTAPPED


@cython.final
cdef class Tally(Tap):
    """Counts clients' requests that have ended: all of them, those with an error, and those that took longer than `threshold_ns`. A request
    that its client cancels counts only when it has taken longer than that: as slow, not as an error. Requests of shadows, and those
    that compare models (tap.UNTAPPED), do not count.

    sample: so many first latencies are kept in `latencies_ns`.
    Each count has one number for each group of keys (base/key), and a last one for requests without a key.
    """

    cdef int64_t counted[3][GROUPS + 1]     # all, errors and slow
    cdef public int64_t threshold_ns        # 0: nothing counts as slow
    cdef readonly list latencies_ns         # of responses, not of errors
    cdef Py_ssize_t sample

    def __init__(self, Py_ssize_t sample=0, int64_t threshold_ns=0):
        super().__init__(1.0)
        self.sample, self.threshold_ns, self.latencies_ns = sample, threshold_ns, []

    cdef bint wants(self, Request request) except -1:
        return type(request) is not LocalRequest and getattr(request, "id", "") != UNTAPPED

    cdef Tapped keep(self, Request request, object error):
        cdef int64_t total_ns = monotonic_ns() - request.received_ns
        cdef int group = group_of(request.call.key if request.call is not None else 0)
        self.counted[0][group] += 1
        self.counted[1][group] += error is not None
        self.counted[2][group] += 0 < self.threshold_ns < total_ns
        if error is None and len(self.latencies_ns) < self.sample:
            self.latencies_ns.append(total_ns)
        return None

    cdef int left(self, Request request) except -1:
        cdef int group
        if self.wants(request) and 0 < self.threshold_ns < monotonic_ns() - request.received_ns:
            group = group_of(request.call.key if request.call is not None else 0)
            self.counted[0][group] += 1
            self.counted[2][group] += 1
        return 0

    def by_group(self):
        """All counts: three times GROUPS + 1 numbers of 64 bits, as bytes."""
        return (<const char *>&self.counted[0][0])[:sizeof(self.counted)]
