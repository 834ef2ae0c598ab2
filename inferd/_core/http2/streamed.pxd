# streamed: the requests in flight of one ModelStreamInfer call, in their order, with the responses that are ready. As in Triton, responses
# come in the order of the requests.
# Never in here: the client's bytes, frames, what a message means.

cimport cython
from libc.stdint cimport int64_t, uint64_t
from inferd._core.grpc.call cimport StreamHandler
from inferd._core.grpc.message cimport Message
from inferd._core.http.call cimport HttpCall
from inferd._core.http2.send_state cimport SendState

cdef class Streamed

@cython.final
@cython.no_gc                   # its cycles (work, streamed, next, incoming) are cut when it leaves its stream
cdef class StreamedCall(HttpCall):      # one request of a stream, and its place in the stream's response
    cdef Streamed streamed              # None once it has left
    cdef StreamedCall next              # the request behind it
    cdef Message response               # its message of the stream, which waits for those before it
    cdef object error                   # instead of a response: the RequestError that ends the stream
    cdef Py_ssize_t request_nbytes      # of its message as it came
    cdef void settle(self, Message response, error) noexcept

@cython.final
@cython.no_gc                   # its cycle with `call` is cut when the stream closes
cdef class Streamed:
    cdef HttpCall call                  # the Http2Call whose requests these are
    cdef SendState session              # the connection's
    cdef StreamHandler handler
    cdef Py_ssize_t max_message_nbytes
    cdef bint errors_end                # a request that fails ends the stream, unless it is wrong by itself (triton_grpc_error)
    cdef bytes authorization            # the header that it was opened with, or None,
    cdef uint64_t credentials_epoch     # and when the authenticator last accepted that
    cdef StreamedCall first, last       # the requests in flight
    cdef int64_t count                  # how many they are, those included whose response waits to be sent
    cdef Py_ssize_t nbytes              # of the requests that have no response yet
    cdef bint sending                   # a response is being sent: read_response asks for the next one after it
    cdef bint resuming                  # the connection is to take its backlog
    cdef bint closed                    # one of the requests ends the stream: no other begins
    cdef bint takes_more(self) noexcept # whether another request may begin
    # More of the backlog may be taken: in the next turn.
    cdef int resume_taking(self) except -1
    # The RequestError of a client that has lost its permission since the stream began; None: it may go on.
    cdef object lost_access(self)
    cdef void notify(self) noexcept
    cdef void leave(self, StreamedCall call) noexcept
    # Begins a request. It is rejected in band if it is wrong. Raises ResourceExhausted if there is no memory for another.
    cdef int begin(self, Message message) except -1
    # Takes the first request off the list, if it has its response. None: it has none, or the stream has just failed.
    cdef Message take_response(self)
    # Cancels all that are in flight.
    cdef void drop(self) noexcept
