# infer: the two hot protobuf messages, ModelInferRequest and ModelInferResponse, between bytes and tensors.
# Reads views, copies no tensor (typed contents are packed once). Never in here: HTTP/2, gRPC framing, queues.

cimport cython
from inferd._core.batching.request cimport Request
from inferd._core.grpc.message cimport Message
from inferd._core.codec.wire cimport Bytes

cdef enum:
    INLINE_OUTPUTS = 4          # asked outputs that a request holds without a second allocation

@cython.final
cdef class InferRequest(Request):
    cdef readonly Message message           # the bytes behind every view below
    cdef readonly str model_name
    cdef readonly str model_version         # '': the newest
    cdef Bytes id_text                      # echoed in the response
    cdef Message packed                     # typed contents as raw bytes, or None
    cdef int asked_count                    # outputs that the message asks for, repetitions included; 0: all of the model's
    cdef int output_count                   # outputs that the response carries; 0: all of the model's; set by check
    cdef int *outputs                       # their indices in the signature; in output_room, or owned
    cdef int output_room[INLINE_OUTPUTS]
