# grpc: what gRPC adds to HTTP/2. Length-prefixed messages, metadata, grpc-timeout, statuses, and Call, the life of one RPC.
# Never in here: frames and streams (http2), protobuf (codec), sockets.

from libc.stdint cimport int64_t, int32_t, uint8_t
from inferd._core.message cimport Message

cdef class Call:                    # one RPC. A transport makes it; it is answered exactly once
    cdef readonly str method        # "/inference.GRPCInferenceService/ModelInfer"
    cdef readonly Message message   # the request of a unary call, complete
    cdef readonly int64_t deadline_ns       # monotonic; INT64_MAX: none
    cdef public bint closed         # answered, or the client went away: a late answer is dropped
    cdef public object request      # the Request that this call waits for: cancelled when the client goes away
    # Answer a unary call with a message (Message or bytes-like) and OK. On the loop's thread.
    cpdef reply(self, message)
    # Answer with the status of a RequestError. On the loop's thread.
    cpdef fail(self, error)
