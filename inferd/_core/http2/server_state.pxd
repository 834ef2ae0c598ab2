# server_state: what all connections of a server share: the service table, limits, buffers and counters.
# Never in here: what a client sends, what one connection is at.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from inferd._core.grpc.call cimport InferHandler
from inferd._core.grpc.compression cimport Conversion
from inferd._core.http2.flood_policy cimport FloodRules
from inferd._core.http2.keepalive_policy cimport KeepaliveRules
from inferd._core.http2.low_water cimport Gathering
from inferd._core.http2.nghttp2 cimport nghttp2_option

cdef enum:
    RECEIVE_NBYTES = 64 << 10           # the receive buffer that all connections share
    SEND_NBYTES = 256 << 10             # of a connection's output, gathered for one write; and a turn's worth of it
    INLINE_NBYTES = 64 << 10            # decompressed on the loop between two flushes; more goes to threads

cdef struct Limits:                     # the settings of the same names
    Py_ssize_t max_message_nbytes, max_header_nbytes, max_unread_nbytes
    uint32_t max_streams, stream_window_nbytes, connection_window_nbytes
    int64_t max_calls                   # open ones of all connections, OWN_CALLS of each aside
    int64_t min_rate, min_message_rate  # bytes a second that must move where memory is held; of large messages
    int64_t max_control_frame_rate, max_reset_rate, max_continuations
    int memory_percent                  # of the message memory that others leave free, for one connection
    bint fair                           # connections take turns in a model's queue

cdef struct Totals:                     # since the server began
    uint64_t received_nbytes, sent_nbytes
    uint64_t connections, calls
    uint64_t abandoned                  # calls whose client went before the response
    uint64_t refused                    # calls beyond max_calls
    uint64_t stalled                    # calls ended because their client did not move
    uint64_t protocol_errors            # connections that an error in HTTP/2 ended
    uint64_t flooding, pinging, resetting       # connections shut down for too many control frames, PINGs, resets
    uint64_t dead                       # connections aborted because a PING was not answered
    uint64_t retired, idle, overdue     # drained for their age, for having no calls; aborted after the grace
    uint64_t decompressed, decompressed_nbytes  # messages of requests, what they became
    uint64_t compressed, saved_nbytes   # messages of responses, bytes that they had more before

cdef class ServerState:
    cdef dict methods                   # bytes path -> Method
    cdef bytes infer_path               # the hot method's path; compared before the table is asked
    cdef str infer_method               # the same as text
    cdef object infer_row
    cdef InferHandler infer_handler
    cdef object start, reject, schedule, unserved, in_thread
    cdef object authenticator           # or None: every call may be made
    cdef uint64_t credentials_epoch     # grows when the authenticator may judge otherwise than before
    cdef str compression                # of responses: "gzip", "deflate", or None
    cdef bytes encoding                 # the same as bytes, which headers point to
    cdef list dirty                     # connections with output, in the order in which it came
    cdef bint flush_scheduled
    cdef Py_ssize_t inline_nbytes       # that the loop may still decompress before the next flush
    cdef readonly Gathering gathering   # of their sockets, those that may wait for more than one byte
    cdef uint8_t *receive_buffer
    cdef uint8_t *send_buffer
    cdef nghttp2_option *options        # of the sessions
    cdef readonly Limits limits
    cdef FloodRules flood_rules
    cdef KeepaliveRules keepalive_rules
    cdef readonly int64_t connections, calls    # now
    cdef readonly Totals totals
    cdef readonly dict closing          # LingeringClose -> None, in the order in which they began
    cdef public bint draining           # the server stops
    # Compresses or decompresses: a little of it here, all else on a thread. True: it is over.
    cdef bint convert(self, connection, Conversion conversion) noexcept
    cdef void schedule_flush(self) noexcept
    # A connection that is closed waits for no flush.
    cdef void forget(self, connection) noexcept
    cdef size_t max_outbound_frames(self) noexcept      # that wait for a client that reads nothing
    cdef void log(self, error) noexcept
