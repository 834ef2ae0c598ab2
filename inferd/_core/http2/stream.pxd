# stream: one call on one HTTP/2 stream, of gRPC or of REST: its headers, its messages as they come, its response as it leaves.
# Never in here: frames, the connection's other calls, what a method does.

cimport cython
from libc.stdint cimport int32_t, uint64_t
from inferd._core.http.call cimport HttpCall
from inferd._core.http2.exchange cimport Exchange
from inferd._core.http2.send_state cimport SendState
from inferd._core.grpc.message cimport Message
from inferd._core.net.stall_policy cimport StallPolicy
from inferd._core.http2.streamed cimport Streamed

cdef extern from "<assert.h>" nogil:
    void assert_that "assert"(bint holds) noexcept

cdef enum Kind:                         # Method.kind
    UNKNOWN = 0
    INFER = 1                           # ModelInfer
    UNARY = 2                           # served by a task
    SERVER_STREAM = 3                   # one request message, and a stream of responses; served by a task
    STREAM = 4                          # streams of both, served by a task
    INFER_STREAM = 5                    # ModelStreamInfer: no task
    REST = 6                            # plain HTTP: one body, no trailers

# How far a call is. Debug builds assert this table (MAY_FOLLOW in stream.pyx).
#
#   state       meaning                                                             may become
#   COMING      the request's headers come                                          OPENED, OVER
#   OPENED      they are whole, and the response has not begun                      SENDING, OVER
#   SENDING     the response's HEADERS were submitted; libnghttp2 asks for bytes    DEFERRED, OVER
#   DEFERRED    libnghttp2 has taken all bytes, and waits for resume()              SENDING, OVER
#   OVER        the stream is closed, and `connection` is None
#
# Two facts are independent of it. `half_closed`: the client sends no more. `settled` (of Call): no further response will be made; while
# the state is SENDING, the last message may still be on its way out.
cdef enum CallState:
    COMING = 0
    OPENED = 1
    SENDING = 2
    DEFERRED = 3
    OVER = 4

cdef unsigned char[5] MAY_FOLLOW        # bits of the states that may follow each

# Whether a method of that kind is a task that streams.
cdef inline bint is_task_stream(Kind kind) noexcept:
    return kind == SERVER_STREAM or kind == STREAM

@cython.final
@cython.no_gc                   # its cycles (work, listener) are broken by hand when the stream closes
cdef class Http2Call(HttpCall):
    cdef SendState http2                # the session of its connection; None once it is over
    cdef int32_t stream_id
    cdef Kind kind
    cdef CallState state
    cdef readonly object method_row     # the service table's Method; None for ModelInfer, and for an unknown path
    cdef Exchange exchange              # what a REST call has beside; None: a gRPC call
    cdef Http2Call next, previous       # the session's list of live calls; cut in Session.unlink
    # The request's headers.
    cdef Py_ssize_t header_nbytes       # their size, as HTTP/2 counts it
    cdef Py_ssize_t max_message_nbytes  # the method's limit
    # The request.
    cdef readonly bint half_closed      # the client sends no more
    cdef bytearray backlog              # bytes of a streaming request that wait until the method takes more, or None
    cdef Py_ssize_t words_nbytes        # the size of its status, which is charged to the message memory
    cdef uint64_t received_nbytes       # bytes of messages that came,
    cdef uint64_t looked_nbytes         # and had come at the last look at the window
    cdef Streamed streamed              # the requests in flight of ModelStreamInfer; None: another method
    # The response.
    cdef Message response               # the message that is being sent, or None
    cdef char *untaken                  # its next byte
    cdef Py_ssize_t untaken_nbytes      # its bytes that libnghttp2 has not taken
    cdef uint64_t sent_nbytes           # bytes of messages that libnghttp2 has taken
    cdef object error                   # the RequestError that ends a streaming call, or of headers that found no memory; or None
    cdef StallPolicy stall              # whether its client moves
    cdef public object listener         # called without arguments when a streaming call's state has changed, or None
    # The next response of the stream, if it is ready.
    cdef Message next_response(self)
    cdef bint awaits_credit(self) noexcept
    # Ends the stream if the client has sent all, and each request has its response.
    cdef void end_if_over(self) noexcept
    cdef int check_ended(self) except -1
    # Opens the stream's window for what may come: the rest of a message that has its place, and some bytes beyond it.
    cdef void open_window(self) noexcept
    cdef void drop_request(self) noexcept
    cdef void drop_response(self) noexcept
    cdef void load(self, Message response) noexcept
    # HEADERS, and the first bytes.
    cdef void begin_response(self) noexcept
    cdef void resume(self) noexcept
    # A REST call's response: this body, or that of the error.
    cdef void send_http(self, Message body, error) noexcept
    cdef int submit_http(self, Message body) except -1
    cdef void reset_after_response(self) noexcept
    cdef void notify(self) noexcept

cdef inline void enter(Http2Call call, CallState state) noexcept:
    assert_that(MAY_FOLLOW[<int>call.state] >> state & 1)
    call.state = state
