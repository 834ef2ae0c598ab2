# cython: language_level=3, boundscheck=False, wraparound=False
# histogram: latency distributions in fixed memory and one model's statistics made of them (see histogram.pxd).
# Never in here: prometheus, names of metrics, locks (writers hold the GIL).
#
# Buckets: values below 16 have one each; above, every power of two is cut into 16 equal parts. So a bucket is at most 1/16 of its lowest
# value wide, from nanoseconds to centuries. A histogram takes 7.7 KB, and no memory before its first entry.

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.time cimport clock_gettime, timespec

from inferd._core.base.lazy_pages cimport map_zeroed, unmap

cdef extern from *:
    """
    #include <time.h>
    #ifdef CLOCK_REALTIME_COARSE            /* a quarter of the cost; 4 ms are fine for "when was it last used" */
    #define INFERD_WALL_CLOCK CLOCK_REALTIME_COARSE
    #else
    #define INFERD_WALL_CLOCK CLOCK_REALTIME
    #endif
    """
    const int INFERD_WALL_CLOCK
    int __builtin_clzll(unsigned long long value) noexcept nogil

cdef enum:
    PART_BITS = 4               # 2^4 parts of each power of two
    PARTS = 16
    BUCKET_COUNT = 960          # (62 - 4 + 1) powers of two x 16, and the 16 exact ones: up to 2^63 - 1


cdef inline int bucket_of(uint64_t value) noexcept nogil:
    cdef int shift
    if value < PARTS:
        return <int>value
    shift = 63 - __builtin_clzll(value) - PART_BITS
    return (shift << PART_BITS) + <int>(value >> shift)


cdef inline uint64_t highest_of(int bucket) noexcept nogil:
    """The highest value of a bucket."""
    cdef int shift
    if bucket < 2 * PARTS:
        return bucket
    shift = (bucket >> PART_BITS) - 1
    return (<uint64_t>((bucket & (PARTS - 1)) + PARTS + 1) << shift) - 1


cdef class Histogram:
    """How often each duration was seen; durations in ns, negative ones count as 0."""

    def __cinit__(self):
        self.counts = <uint64_t *>map_zeroed(BUCKET_COUNT * sizeof(uint64_t))
        if self.counts == NULL:
            raise MemoryError

    def __dealloc__(self):
        unmap(self.counts, BUCKET_COUNT * sizeof(uint64_t))

    cdef void record(self, int64_t value_ns, uint64_t times=1) noexcept nogil:
        cdef uint64_t value = <uint64_t>value_ns if value_ns > 0 else 0
        self.counts[bucket_of(value)] += times
        self.count += times
        self.sum_ns += value * times

    def add(self, int64_t value_ns):
        """Records one duration in ns."""
        self.record(value_ns)

    def buckets(self, bounds_ns):
        """Cumulative counts: for each bound in ns (rising) how many entries are at most as long. An entry in a bucket that the bound cuts
        counts as longer. Raises ValueError when the bounds do not rise."""
        cdef list totals = []
        cdef uint64_t seen = 0
        cdef int bucket = 0
        cdef int64_t last = -1
        cdef int64_t bound
        for bound in bounds_ns:
            if bound <= last:
                raise ValueError(f"expected rising bounds, got {bound} after {last}")
            last = bound
            while seen < self.count and bucket < BUCKET_COUNT and highest_of(bucket) <= <uint64_t>bound:
                seen += self.counts[bucket]
                bucket += 1
            totals.append(seen)
        return totals


cdef class Statistics:
    """All counts and durations of one model version. Durations in ns; see histogram.pxd for each field."""

    def __cinit__(self, int max_rows):
        if max_rows < 0:
            raise ValueError(f"max_rows: expected 0 or more, got {max_rows}")
        self.decode = Histogram()
        self.queue = Histogram()
        self.preprocess = Histogram()
        self.execute = Histogram()
        self.encode = Histogram()
        self.request = Histogram()
        self.max_rows = max_rows
        self.sizes = <BatchSize *>calloc(<size_t>max_rows + 1, sizeof(BatchSize))
        if self.sizes == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.sizes)

    cdef void record_request(self, int64_t rows, int64_t decode_ns, int64_t queue_ns, int64_t preprocess_ns,
                             int64_t request_ns) noexcept nogil:
        self.decode.record(decode_ns)
        self.queue.record(queue_ns)
        self.preprocess.record(preprocess_ns)
        self.request.record(request_ns)
        self.rows += <uint64_t>rows

    cdef void record_stages(self, uint64_t requests, int64_t execute_ns, int64_t encode_ns) noexcept nogil:
        if requests > 0:
            self.execute.record(execute_ns, requests)
            self.encode.record(encode_ns, requests)

    cdef void record_run(self, int64_t rows, int64_t preprocess_ns, int64_t execute_ns, int64_t encode_ns) noexcept nogil:
        cdef BatchSize *size = &self.sizes[min(max(rows, 0), self.max_rows)]
        cdef timespec now
        clock_gettime(INFERD_WALL_CLOCK, &now)
        self.last_ns = <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec
        self.runs += 1
        size.runs += 1
        size.preprocess_ns += <uint64_t>max(preprocess_ns, 0)
        size.execute_ns += <uint64_t>max(execute_ns, 0)
        size.encode_ns += <uint64_t>max(encode_ns, 0)

    def batch_sizes(self):
        """{rows: (runs, preprocess_ns, execute_ns, encode_ns)} of every batch size that ran; the last size holds larger ones too."""
        cdef int rows
        return {
            rows: (self.sizes[rows].runs, self.sizes[rows].preprocess_ns, self.sizes[rows].execute_ns, self.sizes[rows].encode_ns)
            for rows in range(self.max_rows + 1) if self.sizes[rows].runs > 0
        }
