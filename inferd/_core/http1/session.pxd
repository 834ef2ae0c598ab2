# session: one client of HTTP/1.1: one call at a time. The next request waits, unparsed, until the response has left.
# Never in here: what bytes mean (parser), how a head is written (response_head), sockets (net), reading a clock.

cimport cython
from libc.stdint cimport int64_t, uint8_t
from inferd._core.grpc.message cimport Message
from inferd._core.http.call cimport Credentials, HttpCall
from inferd._core.http.handler cimport HttpHandler
from inferd._core.http.head cimport Head
from inferd._core.http1.parser cimport Parser
from inferd._core.net.keepalive_policy cimport KeepalivePolicy
from inferd._core.net.protocol cimport Protocol
from inferd._core.net.server_state cimport ServerState
from inferd._core.net.stall_policy cimport Owed, StallPolicy
from inferd._core.net.stream_socket cimport StreamSocket

cdef class Http1Session

@cython.final
@cython.no_gc                   # its cycles (work, session) are broken by hand when it is over
cdef class Http1Call(HttpCall):
    cdef Http1Session session           # None once the call is over

@cython.final
cdef class Http1Session(Protocol):
    cdef StreamSocket connection        # whose bytes these are; None before open() and after close(), so that no cycle lives on
    cdef ServerState server             # the connection's
    cdef HttpHandler handler
    cdef Parser parser
    cdef Http1Call call         # the present one; None between two
    cdef bytes first            # the first bytes of the client, until they show whether it speaks HTTP/2; else None
    cdef int64_t max_age_ns     # it drains at this age; 0: never
    cdef KeepalivePolicy keepalive
    cdef StallPolicy stall      # whether the rest of a request comes
    cdef int64_t now_ns         # when the present turn began
    cdef int64_t whole_ns       # when the present request was whole; about
    cdef public int64_t together_ns     # a client that ends its side within this time behind its request waits for the response
    cdef int64_t begun_calls, seen_calls        # since it began; at the last look
    cdef Credentials credentials
    # The response.
    cdef bytes lines            # the first lines of its head; None: no response waits
    cdef tuple headers          # further ones, pairs of bytes; or None
    cdef Message body           # None: there is none
    cdef bint is_head_sent
    cdef bint closes            # it is the connection's last
    cdef Py_ssize_t sent_nbytes # bytes of the body that the transport has
    # The first bytes of the client.
    cdef bint greet(self, const uint8_t **data, Py_ssize_t *nbytes) except -1
    # The client begins with HTTP/2's preface. False: it is told to speak HTTP/1.1.
    cdef bint speak_http2(self) except -1
    # A request's head is whole: the call begins, or is rejected.
    cdef int begin_call(self) except -1
    # A long body needs a place in receive admission. Until it has one, nothing is read.
    cdef int ask_for_place(self, Message body, Http1Call call) except -1
    cdef bint awaits_credit(self) noexcept
    # It has its place.
    cdef int read_body(self) except -1
    # The body is whole.
    cdef int end_request(self) except -1
    # The client's bytes are wrong. It gets one more response.
    cdef int end_broken(self, error) except -1
    # The call is rejected: the rest of its body is skipped, or the connection ends with the response.
    cdef void skip_body(self, Head head) noexcept
    # The response may leave.
    cdef int respond(self, bytes lines, tuple headers, Message body) except -1
    cdef int respond_error(self, error) except -1
    # The response has left: the connection ends, or the next request may come.
    cdef int response_sent(self) except -1
    cdef int next_request(self) except -1
    cdef void end_call(self) noexcept
    cdef bint is_idle(self) noexcept
    cdef Owed owed(self) noexcept
    cdef int end_late(self, error) except -1
