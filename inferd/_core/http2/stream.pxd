# stream: one RPC on one HTTP/2 stream: what its headers said, its messages as they come, its response as it leaves.
# Never in here: frames, the connection's other calls, what a method does.

cimport cython
from libc.stdint cimport int32_t, int64_t, uint64_t
from inferd._core.grpc.compression cimport Conversion
from inferd._core.grpc.call cimport Call
from inferd._core.http2.send_state cimport SendState
from inferd._core.grpc.message cimport Message
from inferd._core.http2.stall_policy cimport Owed, StallPolicy

cdef enum Kind:                         # Method.kind
    UNKNOWN = 0
    INFER = 1
    UNARY = 2
    STREAM = 3

@cython.final
@cython.no_gc                   # its cycles (request, listener) are broken by hand when the stream closes
cdef class Http2Call(Call):
    cdef readonly SendState connection         # its connection's, the Session; None once the stream is closed
    cdef int32_t stream_id
    cdef Kind kind
    cdef readonly object method_row     # the service table's Method, None for an unknown path
    cdef Http2Call next, previous       # the session's list of live calls; cut in Session.unlink
    # What the request's headers said.
    cdef Py_ssize_t header_nbytes
    cdef Py_ssize_t max_message_nbytes  # of its method
    cdef bint is_post, is_grpc, bad_encoding, bad_timeout
    cdef bint compresses                # the client takes the encoding of the endpoint's responses
    cdef bint single                    # of a streaming method that takes one request message
    cdef bint has_message               # the one message of this method has come
    cdef readonly bint half_closed      # the client sends no more
    cdef bytearray backlog              # bytes of a streaming request that wait until `message` was taken, or None
    cdef Py_ssize_t held_nbytes         # charged to the budget of messages: backlog, TASK_NBYTES
    cdef Py_ssize_t words_nbytes        # of its status, charged there, too
    cdef uint64_t received_nbytes       # of messages
    cdef Conversion incoming            # decompresses a message of the request, the only one that is begun, or None
    # The response.
    cdef Conversion outgoing            # compresses a message of it on a thread, or None
    cdef Message response                 # whose frame is being sent, or None
    cdef char *unsent                   # next byte of it
    cdef Py_ssize_t unsent_nbytes
    cdef uint64_t sent_nbytes           # of messages, taken by nghttp2
    cdef bint headers_sent, deferred
    cdef bint final                     # no message follows the present one: trailers come next
    cdef bint plain                     # an HTTP response without gRPC's trailers
    cdef object error                   # the RequestError of a streaming call's end, or of headers that found no memory, or None
    cdef bytes authorization            # the header's value, for the authenticator; None where it judged the same before
    cdef bint is_authorized             # it is the last one that the authenticator let through on this connection
    cdef StallPolicy stall
    cdef public object listener         # called without arguments when a streaming call's state has changed, or None
    # Begins a unary call, whose message is there. Raises what the service does.
    cdef int begin(self) except -1
    cdef Message next_message(self)
    cdef int check_ended(self) except -1
    cdef bint decompress(self, Message message) except -1
    cdef Message decompressed(self)
    cdef int hold(self, Py_ssize_t nbytes) except -1
    cdef void give_back(self, Py_ssize_t nbytes) noexcept
    cdef void drop_request(self) noexcept
    cdef void drop_response(self) noexcept
    cdef void drop_outgoing(self) noexcept
    cdef Owed owed(self) noexcept
    cdef Py_ssize_t owed_nbytes(self) noexcept
    cdef uint64_t consumed_nbytes(self) noexcept
    cdef void end_stalled(self, Owed owed, int64_t limit_ns, int64_t now_ns) noexcept
    cdef stall_error(self, int64_t limit_ns, int64_t now_ns)
    cdef int send(self, Message response) except -1
    cdef void begin_sending(self, Message response) noexcept
    cdef void submit_headers(self) noexcept
    cdef void resume(self) noexcept
    cdef int send_status(self, error) except -1
    cdef int send_plain(self, int status, bytes text) except -1
    cdef void submit_trailers(self) noexcept
    cdef void reset_after_response(self) noexcept
    cdef void notify(self) noexcept
