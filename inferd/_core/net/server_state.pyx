# cython: language_level=3
# server_state: what all connections of a server share (see server_state.pxd).

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc

from inferd._core.grpc.admission cimport ReceiveAdmission
from inferd._core.grpc.call cimport Call
from inferd._core.grpc.compression cimport Conversion
from inferd._core.net.limits cimport FLUSH_NBYTES
from inferd._core.net.low_water cimport Gathering
from inferd._core.net.poller cimport Polled

import logging

log = logging.getLogger("inferd.net")

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


cdef class ServerState:
    """The state that all connections of one server share.

    reject(call, error): rejects a call whose method raised, or whose request was wrong.
    authenticator(call, authorization): raises a RequestError for a call that may not be made with that `authorization` header (bytes;
    None: there is none; b", ": there are several). True: the header is good for all inferences and REST calls of its
    connection, until credentials_changed().
    run_on_thread(connection, work): calls work.run() on another thread, then work.done() on the loop's.
    compression: of responses, for clients that take it: "none", "gzip", "deflate"; of REST's any but "none" is what the client likes best.
    schedule(callback): loop.call_soon; call_later(seconds, callback): loop.call_later.
    http_handler: serves REST calls; None: there are none. infer_method: ModelInfer's full name. Inferences by REST have it, too, where no
    gRPC is served: the authenticator asks by it.
    limits: all of `Limits`, in bytes, nanoseconds, bytes or frames a second, or counts.
    """

    def __cinit__(self, *args, **kwargs):
        self.receive_buffer = <uint8_t *>malloc(RECEIVE_NBYTES)
        self.send_buffer = <uint8_t *>malloc(SEND_NBYTES)
        if self.receive_buffer == NULL or self.send_buffer == NULL:
            raise MemoryError()

    def __init__(self, *, reject, schedule, call_later, run_on_thread, authenticator=None, str compression="none", http_handler=None,
                 str infer_method=MODEL_INFER, **limits):
        self.limits = limits
        self.reject, self.schedule, self.run_on_thread = reject, schedule, run_on_thread
        self.authenticator, self.http_handler, self.infer_method = authenticator, http_handler, infer_method
        if compression != "none":
            self.compression, self.encoding = compression, compression.encode()
        self.dirty, self.lingering = [], {}
        self.admission = ReceiveAdmission(schedule, call_later)
        self.gathering = Gathering(call_later, self.limits.connection_window_nbytes)
        self.left_inline_nbytes = INLINE_NBYTES

    def __dealloc__(self):
        free(self.receive_buffer)
        free(self.send_buffer)

    def flush(self):
        """Writes the output of all connections, a turn's worth of each: one write where it fits the send buffer."""
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

    cdef bint reject_call(self, Call call, error) noexcept:
        cdef bint rejected = True
        work, call.work = call.work, None
        try:
            self.reject(call, error)
        except Exception as unexpected:
            self.log(unexpected)
            rejected = False
        if work is not None:
            try:
                work.cancel()
            except Exception as unexpected:
                self.log(unexpected)
        return rejected

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
        """Sets how long connections last, and how often clients of HTTP/2 may send PING, also for connections that are open.
        0, and before the first call: no such limit."""
        self.keepalive_rules.keepalive_ns, self.keepalive_rules.keepalive_timeout_ns = keepalive_ns, keepalive_timeout_ns
        self.keepalive_rules.max_idle_ns, self.keepalive_rules.grace_ns = max_idle_ns, age_grace_ns

    def credentials_changed(self):
        """Connections ask the authenticator again, also for a header that it let through."""
        self.credentials_epoch += 1

    cdef void log(self, error) noexcept:
        try:
            log.error("a call failed in an unexpected way", exc_info=error)
        except Exception:
            pass                        # logging itself failed
