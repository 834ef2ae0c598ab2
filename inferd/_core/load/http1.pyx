# cython: language_level=3, boundscheck=False, wraparound=False
# http1: inferences by REST on a connection of the load generator: HTTP/1.1, one request at a time. llhttp reads the responses in its
# strict mode. Bodies are whole requests, head included. Never in here: sockets, when to send, counting.
#
# HTTP/1.1 has no way to take a request back: a fault ends its connection, and a new one takes its place.

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy
from posix.strings cimport strncasecmp

from inferd._core.http1.llhttp cimport *
from inferd._core.load.connection cimport (
    ABORTED, CANCELLED, DEADLINE_EXCEEDED, FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT, MALFORMED, NO_ERROR, NOT_FOUND, OK,
    PERMISSION_DENIED, RESOURCE_EXHAUSTED, SEND_NBYTES, TEXT_NBYTES, UNAUTHENTICATED, UNAVAILABLE, UNIMPLEMENTED, UNKNOWN, Closed,
    LoadConnection, ProtocolFunctions, State, Stream, code_for, finish, keep_response, kill, make_room, part,
)
from inferd._core.load.load_protocol cimport LoadProtocol
from inferd._core.load.rest_response cimport rest_error, rest_fault

cdef enum:
    HEAD_NBYTES = 64 << 10      # of a response's heads, and of what frames its chunks: at most, beside
    FRAMING_TIMES = 8           # so many times its content
    MOST_HEADS = 8              # 1xx responses before the one that counts
    WORD_NBYTES = 64            # of a header's name, and of its value, that are kept: longer ones are none that counts
    FIRST_NBYTES = 16 << 10     # room for a body whose length is not known
    KNOWN_NBYTES = 4 << 10      # the longest JSON of a good response that is kept, to be compared with the next one
    STATUS_COUNT = 20

cdef int[2 * STATUS_COUNT] STATUSES = [
    400, INVALID_ARGUMENT, 401, UNAUTHENTICATED, 403, PERMISSION_DENIED, 404, NOT_FOUND, 405, UNIMPLEMENTED, 408, DEADLINE_EXCEEDED,
    409, ABORTED, 412, FAILED_PRECONDITION, 413, RESOURCE_EXHAUSTED, 415, INVALID_ARGUMENT, 422, INVALID_ARGUMENT,
    429, RESOURCE_EXHAUSTED, 431, RESOURCE_EXHAUSTED, 499, CANCELLED, 500, INTERNAL, 501, UNIMPLEMENTED, 502, UNAVAILABLE,
    503, UNAVAILABLE, 504, DEADLINE_EXCEEDED, 505, UNIMPLEMENTED,
]

cdef struct Known:              # JSON in front of tensors that was good, and is again
    Py_ssize_t json_nbytes
    Py_ssize_t binary_nbytes
    char json[KNOWN_NBYTES]

cdef struct Session:            # the response that a connection waits for
    llhttp_t parser
    Stream *stream              # whose it is; NULL: none is due
    int64_t come_nbytes         # bytes of it that have come, head and framing included
    int heads                   # that have come, 1xx included
    char name[WORD_NBYTES]
    int name_nbytes
    char value[WORD_NBYTES]
    int value_nbytes
    int64_t json_nbytes         # as Inference-Header-Content-Length says; -1: it does not
    bint is_coded               # by a Content-Encoding
    bint retries                # Retry-After came
    const char *whole           # the body, where it came in one piece; else NULL, and it is in the stream's `response`
    Py_ssize_t body_nbytes      # of it that have come
    bint is_over
    bint keeps                  # the connection goes on after it


cdef class Http1(LoadProtocol):
    cdef Known known

    def __cinit__(self):
        self.functions = ProtocolFunctions(
            own=&self.known, waits_free=True, begin=begin, end=end, submit=submit, let_go=let_go, cancel=let_go, fill=fill, take=take,
            hang_up=hang_up, code_of=code_of, explain=explain)


# ---- one request -------------------------------------------------------------------------------------------------------

cdef inline Session *session_of(LoadConnection *connection) noexcept nogil:
    return <Session *>connection.session


cdef bint submit(Stream *stream) noexcept nogil:
    cdef Session *session = session_of(stream.connection)
    llhttp_init(&session.parser, HTTP_RESPONSE, &settings)
    session.parser.data = session
    session.stream = stream
    session.come_nbytes = 0
    session.heads = 0
    begin_head(session)
    stream.id = 1
    stream.response_nbytes = 0
    return True


cdef void begin_head(Session *session) noexcept nogil:
    session.name_nbytes = session.value_nbytes = 0
    session.json_nbytes = -1
    session.is_coded = session.retries = session.is_over = False
    session.whole = NULL
    session.body_nbytes = 0


cdef void let_go(Stream *stream) noexcept nogil:
    """Its response would be taken for another's: the connection ends with it."""
    session_of(stream.connection).stream = NULL
    if stream.id > 0:
        stream.connection.leaving = True


cdef int code_of(Stream *stream, Closed closed) noexcept nogil:
    """The code that was found when the response was whole."""
    if stream.fault != NULL:
        return MALFORMED
    return stream.grpc_status if stream.grpc_status >= 0 else UNKNOWN


cdef void explain(Stream *stream, Closed closed) noexcept nogil:
    """Its text was kept when it was whole."""


cdef int code_of_status(int status, bint retries) noexcept nogil:
    """As the client package has it. A server that is too busy and says when to come back has no room, as by 429."""
    return code_for(429 if status == 503 and retries else status, STATUSES, STATUS_COUNT, UNKNOWN)


# ---- one response --------------------------------------------------------------------------------------------------------

cdef void judge(Session *session) noexcept nogil:
    """Finds the code of a whole response."""
    cdef Stream *stream = session.stream
    cdef const char *body = session.whole if session.whole != NULL else stream.response
    cdef int said
    stream.http_status = session.parser.status_code
    if stream.http_status != 200:
        stream.text_nbytes = snprintf(stream.text, TEXT_NBYTES, "HTTP status %d: ", stream.http_status)
        said = TEXT_NBYTES - stream.text_nbytes
        stream.grpc_status = -1
        if session.is_coded:
            said = 0
        else:
            stream.grpc_status = rest_error(body, session.body_nbytes, stream.text + stream.text_nbytes, &said)
        stream.text_nbytes += said if said > 0 else -2
        if stream.grpc_status < 0:
            stream.grpc_status = code_of_status(stream.http_status, session.retries)
        return
    stream.grpc_status = OK
    if stream.fault != NULL:
        return
    if session.is_coded:
        stream.fault = "the response is compressed, which was not asked for"
    elif session.body_nbytes == 0:
        stream.fault = "OK without a response"
    else:
        check(session, body)


cdef void check(Session *session, const char *body) noexcept nogil:
    cdef Stream *stream = session.stream
    cdef State *state = stream.connection.owner
    cdef Known *known = <Known *>state.protocol.own
    cdef Py_ssize_t nbytes = session.body_nbytes, binary_nbytes
    cdef int64_t json_nbytes = session.json_nbytes if session.json_nbytes >= 0 else nbytes
    if known.json_nbytes == 0 or json_nbytes != known.json_nbytes or nbytes - json_nbytes != known.binary_nbytes \
            or memcmp(body, known.json, known.json_nbytes) != 0:
        stream.fault = rest_fault(body, nbytes, json_nbytes, &state.expected, &binary_nbytes)
        if stream.fault == NULL and binary_nbytes >= 0 and json_nbytes <= KNOWN_NBYTES:
            known.json_nbytes, known.binary_nbytes = json_nbytes, binary_nbytes
            memcpy(known.json, body, json_nbytes)
    keep_response(stream, <const char *>&session.json_nbytes, sizeof(session.json_nbytes), body, nbytes)


cdef int on_header_field(llhttp_t *parser, const char *at, size_t nbytes) noexcept nogil:
    cdef Session *session = <Session *>parser.data
    session.name_nbytes = gather(session.name, session.name_nbytes, at, nbytes)
    return 0


cdef int on_header_value(llhttp_t *parser, const char *at, size_t nbytes) noexcept nogil:
    cdef Session *session = <Session *>parser.data
    session.value_nbytes = gather(session.value, session.value_nbytes, at, nbytes)
    return 0


cdef inline int gather(char *word, int filled, const char *at, size_t nbytes) noexcept nogil:
    """Adds a piece. Returns the word's length; one that is too long is none."""
    if nbytes > <size_t>(WORD_NBYTES - filled):
        return WORD_NBYTES
    memcpy(word + filled, at, nbytes)
    return filled + <int>nbytes


cdef int on_header_value_complete(llhttp_t *parser) noexcept nogil:
    cdef Session *session = <Session *>parser.data
    cdef int name_nbytes = session.name_nbytes, value_nbytes = session.value_nbytes
    session.name_nbytes = session.value_nbytes = 0
    while value_nbytes > 0 and (session.value[value_nbytes - 1] == c' ' or session.value[value_nbytes - 1] == c'\t'):
        value_nbytes -= 1
    if name_nbytes == 31 and strncasecmp(session.name, "inference-header-content-length", 31) == 0:
        return read_json_nbytes(session, value_nbytes)
    if name_nbytes == 16 and strncasecmp(session.name, "content-encoding", 16) == 0:
        session.is_coded = value_nbytes != 0 and (value_nbytes != 8 or strncasecmp(session.value, "identity", 8) != 0)
    elif name_nbytes == 11 and strncasecmp(session.name, "retry-after", 11) == 0:
        session.retries = True
    return 0


cdef int read_json_nbytes(Session *session, int nbytes) noexcept nogil:
    cdef int i
    if session.json_nbytes >= 0 or nbytes == 0 or nbytes > 18:
        return fail(session, "Inference-Header-Content-Length is no length")
    session.json_nbytes = 0
    for i in range(nbytes):
        if session.value[i] < c'0' or session.value[i] > c'9':
            return fail(session, "Inference-Header-Content-Length is no length")
        session.json_nbytes = 10 * session.json_nbytes + session.value[i] - c'0'
    return 0


cdef int on_headers_complete(llhttp_t *parser) noexcept nogil:
    """The body is of Content-Length, of chunks, or ends with the connection."""
    cdef Session *session = <Session *>parser.data
    cdef State *state = session.stream.connection.owner
    session.heads += 1
    if parser.http_major != 1:
        return fail(session, "the response is of another version of HTTP than 1")
    if parser.status_code == 101 or session.heads > MOST_HEADS:
        return fail(session, "the server changes the protocol, or goes on with 1xx responses")
    if parser.content_length > <uint64_t>state.max_response_nbytes:     # 0 where there is none
        return fail(session, "the response is larger than the limit")
    session.stream.response_nbytes = <Py_ssize_t>parser.content_length
    return 0


cdef int on_body(llhttp_t *parser, const char *at, size_t nbytes) noexcept nogil:
    cdef Session *session = <Session *>parser.data
    cdef Stream *stream = session.stream
    if session.body_nbytes + <int64_t>nbytes > stream.connection.owner.max_response_nbytes:
        return fail(session, "the response is larger than the limit")
    if session.body_nbytes == 0 and <Py_ssize_t>nbytes == stream.response_nbytes:
        session.whole = at                              # in one piece: read where it lies
        session.body_nbytes = nbytes
        return 0
    if session.body_nbytes + <Py_ssize_t>nbytes > stream.room_nbytes:
        stream.response_nbytes = max(stream.response_nbytes, 2 * (session.body_nbytes + <Py_ssize_t>nbytes), <Py_ssize_t>FIRST_NBYTES)
        if not make_room(stream):
            return HPE_USER
    memcpy(stream.response + session.body_nbytes, at, nbytes)
    session.body_nbytes += nbytes
    return 0


cdef int on_message_complete(llhttp_t *parser) noexcept nogil:
    cdef Session *session = <Session *>parser.data
    if parser.status_code < 200:
        begin_head(session)                             # the real one follows
        return 0
    session.is_over = True
    session.keeps = llhttp_should_keep_alive(parser)
    return HPE_PAUSED


cdef int fail(Session *session, const char *fault) noexcept nogil:
    """The response is none, and what follows it cannot be told from it."""
    session.stream.fault = fault
    return HPE_USER


cdef llhttp_settings_t settings
llhttp_settings_init(&settings)
settings.on_header_field = on_header_field
settings.on_header_value = on_header_value
settings.on_header_value_complete = on_header_value_complete
settings.on_headers_complete = on_headers_complete
settings.on_body = on_body
settings.on_message_complete = on_message_complete


# ---- a connection's life ---------------------------------------------------------------------------------------------------

cdef bint begin(LoadConnection *connection) noexcept:
    connection.session = calloc(1, sizeof(Session))
    connection.limit = 1
    connection.greeted = True
    return connection.session != NULL


cdef void end(LoadConnection *connection) noexcept:
    free(connection.session)


cdef void fill(LoadConnection *connection) noexcept nogil:
    cdef Stream *stream = session_of(connection).stream
    if stream == NULL:
        return
    connection.unsent_end = min(stream.unsent_nbytes, <Py_ssize_t>SEND_NBYTES)
    memcpy(connection.unsent, stream.unsent, connection.unsent_end)
    stream.unsent += connection.unsent_end
    stream.unsent_nbytes -= connection.unsent_end


cdef bint take(LoadConnection *connection, const uint8_t *buffer, Py_ssize_t nbytes) noexcept nogil:
    cdef Session *session = session_of(connection)
    cdef Stream *stream = session.stream
    cdef llhttp_errno_t found
    if stream == NULL or stream.unsent == connection.owner.bodies[stream.body]:
        kill(connection, "the server sent something that was not asked for")
        return False
    found = llhttp_execute(&session.parser, <const char *>buffer, nbytes)
    session.come_nbytes += nbytes
    if found == HPE_OK:
        if session.come_nbytes - session.body_nbytes <= HEAD_NBYTES + FRAMING_TIMES * session.body_nbytes:
            return True
        stream.fault = "the response's head, or what frames its chunks, is larger than the limit"
    elif found == HPE_PAUSED and session.is_over:
        if llhttp_get_error_pos(&session.parser) != <const char *>buffer + nbytes:
            stream.fault = "more than one response"
            session.keeps = False
        judge(session)
        over(session)
        return not connection.dead
    elif stream.fault == NULL:
        kill(connection, NULL)
        part(connection, "what the server sent is no HTTP/1.1: ", -1)
        part(connection, llhttp_get_error_reason(&session.parser), -1)
        return False
    session.keeps = False
    over(session)
    return False


cdef void hang_up(LoadConnection *connection) noexcept nogil:
    """A response without a length is whole now."""
    cdef Session *session = session_of(connection)
    if session.stream != NULL and session.heads > 0 and llhttp_finish(&session.parser) in (HPE_OK, HPE_PAUSED) and session.is_over:
        session.keeps = False
        judge(session)
        over(session)


cdef void over(Session *session) noexcept nogil:
    """The response is read, or is none. The connection goes on if both sides are at its end."""
    cdef Stream *stream = session.stream
    cdef LoadConnection *connection = stream.connection
    session.stream = NULL
    if not session.keeps or stream.unsent_nbytes > 0 or connection.unsent_at < connection.unsent_end:
        connection.leaving = True
    finish(stream, NO_ERROR, False)
