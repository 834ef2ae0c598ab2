# http2_state: what connections of HTTP/2 share beside ServerState: gRPC's service table, libnghttp2's options, the flood policy's rules.
# Never in here: what a client sends, what one connection is at, and what all connections share (net/server_state).

from inferd._core.grpc.call cimport InferHandler, StreamHandler
from inferd._core.http2.flood_policy cimport FloodRules
from inferd._core.http2.nghttp2 cimport nghttp2_option
from inferd._core.net.server_state cimport ServerState

cdef class Http2State(ServerState):
    cdef dict methods                   # bytes path -> Method
    cdef bytes infer_path               # `infer_method`, compared before the table is searched
    cdef InferHandler infer_handler     # the same, to be called without Python in between
    cdef StreamHandler stream_handler   # ModelStreamInfer's; None: it is not served
    cdef object start, unserved         # the callbacks that http2_state.pyx describes
    cdef nghttp2_option *options        # for all sessions
    cdef FloodRules flood_rules         # made of the limits
    cdef size_t max_outbound_frames(self) noexcept      # the most that may wait for a client that reads nothing
