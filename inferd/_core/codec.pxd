# codec: the two hot protobuf messages, ModelInferRequest and ModelInferResponse, between bytes and tensors.
# Reads views, copies no tensor (typed contents are packed once). Never in here: HTTP/2, gRPC framing, queues.

from inferd._core.batcher cimport Request
from inferd._core.message cimport Message
from inferd._core.tensor cimport Tensors

cdef class InferRequest(Request):
    cdef readonly Message message           # the bytes behind every view below
    cdef const char *id                     # echoed in the answer
    cdef Py_ssize_t id_nbytes
    cdef void *scratch                      # typed contents, packed into raw bytes; owned, or NULL
    cdef int output_count                   # outputs that were asked for; 0: all
    cdef int *outputs                       # their indices in the signature, set by check; owned, or NULL
