# cython: language_level=3
# server_state: what all connections of a server share (see server_state.pxd).

from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.stdlib cimport free, malloc

from inferd._core.grpc.call cimport infer_handler
from inferd._core.grpc.compression cimport Conversion
from inferd._core.http2.flood_policy cimport CONTROL_BURST_S, RESET_BURST_S
from inferd._core.http2.limits cimport FLUSH_NBYTES, MAX_SETTINGS, MAX_STREAM_FRAMES
from inferd._core.http2.low_water cimport Gathering
from inferd._core.http2.nghttp2 cimport *
from inferd._core.http2.poller cimport Polled

import logging

cdef enum:
    FIRST_EXTENSION = 10                # the first frame type that RFC 9113 leaves to extensions

log = logging.getLogger("inferd.http2")


cdef class ServerState:
    """The state that all connections of one server share.

    methods: the service table, "/package.Service/Method" -> Method. start(call, method): begins a unary call whose message
    is there, or a streaming call whose headers are there. unserved(path): the rejection of an unknown method. reject(call, error):
    answers a call whose method raised, or whose request was wrong.
    authenticator(call, authorization): raises a RequestError for a call that may not be made with that `authorization` header (bytes;
    None: there is none; b", ": there are several). True: the header is good for all calls of its connection, until credentials_changed().
    run_on_thread(connection, work): calls work.run() on another thread, then work.done() on the loop's.
    compression: of responses, for clients that take it: "none", "gzip", "deflate".
    schedule(callback): loop.call_soon; call_later(seconds, callback): loop.call_later.
    limits: all of `Limits`, in bytes, nanoseconds, bytes or frames a second, or counts.
    """

    def __cinit__(self, *args, **kwargs):
        self.receive_buffer = <uint8_t *>malloc(RECEIVE_NBYTES)
        self.send_buffer = <uint8_t *>malloc(SEND_NBYTES)
        if self.receive_buffer == NULL or self.send_buffer == NULL or nghttp2_option_new(&self.options) != 0:
            raise MemoryError()

    def __init__(self, methods, *, start, reject, unserved, schedule, call_later, run_on_thread, authenticator=None, str compression="none",
                 **limits):
        cdef int kind
        self.limits = limits
        self.methods = {path.encode(): row for path, row in methods.items()}
        self.infer_path = b""
        for path, row in methods.items():
            if row.kind == "infer":
                self.infer_path, self.infer_method, self.infer_row = path.encode(), path, row
                self.infer_handler = infer_handler(row.handler)
            elif row.kind == "infer_stream":
                self.stream_handler = row.handler
        self.start, self.reject, self.unserved, self.schedule = start, reject, unserved, schedule
        self.authenticator, self.run_on_thread = authenticator, run_on_thread
        if compression != "none":
            self.compression, self.encoding = compression, compression.encode()
        self.dirty, self.lingering = [], {}
        self.gathering = Gathering(call_later, min(self.limits.stream_window_nbytes, self.limits.connection_window_nbytes))
        self.left_inline_nbytes = INLINE_NBYTES
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
        free(self.receive_buffer)
        free(self.send_buffer)
        if self.options != NULL:
            nghttp2_option_del(self.options)

    def flush(self):
        """Writes the output of all connections, one write and a turn's worth of each at most."""
        cdef list connections = self.dirty
        cdef Polled connection
        cdef uint64_t most_nbytes = self.totals.sent_nbytes + FLUSH_NBYTES
        self.dirty = []
        for connection in connections:
            connection.dirty = False
            if self.totals.sent_nbytes < most_nbytes:
                connection.flush()
            else:
                connection.schedule_flush_turn()

    def flush_scheduled_output(self):
        """The scheduled flush: once in an iteration of the loop."""
        self.flush_scheduled = False
        self.left_inline_nbytes = INLINE_NBYTES
        self.flush()

    cdef void schedule_flush(self) noexcept:
        if not self.flush_scheduled:
            self.flush_scheduled = True
            try:
                self.schedule(self.flush_scheduled_output)
            except Exception as error:
                self.log(error)

    cdef void forget(self, connection) noexcept:
        if connection in self.dirty:
            self.dirty.remove(connection)

    cdef bint convert(self, connection, Conversion conversion) noexcept:
        cdef bint over
        if conversion.inline_nbytes > 0 and self.left_inline_nbytes > 0:
            over = conversion.attempt(conversion.inline_nbytes)
            self.left_inline_nbytes -= conversion.weight * conversion.moved_nbytes
            if over:
                return True
            conversion.restart()
        try:
            self.run_on_thread(connection, conversion)
            return False
        except Exception as error:
            conversion.fail(error)
            return True

    def set_keepalive(self, int64_t min_ping_interval_ns, int64_t keepalive_ns, int64_t keepalive_timeout_ns, int64_t max_idle_ns,
                      int64_t age_grace_ns):
        """Sets how long connections last, and how often clients may send PING, also for connections that are open.
        0, and before the first call: no such limit."""
        self.flood_rules.min_ping_interval_ns = min_ping_interval_ns
        self.keepalive_rules.keepalive_ns, self.keepalive_rules.keepalive_timeout_ns = keepalive_ns, keepalive_timeout_ns
        self.keepalive_rules.max_idle_ns, self.keepalive_rules.grace_ns = max_idle_ns, age_grace_ns

    def credentials_changed(self):
        """Connections ask the authenticator again, also for a header that it let through."""
        self.credentials_epoch += 1

    cdef size_t max_outbound_frames(self) noexcept:
        return self.limits.max_control_frame_rate + MAX_STREAM_FRAMES * <size_t>self.limits.max_streams

    cdef void log(self, error) noexcept:
        try:
            log.error("a call failed in an unexpected way", exc_info=error)
        except Exception:
            pass                        # logging itself failed
