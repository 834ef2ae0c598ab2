# call: the life of a call on a connection, whichever HTTP brought it. Its client is let in or not, its message is decompressed before it
# begins, its response is compressed before it leaves. It counts the memory that the call holds beside its messages.
# Never in here: frames, how a head is read, how a response is written (http1, http2).

cimport cython
from libc.stdint cimport uint8_t, uint64_t
from inferd._core.grpc.call cimport Call
from inferd._core.grpc.compression cimport Conversion
from inferd._core.grpc.message cimport Message
from inferd._core.http.handler cimport HttpHandler
from inferd._core.http.head cimport Head
from inferd._core.net.server_state cimport ServerState
from inferd._core.net.stream_socket cimport StreamSocket

cdef class Credentials:         # one connection's
    cdef ServerState server
    cdef bytes accepted         # the value of `authorization` that the authenticator last accepted for inferences and REST, or None,
    cdef uint64_t epoch         # and the server's credentials_epoch at that time
    # Whether the value is that one: the authenticator need not see it again.
    cdef bint has(self, const uint8_t *value, size_t nbytes) noexcept
    # Asks the authenticator. Raises its rejection.
    cdef int check(self, Call call, bytes authorization) except -1

@cython.no_gc                   # its cycles (work, connection, conversions) are broken by hand when it is over
cdef class HttpCall(Call):
    cdef readonly StreamSocket connection       # None once the call is over: its response has left, or its client has
    cdef readonly Head head     # of a REST call; None: a gRPC call
    cdef str response_encoding  # how long messages of the response are compressed: "gzip", "deflate"; None: they are not
    cdef Conversion incoming    # decompresses a message of the request; None: none is being decompressed
    cdef Conversion outgoing    # compresses a message of the response, or None
    cdef Py_ssize_t held_nbytes # charged to the message memory beside messages
    # ---- Hooks: what a protocol defines.
    # `message` is there: the call begins. Raises what its method does.
    cdef int begin(self) except -1
    # A message of the response may leave. `compressed` says whether it is.
    cdef int begin_sending(self, Message response) except -1
    # There is no response, since the service failed to make one.
    cdef void lose(self) noexcept
    # ---- The connection has the call; it has it no more: work and conversions are cancelled, and memory is given back.
    cdef void open(self, StreamSocket connection) noexcept
    cdef void close(self) noexcept
    # The head of a REST call is whole. True: its body may come. Raises the rejection.
    cdef bint admit(self, HttpHandler handler, Credentials credentials) except -1
    # The request is wrong, or its method raised: the service makes the response, and the call's work is cancelled.
    cdef void reject(self, error) noexcept
    # Begins with `message`, which is compressed: now, or when a thread has decompressed it.
    cdef int begin_compressed(self, Py_ssize_t max_message_nbytes) except -1
    # Begins to decompress a message. True: `decompressed` has the result now; else it will when go_on is called.
    cdef bint decompress(self, Message message, Py_ssize_t max_message_nbytes) except -1
    # The decompressed message, or None while a thread works at it. Raises the fault of the message.
    cdef Message decompressed(self)
    # Sends a message of the response, compressed first if the client takes that.
    cdef int send(self, Message response) except -1
    cdef void drop_incoming(self) noexcept
    cdef void drop_outgoing(self) noexcept
    # Charges bytes that belong to no message to the budget of messages, until give_back or close.
    cdef int hold(self, Py_ssize_t nbytes) except -1
    cdef void give_back(self, Py_ssize_t nbytes) noexcept
