# columns: tapped requests as the columns of a record, in buffers that Arrow takes as they are.
# Never in here: Arrow, files, which requests are recorded.

from libc.stdint cimport int64_t
from inferd._core.base.idle_thread cimport IdleThread
from inferd._core.batching.request cimport Request
from inferd._core.batching.tap cimport Tapped

cdef class Buffer:              # bytes that grow; read-only through the buffer protocol. While a view of them lives, they do not move
    cdef char *data
    cdef Py_ssize_t nbytes, room_nbytes
    cdef int views              # that are open
    cdef IdleThread copier      # of long pieces; None: `put` copies them itself
    cdef int put(self, const void *more, Py_ssize_t nbytes) except -1
    cdef int put_offset(self, int64_t offset) except -1
    cdef int clear(self) except -1      # keeps its memory

cdef class Texts:               # a column of strings: 32-bit offsets, then their bytes
    cdef readonly Buffer offsets, data
    cdef int put(self, const char *text, Py_ssize_t nbytes) except -1
    cdef int clear(self) except -1

cdef class TensorColumns:       # the inputs, or the outputs, of all rows: lists of tensors
    cdef readonly Buffer row_offsets                        # 32-bit: where each row's tensors begin
    cdef readonly Texts names, datatypes
    cdef readonly Buffer shape_offsets, sizes               # 32-bit, 64-bit
    cdef readonly Buffer data_offsets, data                 # 64-bit
    cdef readonly Py_ssize_t count                          # tensors
    cdef int put(self, const char *name, Py_ssize_t name_nbytes, const char *word, Py_ssize_t word_nbytes, int rank,
                 const int64_t *shape, const char *data, Py_ssize_t nbytes, dict changes) except -1
    cdef int end_row(self) except -1
    cdef int clear(self) except -1

cdef class Columns:
    cdef readonly Py_ssize_t rows
    cdef Py_ssize_t max_rows, max_nbytes
    cdef readonly int64_t began_ns                          # monotonic: when its first row had its response
    cdef bint entered
    cdef readonly Texts ids, models, versions, arms, errors
    cdef readonly Buffer codes                              # 32-bit
    cdef readonly list times                                # of Buffer, 64-bit, in the order of TIMES
    cdef readonly TensorColumns inputs, outputs
    cdef bint is_full(self, int part) noexcept
    cdef Py_ssize_t unbounded_nbytes(self) noexcept
    cdef int put_inputs(self, Request request, dict changes) except -1
    cdef int put_response(self, Tapped tapped, dict changes) except -1
    cpdef bint enter(self)      # False: another thread is between enter and leave. Threads that share the columns change them only there
    cpdef leave(self)
    cpdef clear(self)           # no rows; the memory is kept for the next ones. No view of the buffers may live
    # Adds one row. False: its outputs lie in no ModelInferResponse; give them as `outputs`, (name, datatype, shape, bytes) of each.
    cpdef bint add(self, Tapped tapped, int64_t wall_offset_ns, dict changes, list outputs=*, str arm=*) except -1
