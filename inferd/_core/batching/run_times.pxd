# run_times: how long a run of so many rows is likely to take, by those before it. Integers in, integers out, no clock, no lock.

from libc.stdint cimport int64_t

cdef enum:
    SIZES = 17                  # kinds of runs: of 1 row, 2 and 3, 4 to 7, ..., 65536 and more

cdef struct RunTime:            # runs of one kind
    int64_t mean_ns             # moving; 0: none was seen
    int64_t known_until_ns      # monotonic: older runs say nothing of the next one

cdef class RunTimes:            # see run_times.pyx for what it promises
    cdef RunTime sizes[SIZES]
    cdef void record(self, int64_t rows, int64_t run_ns, int64_t now_ns) noexcept nogil
    cdef int64_t estimate(self, int64_t rows, int64_t now_ns) noexcept nogil    # how long a run is likely to take; 0: nothing is known
