# histogram: latency distributions in fixed memory, cheap enough to be always on, and one model's statistics made of them.
# Never in here: prometheus, names of metrics, locks (writers hold the GIL).

from libc.stdint cimport int64_t, uint64_t

cdef class Histogram:           # log-linear buckets over nanoseconds; relative error below 1/16
    cdef uint64_t *counts
    cdef readonly uint64_t count
    cdef readonly uint64_t sum_ns
    cdef void record(self, int64_t value_ns, uint64_t times=*) noexcept nogil

cdef struct BatchSize:          # runs that had this many rows
    uint64_t runs
    uint64_t preprocess_ns
    uint64_t execute_ns
    uint64_t encode_ns

cdef class Statistics:          # all counts and durations of one model version
    cdef readonly Histogram decode, queue, preprocess, execute, encode, request   # one entry a request
    cdef readonly uint64_t rows             # rows of requests with a response: Triton's inference_count
    cdef readonly uint64_t runs             # runs of the model: Triton's execution_count
    cdef readonly int64_t last_ns           # wall-clock time of the last run, ns since the epoch; 0: none yet
    cdef BatchSize *sizes                   # index: rows, 0 .. max_rows
    cdef readonly int max_rows
    # One request with a response: its own durations,
    cdef void record_request(self, int64_t rows, int64_t decode_ns, int64_t queue_ns, int64_t preprocess_ns,
                             int64_t request_ns) noexcept nogil
    # and those that all such requests of a batch have in common.
    cdef void record_stages(self, uint64_t requests, int64_t execute_ns, int64_t encode_ns) noexcept nogil
    # One run of the model over `rows` rows.
    cdef void record_run(self, int64_t rows, int64_t preprocess_ns, int64_t execute_ns, int64_t encode_ns) noexcept nogil
