# tensor: the arrays of one run. Never in here: protobuf, queues, onnxruntime.

from inferd._core.tensor.view cimport ArrayView, TensorView

# Writes the elements of a BYTES view as str into a C-contiguous object array, from row `first_row` of its axis 0 on.
# The view must have passed Signature.check. Raises ValueError where they do not fit.
cdef int fill_objects(TensorView *view, object array, Py_ssize_t first_row) except -1

cdef class Tensors:             # the input or the output arrays of one run; keeps the numpy arrays alive
    cdef ArrayView *views
    cdef int count
    cdef readonly list arrays   # numpy arrays (object arrays for BYTES), C-contiguous
    cdef bint batched           # axis 0 of every array is rows
    cdef object owned           # serialized BYTES blobs
    cdef dict classes           # codec's: texts of outputs that requests of this batch want classified; None between batches
    cdef object response_head   # codec's: how the last response of these outputs began, for others like it; or None
    # Serializes the BYTES array `index` into data and row_offsets, unless that was done before.
    cdef int serialize(self, int index) except -1
