# cython: language_level=3
# streamed: the requests in flight of one ModelStreamInfer call (see streamed.pxd).

cimport cython

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.grpc.message cimport PREFIX_NBYTES, Message, charge_bytes, pooled, release_bytes
from inferd._core.http.call cimport HttpCall
from inferd._core.net.server_state cimport ServerState
from inferd._core.http2.limits cimport STREAMED_NBYTES, STREAMED_REQUEST_NBYTES

from inferd.errors import DeadlineExceeded, InvalidArgument, NotFound, PermissionDenied, Unauthenticated


@cython.final
@cython.no_gc
cdef class StreamedCall(HttpCall):
    """One request of a stream."""

    cdef int begin(self) except -1:
        return self.streamed.handler.infer(self)

    cdef void lose(self) noexcept:
        if self.streamed is not None:
            self.streamed.call.lose()

    cpdef reply(self, message):
        cdef Streamed streamed = self.streamed
        if self.settled:
            return
        if not streamed.session.has_room(len(message)):
            self.work = None            # it gives its response just now: `reject` must not cancel it
            self.reject(streamed.session.unread_error(len(message)))
            return
        self.settle(streamed.handler.wrap(pooled(message)), None)

    cpdef fail(self, error):
        """Says so in band, and the stream goes on; or the error ends the stream."""
        cdef Streamed streamed = self.streamed
        cdef Message response
        if self.settled:
            return
        if isinstance(error, DeadlineExceeded) and monotonic_ns() >= self.deadline_ns:
            self.work = None                # it has ended: the stream, whose deadline this is, cancels the others
            streamed.call.fail(error)
            return
        # With triton_grpc_error, too, a request that is wrong by itself is told so in band, as in Triton.
        if isinstance(error, (InvalidArgument, NotFound)) or \
                not (streamed.errors_end or isinstance(error, (PermissionDenied, Unauthenticated))):
            try:
                response = streamed.handler.rejection(self.message, error)
                if streamed.session.has_room(response.nbytes):
                    self.settle(response, None)
                    return
            except Exception as unexpected: # no memory
                error = unexpected
        streamed.closed = True
        self.settle(None, error)

    cdef void settle(self, Message response, error) noexcept:
        cdef Streamed streamed = self.streamed
        self.settled = True
        self.work = self.message = None
        self.response, self.error = response, error
        streamed.nbytes -= self.request_nbytes
        if response is not None:
            streamed.session.unread_nbytes += response.nbytes + PREFIX_NBYTES
        if streamed.first is self and not streamed.sending:
            streamed.notify()


@cython.final
@cython.no_gc
cdef class Streamed:
    """The requests in flight of one stream."""

    cdef bint takes_more(self) noexcept:
        return self.count < self.session.server.limits.max_stream_requests and self.nbytes < STREAMED_NBYTES and not self.closed \
            and not self.session.server.stopping

    cdef int resume_taking(self) except -1:
        if not self.resuming:
            self.resuming = True
            self.session.connection.resume_call(self.call)
        return 0

    cdef int begin(self, Message message) except -1:
        cdef StreamedCall call
        charge_bytes(STREAMED_REQUEST_NBYTES, self.call.share, 0)
        call = StreamedCall.__new__(StreamedCall)
        call.method, call.message, call.deadline_ns = self.call.method, message, self.call.deadline_ns
        call.connection_id, call.share, call.traceparent = self.call.connection_id, self.call.share, self.call.traceparent
        call.key = self.call.key
        call.streamed, call.connection, call.request_nbytes = self, self.session.connection, message.nbytes
        if self.last is None:
            self.first = call
        else:
            self.last.next = call
        self.last = call
        self.count += 1
        self.nbytes += message.nbytes
        try:
            if self.session.connection.rejection is not None or self.credentials_epoch != self.session.server.credentials_epoch:
                error = self.lost_access()
                if error is not None:
                    call.reject(error)              # not raised: each raise would extend its traceback
                    return 0
            if not self.session.has_room(0):
                raise self.session.unread_error(0)
            if message.compressed:
                call.encoding = self.call.encoding
                call.begin_compressed(self.max_message_nbytes)
            else:
                self.handler.infer(call)
        except Exception as error:
            call.reject(error)
        return 0

    cdef object lost_access(self):
        cdef ServerState server = self.session.server
        if self.session.connection.rejection is None and server.authenticator is not None:
            try:
                server.authenticator(self.call, self.authorization)
                self.credentials_epoch = server.credentials_epoch
            except Exception as error:
                return error
        return self.session.connection.rejection

    cdef void notify(self) noexcept:
        """The first response is ready, and none is being sent."""
        try:
            (<object>self.call).send_ready()
        except Exception as error:
            self.session.server.log(error)

    cdef Message take_response(self):
        cdef StreamedCall call = self.first
        self.sending = False
        if call is None or not call.settled:
            return None
        if call.error is not None:
            self.call.fail(call.error)
            return None
        self.leave(call)
        self.sending = True
        return call.response

    cdef void drop(self) noexcept:
        cdef StreamedCall call
        while self.first is not None:
            call = self.first
            self.leave(call)
            call.drop_incoming()
            call.abandon()

    cdef void leave(self, StreamedCall call) noexcept:
        """Takes the first one off the list."""
        self.first = call.next
        if self.first is None:
            self.last = None
        call.next = call.streamed = call.connection = None
        call.error = None               # it may hold frames that hold the call
        self.count -= 1
        release_bytes(STREAMED_REQUEST_NBYTES, self.call.share)
        if call.response is not None:
            self.session.unread_nbytes -= call.response.nbytes + PREFIX_NBYTES
        elif not call.settled:
            self.nbytes -= call.request_nbytes
