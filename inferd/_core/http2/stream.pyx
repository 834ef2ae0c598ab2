# cython: language_level=3
# stream: one call on one HTTP/2 stream (see stream.pxd).
#
# nghttp2 copies what it sends before a callback returns, so a response's memory is free as soon as read_response has given its last byte.

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from libc.stdint cimport INT32_MAX, int32_t, uint8_t, uint32_t
from libc.string cimport memcpy

from inferd._core.http.call cimport HttpCall
from inferd._core.grpc.message cimport PREFIX_NBYTES, WAITING, Message, framed, pooled
from inferd._core.http2.nghttp2 cimport *
from inferd._core.http2.response_headers cimport submit_headers, submit_status, submit_trailers

from inferd.errors import InvalidArgument, ResourceExhausted

MAY_FOLLOW[<int>COMING] = 1 << OPENED | 1 << OVER
MAY_FOLLOW[<int>OPENED] = 1 << SENDING | 1 << OVER
MAY_FOLLOW[<int>SENDING] = 1 << DEFERRED | 1 << OVER
MAY_FOLLOW[<int>DEFERRED] = 1 << SENDING | 1 << OVER
MAY_FOLLOW[<int>OVER] = 0


@cython.final
@cython.no_gc
cdef class Http2Call(HttpCall):
    """One call on one HTTP/2 stream."""

    def __init__(self):
        raise TypeError("Http2Call is made by a Session")

    @property
    def sending(self):
        """Whether bytes of the last message still wait to be sent."""
        return self.untaken_nbytes > 0 or self.outgoing is not None

    @property
    def request_over(self):
        """Whether the client sends no more, and no message is being decompressed: if take_message returns None, no message will come."""
        return self.half_closed and self.incoming is None

    cdef int begin(self) except -1:
        if self.kind == INFER:
            self.http2.server.infer_handler.infer(self)
        elif self.kind == REST:
            self.exchange.handler.take(self, self.head)
        else:
            self.http2.server.start(self, self.method_row)
        return 0

    cpdef reply(self, message):
        if self.settled:
            return
        if self.connection is not None and not self.http2.has_room(len(message)):
            self.work = None            # it gives its response just now: `reject` must not cancel it
            self.reject(self.http2.unread_error(len(message)))
            return
        response = pooled(message)        # may raise: the call is not settled yet
        self.settled = True
        self.work = None
        self.send(response)

    cpdef fail(self, error):
        if self.settled:
            return
        self.settled = True
        self.work = None
        if self.connection is None:
            return
        self.drop_request()
        self.drop_outgoing()
        if self.streamed is not None:
            self.streamed.drop()
        if self.exchange is not None:
            self.send_http(None, error)
        elif self.state >= SENDING:
            self.error = error
            self.resume()
        else:
            self.words_nbytes = submit_status(self.http2.session, self.stream_id, error)
            enter(self, SENDING)
            self.reset_after_response()
            self.connection.mark_dirty()

    def respond(self, int status, tuple headers not None, body not None):
        """Responds to a REST call. headers: pairs of bytes, names in lower case, without content-length. body: bytes or Message."""
        if self.exchange is None:
            raise TypeError("expected a REST call, got a gRPC call")
        if not self.settled:
            self.exchange.status, self.exchange.headers = status, headers
            self.reply(body)

    def write(self, message):
        """Sends one message of a streaming response. The caller waits until `sending` is False before the next.
        Raises ResourceExhausted when the connection's client leaves too much unread."""
        if self.settled or self.connection is None:
            return
        if not self.http2.has_room(len(message)):
            raise self.http2.unread_error(len(message))
        self.send(pooled(message))

    def end(self):
        """Ends a streaming response with OK."""
        if self.settled:
            return
        self.settled = True
        if self.connection is None:
            return
        self.drop_request()
        if self.state >= SENDING:
            self.resume()
        else:
            self.begin_response()

    def take_message(self):
        """The next message of a streaming request, or None while there is none. To take one opens the window for more.
        Raises RequestError when the client's bytes are no message."""
        cdef Message message
        if self.incoming is None:
            message = next_message(self)
            if message is None or not message.compressed or self.connection is None:
                return message
            self.decompress(message, self.max_message_nbytes)
        return self.decompressed()

    cdef Message next_response(self):
        cdef Message response
        if self.settled or self.outgoing is not None:
            return None
        response = self.streamed.take_response()
        if response is None:
            self.end_if_over()
        elif self.backlog is not None and self.streamed.takes_more():
            self.streamed.resume_taking()
        return response

    def send_ready(self):
        """The first response of a stream is ready, and none is being sent."""
        cdef Message response = self.next_response()
        if response is not None:
            self.send(response)

    cdef void end_if_over(self) noexcept:
        if self.half_closed and self.backlog is None and self.streamed.first is None and not self.streamed.sending and not self.settled:
            try:
                self.check_ended()
                self.end()
            except Exception as error:
                self.reject(error)

    cdef int check_ended(self) except -1:
        """The client sends no more, and all its bytes were parsed: raises if they end within a message."""
        if self.partial is not None:
            if self.kind == REST:       # nghttp2 has compared the body's length with content-length
                if self.partial.standing == WAITING:
                    self.partial.admission.leave(self.partial)
                self.message, self.partial = self.partial, None
                return 0
            raise InvalidArgument(f"request message: the stream ended {self.missing_nbytes} bytes before the message did", reason="framing")
        if self.prefix_nbytes > 0:
            raise InvalidArgument(f"request message: expected a {PREFIX_NBYTES}-byte prefix, got {self.prefix_nbytes} bytes",
                                  reason="framing")
        return 0

    cdef int ask_for_place(self, Message message) except -1:
        return self.connection.server.admission.enter(message, self)

    cdef void credited(self, error) noexcept:
        if self.connection is None:
            return
        if error is not None:
            self.reject(error)
            return
        self.open_window()
        self.connection.mark_dirty()

    cdef bint awaits_credit(self) noexcept:
        return self.partial is not None and self.partial.standing == WAITING

    cdef void open_window(self) noexcept:
        """Opens the stream's window alone: on_data_chunk consumes the connection's as bytes come. So no call waits for others' credit."""
        cdef Py_ssize_t missing_nbytes = self.missing_nbytes if self.partial is not None else 0
        cdef Py_ssize_t first_nbytes = self.connection.server.limits.stream_window_nbytes
        cdef Py_ssize_t open_nbytes, more_nbytes
        self.looked_nbytes = self.received_nbytes
        if self.half_closed or self.settled or self.awaits_credit():
            return
        open_nbytes = nghttp2_session_get_stream_local_window_size(self.http2.session, self.stream_id)
        if open_nbytes < 0:             # the stream is closed
            return
        more_nbytes = missing_nbytes + first_nbytes - open_nbytes
        if self.backlog is not None:
            more_nbytes -= PyByteArray_GET_SIZE(self.backlog)
        # Beyond the message that comes, a stream of several may send some bytes of the next one.
        if open_nbytes < missing_nbytes or self.kind >= SERVER_STREAM and 2 * more_nbytes >= first_nbytes:
            nghttp2_submit_window_update(self.http2.session, NGHTTP2_FLAG_NONE, self.stream_id,
                                         <int32_t>min(more_nbytes, INT32_MAX - open_nbytes))

    def go_on(self):
        if is_task_stream(self.kind):
            self.notify()               # the task takes the message
        else:
            HttpCall.go_on(self)

    cdef void drop_request(self) noexcept:
        """The method reads no more of the request: frees its memory."""
        cdef Py_ssize_t nbytes
        self.message = self.partial = None
        self.drop_incoming()
        if self.backlog is not None:
            nbytes = PyByteArray_GET_SIZE(self.backlog)
            self.backlog = None
            self.give_back(nbytes)

    cdef void drop_response(self) noexcept:
        self.http2.unread_nbytes -= self.untaken_nbytes
        self.untaken_nbytes = 0
        self.response = None
        self.drop_outgoing()

    cdef void load(self, Message response) noexcept:
        self.response = response
        self.untaken = framed(response)
        self.untaken_nbytes = response.nbytes + PREFIX_NBYTES
        self.http2.unread_nbytes += self.untaken_nbytes

    cdef int begin_sending(self, Message response) except -1:
        if self.exchange is not None:
            self.send_http(response, None)
            return 0
        self.load(response)
        if self.state >= SENDING:
            self.resume()
        else:
            self.begin_response()
        return 0

    cdef void begin_response(self) noexcept:
        cdef nghttp2_data_provider2 provider
        cdef bint is_encoded = self.response_encoding is not None and (self.kind >= SERVER_STREAM or self.response.compressed)
        provider.source.ptr = <void *>self
        provider.read_callback = read_response
        enter(self, SENDING)
        submit_headers(self.http2.session, self.stream_id, self.connection.server.encoding if is_encoded else None, &provider)
        self.connection.mark_dirty()

    cdef void resume(self) noexcept:
        if self.state == DEFERRED:
            enter(self, SENDING)
            nghttp2_session_resume_data(self.http2.session, self.stream_id)
        self.connection.mark_dirty()

    cdef void send_http(self, Message body, error) noexcept:
        try:
            if error is not None:
                try:
                    body = Message(self.exchange.describe(error))
                except ResourceExhausted:
                    body = Message.wrap(b"")        # the status says enough
            self.submit_http(body)
        except Exception as unexpected:
            self.connection.server.log(unexpected)
            self.lose()

    cdef void lose(self) noexcept:
        if self.connection is not None:
            nghttp2_submit_rst_stream(self.http2.session, NGHTTP2_FLAG_NONE, self.stream_id, NGHTTP2_INTERNAL_ERROR)
            self.connection.mark_dirty()

    cdef int submit_http(self, Message body) except -1:
        cdef nghttp2_data_provider2 provider
        cdef bint sends_body = body.nbytes > 0 and not self.exchange.is_bodiless()
        provider.source.ptr = <void *>self
        provider.read_callback = read_response
        self.exchange.submit(self.http2.session, self.stream_id, body.nbytes, body.compressed, self.response_encoding is not None,
                             &provider if sends_body else NULL)
        enter(self, SENDING)
        if sends_body:
            self.response = body
            self.untaken = body.data
            self.untaken_nbytes = body.nbytes
            self.http2.unread_nbytes += body.nbytes
        else:
            self.reset_after_response()
        self.connection.mark_dirty()
        return 0

    cdef void reset_after_response(self) noexcept:
        """The response is whole. If the client still sends, the stream is reset after it: the client is to stop (RFC 9113, 8.1)."""
        if not self.half_closed:
            self.http2.reset_after_response(self.stream_id)

    cdef void notify(self) noexcept:
        if self.listener is not None:
            try:
                self.listener()
            except Exception as error:
                self.http2.server.log(error)


cdef Message next_message(Http2Call call):
    """The message that came first, not decompressed."""
    cdef Message message = call.message
    cdef const uint8_t *unread
    cdef Py_ssize_t nbytes, taken
    call.message = None
    if message is not None and call.backlog is not None and call.connection is not None:
        unread = <const uint8_t *>PyByteArray_AS_STRING(call.backlog)
        nbytes = taken = PyByteArray_GET_SIZE(call.backlog)
        call.feed(&unread, &nbytes, call.max_message_nbytes)
        taken -= nbytes
        if nbytes == 0:
            call.backlog = None
        else:
            del call.backlog[:taken]
        call.give_back(taken)
        call.open_window()
        call.connection.mark_dirty()
    if message is None and call.half_closed and not call.settled:
        call.check_ended()          # the backlog may have ended within a message
    return message


cdef bint load_next(Http2Call call) noexcept:
    """Within read_response: whether the next response of a stream is there to be sent."""
    cdef Message response
    try:
        response = call.next_response()
        if response is not None and call.response_encoding is not None:
            call.send(response)
        elif response is not None:
            call.load(response)
    except Exception as error:
        call.reject(error)
    return call.untaken_nbytes > 0


cdef inline Py_ssize_t put_untaken(Http2Call call, uint8_t *buffer, Py_ssize_t length) noexcept:
    """Moves bytes of the message that is being sent to libnghttp2."""
    cdef Py_ssize_t nbytes = min(length, call.untaken_nbytes)
    if nbytes > 0:
        memcpy(buffer, call.untaken, nbytes)
        call.sent_nbytes += nbytes
        call.http2.sent_nbytes += nbytes
        call.untaken += nbytes
        call.untaken_nbytes -= nbytes
        call.http2.unread_nbytes -= nbytes
    return nbytes


cdef nghttp2_ssize read_response(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length,
                               uint32_t *data_flags, nghttp2_data_source *source, void *user_data) noexcept:
    """nghttp2 asks for at most `length` bytes of a call's response."""
    cdef Http2Call call = <Http2Call>source.ptr
    cdef Py_ssize_t nbytes = put_untaken(call, buffer, length)
    while call.streamed is not None and call.untaken_nbytes == 0 and load_next(call):
        nbytes += put_untaken(call, buffer + nbytes, length - nbytes)
    if call.untaken_nbytes > 0:
        return nbytes
    call.response = None
    if call.settled:
        data_flags[0] |= NGHTTP2_DATA_FLAG_EOF
        if call.kind == REST:
            call.reset_after_response()
        else:
            data_flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
            submit_trailers(session, stream_id, call.error)
            call.reset_after_response()
        return nbytes
    if nbytes > 0:
        call.notify()                   # the writer may go on
        return nbytes
    enter(call, DEFERRED)
    return NGHTTP2_ERR_DEFERRED
