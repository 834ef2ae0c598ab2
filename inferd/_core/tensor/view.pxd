# view: tensors as they lie in memory that others own, and what a model takes or gives. Header-only.

from libc.stdint cimport int64_t

cdef enum:
    MAX_RANK = 8                # dimensions of one tensor
    MAX_TENSORS = 256           # inputs (or outputs) of one model or request

cdef struct TensorView:         # one tensor of a request as it lies in memory; owns nothing
    const char *name
    Py_ssize_t name_nbytes
    int datatype                # a Datatype; INVALID when the wire's word is unknown
    int rank
    int64_t shape[MAX_RANK]
    const char *data            # little-endian, row-major; BYTES elements each behind a 4-byte length
    Py_ssize_t nbytes

cdef struct TensorSpec:         # what a model takes or gives under one name
    const char *name            # owned by the Signature
    Py_ssize_t name_nbytes
    int datatype
    int rank                    # with the batch axis
    int64_t shape[MAX_RANK]     # -1: any size; shape[0] is -1 where there is a batch axis
    int64_t most[MAX_RANK]      # the largest size of an axis of any size (limit_axis)
    Py_ssize_t row_nbytes       # bytes of one row (of the whole tensor without a batch axis) where the dims fix it, else -1
    bint binary                 # BYTES: elements may be any bytes, such as a JPEG; else they are UTF-8

cdef struct ArrayView:          # one array of a run, rows first
    char *data                  # BYTES: the elements of all rows, each behind a 4-byte little-endian length; NULL before serialize
    int datatype
    int rank
    int64_t shape[MAX_RANK]     # of the whole array, batch axis included
    Py_ssize_t row_nbytes       # bytes from one row to the next (of the whole array without a batch axis); BYTES: -1
    Py_ssize_t *row_offsets     # BYTES only: rows + 1 offsets into data; NULL before serialize
