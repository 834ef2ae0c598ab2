# cython: language_level=3, boundscheck=False, wraparound=False
"""run_times: how long a run of so many rows is likely to take (see run_times.pxd). Never in here: clocks, locks, models."""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t

cdef extern from *:
    int __builtin_clzll(unsigned long long value) noexcept nogil

cdef enum:
    GAIN = 8                    # a run moves the mean by an eighth of the difference
    FORGET_NS = 1_000_000_000   # a kind that was not seen for so long, and for FORGET_RUNS of its runs, is forgotten
    FORGET_RUNS = 8


cdef inline int kind_of(int64_t rows) noexcept nogil:
    return min(63 - __builtin_clzll(<unsigned long long>max(rows, 1)), SIZES - 1)


@cython.final
cdef class RunTimes:
    """How long runs take, by their rows: a moving mean for each power of two.

    - One run moves the mean by an eighth of the difference, and counts as twice the mean at most. A run that the system interrupted says
      little of the next.
    - A kind that was not seen for a second, or for eight of its runs if they take longer, is forgotten. Else a server that was slow under
      load would reject requests for ever.
    - An unseen kind takes the mean of the nearest smaller one, because more rows take no less; else its share of the nearest larger
      one. So an unknown run is taken for a short one.
    """

    cdef void record(self, int64_t rows, int64_t run_ns, int64_t now_ns) noexcept nogil:
        cdef RunTime *size = &self.sizes[kind_of(rows)]
        run_ns = min(max(run_ns, 1), INT64_MAX // 1024)
        if now_ns >= size.known_until_ns:
            size.mean_ns = run_ns
        else:
            size.mean_ns += min(run_ns - size.mean_ns, size.mean_ns) // GAIN
        size.known_until_ns = now_ns + max(FORGET_NS, FORGET_RUNS * size.mean_ns)

    cdef int64_t estimate(self, int64_t rows, int64_t now_ns) noexcept nogil:
        cdef int kind = kind_of(rows)
        cdef int near = kind
        while near >= 0 and now_ns >= self.sizes[near].known_until_ns:
            near -= 1
        if near >= 0:
            return self.sizes[near].mean_ns
        for near in range(kind + 1, SIZES):
            if now_ns < self.sizes[near].known_until_ns:
                return self.sizes[near].mean_ns >> (near - kind)
        return 0
