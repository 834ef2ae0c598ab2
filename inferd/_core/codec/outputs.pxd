# outputs: what the responses of all protocols have in common: the outputs that a request asks for, and its rows of each.
# Never in here: how a response is written.

from libc.stdint cimport int64_t
from inferd._core.batching.request cimport Request
from inferd._core.codec.wire cimport Bytes
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors
from inferd._core.tensor.view cimport ArrayView, TensorSpec

cdef enum:
    CLASSES_BIT = 8             # of an asked output: above its index, how many classes of it are asked for
    MAX_RESPONSE_NBYTES = 0x7FFFFFFF    # protobuf's own limit, and everybody's

cdef struct Part:               # one output of a response
    const TensorSpec *spec
    const char *word            # of its datatype
    Py_ssize_t word_nbytes
    const ArrayView *view
    const char *data            # the request's rows
    Py_ssize_t nbytes           # of them that the response has
    const int64_t *shape        # of the run's array, or what the response has of that; the request's rows stand in place of axis 0
    Py_ssize_t pieces           # 0: nbytes are one piece; else of so many equal ones, each of an equal, longer part of `data`

# The index of the output of that name, with `classes` above CLASSES_BIT. Raises InvalidArgument: there is none, or it has no classes.
cdef int asked_output(Signature signature, const Bytes *name, int classes) except -1
# Raises Internal unless the run gave as many outputs as the signature says.
cdef int check_run(Signature signature, Tensors outputs, int64_t first_row) except -1
# A request's rows of one output. asked: as asked_output returns it.
cdef int fill_part(Part *part, Signature signature, Tensors outputs, int asked, int64_t first_row, int64_t rows) except -1
# An output with the padded axis of the run: its response has the request's own length of that. Its shape goes to `shape`.
cdef int cut_part(Part *part, Request request, int64_t *shape) except -1
# Errors: an output is not the signature's; a response has too many bytes.
cdef not_promised(Signature signature, int index)
cdef too_large(Signature signature, Py_ssize_t total)
