# infer: the hot protobuf message ModelInferRequest, from bytes to tensors; infer_response has the other one.
# Reads views, copies no tensor (typed contents are packed once). Never in here: HTTP/2, gRPC framing, queues.

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from inferd._core.batching.request cimport Request
from inferd._core.codec.wire cimport Bytes
from inferd._core.grpc.message cimport Message

cdef enum:
    INLINE_OUTPUTS = 4          # asked outputs that a request holds without a second allocation
    PROVENANCE = 1 << 16        # is added to asked_count where the response is to say what made it

cdef struct Text:               # a string of a message: where it begins there, and its length; half the room of a Bytes
    uint32_t first
    uint32_t nbytes

@cython.final
cdef class InferRequest(Request):
    cdef readonly Message message           # the bytes behind every view below
    cdef Text name_text, version_text       # of the model; no version: the newest
    cdef Text id_text                       # echoed in the response
    cdef Message packed                     # typed contents as raw bytes, or None
    cdef int asked_count                    # outputs that the message asks for, repetitions included; 0: all of the model's
    cdef int output_count                   # outputs that the response carries; 0: all of the model's; -1: and provenance; set by check
    cdef int output_room[INLINE_OUTPUTS]    # their indices in the signature, with CLASSES_BIT,
    cdef bytes more_outputs                 # which are here where more are asked for; else None
    cdef Bytes text(self, Text text) noexcept

# A request whose tensors lie in its message. None: its typed contents are so many that unpacking them belongs on a thread, and
# at_once is set. Raises InvalidArgument, and ResourceExhausted where there is no memory.
cdef InferRequest decode_request(Message message, bint at_once)

# Its parameter inferd_key, which canaries route by (base/key); 0: there is none.
cdef uint64_t request_key(InferRequest request) except? 0
