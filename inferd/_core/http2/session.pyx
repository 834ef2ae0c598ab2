# cython: language_level=3
# session: the server's side of HTTP/2 for gRPC and REST, over libnghttp2. Bytes come in by `take`, calls begin in the service, bytes leave
# through the connection's `put`. It reads and writes nothing itself. libnghttp2 does framing, HPACK, flow control and protocol checks.
# Never in here: event loops, protobuf, sockets (net/stream_socket), reading a clock.
#
# Ownership: the stream holds one reference to its Http2Call from on_begin_headers to on_stream_close (or to close(), since
# deleting an nghttp2 session closes no stream). All callbacks run inside take() or write_output(), with the GIL held; none raises.

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from inferd._core.base.object_counters cimport COUNTED
from inferd._core.grpc.message cimport release_bytes
from inferd._core.http2.call_stalls cimport SHARED_WINDOW, WITHIN_HEADERS, Found, end_stalled, find_late
from inferd._core.http2.exchange cimport Exchange
from inferd._core.http2.flood_policy cimport FINE, TOO_MANY_PINGS, TOO_MANY_RESETS, Verdict, judge
from inferd._core.http2.headers cimport ERRORS_END, GRPC, HeaderReader
from inferd._core.net.keepalive_policy cimport (
    DEAD, DRAIN_FOR_AGE, DRAIN_IDLE, LAST_GOAWAY, OVERDUE, PING, Step, next_step
)
from inferd._core.http2.http2_state cimport Http2State
from inferd._core.http2.limits cimport CONTROL_NBYTES, MAX_FRAME_NBYTES, OWN_CALLS, PREFACE_NBYTES
from inferd._core.http2.memory cimport memory
from inferd._core.http2.nghttp2 cimport *
from inferd._core.http2.requests cimport body_too_large, message_chunk, open_streamed, request_complete, take_backlog
from inferd._core.http2.send_state cimport SendState
from inferd._core.net.stall_policy cimport CALL_RESPONSE, CONNECTION_RESPONSES, NOTHING, OUTPUT, REQUEST, Owed, is_stalled
from inferd._core.http2.stream cimport INFER, INFER_STREAM, OPENED, OVER, REST, Http2Call, enter, is_task_stream
from inferd._core.net.limits cimport TASK_NBYTES
from inferd._core.net.poller cimport Polled
from inferd._core.net.stream_socket cimport CLOSING, DRAINING, OPEN, OPENING, StreamSocket

NOT_HTTP_2 = (
    b"This port speaks gRPC over HTTP/2 without TLS: use a gRPC client, or HTTP/2 with prior knowledge. "
    b"REST over HTTP/1.1 has a port of its own.\n"
)
HTTP_1_RESPONSE = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(NOT_HTTP_2), NOT_HTTP_2)
)

cdef nghttp2_extpri ALIKE           # all streams have this priority, whatever the client asks for (RFC 9218): proxies have many clients
ALIKE.urgency, ALIKE.inc = NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1

cdef Py_ssize_t live_count = 0


def live():
    """Sessions that exist now; None where the build does not count them."""
    return live_count if COUNTED else None


def nghttp2_version_text():
    """The version of libnghttp2 that is loaded, such as "1.64.0"."""
    return nghttp2_version(0).version_str.decode()


@cython.final
cdef class Session(SendState):
    """One connection's HTTP/2 session: it takes the bytes that come, and writes those that must leave."""

    def __cinit__(self, Http2State server not None):
        global live_count
        self.server, self.headers = server, HeaderReader(server)
        if COUNTED:
            live_count += 1

    cdef int open(self, Polled connection, int64_t max_age_ns) except -1:
        """The connection's state stays OPENING until the client's SETTINGS have come. Our SETTINGS leave after the client's preface: a
        client of HTTP/1.1 would take them for garbage."""
        cdef nghttp2_settings_entry settings[5]
        cdef Http2State server = self.server
        self.connection, self.max_age_ns = <StreamSocket?>connection, max_age_ns
        if nghttp2_session_server_new3(&self.session, callbacks, <void *>self, server.options, &memory) != 0:
            raise MemoryError()
        settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, server.limits.max_streams
        settings[1].settings_id, settings[1].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, server.limits.stream_window_nbytes
        settings[2].settings_id, settings[2].value = NGHTTP2_SETTINGS_MAX_FRAME_SIZE, MAX_FRAME_NBYTES
        settings[3].settings_id, settings[3].value = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, server.limits.max_header_nbytes
        settings[4].settings_id, settings[4].value = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1     # long chains of these are expensive
        nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, settings, 5)
        nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, server.limits.connection_window_nbytes)
        if self.connection.state == DRAINING:   # drain() came before the TLS handshake was made
            self.goaway(NGHTTP2_NO_ERROR, b"", True)
        return 0

    cdef Py_ssize_t take(self, const uint8_t *source, Py_ssize_t nbytes, int64_t now_ns) except -1:
        cdef StreamSocket connection = self.connection
        cdef nghttp2_ssize taken
        if connection is None or connection.state >= CLOSING:
            return nbytes
        self.server.totals.received_nbytes += nbytes
        self.now_ns = self.headers.now_ns = now_ns
        connection.received_nbytes += nbytes
        connection.receiving = True
        connection.frame_nbytes = max(0, connection.frame_nbytes - nbytes)      # unless a frame begins in these bytes
        taken = nghttp2_session_mem_recv2(self.session, source, nbytes)
        connection.receiving = False
        if taken == NGHTTP2_ERR_FLOODED:        # max_control_frame_rate responses to SETTINGS or PING wait to be sent
            self.shutdown_for_control_frames()
            return nbytes
        if taken < 0 or (connection.unsent is not None and
                         nghttp2_session_get_outbound_queue_size(self.session) > self.server.max_outbound_frames()):
            self.server.totals.protocol_errors += 1
            if taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC and connection.state == OPENING:
                connection.put(<const uint8_t *>PyBytes_AS_STRING(HTTP_1_RESPONSE), PyBytes_GET_SIZE(HTTP_1_RESPONSE))
                connection.finish()
            else:                       # for some errors, such as too many CONTINUATION frames, nghttp2 makes no GOAWAY
                self.shutdown(b"")
            return nbytes
        if (self.flood.control_frames > 0 or self.flood.resets > 0) and self.shutdown_if_flooding():
            return nbytes
        if connection.received_nbytes < PREFACE_NBYTES:
            return nbytes                    # see open()
        connection.mark_dirty()         # the flush is scheduled behind the inline run that a call scheduled: its response goes along
        return nbytes

    cdef bint shutdown_if_flooding(self) noexcept:
        """Asks the flood policy about the last read. True: the connection was shut down."""
        cdef int64_t requests = self.opened_streams + self.connection.begun_requests
        cdef Verdict verdict = judge(&self.flood, &self.server.flood_rules, requests, self.sent_nbytes, self.now_ns)
        if verdict == FINE:
            return False
        if verdict == TOO_MANY_PINGS:
            self.server.totals.pinging += 1
            self.shutdown(b"too_many_pings")            # gRPC's word: its clients ping half as often then
        elif verdict == TOO_MANY_RESETS:
            self.server.totals.resetting += 1
            self.shutdown(b"too_many_resets")
        else:
            self.shutdown_for_control_frames()
        return True

    cdef void shutdown_for_control_frames(self) noexcept:
        self.server.totals.flooding += 1
        self.shutdown(b"too_many_control_frames")

    cdef void shutdown(self, bytes why) noexcept:
        """Submits GOAWAY with ENHANCE_YOUR_CALM and ends the connection: its calls are lost. Its callers count why. If the client
        reads nothing, GOAWAY does not leave."""
        cdef StreamSocket connection = self.connection
        cdef uint64_t protocol_errors = self.server.totals.protocol_errors
        if connection.state < DRAINING:
            connection.enter(DRAINING)
        self.goaway(NGHTTP2_ENHANCE_YOUR_CALM, why, False)
        connection.flush()
        while connection.unfinished and connection.unsent is None and nghttp2_session_get_outbound_queue_size(self.session) > 0:
            connection.flush()          # until GOAWAY has left
        self.server.totals.protocol_errors = protocol_errors        # without this GOAWAY, which write_output has counted
        connection.finish()

    cdef void headers_complete(self, Http2Call call) noexcept:
        """All request headers have come: rejects the call if something is wrong with it. A streaming call begins."""
        try:
            if self.headers.reject_foreign(call):
                return
            if self.connection.rejection is not None:
                call.reject(self.connection.rejection)     # not raised: each raise would extend its traceback
                return
            if call.kind == INFER_STREAM:
                open_streamed(call, self.headers.token(), bool(self.headers.seen & ERRORS_END))
            self.headers.check(call)
            if not self.has_room(0):
                raise self.unread_error(0)
            if call.kind != INFER:
                call.hold(TASK_NBYTES)
            if is_task_stream(call.kind):
                self.server.start(call, call.method_row)
        except Exception as error:
            call.reject(error)
        finally:
            self.headers.authorization = None   # if the call was rejected before the authenticator saw it

    cdef void foreign_complete(self, Http2Call call) noexcept:
        cdef Exchange exchange = call.exchange
        if self.headers.seen & GRPC:
            call.exchange = call.head = None
            self.headers_complete(call)
            return
        call.kind = REST
        try:
            self.headers.open_exchange(call)
            if not call.admit(exchange.handler, self.headers.credentials):
                return
            if not self.has_room(0):
                raise self.unread_error(0)
            call.hold(call.header_nbytes)       # the head keeps what it reads
            if exchange.head.max_body_nbytes >= 0:
                call.max_message_nbytes = min(call.max_message_nbytes, exchange.head.max_body_nbytes)
            if exchange.head.content_nbytes > call.max_message_nbytes:
                raise body_too_large(call, exchange.head.content_nbytes)
            if exchange.head.expects_continue:
                exchange.submit_continue(self.session, call.stream_id)
        except Exception as error:
            call.reject(error)
        finally:
            self.headers.authorization = None   # if the call was rejected before the authenticator saw it

    cdef int take_backlogs(self) except -1:
        """Takes requests that wait in the backlogs of streams, as many as a turn may begin."""
        cdef list calls = self.connection.resuming
        cdef Http2Call call
        self.connection.resuming = None
        for call in calls:
            if call.connection is not None and call.backlog is not None and not call.settled:
                call.streamed.resuming = False
                try:
                    take_backlog(call)
                except Exception as error:
                    call.reject(error)
        return 0

    cdef bint end_late_calls(self, int64_t now_ns, int64_t acknowledged_nbytes, int64_t request_limit_ns,
                             int64_t response_limit_ns) except -1:
        """Ends each call that holds memory and has waited too long for its client. request_limit_ns: for the rest of the request, while it
        moved slower than min_rate (min_message_rate with a large message). response_limit_ns: for the client to read the response, slower
        than min_rate. Also ends a call whose deadline passes before its request is whole and decompressed, or its stream of
        ModelStreamInfer has ended. True: the connection must be aborted, because its client reads nothing, has not begun to speak
        HTTP/2, or stops within the headers of a call."""
        cdef StreamSocket connection = self.connection
        cdef Http2State server = self.server
        cdef Http2Call call
        cdef Owed owed
        cdef Found found
        cdef bint reads_nothing
        cdef list ending = []
        if is_stalled(&connection.greeting, NOTHING if self.greeted else REQUEST, 0, now_ns, request_limit_ns, server.limits.min_rate):
            return True
        found = find_late(<Http2Call>self.head if self.head != NULL else None, ending, now_ns, request_limit_ns, response_limit_ns)
        if found == WITHIN_HEADERS:
            return True                 # no other frame may come before they end
        # Both policies see every look, whatever the other says. While the transport takes nothing, nothing is taken from nghttp2.
        owed = CONNECTION_RESPONSES if self.unread_nbytes > 0 and connection.unsent is None else NOTHING
        reads_nothing = is_stalled(&self.responses, owed, self.sent_nbytes, now_ns, response_limit_ns, server.limits.min_rate)
        if is_stalled(&connection.output, NOTHING if acknowledged_nbytes < 0 else OUTPUT, <uint64_t>acknowledged_nbytes, now_ns,
                      response_limit_ns, server.limits.min_rate) or (reads_nothing and found == SHARED_WINDOW):
            return True
        for call in ending:
            if call.connection is not None:
                server.totals.stalled += call.stall.owed == CALL_RESPONSE or now_ns < call.deadline_ns
                end_stalled(call, call.stall.owed, request_limit_ns, now_ns)
        return False

    cdef bint take_keepalive_step(self, int64_t now_ns, Py_ssize_t waiting_nbytes) except -1:
        """PING to a silent client, the GOAWAYs of a drain."""
        cdef StreamSocket connection = self.connection
        cdef int32_t newest
        cdef bint busy
        cdef Step step
        if connection is None or not (self.greeted or connection.state == DRAINING):
            return False
        newest = nghttp2_session_get_last_proc_stream_id(self.session)
        busy = connection.calls > 0 or newest != self.seen_stream_id
        self.seen_stream_id = newest
        step = next_step(&self.keepalive, &self.server.keepalive_rules, self.max_age_ns, connection.received_nbytes, busy,
                         waiting_nbytes == 0 and connection.unsent is None, connection.state == DRAINING, now_ns)
        if step == DEAD or step == OVERDUE:
            self.server.totals.dead += step == DEAD
            self.server.totals.overdue += step == OVERDUE
            return True
        if step == PING:
            nghttp2_submit_ping(self.session, NGHTTP2_FLAG_NONE, NULL)
            connection.mark_dirty()
        elif step == DRAIN_FOR_AGE or step == DRAIN_IDLE:
            self.server.totals.retired += step == DRAIN_FOR_AGE
            self.server.totals.idle += step == DRAIN_IDLE
            connection.drain()
        elif step == LAST_GOAWAY:
            self.goaway(NGHTTP2_NO_ERROR, b"", False)
            connection.mark_dirty()
        return False

    cdef int drain(self) except -1:
        """Submits a GOAWAY that names the highest stream id, so that no request on its way is lost. take_keepalive_step()
        submits the second one: it names the last stream that the server accepted. The connection ends after its calls."""
        if self.connection is not None:
            self.goaway(NGHTTP2_NO_ERROR, b"", True)
            self.connection.mark_dirty()
        return 0

    cdef int close(self) except -1:
        cdef Http2Call call
        if self.session == NULL:
            self.connection = None
            return 0
        self.headers.begin(None)
        self.resets_after_response = None
        while self.head != NULL:
            call = <Http2Call>self.head
            self.unlink(call)
        nghttp2_session_del(self.session)
        self.session, self.connection = NULL, None
        return 0

    def __dealloc__(self):
        global live_count
        if COUNTED:
            live_count -= 1
        if self.session != NULL:
            nghttp2_session_del(self.session)

    cdef void link(self, Http2Call call) noexcept:
        """The stream is open and holds its call."""
        Py_INCREF(call)
        call.http2 = self
        call.open(self.connection)
        if self.head != NULL:
            call.next = <Http2Call>self.head
            call.next.previous = call
        self.head = <PyObject *>call

    cdef void unlink(self, Http2Call call) noexcept:
        """The stream is closed: closes its call, and drops the stream's reference."""
        if call.previous is not None:
            call.previous.next = call.next
        else:
            self.head = <PyObject *>call.next if call.next is not None else NULL
        if call.next is not None:
            call.next.previous = call.previous
        call.next = call.previous = None
        if call.untaken_nbytes > 0:
            call.drop_response()
        if call.partial is not None or call.backlog is not None:
            call.drop_request()
        call.close()
        if call.streamed is not None:
            call.streamed.drop()
            call.streamed = None
        if call.words_nbytes > 0:
            release_bytes(call.words_nbytes, None)
            call.words_nbytes = 0
        if call.listener is not None:
            call.notify()
            call.listener = None
        call.error = None               # it may hold frames that hold the call
        enter(call, OVER)
        call.http2 = None
        Py_DECREF(call)


cdef int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *frame, void *user_data) noexcept:
    """Counts control frames, PINGs and resets, each for its own limit. A control frame asks for nothing and brings
    nothing; those of unknown types count, too."""
    (<Session>user_data).connection.frame_nbytes = frame.length if frame.type == NGHTTP2_DATA else 0
    if frame.type == NGHTTP2_HEADERS or frame.type == NGHTTP2_CONTINUATION:
        return 0                            # these have limits of their own
    if frame.type == NGHTTP2_RST_STREAM:
        (<Session>user_data).flood.resets += 1
        return 0
    if frame.type == NGHTTP2_DATA and not frame.flags & NGHTTP2_FLAG_PADDED and (
            frame.length > 0 or frame.flags & NGHTTP2_FLAG_END_STREAM):
        return 0
    (<Session>user_data).flood.control_frames += 1 if frame.type == NGHTTP2_DATA else 1 + frame.length // CONTROL_NBYTES
    if frame.type == NGHTTP2_PING and not frame.flags & NGHTTP2_FLAG_ACK:
        (<Session>user_data).flood.pings += 1
    elif frame.type == NGHTTP2_PRIORITY and frame.stream_id == 0:       # an error, but nghttp2 skips all PRIORITY frames
        nghttp2_session_terminate_session(session, NGHTTP2_PROTOCOL_ERROR)
    return 0


cdef int on_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *frame, void *user_data) noexcept:
    """A frame of an unknown type. The options name all such types (http2_state.pyx): else nghttp2 would skip them, uncounted."""
    return NGHTTP2_ERR_CANCEL


cdef int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) noexcept:
    cdef Session self = <Session>user_data
    cdef Http2Call call
    if frame.hd.type != NGHTTP2_HEADERS or frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        self.headers.begin(None)
        return 0
    self.opened_streams += 1
    # No more than max_calls leaves free.
    if self.connection.calls >= OWN_CALLS and self.server.calls + self.connection.calls >= self.server.limits.max_calls:
        self.server.totals.refused += 1
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_REFUSED_STREAM)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    call = Http2Call.__new__(Http2Call)
    call.stream_id = frame.hd.stream_id
    self.link(call)
    self.headers.begin(call)
    nghttp2_session_set_stream_user_data(session, frame.hd.stream_id, <void *>call)
    nghttp2_session_change_extpri_stream_priority(session, frame.hd.stream_id, &ALIKE, 1)
    return 0


cdef int give_up_headers(nghttp2_session *session, int32_t stream_id) noexcept:
    """Resets the stream, and skips the rest of the header block: one byte of HPACK can stand for kilobytes. gRPC's clients take
    ENHANCE_YOUR_CALM for RESOURCE_EXHAUSTED; nghttp2 by itself would send INTERNAL_ERROR."""
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_ENHANCE_YOUR_CALM)
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE


cdef int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_nbytes,
                   const uint8_t *value, size_t value_nbytes, uint8_t flags, void *user_data) noexcept:
    if (<Session>user_data).headers.read(name, name_nbytes, value, value_nbytes):
        return 0
    return give_up_headers(session, frame.hd.stream_id)


cdef int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *chunk, size_t nbytes,
                       void *user_data) noexcept:
    cdef void *call = nghttp2_session_get_stream_user_data(session, stream_id)
    nghttp2_session_consume_connection(session, nbytes)
    if call != NULL:
        message_chunk(<Http2Call>call, chunk, nbytes)
    return 0


cdef int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) noexcept:
    cdef Session self = <Session>user_data
    cdef void *stream
    cdef Http2Call call
    if frame.hd.type == NGHTTP2_HEADERS:
        if frame.headers.cat == NGHTTP2_HCAT_REQUEST and self.headers.opening is not None:
            call, self.headers.opening = self.headers.opening, None
            enter(call, OPENED)
            self.headers_complete(call)
        elif frame.headers.cat == NGHTTP2_HCAT_REQUEST and self.headers.foreign is not None:
            call, self.headers.foreign = self.headers.foreign, None
            enter(call, OPENED)
            self.foreign_complete(call)
    elif frame.hd.type == NGHTTP2_SETTINGS:
        self.greeted = True             # nghttp2 takes no other frame first
        if self.connection.state == OPENING:
            self.connection.enter(OPEN)
        return 0
    elif frame.hd.type != NGHTTP2_DATA:
        return 0
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        stream = nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
        if stream != NULL:
            request_complete(<Http2Call>stream)
    return 0


cdef int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user_data) noexcept:
    cdef Session self = <Session>user_data
    cdef void *stream = nghttp2_session_get_stream_user_data(session, stream_id)
    if error_code != NGHTTP2_NO_ERROR and error_code != NGHTTP2_REFUSED_STREAM and not self.connection.receiving:
        self.flood.resets += 1          # a reset of ours, mostly for an error of the client; on_begin_frame counts the client's own
    if stream != NULL:
        nghttp2_session_set_stream_user_data(session, stream_id, NULL)
        self.unlink(<Http2Call>stream)
    return 0


cdef nghttp2_session_callbacks *callbacks = NULL

cdef int set_up() except -1:
    """Callbacks are the same for every session; they live as long as the process."""
    global callbacks
    if nghttp2_session_callbacks_new(&callbacks) != 0:
        raise MemoryError()
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, on_extension)
    return 0

set_up()
