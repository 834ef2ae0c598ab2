# server_state: what all connections of a server share, whatever they speak: limits, buffers, counters. http2's Http2State derives from it.
# Never in here: what a client sends, what one connection is at.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from inferd._core.grpc.admission cimport ReceiveAdmission
from inferd._core.grpc.call cimport Call
from inferd._core.grpc.compression cimport Conversion
from inferd._core.net.keepalive_policy cimport KeepaliveRules
from inferd._core.net.low_water cimport Gathering

cdef enum:
    RECEIVE_NBYTES = 64 << 10           # the receive buffer that all connections share
    SEND_NBYTES = 256 << 10             # the send buffer; a turn that has put so much makes no more output
    INLINE_NBYTES = 64 << 10            # conversion work of the loop between two flushes: bytes times Conversion.weight

cdef struct Limits:                     # serving/transports/native.py `_limits` maps settings to these
    Py_ssize_t max_message_nbytes, max_header_nbytes, max_unread_nbytes
    uint32_t max_streams, stream_window_nbytes, connection_window_nbytes
    int64_t max_stream_requests         # in flight on one stream of ModelStreamInfer
    int64_t max_calls                   # open calls of all connections; OWN_CALLS of each are admitted beyond it
    int64_t min_rate                    # bytes a second that must move while memory is held for them,
    int64_t min_message_rate            # and of a request with a large message
    int64_t max_control_frame_rate, max_reset_rate, max_continuations
    int memory_percent                  # the percentage of the message memory, as far as it is free, that one connection may hold
    bint fair                           # connections take turns in a model's queue

cdef struct Totals:                     # since the server began
    uint64_t received_nbytes, sent_nbytes       # of frames, without TLS
    uint64_t connections, calls         # opened
    uint64_t abandoned                  # calls whose client went before the response
    uint64_t refused                    # calls of connections that have OWN_CALLS, and as many as max_calls leaves free
    uint64_t stalled                    # calls ended because their client did not move
    uint64_t protocol_errors            # connections that an error in HTTP ended
    uint64_t flooding                   # connections shut down for too many control frames, or aborted for MAX_UNSENT_NBYTES of output
    uint64_t pinging, resetting         # connections shut down for too many PINGs, resets
    uint64_t dead                       # connections aborted because nothing came after a PING
    uint64_t retired, idle, overdue     # connections drained for their age, for having no calls; aborted after the grace
    uint64_t decompressed, decompressed_nbytes  # messages of requests, and their size when decompressed
    uint64_t compressed, saved_nbytes   # messages of responses, and the bytes that compression saved

cdef class ServerState:
    cdef object reject, schedule, run_on_thread         # the callbacks that server_state.pyx describes
    cdef object authenticator           # or None: every call may be made
    cdef readonly object http_handler   # serves REST calls (http/handler's HttpHandler); None: there are none
    cdef readonly str infer_method      # ModelInfer's full name, which inferences by REST count as, too
    cdef uint64_t credentials_epoch     # grows when the authenticator may decide otherwise than before
    cdef str compression                # of gRPC's responses: "gzip", "deflate"; REST's have the client's choice. None: none is compressed
    cdef bytes encoding                 # the same as bytes, which headers point to
    cdef list dirty                     # connections with output, in the order in which it came
    cdef bint flush_scheduled           # flush_scheduled_output is
    cdef Py_ssize_t left_inline_nbytes  # conversion work that the loop may do until the next scheduled flush
    cdef readonly ReceiveAdmission admission    # of large messages that come
    cdef readonly Gathering gathering   # the sockets that may wait for more than one byte
    cdef uint8_t *receive_buffer        # shared by all connections,
    cdef uint8_t *send_buffer           # as is this one
    cdef readonly Limits limits
    cdef KeepaliveRules keepalive_rules
    cdef readonly int64_t calls         # open now
    cdef readonly int64_t connections   # open now; for tests
    cdef readonly Totals totals
    cdef readonly dict lingering        # LingeringClose -> None, in the order in which they began
    cdef public bint stopping           # all connections drain
    # The service makes a rejected call's response, and the call's work is cancelled. False: the service failed, and there is no response.
    cdef bint reject_call(self, Call call, error) noexcept
    # Compresses or decompresses a message: at once if it is small, else on a thread. True: it is over.
    cdef bint convert(self, connection, Conversion conversion) noexcept
    cdef void schedule_flush(self) noexcept
    # The connection is closed: no flush looks at it.
    cdef void forget(self, connection) noexcept
    cdef void log(self, error) noexcept
