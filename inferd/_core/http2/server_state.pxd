# server_state: what all connections of a server share (Endpoint), and one connection as its calls know it: the way out (Output).
# Never in here: what a client sends.

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from inferd._core.grpc.compression cimport Conversion
from inferd._core.http2.flood_policy cimport Conduct, Rules
from inferd._core.grpc.call cimport Call, InferHandler
from inferd._core.http2.low_water cimport Gathering
from inferd._core.http2.keepalive_policy cimport Terms
from inferd._core.http2.nghttp2 cimport nghttp2_option, nghttp2_session

cdef enum:
    RECEIVE_NBYTES = 64 << 10           # the receive buffer that all connections share
    SEND_NBYTES = 256 << 10             # bytes gathered for one write, at most
    INLINE_NBYTES = 64 << 10            # decompressed on the loop between two flushes; what comes then is for threads

cdef class Output

cdef class Endpoint:
    cdef dict methods                   # bytes path -> Method
    cdef bytes infer_path               # the hot method's path; compared before the table is asked
    cdef str infer_method               # the same as text
    cdef object infer_row
    cdef InferHandler infer_handler
    cdef object start, reject, schedule, unserved
    cdef object guard                   # or None: every call may be made
    cdef uint64_t guard_epoch           # grows when the guard may say something else of what it let through
    cdef list dirty                     # Outputs with something to write, in the order in which it came,
    cdef object unsent                  # and those with more than a turn's worth of it, by whose turn it is
    cdef public int64_t flush_ns, flush_iteration_ns        # FLUSH_NS and so on, but in tests
    cdef bint flush_scheduled
    cdef readonly Gathering gathering   # of their sockets, those that may wait for more than one byte
    cdef public int64_t turn_ns, iteration_ns, light_iteration_ns, light_ns     # TURN_NS and so on, but in tests
    cdef object held_light, held        # sessions whose turn is over and comes again, in order, of some in each iteration of the loop
    cdef readonly Py_ssize_t held_nbytes            # that came of them and were not worked on
    cdef public Py_ssize_t max_held_nbytes          # MAX_HELD_NBYTES, but in tests
    cdef bint turns_scheduled
    cdef bint iteration_begun           # of the loop: something was read in it
    cdef int64_t iteration_until_ns     # when no further connection's turn begins in it,
    cdef int64_t light_until_ns         # and no light one
    cdef int64_t line_ns, light_line_ns # that those took who waited
    cdef PyObject *reading              # the session whose turn may go on, borrowed: nothing of others was read since; NULL: none
    cdef uint8_t *receive_buffer
    cdef uint8_t *send_buffer
    cdef readonly Py_ssize_t max_message_nbytes, max_header_nbytes, max_unread_nbytes
    cdef size_t max_outbound_frames     # that wait for a client that reads nothing
    cdef nghttp2_option *options        # of the sessions
    cdef readonly int64_t max_calls     # open ones of all connections, OWN_CALLS of each aside
    cdef readonly uint64_t refused_total            # calls beyond it
    cdef readonly int64_t min_rate, min_message_rate        # bytes a second that must move where memory is held; of large messages
    cdef readonly uint32_t max_streams, stream_window_nbytes, connection_window_nbytes
    cdef readonly int64_t connections, calls        # now
    cdef readonly uint64_t received_nbytes, sent_nbytes, connections_total, calls_total, abandoned_total, protocol_errors_total
    cdef readonly uint64_t stalled_total            # calls ended because their client did not move
    cdef int memory_percent                         # of the message memory that others leave free, for one connection
    cdef bint fair                                  # connections take turns in a model's queue
    cdef Terms terms                                # how long connections last
    cdef Rules rules                                # what clients may send that asks for nothing
    cdef readonly uint64_t flooding_total, pinging_total, resetting_total   # connections cut off for too many control frames, PINGs, resets
    cdef readonly uint64_t dead_total               # connections cut off because a PING was not answered
    cdef readonly uint64_t retired_total, idle_total, overdue_total     # told to leave for their age, for having no calls; cut off after it
    cdef object in_thread
    cdef str compression                # of responses: "gzip", "deflate", or None
    cdef bytes encoding                 # the same as bytes, which headers point to
    cdef Py_ssize_t inline_nbytes       # that the loop may still decompress before the next flush
    cdef readonly uint64_t decompressed_total, decompressed_nbytes      # messages of requests, what they became
    cdef readonly uint64_t compressed_total, saved_nbytes               # messages of responses, bytes that they had more before
    # Compresses or decompresses: what takes little here, as long as it is not much of it, and all else on a thread. True: it is over.
    cdef bint convert(self, Output output, Conversion conversion) noexcept
    # session.take_rest() is called when its turn comes, sooner for one with little to do, or that seldom waits.
    cdef int line_up(self, Output session, bint light) except -1
    cdef int serve_line(self, line, int64_t until_ns) except -1
    cdef int flush_dirty(self, int64_t until_ns) except -1
    cdef int flush_one(self, Output output) except -1
    cdef void schedule_flush(self) noexcept
    # Whether a connection's turn may begin in this iteration of the loop, or others have had all the time that there is for them.
    cdef bint has_time(self, int64_t now_ns, bint light) noexcept
    cdef void begin_iteration(self, int64_t now_ns) noexcept        # for who knows when one ends, too
    cdef void forget(self, Output session) noexcept         # one that is closed waits for no write and no turn
    cdef void log(self, error) noexcept

cdef class Output:              # nghttp2's, gathered into writes, and what limits it. A Session is one
    cdef nghttp2_session *session       # the Session's; NULL before open() and after close()
    cdef readonly Endpoint endpoint
    cdef object write, close_transport  # the transport's, until close()
    cdef Py_ssize_t unread_nbytes       # answers that wait for the client to take them
    cdef Py_ssize_t compressing_nbytes  # and those that a thread compresses
    cdef uint64_t sent_nbytes           # of messages, taken by nghttp2
    cdef readonly uint64_t written_nbytes   # handed to the transport
    cdef public Py_ssize_t write_nbytes     # most bytes of one write; SEND_NBYTES unless the transport wants fewer
    cdef Conduct conduct                # what the client sends that asks for nothing
    cdef list uploads                   # streams whose response is whole while the client still sends, or None
    cdef bint dirty                     # is in one of the endpoint's lists
    cdef bint receiving                 # inside nghttp2_session_mem_recv2
    cdef bint paused                    # the transport takes no more for now
    cdef bint draining                  # GOAWAY was said
    cdef bint leaving                   # and why: what waits to be sent has no turns any more, for it is the last
    cdef bint expecting                 # a call was handed over: its response may be there by the end of this iteration
    cdef readonly bint judged           # an error or a flood ended the connection, and was counted
    cdef bint ended                     # the transport was asked to close
    cdef readonly bint closed           # the connection is gone
    # nghttp2 may have something to send: flush() is called at the end of the loop's present iteration, or what receives looks itself.
    cdef void mark_dirty(self) noexcept
    # Writes the output that the transport takes now, as far as a turn lasts; ends the connection when HTTP/2 is done with it.
    cpdef flush(self)
    cdef int put(self, const uint8_t *piece, Py_ssize_t nbytes) except -1
    # The one place where an exception becomes a response; the service says how. What works or waits for the call is cancelled.
    cdef void reject(self, Call call, int32_t stream_id, error) noexcept
    # RST_STREAM(NO_ERROR) on a stream whose response is whole, after the response has left: nghttp2 sends nothing more on a stream whose
    # reset is queued.
    cdef void stop_upload(self, int32_t stream_id) noexcept
    cdef void stop_uploads(self) noexcept
    # The connection ends for an error in HTTP/2, unless it was counted for another reason.
    cdef void count_error(self) noexcept
    # Asks the transport to close; connection_lost follows.
    cdef void end(self) noexcept
    # Whether a response of that size may wait for the client to read it; one may always, or it could never be given.
    cdef bint has_room(self, Py_ssize_t nbytes) noexcept
    cdef unread_error(self, Py_ssize_t nbytes)
