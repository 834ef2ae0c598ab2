# cython: language_level=3
# http2_state: what the connections of a server that speak HTTP/2 share (see http2_state.pxd).

from libc.stdint cimport INT64_MAX, int64_t

from inferd._core.grpc.call cimport infer_handler
from inferd._core.http2.flood_policy cimport CONTROL_BURST_S, RESET_BURST_S
from inferd._core.http2.limits cimport MAX_SETTINGS, MAX_STREAM_FRAMES
from inferd._core.http2.nghttp2 cimport *
from inferd._core.net.server_state cimport ServerState

cdef enum:
    FIRST_EXTENSION = 10                # the first frame type that RFC 9113 leaves to extensions


cdef class Http2State(ServerState):
    """The state that all connections of one server share, those of other protocols, too.

    methods: the service table, "/package.Service/Method" -> Method. start(call, method): begins a unary call whose message
    is there, or a streaming call whose headers are there. unserved(path): the rejection of an unknown method. state: as of ServerState.
    """

    def __cinit__(self, *args, **kwargs):
        if nghttp2_option_new(&self.options) != 0:
            raise MemoryError()

    def __init__(self, methods, *, start, unserved, **state):
        cdef int kind
        super().__init__(**state)
        self.methods = {path.encode(): row for path, row in methods.items()}
        self.infer_path = b""
        for path, row in methods.items():
            if row.kind == "infer":
                self.infer_path, self.infer_method = path.encode(), path
                self.infer_handler = infer_handler(row.handler)
            elif row.kind == "infer_stream":
                self.stream_handler = row.handler
        self.start, self.unserved = start, unserved
        self.flood_rules.control_step_ns = 1_000_000_000 // self.limits.max_control_frame_rate
        self.flood_rules.control_burst = CONTROL_BURST_S * self.limits.max_control_frame_rate
        self.flood_rules.reset_step_ns = 1_000_000_000 // self.limits.max_reset_rate
        self.flood_rules.reset_burst = RESET_BURST_S * self.limits.max_reset_rate
        for kind in range(FIRST_EXTENSION, 256):
            nghttp2_option_set_user_recv_extension_type(self.options, kind)
        nghttp2_option_set_no_auto_window_update(self.options, 1)
        nghttp2_option_set_no_closed_streams(self.options, 1)
        nghttp2_option_set_max_outbound_ack(self.options, self.limits.max_control_frame_rate)
        nghttp2_option_set_max_settings(self.options, MAX_SETTINGS)
        nghttp2_option_set_max_continuations(self.options, self.limits.max_continuations)
        nghttp2_option_set_stream_reset_rate_limit(self.options, INT64_MAX, INT64_MAX)      # no limit: the flood policy counts resets

    def __dealloc__(self):
        if self.options != NULL:
            nghttp2_option_del(self.options)

    def set_keepalive(self, int64_t min_ping_interval_ns, int64_t keepalive_ns, int64_t keepalive_timeout_ns, int64_t max_idle_ns,
                      int64_t age_grace_ns):
        self.flood_rules.min_ping_interval_ns = min_ping_interval_ns
        super().set_keepalive(min_ping_interval_ns, keepalive_ns, keepalive_timeout_ns, max_idle_ns, age_grace_ns)

    cdef size_t max_outbound_frames(self) noexcept:
        return self.limits.max_control_frame_rate + MAX_STREAM_FRAMES * <size_t>self.limits.max_streams
