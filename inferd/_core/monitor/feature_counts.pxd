# feature_counts: how often each feature of a model's requests and responses fell into each bin of a reference. The bins are fixed, so
# the counts of several processes, and of the time before a restart, are sums.
# Never in here: what a reference is, windows, verdicts, files.

from libc.stdint cimport int64_t, uint64_t

from inferd._core.batching.batch cimport Batch
from inferd._core.batching.request cimport Request
from inferd._core.tensor.tensor cimport Tensors

cdef extern from "edges.h" nogil:
    enum:
        EDGES
    int edges_at_or_below(const float *edges, float value)

cdef enum:                      # a Side: which tensors a feature is read from
    SENT = 0                    # inputs as clients send them: of a model with steps before its graph
    TAKEN = 1                   # inputs as the graph takes them
    GIVEN = 2                   # outputs as clients get them
    WHOLE = 3                   # all of the request: of ROW and SCORE

cdef enum:                      # a Reading: the number that a feature is in one row
    ELEMENT = 0                 # one element, at `place`
    TEXT = 1                    # one element of BYTES, at `place`: its number among the known texts
    LENGTH = 2                  # elements of a row; bytes of one element of BYTES, at `place`
    MEAN = 3                    # of all elements of a row
    SPREAD = 4                  # the standard deviation of all elements of a row
    CLASS = 5                   # the place of a row's largest element
    WAVES = 6                   # not one number but many: random Fourier features of a row
    ROW = 7                     # nothing: counts rows alone, and those that a recent row was equal to
    SCORE = 8                   # how unusual a row is: the sum of the scores of its bins

cdef struct Head:               # words of a feature, before those of its bins
    uint64_t rows
    uint64_t missing            # rows without a value: NaN, infinite, an empty text
    uint64_t repeats            # rows with the same value as the row before; of ROW: rows that were there not long ago
    uint64_t sum                # of (value - centre) / scale, in units of 1 / UNIT; as a signed number
    uint64_t squares            # of its square

cdef enum:
    HEAD_WORDS = 5
    MAX_BINS = 2048             # of one feature
    MAX_TEXTS = 65536           # that are told apart while a reference is made
    MAX_WAVES = 64
    MAX_WAVE_ELEMENTS = 256     # of a row, evenly spaced, that waves are made of
    WAVE_ROWS = 8               # of one request that waves are made of at most: they cost some microseconds each
    RECENT_ROWS = 1024          # a power of two: rows that another one may be equal to
    HASHED_NBYTES = 1024        # of a row in each input, by which rows are compared
    MAX_ID_CHARS = 256          # of a request id that is kept as an example

cdef struct Feature:
    int side
    int reading
    int tensor                  # its place in the signature
    Py_ssize_t place
    int bins
    bint exact                  # bins are values, and the last one is for all others; else they are ranges between edges
    int edges                   # places of `at`: a power of two less one, filled up with infinity
    double *at                  # the edges, or the values
    bint few                    # they are at most EDGES,
    float[EDGES] narrow         # and here as floats
    double *scores              # of each bin, and of a missing value
    double centre, scale
    double last                 # the value of the row before
    bint unusual                # a row of this request had no value, or one in the outermost bins
    Head *head
    uint64_t *counts            # of each bin; of WAVES, the sum of each wave, in units of 1 / UNIT, as a signed number
    int waves, wave_elements
    double *kept                # values of the first kept_rows rows, or NULL
    uint64_t kept_rows
    float *wave                 # waves x wave_elements weights, then a phase of each wave

cdef struct Column:             # one tensor of some rows
    const char *data            # NULL: the request has no such tensor
    Py_ssize_t nbytes           # of all rows
    Py_ssize_t elements         # of one row
    Py_ssize_t itemsize         # 0: BYTES
    int datatype

cdef struct Part:               # one request of a batch
    Column column               # of the tensor whose features are counted
    int64_t first, rows         # its rows in the batch

cdef class FeatureCounts:
    cdef Feature *features
    cdef readonly int count
    cdef list texts             # of each feature: {bytes: number}, or None
    cdef list held              # buffers of the counts
    cdef list examples          # of each feature the id of a request with an unusual value, or None
    cdef uint64_t *recent       # hashes of recent rows
    cdef double *row_scores     # of the rows of one batch
    cdef int64_t rows, most_rows
    cdef Part *parts
    cdef int most_parts
    cpdef see(self, Batch batch, Tensors outputs)
    cdef int count_rows(self, list requests, Tensors outputs, Py_ssize_t first_row) except -1
    cdef bint find_column(self, const Feature *feature, Part *part, Request request, Tensors outputs, Py_ssize_t first_row) except -1
    cdef int count_feature(self, int i, list requests, int n, Py_ssize_t floats) except -1
    cdef int count_whole(self, int i, list requests, int n) except -1
    cdef int note(self, int i, request) except -1
    cdef int add_rows(self, Feature *feature, Request request, int64_t rows) noexcept
    cdef int reserve(self, int64_t rows) except -1
    cdef int reserve_parts(self, int count) except -1
