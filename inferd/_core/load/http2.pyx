# cython: language_level=3, boundscheck=False, wraparound=False
# http2: ModelInfer over gRPC on a connection of the load generator, with libnghttp2. Never in here: sockets, when to send, counting.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy
from posix.strings cimport strncasecmp

from inferd._core.load.connection cimport (
    CANCEL, CANCELLED, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, INTERNAL, MALFORMED, NO_ERROR, OK, PERMISSION_DENIED, PREFIX_NBYTES,
    REFUSED_STREAM, RESOURCE_EXHAUSTED, SEND_NBYTES, TEXT_NBYTES, UNAUTHENTICATED, UNAVAILABLE, UNIMPLEMENTED, UNKNOWN, Closed,
    LoadConnection, ProtocolFunctions, State, Stream, code_for, decimal, finish, keep_response, kill, make_room, mark_unflushed,
    open_waiting, part, printable,
)
from inferd._core.load.load_protocol cimport LoadProtocol
from inferd._core.load.response cimport response_fault
from inferd._core.http2.nghttp2 cimport *

cdef enum:
    FRAME_NBYTES = (16 << 10) + 64      # a client's largest frame, the most that nghttp2 gives out at once
    WINDOW_NBYTES = 16 << 20            # a connection's window
    STREAM_WINDOW_NBYTES = 4 << 20
    TIMEOUT_NBYTES = 16                 # room for a grpc-timeout: 8 digits, a unit, a zero
    STATUS_COUNT = 8
    RESET_COUNT = 5

# gRPC's tables: of statuses of HTTP, that others than a gRPC server send, and of streams that end without a status.
cdef int[2 * STATUS_COUNT] STATUSES = [
    400, INTERNAL, 401, UNAUTHENTICATED, 403, PERMISSION_DENIED, 404, UNIMPLEMENTED, 429, UNAVAILABLE, 502, UNAVAILABLE, 503, UNAVAILABLE,
    504, UNAVAILABLE,
]
cdef int[2 * RESET_COUNT] RESETS = [
    NO_ERROR, UNKNOWN, REFUSED_STREAM, UNAVAILABLE, CANCEL, CANCELLED, ENHANCE_YOUR_CALM, RESOURCE_EXHAUSTED,
    INADEQUATE_SECURITY, PERMISSION_DENIED,
]

cdef struct Headers:            # of every request
    nghttp2_nv *fields
    size_t count
    nghttp2_nv *timeout         # of them, grpc-timeout; NULL: there is none


cdef class Http2(LoadProtocol):
    cdef Headers headers
    cdef list held              # what the headers point to

    def __init__(self, headers):
        cdef Py_ssize_t i
        if self.held is not None:
            raise ValueError("an Http2 is made once")
        self.held = [(bytes(name), bytes(value)) for name, value in headers]
        self.headers.fields = <nghttp2_nv *>malloc((len(self.held) + 1) * sizeof(nghttp2_nv))
        if self.headers.fields == NULL:
            raise MemoryError
        for i, (name, value) in enumerate(self.held):
            self.headers.fields[i].name = <uint8_t *>PyBytes_AS_STRING(name)
            self.headers.fields[i].namelen = PyBytes_GET_SIZE(name)
            self.headers.fields[i].value = <uint8_t *>PyBytes_AS_STRING(value)
            self.headers.fields[i].valuelen = PyBytes_GET_SIZE(value)
            self.headers.fields[i].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
            if name == b"grpc-timeout":
                self.headers.timeout = &self.headers.fields[i]
        self.headers.count = len(self.held)
        self.functions = ProtocolFunctions(
            own=&self.headers, waits_free=False, begin=begin, end=end, submit=submit, let_go=let_go, cancel=cancel, fill=fill, take=take,
            hang_up=hang_up, code_of=code_of, explain=explain)

    def __dealloc__(self):
        free(self.headers.fields)

    cdef list as_sent(self, list bodies):
        return [b"\x00" + len(body).to_bytes(4, "big") + bytes(body) for body in bodies]


# ---- one request -------------------------------------------------------------------------------------------------------

cdef inline nghttp2_session *session_of(LoadConnection *connection) noexcept nogil:
    return <nghttp2_session *>connection.session


cdef bint submit(Stream *stream) noexcept nogil:
    """False: the connection has no stream ids left, is going away, or its session has failed."""
    cdef LoadConnection *connection = stream.connection
    cdef State *state = connection.owner
    cdef Headers *headers = <Headers *>state.protocol.own
    if not nghttp2_session_check_request_allowed(session_of(connection)):
        return False                    # nghttp2 would take it and end it at once, and so the next one in its place, for ever
    if headers.timeout != NULL and state.deadline_ns > 0 and state.now_ns > stream.sent_ns:
        submit_late(stream, headers)
    else:
        submit_with(stream, headers)
    return stream.id > 0


cdef void submit_with(Stream *stream, Headers *headers) noexcept nogil:
    cdef nghttp2_data_provider2 provider
    provider.source.ptr = stream
    provider.read_callback = read_body
    stream.id = nghttp2_submit_request2(session_of(stream.connection), NULL, headers.fields, headers.count, &provider, stream)


cdef void submit_late(Stream *stream, Headers *headers) noexcept nogil:
    """A request that has waited here: the server is told what is left of its time, not all of it."""
    cdef State *state = stream.connection.owner
    cdef nghttp2_nv whole = headers.timeout[0]
    cdef char[TIMEOUT_NBYTES] text
    cdef int nbytes = put_timeout(text, stream.sent_ns + state.deadline_ns - state.now_ns)
    headers.timeout.value, headers.timeout.valuelen = <uint8_t *>text, nbytes
    headers.timeout.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    submit_with(stream, headers)
    headers.timeout[0] = whole


cdef int put_timeout(char *text, int64_t rest_ns) noexcept nogil:
    """A grpc-timeout of 8 digits at most, in the smallest unit that does, rounded down, but 1 us at least; its length."""
    cdef int64_t count = max(rest_ns // 1000, 1)
    cdef char unit = c'u'
    if count >= 100_000_000:
        count, unit = count // 1000, c'm'
    if count >= 100_000_000:
        count, unit = min(count // 1000, 99_999_999), c'S'
    return snprintf(text, TIMEOUT_NBYTES, "%lld%c", <long long>count, unit)


cdef nghttp2_ssize read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length, uint32_t *data_flags,
                             nghttp2_data_source *source, void *user_data) noexcept nogil:
    cdef Stream *stream = <Stream *>source.ptr
    cdef Py_ssize_t nbytes = min(<Py_ssize_t>length, stream.unsent_nbytes)
    memcpy(buffer, stream.unsent, nbytes)
    stream.unsent += nbytes
    stream.unsent_nbytes -= nbytes
    if stream.unsent_nbytes == 0:
        data_flags[0] |= NGHTTP2_DATA_FLAG_EOF
    return nbytes


cdef void take_response(Stream *stream, const char *response, Py_ssize_t nbytes) noexcept nogil:
    """One whole message has come."""
    stream.messages += 1
    stream.fault = response_fault(response, nbytes, &stream.connection.owner.expected)
    keep_response(stream, response, nbytes, NULL, 0)


cdef void let_go(Stream *stream) noexcept nogil:
    if stream.id > 0:
        nghttp2_session_set_stream_user_data(session_of(stream.connection), stream.id, NULL)


cdef void cancel(Stream *stream) noexcept nogil:
    if stream.id > 0:
        let_go(stream)
        nghttp2_submit_rst_stream(session_of(stream.connection), NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_CANCEL)
        mark_unflushed(stream.connection)


cdef void explain(Stream *stream, Closed closed) noexcept nogil:
    cdef const char *word
    if stream.grpc_status > OK or stream.text_nbytes > 0 or (stream.grpc_status == OK and stream.http_status == 200 and stream.is_grpc):
        return
    if is_http_error(stream) and stream.http_status == 200:
        stream.text_nbytes = snprintf(stream.text, TEXT_NBYTES, "the response has no content-type")
    elif is_http_error(stream):
        stream.text_nbytes = snprintf(stream.text, TEXT_NBYTES, "HTTP status %d", stream.http_status)
    elif closed != NO_ERROR:
        word = nghttp2_http2_strerror(closed)
        stream.text_nbytes = snprintf(stream.text, TEXT_NBYTES, "the stream was reset: %s", word)
    else:
        stream.text_nbytes = snprintf(stream.text, TEXT_NBYTES, "the response ended without a grpc-status")


cdef inline bint is_http_error(Stream *stream) noexcept nogil:
    """Whether HTTP's status, or a content-type that is not gRPC's, says that this is no gRPC response. A grpc-status that names an error
    still counts; OK, or none, does not."""
    return stream.http_status != 0 and (stream.http_status != 200 or not stream.is_grpc) and stream.grpc_status <= OK


cdef int code_of(Stream *stream, Closed closed) noexcept nogil:
    """gRPC's mapping of what came: its own status, else HTTP's, else the stream's reset."""
    if is_http_error(stream):
        return code_for(stream.http_status, STATUSES, STATUS_COUNT, UNKNOWN)
    if stream.grpc_status >= 0:
        if stream.grpc_status != OK:
            return stream.grpc_status if stream.grpc_status < MALFORMED else UNKNOWN
        if stream.fault == NULL:
            if stream.messages == 0:
                stream.fault = "OK without a response"
            elif stream.messages > 1 or stream.prefix_nbytes > 0:
                stream.fault = "more than one response"
        return OK if stream.fault == NULL else MALFORMED
    return code_for(closed, RESETS, RESET_COUNT, INTERNAL)


# ---- nghttp2 calls back, without the GIL ---------------------------------------------------------------------------------

cdef int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_nbytes,
                   const uint8_t *value, size_t value_nbytes, uint8_t flags, void *user_data) noexcept nogil:
    cdef Stream *stream = <Stream *>nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
    if stream == NULL:
        return 0
    if name_nbytes == 7 and memcmp(name, ":status", 7) == 0:
        stream.http_status = decimal(value, value_nbytes)
    elif name_nbytes == 12 and memcmp(name, "content-type", 12) == 0:
        if names_grpc(<const char *>value, value_nbytes):
            stream.is_grpc = True
        elif stream.text_nbytes == 0:
            tell(stream, "content-type", <const char *>value, <int>min(value_nbytes, <size_t>TEXT_NBYTES))
    elif not frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        return 0                        # gRPC's status is in what ends the response; before that it is none
    elif name_nbytes == 11 and memcmp(name, "grpc-status", 11) == 0:
        stream.grpc_status = decimal(value, value_nbytes)
        if stream.grpc_status >= MALFORMED and stream.text_nbytes == 0:
            tell(stream, "grpc-status", <const char *>value, <int>min(value_nbytes, <size_t>TEXT_NBYTES))
    elif name_nbytes == 12 and memcmp(name, "grpc-message", 12) == 0:
        stream.text_nbytes = <int>min(value_nbytes, <size_t>TEXT_NBYTES)
        memcpy(stream.text, value, stream.text_nbytes)
    return 0


cdef inline bint names_grpc(const char *value, size_t nbytes) noexcept nogil:
    """application/grpc, and what may come behind it: +proto, or parameters."""
    return nbytes >= 16 and strncasecmp(value, "application/grpc", 16) == 0 and (nbytes == 16 or value[16] == c'+' or value[16] == c';')


cdef void tell(Stream *stream, const char *name, const char *value, int nbytes) noexcept nogil:
    """A header that gRPC does not have like that is told as it came, unless there is a message."""
    cdef int i
    stream.text_nbytes = min(snprintf(stream.text, TEXT_NBYTES, "%s %.*s", name, nbytes, value), TEXT_NBYTES - 1)
    for i in range(stream.text_nbytes):
        stream.text[i] = printable(stream.text[i])


cdef int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *chunk, size_t chunk_nbytes,
                       void *user_data) noexcept nogil:
    cdef Stream *stream = <Stream *>nghttp2_session_get_stream_user_data(session, stream_id)
    cdef Py_ssize_t nbytes = <Py_ssize_t>chunk_nbytes
    cdef Py_ssize_t taken
    if stream == NULL:
        return 0
    while nbytes > 0 and stream.fault == NULL:
        while stream.prefix_nbytes < PREFIX_NBYTES and nbytes > 0:
            stream.prefix[stream.prefix_nbytes] = chunk[0]
            stream.prefix_nbytes += 1
            chunk += 1
            nbytes -= 1
        if stream.prefix_nbytes < PREFIX_NBYTES:
            return 0
        if stream.filled_nbytes == 0 and not begin_response(stream):
            return 0
        if stream.filled_nbytes == 0 and nbytes >= stream.response_nbytes:
            taken = stream.response_nbytes            # whole, in one piece: read where it lies
            take_response(stream, <const char *>chunk, taken)
        else:
            taken = min(nbytes, stream.response_nbytes - stream.filled_nbytes)
            if not make_room(stream):
                return 0
            memcpy(stream.response + stream.filled_nbytes, chunk, taken)
            stream.filled_nbytes += taken
            if stream.filled_nbytes == stream.response_nbytes:
                take_response(stream, stream.response, stream.response_nbytes)
            else:
                return 0
        stream.prefix_nbytes = 0
        stream.filled_nbytes = 0
        chunk += taken
        nbytes -= taken
    return 0


cdef bint begin_response(Stream *stream) noexcept nogil:
    """Reads the prefix of a message; False: it is none that can be read."""
    if stream.prefix[0] != 0:
        stream.fault = "the response is compressed, which was not asked for"
        return False
    stream.response_nbytes = (<Py_ssize_t>stream.prefix[1] << 24) | (stream.prefix[2] << 16) | (stream.prefix[3] << 8) | stream.prefix[4]
    if stream.response_nbytes > stream.connection.owner.max_response_nbytes:
        stream.fault = "the response is larger than the limit"
        return False
    return True


cdef int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) noexcept nogil:
    cdef LoadConnection *connection = <LoadConnection *>user_data
    if frame.hd.type == NGHTTP2_DATA or frame.hd.type == NGHTTP2_HEADERS:
        if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
            end_early(connection, frame.hd.stream_id)
    elif frame.hd.type == NGHTTP2_GOAWAY:
        connection.leaving = True
        connection.parting_nbytes = 0   # the last GOAWAY says it best: the first may only give notice
        part(connection, b"GOAWAY ", 7)
        part(connection, nghttp2_http2_strerror(frame.goaway.error_code), -1)
        if frame.goaway.opaque_data_len > 0:
            part(connection, b": ", 2)
            part(connection, <const char *>frame.goaway.opaque_data, <Py_ssize_t>frame.goaway.opaque_data_len)
        open_waiting(connection)
        if connection.in_flight == 0:
            kill(connection, NULL)
    elif frame.hd.type == NGHTTP2_SETTINGS and not frame.hd.flags & NGHTTP2_FLAG_ACK:
        connection.greeted = True
        connection.limit = nghttp2_session_get_remote_settings(session_of(connection), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
        open_waiting(connection)
    return 0


cdef void end_early(LoadConnection *connection, int32_t stream_id) noexcept nogil:
    """The server has ended a response. If it did not wait for all of the request, the call is over, as for any gRPC client: the rest is
    not sent. Else on_stream_close comes now."""
    cdef Stream *stream = <Stream *>nghttp2_session_get_stream_user_data(session_of(connection), stream_id)
    if stream == NULL or stream.unsent_nbytes == 0:
        return
    nghttp2_session_set_stream_user_data(session_of(connection), stream_id, NULL)
    nghttp2_submit_rst_stream(session_of(connection), NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_NO_ERROR)
    mark_unflushed(connection)
    finish(stream, NO_ERROR, False)


cdef int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user_data) noexcept nogil:
    cdef Stream *stream = <Stream *>nghttp2_session_get_stream_user_data(session, stream_id)
    if stream != NULL:
        nghttp2_session_set_stream_user_data(session, stream_id, NULL)
        finish(stream, <Closed>error_code, False)
    return 0


cdef nghttp2_session_callbacks *callbacks = NULL

cdef int set_up() except -1:
    global callbacks
    if nghttp2_session_callbacks_new(&callbacks) != 0:
        raise MemoryError
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    return 0

set_up()


# ---- a connection's life ---------------------------------------------------------------------------------------------------

cdef bint begin(LoadConnection *connection) noexcept:
    """Its preface and settings wait to be flushed."""
    cdef nghttp2_settings_entry settings[2]
    cdef nghttp2_session *session
    if nghttp2_session_client_new2(&session, callbacks, connection, NULL) != 0:
        return False
    settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_ENABLE_PUSH, 0
    settings[1].settings_id, settings[1].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_NBYTES
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 2)
    nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, WINDOW_NBYTES)
    connection.session = session
    return True


cdef void end(LoadConnection *connection) noexcept:
    nghttp2_session_del(session_of(connection))


cdef void fill(LoadConnection *connection) noexcept nogil:
    cdef const uint8_t *piece
    cdef nghttp2_ssize nbytes = 0
    while connection.unsent_end + FRAME_NBYTES <= SEND_NBYTES:
        nbytes = nghttp2_session_mem_send2(session_of(connection), &piece)
        if nbytes <= 0:
            break
        if nbytes > SEND_NBYTES - connection.unsent_end:
            nbytes = NGHTTP2_ERR_FRAME_SIZE_ERROR       # no frame of a client's is that long
            break
        memcpy(connection.unsent + connection.unsent_end, piece, nbytes)
        connection.unsent_end += nbytes
    if nbytes < 0:
        kill(connection, nghttp2_strerror(<int>nbytes))
    elif connection.unsent_end == 0 and not nghttp2_session_want_read(session_of(connection)):
        kill(connection, "what the server sent is no HTTP/2")     # this end has told it so


cdef bint take(LoadConnection *connection, const uint8_t *buffer, Py_ssize_t nbytes) noexcept nogil:
    cdef nghttp2_ssize taken = nghttp2_session_mem_recv2(session_of(connection), buffer, nbytes)
    if taken < 0:
        kill(connection, nghttp2_strerror(<int>taken))
    elif nghttp2_session_want_write(session_of(connection)) or not nghttp2_session_want_read(session_of(connection)):
        mark_unflushed(connection)
    return taken >= 0


cdef void hang_up(LoadConnection *connection) noexcept nogil:
    """No response of HTTP/2 ends with the connection."""
