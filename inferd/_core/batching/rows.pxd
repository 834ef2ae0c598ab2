# rows: the preprocess stage of a batch. Every row is written once, at its place in the run's input arrays. Rows that are shorter than
# theirs are filled up, and masks say where.

from libc.stdint cimport int64_t
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors

# Raises Internal where the requests do not fit the arrays; nothing is ever written outside of these.
cdef int write_rows(list requests, Tensors inputs) except -1

# The length that the padded axis of input `index` has in a run of these requests.
cdef int64_t longest(list requests, Signature signature, int index) except -1

cdef inline bint pads(Signature signature) noexcept:
    """Whether some input of the model's runs is padded."""
    return signature is not None and signature.input_paddings != NULL
