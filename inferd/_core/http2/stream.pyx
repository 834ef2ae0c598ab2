# cython: language_level=3
# stream: one call on one HTTP/2 stream (see stream.pxd).
#
# nghttp2 copies what it sends before a callback returns, so a response's memory is free as soon as read_response has given its last byte.

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from inferd._core.grpc.call cimport percent_encode, status_details
from inferd._core.http.call cimport HttpCall
from inferd._core.http2.exchange cimport Exchange
from inferd._core.net.server_state cimport Limits
from inferd._core.grpc.message cimport (
    PREFIX_NBYTES, SMALL_NBYTES, WAITING, Message, append_bytes, awaited_message, charge_bytes, count_copied, framed, pooled
)
from inferd._core.http2.nghttp2 cimport *
from inferd._core.http2.limits cimport STREAMED_COST
from inferd._core.net.stall_policy cimport CALL_RESPONSE, CONNECTION_RESPONSES, NOTHING, REQUEST, Owed
from inferd._core.http2.streamed cimport Streamed

from inferd.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, Unavailable, Unimplemented

cdef inline nghttp2_nv constant_header(bytes name, bytes value):
    """A header over bytes objects that live as long as the module: nghttp2 need not copy them."""
    cdef nghttp2_nv header
    header.name = <uint8_t *>PyBytes_AS_STRING(name)
    header.namelen = PyBytes_GET_SIZE(name)
    header.value = <uint8_t *>PyBytes_AS_STRING(value)
    header.valuelen = PyBytes_GET_SIZE(value)
    header.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return header

cdef inline nghttp2_nv header(bytes name, bytes value):
    cdef nghttp2_nv result = constant_header(name, value)
    result.flags = NGHTTP2_NV_FLAG_NONE
    return result

# Names and values of headers; kept alive here, since nghttp2 holds only their addresses.
STATUS, OK_200, CONTENT_TYPE, GRPC, GRPC_STATUS, GRPC_OK = b":status", b"200", b"content-type", b"application/grpc", b"grpc-status", b"0"
GRPC_MESSAGE, GRPC_DETAILS, ACCEPT_ENCODING, ENCODINGS, ENCODING = (
    b"grpc-message", b"grpc-status-details-bin", b"grpc-accept-encoding", b"identity, deflate, gzip", b"grpc-encoding")

NO_WORDS = b"the text of this status found no room in the message memory of the server (message_memory_bytes)"

cdef nghttp2_nv RESPONSE_HEADERS[2]
RESPONSE_HEADERS[0] = constant_header(STATUS, OK_200)
RESPONSE_HEADERS[1] = constant_header(CONTENT_TYPE, GRPC)
cdef nghttp2_nv OK_TRAILERS[1]
OK_TRAILERS[0] = constant_header(GRPC_STATUS, GRPC_OK)

cdef tuple TEXT = ((CONTENT_TYPE, b"text/plain; charset=utf-8"),)

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
            self.send_http_error(error)
        elif self.state >= SENDING:
            self.error = error
            self.resume()
        else:
            self.send_status(error)

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
            self.submit_headers()

    def take_message(self):
        """The next message of a streaming request, or None while there is none. To take one opens the window for more.
        Raises RequestError when the client's bytes are no message."""
        cdef Message message
        if self.incoming is None:
            message = self.next_message()
            if message is None or not message.compressed or self.connection is None:
                return message
            self.decompress(message, self.max_message_nbytes)
        return self.decompressed()

    cdef Message next_message(self):
        """The message that came first, not decompressed."""
        cdef Message message = self.message
        cdef const uint8_t *unread
        cdef Py_ssize_t nbytes, taken
        self.message = None
        if message is not None and self.backlog is not None and self.connection is not None:
            unread = <const uint8_t *>PyByteArray_AS_STRING(self.backlog)
            nbytes = taken = PyByteArray_GET_SIZE(self.backlog)
            self.feed(&unread, &nbytes, self.max_message_nbytes)
            taken -= nbytes
            if nbytes == 0:
                self.backlog = None
            else:
                del self.backlog[:taken]
            self.give_back(taken)
            self.open_window()
            self.connection.mark_dirty()
        if message is None and self.half_closed and not self.settled:
            self.check_ended()          # the backlog may have ended within a message
        return message

    cdef int open_streamed(self, bytes authorization, bint errors_end) except -1:
        self.streamed = Streamed.__new__(Streamed)
        self.streamed.call, self.streamed.session = self, self.http2
        self.streamed.handler, self.streamed.errors_end = self.http2.server.stream_handler, errors_end
        self.streamed.max_message_nbytes = self.max_message_nbytes
        self.streamed.authorization, self.streamed.credentials_epoch = authorization, self.connection.server.credentials_epoch
        return 0

    cdef int take_requests(self, const uint8_t **chunk, Py_ssize_t *nbytes) except -1:
        cdef Message message
        while (nbytes[0] > 0 and not self.settled and self.connection.begun_requests < self.connection.most_begun_requests
               and self.streamed.takes_more()):
            if self.feed(chunk, nbytes, self.max_message_nbytes):
                message, self.message = self.message, None
                self.connection.begun_requests += 1
                self.connection.cost += STREAMED_COST
                self.streamed.begin(message)
        if nbytes[0] > 0 and not self.settled and self.streamed.takes_more():
            self.resume_taking()
        return 0

    cdef int take_backlog(self) except -1:
        cdef bytearray backlog = self.backlog
        cdef const uint8_t *unread = <const uint8_t *>PyByteArray_AS_STRING(backlog)
        cdef Py_ssize_t nbytes = PyByteArray_GET_SIZE(backlog)
        cdef Py_ssize_t taken = nbytes
        self.take_requests(&unread, &nbytes)
        if self.backlog is None or self.connection is None:
            return 0                    # the stream has failed
        taken -= nbytes
        if nbytes == 0:
            self.backlog = None
        else:
            del backlog[:taken]
        self.give_back(taken)
        self.open_window()
        self.connection.mark_dirty()
        self.end_if_over()
        return 0

    cdef Message next_response(self):
        cdef Message response
        if self.settled or self.outgoing is not None:
            return None
        response = self.streamed.take_response()
        if response is None:
            self.end_if_over()
        elif self.backlog is not None and self.streamed.takes_more():
            self.resume_taking()
        return response

    def send_ready(self):
        """The first response of a stream is ready, and none is being sent."""
        cdef Message response = self.next_response()
        if response is not None:
            self.send(response)

    cdef bint load_next(self) noexcept:
        """Within read_response: whether the next response of a stream is there to be sent."""
        cdef Message response
        try:
            response = self.next_response()
            if response is not None and self.response_encoding is not None:
                self.send(response)
            elif response is not None:
                self.load(response)
        except Exception as error:
            self.reject(error)
        return self.untaken_nbytes > 0

    cdef int resume_taking(self) except -1:
        if not self.streamed.resuming:
            self.streamed.resuming = True
            self.connection.resume_call(self)
        return 0

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
        """Consumes each byte of the connection's window as it comes, so that no call waits for the credit of others."""
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

    cdef int take_body(self, const uint8_t *chunk, Py_ssize_t nbytes) except -1:
        cdef Py_ssize_t there_nbytes = self.partial.there_nbytes if self.partial is not None else 0
        cdef Py_ssize_t whole_nbytes
        if self.settled:
            return 0
        whole_nbytes = max(<Py_ssize_t>self.head.content_nbytes, there_nbytes + nbytes)
        if whole_nbytes > self.max_message_nbytes:
            raise self.too_large(whole_nbytes)
        if self.partial is None:
            self.partial = awaited_message(whole_nbytes)
            self.partial.compressed = self.encoding is not None
            self.partial.share = self.share
            if whole_nbytes > SMALL_NBYTES:
                self.ask_for_place(self.partial)
        elif whole_nbytes > SMALL_NBYTES and self.partial.place_nbytes == 0:
            self.ask_for_place(self.partial)            # nobody said that it would become large
        append_bytes(self.partial, <const char *>chunk, nbytes)
        count_copied(nbytes)
        self.missing_nbytes = self.partial.nbytes - self.partial.there_nbytes
        return 0

    cdef too_large(self, Py_ssize_t nbytes):
        return ResourceExhausted(
            f"request body: expected at most {self.max_message_nbytes} bytes (max_message_bytes), got {nbytes}; split the request into "
            "smaller ones, or have the server's limit raised", reason="message_size")

    cdef int begin_without_message(self) except -1:
        if self.kind != REST:
            raise Unimplemented(f"{self.method}: expected one request message, got none", reason="cardinality")
        self.message = Message.wrap(b"")
        return self.begin()

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

    cdef Owed owed(self) noexcept:
        """The step that the client owes before this call goes on, if the call holds memory meanwhile. The client of a streaming call owes
        no message, except the first, and except in a drain."""
        if self.untaken_nbytes > 0:
            if nghttp2_session_get_stream_remote_window_size(self.http2.session, self.stream_id) <= 0:
                return CALL_RESPONSE
            return CONNECTION_RESPONSES
        if self.awaits_credit():
            return NOTHING
        if self.settled:
            return NOTHING              # its end leaves with the next write; if that does not, the connection owes OUTPUT
        if self.incoming is not None:
            return NOTHING              # the call waits for a thread
        if self.kind == INFER_STREAM:
            if self.streamed is None:
                return REQUEST          # the rest of its headers
            if self.streamed.first is not None:
                return NOTHING
            # Between two requests the client owes nothing. In a drain, the stream takes no more.
            return REQUEST if self.partial is not None or self.prefix_nbytes > 0 or self.connection.server.stopping else NOTHING
        if is_task_stream(self.kind):
            # Messages that the method does not take count, too: it takes those that it wants as they come.
            if self.message is not None or self.backlog is not None or self.partial is not None or self.prefix_nbytes > 0:
                return REQUEST
            if self.received_nbytes == 0 and not self.half_closed:
                return REQUEST          # a client that opens a stream must send a message
            return REQUEST if self.connection.server.stopping and not self.half_closed else NOTHING
        return NOTHING if self.half_closed else REQUEST

    cdef Py_ssize_t owed_nbytes(self) noexcept:
        """The size of the request's message that comes, or has come while the client may still send. More than SMALL_NBYTES must come at
        min_message_rate. Responses always have min_rate."""
        if self.partial is not None:
            return self.partial.nbytes
        return self.message.nbytes if self.message is not None else 0

    cdef uint64_t consumed_nbytes(self) noexcept:
        """Bytes of the request that the client has sent and that do not wait in the backlog."""
        return self.received_nbytes - (PyByteArray_GET_SIZE(self.backlog) if self.backlog is not None else 0)

    cdef void end_stalled(self, Owed owed, int64_t limit_ns, int64_t now_ns) noexcept:
        """The client has owed this for too long, or its deadline has passed. Rejects the call with a status; if its client does
        not read the response, resets the stream. The call holds nothing more."""
        if owed == REQUEST or self.incoming is not None or self.awaits_credit() or (self.kind == INFER_STREAM and owed == NOTHING):
            self.reject(self.stall_error(limit_ns, now_ns))
        else:
            self.abandon()
            self.drop_request()
            self.drop_response()
            if self.streamed is not None:
                self.streamed.drop()
            nghttp2_submit_rst_stream(self.http2.session, NGHTTP2_FLAG_NONE, self.stream_id, NGHTTP2_CANCEL)
            self.connection.mark_dirty()

    cdef stall_error(self, int64_t limit_ns, int64_t now_ns):
        cdef Limits limits
        cdef int64_t rate
        if self.connection.server.stopping:
            return Unavailable("the server is stopping, and the rest of the request did not come; send it to another replica",
                               reason="stalled")
        if now_ns >= self.deadline_ns:
            unfinished = "stream ended" if self.kind == INFER_STREAM else "request was whole"
            return DeadlineExceeded(f"{self.method}: the deadline passed before the {unfinished}", reason="deadline")
        if is_task_stream(self.kind) and (self.message is not None or self.backlog is not None):
            return DeadlineExceeded(f"{self.method}: messages came that were not asked for, and nobody took them for {limit_ns / 1e9:g} s "
                                    f"(stall_timeout_s)", reason="stalled")
        limits = self.connection.server.limits
        rate = limits.min_message_rate if self.owed_nbytes() > SMALL_NBYTES else limits.min_rate
        return DeadlineExceeded(
            f"{self.method}: expected the whole request, or {rate} bytes of it a second, got less for {limit_ns / 1e9:g} s "
            f"(stall_timeout_s)", reason="stalled")

    cdef void load(self, Message response) noexcept:
        self.response = response
        self.untaken = framed(response)
        self.untaken_nbytes = response.nbytes + PREFIX_NBYTES
        self.http2.unread_nbytes += self.untaken_nbytes

    cdef int begin_sending(self, Message response) except -1:
        if self.exchange is not None:
            self.send_http(response)
            return 0
        self.load(response)
        if self.state >= SENDING:
            self.resume()
        else:
            self.submit_headers()
        return 0

    cdef void submit_headers(self) noexcept:
        cdef nghttp2_nv headers[3]
        cdef nghttp2_data_provider2 provider
        provider.source.ptr = <void *>self
        provider.read_callback = read_response
        enter(self, SENDING)
        if self.response_encoding is not None and (self.kind >= SERVER_STREAM or self.response.compressed):
            headers[0] = RESPONSE_HEADERS[0]
            headers[1] = RESPONSE_HEADERS[1]
            headers[2] = constant_header(ENCODING, self.connection.server.encoding)
            nghttp2_submit_response2(self.http2.session, self.stream_id, headers, 3, &provider)
        else:
            nghttp2_submit_response2(self.http2.session, self.stream_id, RESPONSE_HEADERS, 2, &provider)
        self.connection.mark_dirty()

    cdef void resume(self) noexcept:
        if self.state == DEFERRED:
            enter(self, SENDING)
            nghttp2_session_resume_data(self.http2.session, self.stream_id)
        self.connection.mark_dirty()

    cdef int send_status(self, error) except -1:
        """Trailers-only: the whole response is one HEADERS frame. If the client still sends, the stream is reset after it."""
        cdef nghttp2_nv headers[6]
        cdef size_t count = 4
        cdef bytes code = b"%d" % error.code
        cdef bytes text = percent_encode(str(error))
        cdef bytes details = status_details(error)
        cdef Py_ssize_t words_nbytes = PyBytes_GET_SIZE(text) + PyBytes_GET_SIZE(details)
        try:
            charge_bytes(words_nbytes, None, 0)     # nghttp2 keeps a copy until the client reads it. The share may be full
            self.words_nbytes = words_nbytes
        except ResourceExhausted:
            text, details = NO_WORDS, b""
        headers[0] = RESPONSE_HEADERS[0]
        headers[1] = RESPONSE_HEADERS[1]
        headers[2] = header(GRPC_STATUS, code)
        headers[3] = constant_header(GRPC_MESSAGE, text) if text is NO_WORDS else header(GRPC_MESSAGE, text)
        if details:
            headers[count] = header(GRPC_DETAILS, details)
            count += 1
        if isinstance(error, Unimplemented) and error.reason == "compression":
            headers[count] = constant_header(ACCEPT_ENCODING, ENCODINGS)
            count += 1
        enter(self, SENDING)
        nghttp2_submit_response2(self.http2.session, self.stream_id, headers, count, NULL)
        self.reset_after_response()
        self.connection.mark_dirty()
        return 0

    cdef int send_text(self, int status, bytes text) except -1:
        cdef Message body = Message(text)       # may raise: the call is not settled yet
        self.settled = True
        self.kind, self.exchange = REST, Exchange.__new__(Exchange)
        self.head = self.exchange.head
        self.exchange.status, self.exchange.headers = status, TEXT
        return self.submit_http(body)

    cdef void send_http(self, Message body) noexcept:
        try:
            self.submit_http(body)
        except Exception as error:
            self.lose_response(error)

    cdef void send_http_error(self, error) noexcept:
        cdef Message body
        try:
            try:
                body = Message(self.exchange.describe(error))
            except ResourceExhausted:
                body = Message.wrap(b"")        # the status says enough
            self.submit_http(body)
        except Exception as unexpected:
            self.lose_response(unexpected)

    cdef void lose_response(self, error) noexcept:
        self.connection.server.log(error)
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

    cdef void submit_trailers(self) noexcept:
        """Called by read_response after the last message."""
        cdef nghttp2_nv trailers[3]
        cdef size_t count = 2
        cdef bytes code, text, details
        if self.error is None:
            nghttp2_submit_trailer(self.http2.session, self.stream_id, OK_TRAILERS, 1)
        else:
            code = b"%d" % self.error.code
            text = percent_encode(str(self.error))
            details = status_details(self.error)
            trailers[0] = header(GRPC_STATUS, code)
            trailers[1] = header(GRPC_MESSAGE, text)
            if details:
                trailers[2] = header(GRPC_DETAILS, details)
                count = 3
            nghttp2_submit_trailer(self.http2.session, self.stream_id, trailers, count)
        self.reset_after_response()

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
    while call.streamed is not None and call.untaken_nbytes == 0 and call.load_next():
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
            call.submit_trailers()
        return nbytes
    if nbytes > 0:
        call.notify()                   # the writer may go on
        return nbytes
    enter(call, DEFERRED)
    return NGHTTP2_ERR_DEFERRED
