# cython: language_level=3
# call: the life of a call on a connection, whichever HTTP brought it (see call.pxd).

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from inferd._core.grpc.call cimport Call
from inferd._core.grpc.compression cimport Compression, Conversion, Decompression
from inferd._core.grpc.message cimport Message, charge_bytes, release_bytes
from inferd._core.http.handler cimport HttpHandler
from inferd._core.http.head cimport OPTIONS, same_secret
from inferd._core.http.response cimport decompression_error
from inferd._core.net.limits cimport LEAST_COMPRESSED_NBYTES, QUANTUM, TASK_NBYTES
from inferd._core.net.server_state cimport ServerState
from inferd._core.net.stream_socket cimport StreamSocket


@cython.final
cdef class Credentials:
    """The `authorization` header that calls of a connection repeat. The authenticator sees it once for inferences and REST, and for each
    call of another RPC."""

    def __cinit__(self, ServerState server not None):
        self.server = server

    cdef bint has(self, const uint8_t *value, size_t nbytes) noexcept:
        return self.accepted is not None and self.epoch == self.server.credentials_epoch and \
            nbytes == <size_t>PyBytes_GET_SIZE(self.accepted) and \
            same_secret(value, <const uint8_t *>PyBytes_AS_STRING(self.accepted), nbytes)

    cdef int check(self, Call call, bytes authorization) except -1:
        if self.server.authenticator(call, authorization):
            self.accepted, self.epoch = authorization, self.server.credentials_epoch
        return 0


@cython.no_gc
cdef class HttpCall(Call):
    """One request and its response on a connection. A protocol's calls derive from it."""

    cdef int begin(self) except -1:
        raise NotImplementedError

    cdef int begin_sending(self, Message response) except -1:
        raise NotImplementedError

    cdef void lose(self) noexcept:
        pass

    cpdef run_on_thread(self, work):
        if self.connection is not None:
            self.connection.server.run_on_thread(self.connection, work)

    # ---- its connection

    cdef void open(self, StreamSocket connection) noexcept:
        self.connection, self.connection_id, self.share = connection, connection.connection_id, connection.share
        connection.calls += 1
        connection.server.calls += 1
        connection.server.totals.calls += 1

    cdef void close(self) noexcept:
        cdef StreamSocket connection = self.connection
        if not self.settled:
            connection.server.totals.abandoned += 1
        self.abandon()
        if self.incoming is not None:
            self.drop_incoming()
        if self.outgoing is not None:
            self.drop_outgoing()
        if self.held_nbytes > 0:
            self.give_back(self.held_nbytes)
        connection.calls -= 1
        connection.server.calls -= 1
        self.connection = None

    cdef bint admit(self, HttpHandler handler, Credentials credentials) except -1:
        cdef bytes authorization = self.head.authorization
        if self.connection.rejection is not None:
            self.reject(self.connection.rejection)      # not raised: each raise would extend its traceback
            return False
        handler.screen(self, self.head)         # first: it says which pages of a browser may read the response, a rejection, too
        # Browsers ask by OPTIONS first, and send no token then.
        if self.connection.server.authenticator is not None and self.head.verb != OPTIONS and not (
                authorization is not None and
                credentials.has(<const uint8_t *>PyBytes_AS_STRING(authorization), PyBytes_GET_SIZE(authorization))):
            credentials.check(self, authorization)
        handler.admit(self, self.head)          # behind it: a client without a token learns nothing of what is here
        if not self.head.is_infer:
            self.hold(TASK_NBYTES)
        return True

    cdef void reject(self, error) noexcept:
        cdef StreamSocket connection = self.connection
        if connection is None:          # the client has left meanwhile
            return
        connection.cost += QUANTUM      # a client with wrong calls lets others go first
        if not connection.server.reject_call(self, error):
            self.lose()

    # ---- the request

    cdef int begin_compressed(self, Py_ssize_t max_message_nbytes) except -1:
        if self.decompress(self.message, max_message_nbytes):
            self.message = self.decompressed()
            self.begin()
        return 0

    cdef bint decompress(self, Message message, Py_ssize_t max_message_nbytes) except -1:
        self.incoming = Decompression(message, self.encoding, max_message_nbytes, self.go_on, self.deadline_ns)
        return self.connection.server.convert(self.connection, self.incoming)

    cdef Message decompressed(self):
        cdef Conversion conversion = self.incoming
        cdef ServerState server = self.connection.server
        if not conversion.over:
            return None
        self.incoming = None
        if conversion.error is not None:
            raise conversion.error if self.head is None else decompression_error(conversion.error, self.encoding)
        server.totals.decompressed += 1
        server.totals.decompressed_nbytes += conversion.result.nbytes
        return conversion.result

    def go_on(self):
        """A thread has decompressed the message: the call begins."""
        cdef StreamSocket connection = self.connection
        if connection is None or self.incoming is None:
            return
        try:
            self.message = self.decompressed()
            self.begin()
        except Exception as error:
            self.reject(error)
        connection.mark_dirty()         # the flush is scheduled behind the inline run that the call scheduled: its response goes along

    cdef void drop_incoming(self) noexcept:
        if self.incoming is not None:
            self.incoming.cancel()
            self.incoming = None

    # ---- the response

    cdef int send(self, Message response) except -1:
        cdef StreamSocket connection = self.connection
        if connection is None:
            return 0
        if self.response_encoding is None or response.nbytes < LEAST_COMPRESSED_NBYTES:
            return self.begin_sending(response)
        self.outgoing = Compression(response, self.response_encoding, self.send_compressed)
        connection.compressing_nbytes += response.nbytes
        if connection.server.convert(connection, self.outgoing):
            self.send_compressed()
        return 0

    def send_compressed(self):
        """The response is compressed; or it is sent as it was, if compression saves nothing or finds no memory."""
        cdef Conversion conversion = self.outgoing
        cdef ServerState server
        if conversion is None:
            return
        server = self.connection.server
        self.outgoing = None
        self.connection.compressing_nbytes -= conversion.nbytes
        if conversion.result is None:
            self.begin_sending(conversion.source)
            return
        server.totals.compressed += 1
        server.totals.saved_nbytes += conversion.source.nbytes - conversion.result.nbytes
        self.begin_sending(conversion.result)

    cdef void drop_outgoing(self) noexcept:
        if self.outgoing is not None:
            self.connection.compressing_nbytes -= self.outgoing.nbytes
            self.outgoing.cancel()
            self.outgoing = None

    # ---- memory

    cdef int hold(self, Py_ssize_t nbytes) except -1:
        charge_bytes(nbytes, self.share, self.held_nbytes)
        self.held_nbytes += nbytes
        return 0

    cdef void give_back(self, Py_ssize_t nbytes) noexcept:
        self.held_nbytes -= nbytes
        release_bytes(nbytes, self.share)
