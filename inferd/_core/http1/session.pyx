# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# session: one client of HTTP/1.1 (see session.pxd).
#
# Ownership: the session holds its call, and the call its session and its connection, until end_call cuts them.

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from inferd._core.base.object_counters cimport COUNTED
from inferd._core.grpc.message cimport SMALL_NBYTES, WAITING, Message, awaited_message
from inferd._core.http.call cimport Credentials, HttpCall
from inferd._core.http.handler cimport http_handler
from inferd._core.http.head cimport HEAD, IDENTITY, Head
from inferd._core.http.response cimport error_body, error_headers, status_of
from inferd._core.http1.response_head cimport JSON_TYPE, OK_BINARY, OK_JSON, status_line, write_head
from inferd._core.http1.parser cimport BETWEEN, BROKEN, HEAD_WHOLE, IN_BODY, WHOLE, Parser
from inferd._core.net.keepalive_policy cimport DRAIN_FOR_AGE, DRAIN_IDLE, LAST_GOAWAY, OVERDUE, Step, next_step
from inferd._core.net.limits cimport LEAST_COMPRESSED_NBYTES, MAX_PATH_NBYTES
from inferd._core.net.poller cimport GONE, HUNG_UP, Polled
from inferd._core.net.protocol cimport Protocol
from inferd._core.net.server_state cimport SEND_NBYTES, ServerState
from inferd._core.net.stall_policy cimport NOTHING, OUTPUT, REQUEST, Owed, is_stalled
from inferd._core.net.stream_socket cimport CLOSING, DRAINING, OPEN, OPENING, StreamSocket

from inferd.errors import DeadlineExceeded, RequestError, ResourceExhausted, Unavailable

cdef enum:
    DROPPED_NBYTES = 64 << 10   # the longest body of a rejected request that is read, so that the connection can stay open
    JOINED_NBYTES = 16 << 10    # so much of a body is copied behind the head, and leaves in the same write
    IDLE_NS = 75_000_000_000    # without a call, where max_connection_idle_s is 0; as in nginx
    TOGETHER_NS = 100_000_000   # a client's end may come so much later than its request, and came with it

cdef bytes HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
cdef bytes CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
cdef tuple VARIES = ((b"vary", b"accept-encoding"),)

cdef Py_ssize_t live_count = 0


def live():
    """Sessions that exist now; None where the build does not count them."""
    return live_count if COUNTED else None


@cython.final
@cython.no_gc
cdef class Http1Call(HttpCall):
    """One request and its response."""

    def __init__(self):
        raise TypeError("Http1Call is made by an Http1Session")

    cdef int begin(self) except -1:
        """The body is whole, and `message`."""
        self.session.handler.take(self, self.head)
        return 0

    cpdef reply(self, message):
        """Responds with an inference response."""
        if self.settled:
            return
        self.settled = True
        self.work = None
        self.send(message if type(message) is Message else Message.wrap(bytes(message)))

    cpdef fail(self, error):
        if self.settled:
            return
        self.settled = True
        self.work = None
        if self.connection is None:
            return
        self.drop_incoming()
        self.drop_outgoing()
        self.session.respond_error(error)

    def respond(self, int status, tuple headers=(), body=b""):
        """Responds with anything. headers: pairs of bytes, content-type among them. body: bytes or a Message."""
        if self.settled:
            return
        response = body if type(body) is Message else Message.wrap(bytes(body))     # may raise: the call is not settled yet
        if status == 204 or status == 304:
            response = None
        self.settled = True
        self.work = None
        if self.connection is not None:
            self.session.respond(status_line(status), headers, response)

    cdef int begin_sending(self, Message response) except -1:
        cdef tuple headers = None
        if response.compressed:
            headers = (*VARIES, (b"content-encoding", self.response_encoding.encode()))
        elif self.response_encoding is not None and response.nbytes >= LEAST_COMPRESSED_NBYTES:
            headers = VARIES            # compression saved nothing
        return self.session.respond(OK_BINARY if self.head.response_json_nbytes > 0 else OK_JSON, headers, response)

    cdef void reject(self, error) noexcept:
        if self.connection is not None:
            self.session.skip_body(self.head)
        HttpCall.reject(self, error)

    cdef void lose(self) noexcept:
        if self.connection is not None:
            self.connection.finish()

    cdef void credited(self, error) noexcept:
        cdef StreamSocket connection = self.connection
        if connection is None:
            return
        try:
            if error is not None:
                self.reject(error)
            else:
                self.session.read_body()
        except Exception as unexpected:
            connection.server.log(unexpected)
            connection.finish()


@cython.final
cdef class Http1Session(Protocol):
    """HTTP/1.1 on one connection. server.http_handler serves its calls."""

    def __cinit__(self, ServerState server not None):
        global live_count
        self.server, self.handler, self.credentials = server, http_handler(server.http_handler), Credentials(server)
        self.parser = Parser(server.limits.max_header_nbytes, server.limits.max_message_nbytes)
        self.together_ns = TOGETHER_NS
        if COUNTED:
            live_count += 1

    def __dealloc__(self):
        global live_count
        if COUNTED:
            live_count -= 1

    # ---- its life

    cdef int open(self, Polled connection, int64_t max_age_ns) except -1:
        self.connection, self.max_age_ns = <StreamSocket?>connection, max_age_ns
        self.parser.share = self.connection.share
        return 0

    cdef int drain(self) except -1:
        """The next response is the last one. take_keepalive_step() ends a connection that has no call then."""
        return 0

    cdef int close(self) except -1:
        if self.call is not None:
            self.end_call()
        self.lines = self.body = self.headers = self.first = None
        self.parser.next()
        self.connection = None
        return 0

    # ---- the way in

    cdef Py_ssize_t take(self, const uint8_t *source, Py_ssize_t nbytes, int64_t now_ns) except -1:
        cdef StreamSocket connection = self.connection
        cdef Parser parser = self.parser
        cdef const uint8_t *data = source
        cdef Py_ssize_t left_nbytes = nbytes
        cdef int64_t before_nbytes = parser.body_nbytes
        cdef int stage
        self.now_ns = now_ns
        connection.received_nbytes += nbytes
        self.server.totals.received_nbytes += nbytes
        if connection.state == OPENING and self.greet(&data, &left_nbytes):
            return nbytes
        connection.receiving = True
        try:
            while left_nbytes > 0 and not connection.paused and connection.state < CLOSING:
                stage = parser.take(&data, &left_nbytes)
                if stage == HEAD_WHOLE:
                    before_nbytes = 0
                    self.begin_call()
                    if connection.paused:
                        break
                    stage = parser.take(&data, &left_nbytes)    # a request without a body is whole
                    if stage == IN_BODY and parser.body_nbytes == 0 and self.call.head.expects_continue and not parser.is_1_0:
                        connection.put(<const uint8_t *>PyBytes_AS_STRING(CONTINUE), PyBytes_GET_SIZE(CONTINUE))
                connection.payload_nbytes += parser.body_nbytes - before_nbytes
                before_nbytes = parser.body_nbytes
                if stage == WHOLE:
                    self.end_request()
                elif parser.chunked and parser.body is not None and parser.body.nbytes > SMALL_NBYTES and parser.body.place_nbytes == 0:
                    self.ask_for_place(parser.body, self.call)
        except Exception as error:
            self.end_broken(error)
            left_nbytes = 0             # nothing behind it has a meaning
        finally:
            connection.receiving = False
        connection.missing_nbytes = connection.frame_nbytes = parser.missing_nbytes
        connection.received_nbytes -= left_nbytes
        self.server.totals.received_nbytes -= left_nbytes
        self.first = None
        if self.call is not None or self.lines is not None:
            connection.mark_dirty()     # the flush is scheduled behind the inline run that a call scheduled: its response goes along
        return nbytes - left_nbytes

    cdef bint greet(self, const uint8_t **data, Py_ssize_t *nbytes) except -1:
        """The client's first bytes: which protocol does it speak? True: the parser is to take nothing now."""
        if self.first is None and (data[0][0] != c'P' or nbytes[0] > 1 and data[0][1] != c'R'):
            self.connection.enter(OPEN)
            return False
        self.first = (self.first or b"") + data[0][:nbytes[0]]
        if len(self.first) < PyBytes_GET_SIZE(HTTP2_PREFACE) and HTTP2_PREFACE.startswith(self.first):
            return True
        if self.first.startswith(HTTP2_PREFACE) and self.speak_http2():
            return True
        self.connection.enter(OPEN)
        data[0], nbytes[0] = <const uint8_t *>PyBytes_AS_STRING(self.first), PyBytes_GET_SIZE(self.first)
        return False

    cdef bint speak_http2(self) except -1:
        """Hands the connection on to HTTP/2, with the client's first bytes. False: HTTP/2 is not served here."""
        cdef Http1Session held = self           # speak() drops the connection's reference
        cdef StreamSocket connection = held.connection
        cdef bytes first = held.first
        cdef Protocol http2 = connection.client.http2() if connection.client is not None else None
        if http2 is None:
            return False
        connection.received_nbytes -= PyBytes_GET_SIZE(first)           # HTTP/2 counts them again
        connection.server.totals.received_nbytes -= PyBytes_GET_SIZE(first)
        connection.speak(http2)
        http2.take(<const uint8_t *>PyBytes_AS_STRING(first), PyBytes_GET_SIZE(first), held.now_ns)
        return True

    cdef int begin_call(self) except -1:
        cdef Http1Call call = Http1Call.__new__(Http1Call)
        cdef Head head = self.parser.head
        cdef ServerState server = self.server
        call.head, call.deadline_ns, call.traceparent = head, head.deadline_ns(self.now_ns), head.traceparent
        call.method = server.infer_method if head.is_infer else head.path[:MAX_PATH_NBYTES].decode("ascii")
        if head.content_coding != IDENTITY:
            call.encoding = head.content_coding_name
        if server.compression is not None and head.accept_coding != IDENTITY:
            call.response_encoding = head.accept_coding_name
        self.call = call
        self.begun_calls += 1
        call.session = self
        call.open(self.connection)
        try:
            if not call.admit(self.handler, self.credentials):
                return 0
            if head.max_body_nbytes >= 0:
                self.parser.max_body_nbytes = min(head.max_body_nbytes, server.limits.max_message_nbytes)
            if SMALL_NBYTES < head.content_nbytes <= self.parser.max_body_nbytes and not call.settled:
                self.parser.body = awaited_message(head.content_nbytes)
                self.parser.body.share = self.connection.share
                self.ask_for_place(self.parser.body, call)
        except Exception as error:
            call.reject(error)
        return 0

    cdef int ask_for_place(self, Message body, Http1Call call) except -1:
        self.server.admission.enter(body, call)
        self.connection.paused = body.standing == WAITING
        return 0

    cdef bint awaits_credit(self) noexcept:
        return self.parser.body is not None and self.parser.body.standing == WAITING

    cdef int read_body(self) except -1:
        if self.call.head.expects_continue and self.parser.stage == HEAD_WHOLE and not self.parser.is_1_0:
            self.connection.put(<const uint8_t *>PyBytes_AS_STRING(CONTINUE), PyBytes_GET_SIZE(CONTINUE))
        return self.connection.resume_reading()

    cdef int end_request(self) except -1:
        cdef Http1Call call = self.call
        self.connection.paused = True
        self.whole_ns = self.now_ns
        if call is None:                # it was rejected, and has its response
            return self.next_request()
        if call.settled:
            return 0                    # response_sent() goes on
        call.message, self.parser.body = self.parser.body, None
        try:
            if call.encoding is None:
                call.begin()
            else:
                call.begin_compressed(self.parser.max_body_nbytes)
        except Exception as error:
            call.reject(error)
        return 0

    cdef int end_broken(self, error) except -1:
        self.connection.paused = True
        self.parser.stage = BROKEN
        self.parser.body = None
        self.server.totals.protocol_errors += not isinstance(error, ResourceExhausted)
        if self.call is not None:
            self.call.head.keep_alive = False
            if not self.call.settled:
                self.call.reject(error)
        elif isinstance(error, RequestError):
            self.respond_error(error)
        else:
            self.server.log(error)
            self.connection.finish()
        return 0

    cdef void skip_body(self, Head head) noexcept:
        cdef Parser parser = self.parser
        if parser.stage == IN_BODY or parser.stage == HEAD_WHOLE and (parser.chunked or head.content_nbytes > 0):
            parser.body = None
            if parser.stage == HEAD_WHOLE and not parser.chunked and head.content_nbytes <= DROPPED_NBYTES and not head.expects_continue:
                parser.drops = True
            else:                       # a lingering close throws away the rest of the body
                head.keep_alive = False
                self.connection.paused = True

    cdef int left_while_paused(self, int64_t now_ns) except -1:
        cdef StreamSocket connection = self.connection
        if not connection.readiness & GONE and self.parser.stage == WHOLE and now_ns - self.whole_ns < self.together_ns:
            connection.readiness &= ~HUNG_UP    # request and end came together, as of `nc`
        elif self.awaits_credit() and not connection.readiness & GONE:
            pass                        # its body may lie in the kernel
        elif self.call is not None and not self.call.settled:
            connection.finish()         # nobody waits for the response
        return 0

    # ---- the way out

    cdef int respond(self, bytes lines, tuple headers, Message body) except -1:
        cdef Head head = self.call.head if self.call is not None else None
        self.lines, self.headers, self.body = lines, headers, body
        self.is_head_sent = False
        self.sent_nbytes = body.nbytes if body is not None and head is not None and head.verb == HEAD else 0
        self.connection.mark_dirty()
        return 0

    cdef int respond_error(self, error) except -1:
        return self.respond(status_line(status_of(error)) + JSON_TYPE, error_headers(error), Message.wrap(error_body(error)))

    cdef int write_output(self) except -1:
        cdef StreamSocket connection = self.connection
        cdef uint8_t *buffer = self.server.send_buffer
        cdef Head head = self.call.head if self.call is not None else None
        cdef Py_ssize_t left_nbytes, piece_nbytes, put_nbytes = 0
        if connection is None:
            return 0
        connection.unfinished = False
        if connection.state >= CLOSING or connection.unsent is not None or self.lines is None:
            return 0
        left_nbytes = self.body.nbytes - self.sent_nbytes if self.body is not None else 0
        if not self.is_head_sent:
            self.closes = head is None or not head.keep_alive or connection.state >= DRAINING
            put_nbytes = write_head(buffer, self.lines, self.headers, head, self.body.nbytes if self.body is not None else -1,
                                    self.closes, self.parser.is_1_0)
            piece_nbytes = min(left_nbytes, <Py_ssize_t>JOINED_NBYTES)
            if piece_nbytes > 0:
                memcpy(buffer + put_nbytes, self.body.data + self.sent_nbytes, piece_nbytes)
            self.is_head_sent = True
            self.sent_nbytes += piece_nbytes
            left_nbytes -= piece_nbytes
            put_nbytes += piece_nbytes
            connection.put(buffer, put_nbytes)
        while left_nbytes > 0 and connection.unsent is None and connection.state < CLOSING:
            if put_nbytes >= SEND_NBYTES:
                connection.schedule_flush_turn()
                return 0
            piece_nbytes = min(left_nbytes, <Py_ssize_t>SEND_NBYTES)
            put_nbytes += piece_nbytes
            left_nbytes -= piece_nbytes
            self.sent_nbytes += piece_nbytes
            connection.put(<const uint8_t *>self.body.data + self.sent_nbytes - piece_nbytes, piece_nbytes)
        if left_nbytes == 0 and connection.state < CLOSING:
            self.response_sent()
        return 0

    cdef int response_sent(self) except -1:
        self.lines = self.headers = self.body = None
        if self.call is not None:
            self.end_call()
        if self.closes:
            self.connection.finish()
        elif self.parser.stage == WHOLE:
            self.next_request()
        return 0

    cdef int next_request(self) except -1:
        self.parser.next()
        self.parser.max_body_nbytes = self.server.limits.max_message_nbytes
        if self.connection.state == DRAINING:
            self.connection.finish()
        else:
            self.connection.resume_reading()
        return 0

    cdef void end_call(self) noexcept:
        cdef Http1Call call = self.call
        self.call = None
        self.parser.body = None         # it may wait for its place in this call's name
        call.close()
        call.session = None

    # ---- looks

    cdef bint is_idle(self) noexcept:
        if self.call is not None or self.lines is not None:
            return False
        return self.parser.stage == BETWEEN and self.first is None and self.connection.pending is None

    cdef Owed owed(self) noexcept:
        """The step that the client owes before its request goes on."""
        if self.connection.paused:
            return NOTHING
        return NOTHING if self.parser.stage == BETWEEN and self.first is None else REQUEST

    cdef bint end_late_calls(self, int64_t now_ns, int64_t acknowledged_nbytes, int64_t request_limit_ns,
                             int64_t response_limit_ns) except -1:
        """Ends a request that comes too slowly, or whose deadline passes before it is whole and decompressed. True: the connection must be
        aborted, because its client does not read the response."""
        cdef StreamSocket connection = self.connection
        cdef Http1Call call = self.call
        cdef bint is_late, is_large
        is_large = self.parser.body_nbytes + self.parser.missing_nbytes > SMALL_NBYTES
        is_late = call is not None and not call.settled and now_ns >= call.deadline_ns and (
            not connection.paused or call.incoming is not None or self.awaits_credit())
        if is_stalled(&self.stall, self.owed(), connection.received_nbytes, now_ns, request_limit_ns,
                      self.server.limits.min_message_rate if is_large else self.server.limits.min_rate) or is_late:
            self.server.totals.stalled += not is_late
            self.end_late(stall_error(self.server, request_limit_ns) if not is_late else DeadlineExceeded(
                f"{call.method}: the deadline passed before the request was whole", reason="deadline"))
        return is_stalled(&connection.output, NOTHING if acknowledged_nbytes < 0 else OUTPUT, <uint64_t>acknowledged_nbytes, now_ns,
                          response_limit_ns, self.server.limits.min_rate)

    cdef int end_late(self, error) except -1:
        """The connection ends with this response, unless the request is whole."""
        if self.call is not None and self.parser.stage == WHOLE:
            self.call.reject(error)
        elif self.parser.drops:
            self.connection.finish()               # only the rest of a body did not come, which is thrown away
        else:
            self.server.totals.protocol_errors -= 1     # this is none
            self.end_broken(error)

    cdef bint take_keepalive_step(self, int64_t now_ns, Py_ssize_t waiting_nbytes) except -1:
        """Drains a connection for its age, and ends one that has had no call for too long. True: it must be aborted."""
        cdef StreamSocket connection = self.connection
        cdef bint busy = not self.is_idle() or self.begun_calls != self.seen_calls
        cdef Step step
        self.seen_calls = self.begun_calls
        step = next_step(&self.keepalive, &self.server.keepalive_rules, self.max_age_ns, connection.received_nbytes, busy, False,
                         connection.state == DRAINING, now_ns)
        if step == OVERDUE:
            self.server.totals.overdue += 1
            return True
        if step == DRAIN_FOR_AGE:
            self.server.totals.retired += 1
            connection.drain()
        elif step == LAST_GOAWAY:
            if self.is_idle():
                self.connection.finish()           # no request was on its way
        elif step == DRAIN_IDLE or now_ns - self.keepalive.busy_ns >= (self.server.keepalive_rules.max_idle_ns or IDLE_NS):
            self.server.totals.idle += 1
            self.connection.finish()
        return False


cdef stall_error(ServerState server, int64_t limit_ns):
    if server.stopping:
        return Unavailable("the server is stopping, and the rest of the request did not come; send it to another replica",
                           reason="stalled")
    return DeadlineExceeded(
        f"expected the whole request, or {server.limits.min_rate} bytes of it a second ({server.limits.min_message_rate} of "
        f"a large one), got less for {limit_ns / 1e9:g} s (stall_timeout_s)", reason="stalled")
