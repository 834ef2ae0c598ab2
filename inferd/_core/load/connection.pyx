# cython: language_level=3, boundscheck=False, wraparound=False
# connection: one HTTP/2 connection of the load generator (see connection.pxd).

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EINTR, EPIPE, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, strerror, strlen
from posix.strings cimport strncasecmp

from inferd._core.load.response cimport response_fault
from inferd._core.base.clock cimport monotonic_ns
from inferd._core.base.linux cimport EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, MSG_DONTWAIT, MSG_NOSIGNAL, epoll_ctl, epoll_event, recv, send
from inferd._core.http2.nghttp2 cimport *
from inferd._core.load.tls cimport decrypt, encrypt

cdef enum:
    SEND_NBYTES = 256 << 10             # of each connection: what the kernel has not taken yet
    FRAME_NBYTES = (16 << 10) + 64      # a client's largest frame, the most that nghttp2 gives out at once
    WINDOW_NBYTES = 16 << 20            # a connection's window, and the most that is read of one that takes nothing more
    STREAM_WINDOW_NBYTES = 4 << 20
    KEPT_NBYTES = 64 << 10              # of a request's room for a response, when it is over
    MAX_REJECTIONS = 2                  # so often a request is sent again
    TIMEOUT_NBYTES = 16                 # room for a grpc-timeout: 8 digits, a unit, a zero
    MAX_CAPTURED = 4096                 # responses kept for whoever checks them, in number
    MAX_CAPTURED_NBYTES = 64 << 20      # and in bytes

cdef enum:                      # of gRPC's codes those that are not the server's own word
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    DEADLINE_EXCEEDED = 4
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


# ---- one request -------------------------------------------------------------------------------------------------------

cdef Stream *new_stream(State *state, int body) noexcept nogil:
    cdef Stream *stream = state.free_streams
    if stream != NULL:
        state.free_streams = stream.next
    else:
        stream = <Stream *>calloc(1, sizeof(Stream))
        if stream == NULL:
            return NULL
    stream.body = body
    stream.rejections = 0
    stream.gave_up = False
    reset(state, stream)
    return stream


cdef void reset(State *state, Stream *stream) noexcept nogil:
    """Nothing was sent, and nothing has come."""
    stream.id = 0
    stream.unsent = state.bodies[stream.body]
    stream.unsent_nbytes = state.body_nbytes[stream.body]
    stream.http_status = 0
    stream.grpc_status = -1
    stream.is_grpc = False
    stream.prefix_nbytes = 0
    stream.filled_nbytes = 0
    stream.messages = 0
    stream.fault = NULL
    stream.text_nbytes = 0


cdef bint send_next(LoadConnection *connection, int64_t intended_ns, int64_t now_ns) noexcept nogil:
    """Sends the next request on a connection; False: it can't."""
    return send_body(connection, <int>(connection.owner.number % connection.owner.body_count), 0, intended_ns, now_ns)


cdef bint send_body(LoadConnection *connection, int body, uint64_t tag, int64_t intended_ns, int64_t now_ns) noexcept nogil:
    cdef State *state = connection.owner
    cdef Stream *stream = new_stream(state, body)
    if stream == NULL:
        return False
    stream.connection = connection
    stream.tag = tag
    stream.number = state.number
    stream.intended_ns = intended_ns
    stream.sent_ns = now_ns
    stream.hindered = intended_ns <= state.hindered_ns
    if connection.waiting == NULL and has_room(connection) and not open_stream(stream):
        stream.next = state.free_streams
        state.free_streams = stream
        return False
    state.number += 1
    state.outstanding += 1
    append(stream)
    if intended_ns >= state.measure_from_ns:
        state.startable -= 1
        state.measured += 1
        state.held_back += stream.id == 0 and connection.greeted
        if not stream.hindered:
            count(&state.lateness, now_ns - intended_ns)
    return True


cdef void append(Stream *stream) noexcept nogil:
    """To its connection's list."""
    cdef LoadConnection *connection = stream.connection
    connection.in_flight += 1
    stream.next = NULL
    stream.previous = connection.last
    if connection.last != NULL:
        connection.last.next = stream
    else:
        connection.first = stream
    connection.last = stream
    if stream.id == 0 and connection.waiting == NULL:
        connection.waiting = stream


cdef bint send_again(LoadConnection *connection) noexcept nogil:
    """Sends the first of the rejected requests, whose times stay what they were."""
    cdef State *state = connection.owner
    cdef Stream *stream = state.rejected
    stream.connection = connection
    reset(state, stream)
    if connection.waiting == NULL and has_room(connection) and not open_stream(stream):
        return False
    state.rejected = stream.next
    append(stream)
    return True


cdef void keep_rejected(Stream *stream) noexcept nogil:
    """The server never looked at a request: takes it off its connection. It stays under way."""
    cdef State *state = stream.connection.owner
    detach(stream)
    stream.rejections += 1
    stream.next = NULL
    if state.rejected != NULL:
        state.rejected_last.next = stream
    else:
        state.rejected = stream
    state.rejected_last = stream


cdef void end_rejected(State *state, int code, int64_t sent_before_ns) noexcept nogil:
    """Rejected requests that are not sent again."""
    cdef Stream *stream
    while state.rejected != NULL and state.rejected.sent_ns <= sent_before_ns:
        stream = state.rejected
        state.rejected = stream.next
        state.outstanding -= 1
        count_ended(state, stream, code)
        release(state, stream)


cdef inline bint has_room(LoadConnection *connection) noexcept nogil:
    """Whether the server takes one more stream now. nghttp2 would queue what is too much, and search that queue for every reset; and
    before the server's SETTINGS it would send what they may forbid."""
    return <uint32_t>connection.open < connection.limit


cdef bint open_stream(Stream *stream) noexcept nogil:
    """Gives a request to nghttp2; False: the connection has no stream ids left, is going away, or its session has failed."""
    cdef LoadConnection *connection = stream.connection
    if not nghttp2_session_check_request_allowed(connection.session):
        stream.id = -1                  # nghttp2 would take it and end it at once, and so the next one in its place, for ever
    elif connection.owner.timeout != NULL and connection.owner.now_ns > stream.sent_ns:
        submit_late(stream)
    else:
        submit(stream)
    if stream.id < 0:
        stream.id = 0
        connection.leaving = True
        if connection.in_flight == 0:
            kill(connection, NULL)
        return False
    stream.opened_ns = max(stream.sent_ns, connection.owner.now_ns)
    connection.open += 1
    mark_unflushed(connection)
    return True


cdef void submit(Stream *stream) noexcept nogil:
    cdef State *state = stream.connection.owner
    cdef nghttp2_data_provider2 provider
    provider.source.ptr = stream
    provider.read_callback = read_body
    stream.id = nghttp2_submit_request2(stream.connection.session, NULL, state.headers, state.header_count, &provider, stream)


cdef void submit_late(Stream *stream) noexcept nogil:
    """A request that has waited here: the server is told what is left of its time, not all of it."""
    cdef State *state = stream.connection.owner
    cdef nghttp2_nv whole = state.timeout[0]
    cdef char[TIMEOUT_NBYTES] text
    cdef int nbytes = put_timeout(text, stream.sent_ns + state.deadline_ns - state.now_ns)
    state.timeout.value, state.timeout.valuelen = <uint8_t *>text, nbytes
    state.timeout.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    submit(stream)
    state.timeout[0] = whole


cdef int put_timeout(char *text, int64_t rest_ns) noexcept nogil:
    """A grpc-timeout of 8 digits at most, in the smallest unit that does, rounded down, but 1 us at least; its length."""
    cdef int64_t count = max(rest_ns // 1000, 1)
    cdef char unit = c'u'
    if count >= 100_000_000:
        count, unit = count // 1000, c'm'
    if count >= 100_000_000:
        count, unit = min(count // 1000, 99_999_999), c'S'
    return snprintf(text, TIMEOUT_NBYTES, "%lld%c", <long long>count, unit)


cdef void open_waiting(LoadConnection *connection) noexcept nogil:
    """The server takes more: those that wait begin, in their order, but for what would come too late by all that is known: it would take
    the time of the next ones, one after the other. On a connection that goes away they are rejected."""
    cdef Stream *stream
    cdef int64_t deadline_ns = connection.owner.deadline_ns
    if connection.opening:              # finish calls back
        return
    connection.opening = True
    while connection.waiting != NULL and not connection.dead and (connection.leaving or has_room(connection)):
        stream = connection.waiting
        connection.waiting = stream.next
        if deadline_ns > 0 and is_too_late(stream):
            stream.grpc_status = DEADLINE_EXCEEDED
            stream.text_nbytes = snprintf(stream.text, TEXT_NBYTES, "waited in the generator for a stream until it was too late")
            finish(stream, NGHTTP2_CANCEL, False)
        elif connection.leaving or not open_stream(stream):
            finish(stream, 0, True)
    connection.opening = False


cdef inline bint is_too_late(Stream *stream) noexcept nogil:
    """Whether what is left of its deadline is over, or is less than good responses take."""
    cdef State *state = stream.connection.owner
    cdef int64_t rest_ns = stream.sent_ns + state.deadline_ns - state.now_ns
    return rest_ns <= 0 or rest_ns < state.answered_in_ns


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
    cdef State *state = stream.connection.owner
    stream.messages += 1
    stream.fault = response_fault(response, nbytes, &state.expected)
    if state.verify_every > 0 and is_drawn(stream.number, state.verify_every) and stream.intended_ns >= state.measure_from_ns:
        capture(state, stream.body, response, nbytes)


cdef inline bint is_drawn(int64_t number, int64_t every) noexcept nogil:
    """About one request in `every`, by a hash of its number (splitmix64's last step): whatever the number of bodies, each has its turn."""
    cdef uint64_t mixed = <uint64_t>number * 0x9E3779B97F4A7C15U
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9U
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBU
    return (mixed ^ (mixed >> 31)) % <uint64_t>every == 0


cdef void capture(State *state, int body, const char *response, Py_ssize_t nbytes) noexcept nogil:
    cdef Captured *kept = NULL
    if state.captured_count < MAX_CAPTURED and state.captured_nbytes + nbytes <= MAX_CAPTURED_NBYTES:
        kept = <Captured *>malloc(sizeof(Captured) + nbytes)
    if kept == NULL:
        state.captured_lost += 1
        return
    kept.body = body
    kept.nbytes = nbytes
    memcpy(<char *>kept + sizeof(Captured), response, nbytes)
    kept.next = state.captured
    state.captured = kept
    state.captured_count += 1
    state.captured_nbytes += nbytes


cdef void finish(Stream *stream, uint32_t error_code, bint lost) noexcept nogil:
    """The stream is closed: counts it, and sends the next request in a closed loop."""
    cdef LoadConnection *connection = stream.connection
    cdef State *state = connection.owner
    cdef bint again = False
    if lost or stream.grpc_status < 0 or stream.http_status != 200 or not stream.is_grpc:
        explain(stream, error_code, lost)
    if is_untouched(stream, error_code):
        again = not connection.leaving and not connection.dead
        keep_rejected(stream)
    else:
        detach(stream)
        state.outstanding -= 1
        count_ended(state, stream, CONNECTION if lost else code_of(stream, error_code))
        release(state, stream)
    if connection.waiting != NULL:
        open_waiting(connection)
    if again:
        send_again(connection)
    elif (state.streams > 0 and state.startable > 0 and connection.in_flight < state.streams and not connection.leaving
            and not connection.dead):
        send_next(connection, state.now_ns, state.now_ns)
    elif connection.leaving and connection.in_flight == 0:
        kill(connection, NULL)


cdef bint is_untouched(Stream *stream, uint32_t error_code) noexcept nogil:
    """Whether the server has never looked at a request: a gRPC client sends it again and tells nobody."""
    return ((stream.id == 0 or error_code == NGHTTP2_REFUSED_STREAM) and stream.http_status == 0 and stream.grpc_status < 0
            and not stream.gave_up and stream.rejections < MAX_REJECTIONS)


cdef void explain(Stream *stream, uint32_t error_code, bint lost) noexcept nogil:
    """How a request ended, where the server did not say it in a grpc-message."""
    cdef LoadConnection *connection = stream.connection
    cdef const char *word
    cdef bint silent = stream.http_status == 0 and stream.grpc_status < 0
    if lost or (silent and connection.parting_nbytes > 0):
        memcpy(stream.text, connection.parting, connection.parting_nbytes)
        stream.text_nbytes = connection.parting_nbytes
        return
    if stream.grpc_status > OK or stream.text_nbytes > 0:
        return
    if is_http_error(stream) and stream.http_status == 200:
        stream.text_nbytes = snprintf(stream.text, TEXT_NBYTES, "the response has no content-type")
    elif is_http_error(stream):
        stream.text_nbytes = snprintf(stream.text, TEXT_NBYTES, "HTTP status %d", stream.http_status)
    elif error_code != NGHTTP2_NO_ERROR:
        word = nghttp2_http2_strerror(error_code)
        stream.text_nbytes = snprintf(stream.text, TEXT_NBYTES, "the stream was reset: %s", word)
    else:
        stream.text_nbytes = snprintf(stream.text, TEXT_NBYTES, "the response ended without a grpc-status")


cdef inline bint is_http_error(Stream *stream) noexcept nogil:
    """Whether HTTP's status, or a content-type that is not gRPC's, says that this is no gRPC response. A grpc-status that names an error
    still counts; OK, or none, does not."""
    return stream.http_status != 0 and (stream.http_status != 200 or not stream.is_grpc) and stream.grpc_status <= OK


cdef void count_ended(State *state, Stream *stream, int code) noexcept nogil:
    """What came of a request; its connection may have gone."""
    cdef int64_t now_ns = state.now_ns
    cdef bint missed
    if state.deadline_ns > 0 and code < CONNECTION and now_ns > stream.sent_ns + state.deadline_ns:
        code = DEADLINE_EXCEEDED        # whatever the server says by then: a gRPC client waits for no response any longer
    # grpcio's servers say CANCELLED where a deadline has passed by their clock, which under load is some milliseconds behind
    missed = code == DEADLINE_EXCEEDED or (code == CANCELLED and state.deadline_ns > 0)
    if code == OK and now_ns >= state.responses_from_ns:
        state.answered += 1
    if code == OK and state.deadline_ns > 0:
        note_response(state, now_ns - stream.opened_ns)
    if stream.intended_ns >= state.measure_from_ns:
        state.codes[code] += 1
        if missed:                      # there is no response until then, whenever that was said
            now_ns = max(now_ns, stream.sent_ns + state.deadline_ns)
        if code == OK or code == UNANSWERED or missed:      # the others took so long at least
            count(&state.latency, now_ns - stream.intended_ns)
            count(&state.service, now_ns - (stream.intended_ns if stream.hindered else stream.sent_ns))
        if code != OK and code != UNANSWERED and state.text_nbytes[code] == 0:
            keep_text(state, stream, code)
        if state.samples != NULL:
            keep_sample(state, stream.intended_ns, stream.sent_ns, now_ns, code)


cdef inline void note_response(State *state, int64_t took_ns) noexcept nogil:
    """A mean of the last eight or so. None of them took longer than the deadline."""
    if state.answered_in_ns == 0:
        state.answered_in_ns = took_ns
    state.answered_in_ns += (took_ns - state.answered_in_ns) // 8


cdef void give_up_arrival(State *state, int64_t intended_ns, int64_t now_ns, int code) noexcept nogil:
    """A request that was due and never sent, for there was no connection, or nothing came back."""
    if intended_ns < state.measure_from_ns:
        return
    state.codes[code] += 1
    if code == UNANSWERED:
        count(&state.latency, now_ns - intended_ns)
        count(&state.service, now_ns - intended_ns)
    if state.samples != NULL:
        keep_sample(state, intended_ns, now_ns, now_ns, code)


cdef void count_waiting(State *state, Stream *stream, int64_t longer_than_ns) noexcept nogil:
    """Of a list of requests under way, which they stay."""
    while stream != NULL:
        count_wait(state, stream.intended_ns, stream.intended_ns if stream.hindered else stream.sent_ns, longer_than_ns)
        stream = stream.next


cdef void count_wait(State *state, int64_t intended_ns, int64_t sent_ns, int64_t longer_than_ns) noexcept nogil:
    """The time so far of a request that is not over counts as its latency, if it is longer."""
    if state.now_ns - intended_ns > longer_than_ns:
        count(&state.latency, state.now_ns - intended_ns)
        count(&state.service, state.now_ns - sent_ns)


cdef int code_of(Stream *stream, uint32_t error_code) noexcept nogil:
    """gRPC's mapping of what came: its own status, else HTTP's, else the stream's reset."""
    if stream.gave_up:
        return UNANSWERED
    if is_http_error(stream):
        return code_of_http(stream.http_status)
    if stream.grpc_status >= 0:
        if stream.grpc_status != OK:
            return stream.grpc_status if stream.grpc_status < MALFORMED else UNKNOWN
        if stream.fault == NULL:
            if stream.messages == 0:
                stream.fault = "OK without a response"
            elif stream.messages > 1 or stream.prefix_nbytes > 0:
                stream.fault = "more than one response"
        return OK if stream.fault == NULL else MALFORMED
    if error_code == NGHTTP2_REFUSED_STREAM:
        return UNAVAILABLE
    if error_code == NGHTTP2_CANCEL:
        return CANCELLED
    if error_code == NGHTTP2_ENHANCE_YOUR_CALM:
        return RESOURCE_EXHAUSTED
    if error_code == NGHTTP2_INADEQUATE_SECURITY:
        return PERMISSION_DENIED
    return INTERNAL if error_code != NGHTTP2_NO_ERROR else UNKNOWN


cdef int code_of_http(int status) noexcept nogil:
    """gRPC's table for what comes from others than a gRPC server."""
    if status == 400:
        return INTERNAL
    if status == 401:
        return UNAUTHENTICATED
    if status == 403:
        return PERMISSION_DENIED
    if status == 404:
        return UNIMPLEMENTED
    if status == 429 or 502 <= status <= 504:
        return UNAVAILABLE
    return UNKNOWN


cdef void keep_text(State *state, Stream *stream, int code) noexcept nogil:
    cdef const char *fault = stream.fault
    cdef int nbytes = 0
    if code != MALFORMED:
        nbytes = stream.text_nbytes
        memcpy(state.texts[code], stream.text, nbytes)
    elif fault != NULL:
        while fault[nbytes] != 0 and nbytes < TEXT_NBYTES:
            state.texts[code][nbytes] = fault[nbytes]
            nbytes += 1
    state.text_nbytes[code] = nbytes


cdef void keep_sample(State *state, int64_t intended_ns, int64_t sent_ns, int64_t now_ns, int code) noexcept nogil:
    cdef Sample *sample
    if state.sample_count == state.sample_room:
        state.samples_lost += 1
        return
    sample = &state.samples[state.sample_count]
    sample.intended_ns, sample.sent_ns, sample.done_ns, sample.code = intended_ns, sent_ns, now_ns, code
    state.sample_count += 1


cdef void detach(Stream *stream) noexcept nogil:
    """Takes a stream out of its connection's list."""
    cdef LoadConnection *connection = stream.connection
    if stream.previous != NULL:
        stream.previous.next = stream.next
    else:
        connection.first = stream.next
    if stream.next != NULL:
        stream.next.previous = stream.previous
    else:
        connection.last = stream.previous
    if connection.waiting == stream:
        connection.waiting = stream.next
    if stream.id > 0:
        connection.open -= 1
    connection.in_flight -= 1


cdef void release(State *state, Stream *stream) noexcept nogil:
    """A request is over: keeps its stream for the next one."""
    if state.ended != NULL:             # as long as all that may be under way
        state.ended[state.ended_count] = stream.tag
        state.ended_count += 1
    if stream.room_nbytes > KEPT_NBYTES:
        free(stream.response)
        stream.response = NULL
        stream.room_nbytes = 0
    stream.next = state.free_streams
    state.free_streams = stream


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


cdef int decimal(const uint8_t *text, size_t nbytes) noexcept nogil:
    """A small whole number; 999 for anything else."""
    cdef int value = 0
    cdef size_t i
    if nbytes == 0 or nbytes > 3:
        return 999
    for i in range(nbytes):
        if text[i] < c'0' or text[i] > c'9':
            return 999
        value = value * 10 + text[i] - c'0'
    return value


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


cdef bint make_room(Stream *stream) noexcept nogil:
    cdef char *grown
    if stream.room_nbytes < stream.response_nbytes:
        grown = <char *>realloc(stream.response, stream.response_nbytes)
        if grown == NULL:
            stream.fault = "there is no memory for the response"
            return False
        stream.response = grown
        stream.room_nbytes = stream.response_nbytes
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
        connection.limit = nghttp2_session_get_remote_settings(connection.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
        open_waiting(connection)
    return 0


cdef void end_early(LoadConnection *connection, int32_t stream_id) noexcept nogil:
    """The server has ended a response. Where it did not wait for all of the request the call is over, as for any gRPC client, and what is
    left of the request is not sent; else on_stream_close comes now."""
    cdef Stream *stream = <Stream *>nghttp2_session_get_stream_user_data(connection.session, stream_id)
    if stream == NULL or stream.unsent_nbytes == 0:
        return
    nghttp2_session_set_stream_user_data(connection.session, stream_id, NULL)
    nghttp2_submit_rst_stream(connection.session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_NO_ERROR)
    mark_unflushed(connection)
    finish(stream, NGHTTP2_NO_ERROR, False)


cdef int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user_data) noexcept nogil:
    cdef Stream *stream = <Stream *>nghttp2_session_get_stream_user_data(session, stream_id)
    if stream != NULL:
        nghttp2_session_set_stream_user_data(session, stream_id, NULL)
        finish(stream, error_code, False)
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

cdef LoadConnection *new_connection(State *state, int fd, int number, Seal *seal) noexcept:
    """A connection whose preface and settings wait to be flushed."""
    cdef nghttp2_settings_entry settings[2]
    cdef LoadConnection *connection = <LoadConnection *>calloc(1, sizeof(LoadConnection))
    if connection == NULL:
        return NULL
    connection.owner = state
    connection.fd = fd
    connection.number = number
    connection.unsent = <uint8_t *>malloc(SEND_NBYTES)
    if connection.unsent == NULL or nghttp2_session_client_new2(&connection.session, callbacks, connection, NULL) != 0:
        free(connection.unsent)
        free(connection)
        return NULL
    settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_ENABLE_PUSH, 0
    settings[1].settings_id, settings[1].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_NBYTES
    nghttp2_submit_settings(connection.session, NGHTTP2_FLAG_NONE, settings, 2)
    nghttp2_session_set_local_window_size(connection.session, NGHTTP2_FLAG_NONE, 0, WINDOW_NBYTES)
    connection.seal = seal
    if seal != NULL:
        Py_INCREF(<object>seal.tls)
    connection.next = state.connections
    state.connections = connection
    mark_unflushed(connection)
    return connection


cdef void free_connection(LoadConnection *connection) noexcept:
    cdef State *state = connection.owner
    cdef LoadConnection **at = &state.connections
    connection.dead = True              # nothing is sent in place of the requests that are lost
    while connection.first != NULL:
        if connection.first.id > 0:
            nghttp2_session_set_stream_user_data(connection.session, connection.first.id, NULL)
        finish(connection.first, 0, True)
    while at[0] != connection:
        at = &at[0].next
    at[0] = connection.next
    if connection.unflushed:
        at = &state.unflushed
        while at[0] != connection:
            at = &at[0].next_unflushed
        at[0] = connection.next_unflushed
    if state.turn == connection:
        state.turn = NULL
    nghttp2_session_del(connection.session)
    if connection.seal != NULL:
        Py_DECREF(<object>connection.seal.tls)
    free(connection.unsent)
    free(connection)


# ---- bytes in and out -----------------------------------------------------------------------------------------------------

cdef inline char printable(char letter) noexcept nogil:
    """What may stand in a message beside percent-encoded text."""
    return letter if c' ' <= letter <= c'~' and letter != c'%' else c'?'


cdef void part(LoadConnection *connection, const char *text, Py_ssize_t nbytes) noexcept nogil:
    """Adds to a connection's parting word, as far as there is room. nbytes: -1 for text that ends with a zero."""
    cdef Py_ssize_t i
    if nbytes < 0:
        nbytes = <Py_ssize_t>strlen(text)
    for i in range(min(nbytes, <Py_ssize_t>TEXT_NBYTES - connection.parting_nbytes)):
        connection.parting[connection.parting_nbytes] = printable(text[i])
        connection.parting_nbytes += 1


cdef void kill(LoadConnection *connection, const char *why) noexcept nogil:
    """Nothing more comes from this connection; Python drops it when it looks. why: NULL where its last word was said before."""
    if why != NULL and connection.parting_nbytes == 0:
        part(connection, why, -1)
    if not connection.dead:
        connection.dead = True
        connection.owner.died += 1


cdef void flush(LoadConnection *connection, int epoll) noexcept nogil:
    """Hands the kernel what it takes of what nghttp2 has to say."""
    cdef const uint8_t *piece
    cdef nghttp2_ssize nbytes = 0
    cdef Py_ssize_t sent
    while not connection.dead:
        while connection.unsent_at < connection.unsent_end:
            sent = send(connection.fd, connection.unsent + connection.unsent_at, connection.unsent_end - connection.unsent_at,
                        MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    read_last(connection, errno)
                elif not connection.polls_output:
                    watch(connection, epoll, EPOLL_CTL_MOD, True)
                return
            connection.unsent_at += sent
        connection.unsent_at = connection.unsent_end = 0
        while connection.unsent_end + FRAME_NBYTES <= SEND_NBYTES:
            nbytes = nghttp2_session_mem_send2(connection.session, &piece)
            if nbytes <= 0:
                break
            if nbytes > SEND_NBYTES - connection.unsent_end:
                nbytes = NGHTTP2_ERR_FRAME_SIZE_ERROR       # no frame of a client's is that long
                break
            memcpy(connection.unsent + connection.unsent_end, piece, nbytes)
            connection.unsent_end += nbytes
        if nbytes < 0:
            kill(connection, nghttp2_strerror(<int>nbytes))
        if connection.seal != NULL:
            encrypt_unsent(connection)
        if connection.unsent_end == 0:
            break
    if not nghttp2_session_want_read(connection.session) and not nghttp2_session_want_write(connection.session):
        kill(connection, "what the server sent is no HTTP/2")     # this end has told it so
    elif connection.polls_output and not connection.dead:
        watch(connection, epoll, EPOLL_CTL_MOD, False)


cdef void encrypt_unsent(LoadConnection *connection) noexcept nogil:
    """What is to be sent is encrypted where it lies."""
    cdef Py_ssize_t nbytes = 0
    if connection.unsent_end > 0 or connection.seal.owes:
        nbytes = encrypt(connection.seal, connection.unsent, connection.unsent_end, SEND_NBYTES)
    if nbytes < 0:
        kill(connection, connection.seal.fault)
    connection.unsent_end = max(nbytes, <Py_ssize_t>0)


cdef int watch(LoadConnection *connection, int epoll, int operation, bint output) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN | (EPOLLOUT if output else 0)
    event.data.ptr = connection
    connection.polls_output = output
    return epoll_ctl(epoll, operation, connection.fd, &event)


cdef inline Py_ssize_t take(LoadConnection *connection, uint8_t *buffer, Py_ssize_t nbytes, Py_ssize_t room) noexcept nogil:
    """Gives nghttp2 what has come. Negative: it is no HTTP/2."""
    if connection.seal != NULL:
        return take_encrypted(connection, buffer, nbytes, room)
    return nghttp2_session_mem_recv2(connection.session, buffer, nbytes)


cdef Py_ssize_t take_encrypted(LoadConnection *connection, uint8_t *buffer, Py_ssize_t nbytes, Py_ssize_t room) noexcept nogil:
    """The same by TLS: what is whole of it. What comes of it in the end is said behind that."""
    cdef Py_ssize_t opened = room
    while opened == room:
        opened = decrypt(connection.seal, buffer, nbytes, room)
        nbytes = nghttp2_session_mem_recv2(connection.session, buffer, opened) if opened > 0 else 0
        if nbytes < 0:
            return nbytes
        nbytes = 0
    if connection.seal.owes:
        mark_unflushed(connection)
    if connection.seal.fault[0] != 0:
        kill(connection, connection.seal.fault)
    return 1


cdef void receive_left(LoadConnection *connection, uint8_t *buffer) noexcept nogil:
    cdef Py_ssize_t nbytes = take_encrypted(connection, buffer, 0, RECEIVE_NBYTES)
    if nbytes < 0:
        kill(connection, nghttp2_strerror(<int>nbytes))


cdef void receive(LoadConnection *connection, uint8_t *buffer) noexcept nogil:
    cdef State *state = connection.owner
    cdef Py_ssize_t nbytes = recv(connection.fd, buffer, RECEIVE_NBYTES, MSG_DONTWAIT)
    state.now_ns = monotonic_ns()       # a response is there when its bytes are
    if nbytes < 0 and (errno == EAGAIN or errno == EINTR):
        return
    if nbytes <= 0:
        kill(connection, ended_by(errno if nbytes < 0 else 0))
        return
    nbytes = take(connection, buffer, nbytes, RECEIVE_NBYTES)
    if nbytes < 0:
        kill(connection, nghttp2_strerror(<int>nbytes))
    elif nghttp2_session_want_write(connection.session) or not nghttp2_session_want_read(connection.session):
        mark_unflushed(connection)


cdef void read_last(LoadConnection *connection, int error) noexcept nogil:
    """The server takes nothing any more: what it said before that is still there, responses and why it goes. It may go on saying more."""
    cdef uint8_t buffer[FRAME_NBYTES]
    cdef Py_ssize_t nbytes = 1
    cdef Py_ssize_t left = WINDOW_NBYTES
    kill(connection, NULL)              # nothing is sent in place of the requests that end now
    while nbytes > 0 and left > 0:
        nbytes = recv(connection.fd, buffer, FRAME_NBYTES, MSG_DONTWAIT)
        left -= nbytes
        connection.owner.now_ns = monotonic_ns()
        if nbytes > 0:
            nbytes = take(connection, buffer, nbytes, FRAME_NBYTES)
    kill(connection, ended_by(error))


cdef inline const char *ended_by(int error) noexcept nogil:
    """What a socket's error says of the other side; 0: it was read to its end."""
    if error == 0 or error == EPIPE:
        return "the server closed the connection"
    return strerror(error)


cdef void give_up(LoadConnection *connection) noexcept nogil:
    """Nobody waits any longer: what is under way has no response, and took so long at least."""
    connection.leaving = True           # nothing is sent in their place,
    connection.opening = True           # and no waiting request begins
    while connection.first != NULL:
        if connection.first.id > 0:
            nghttp2_session_set_stream_user_data(connection.session, connection.first.id, NULL)
        connection.first.gave_up = True
        finish(connection.first, 0, False)


cdef void cancel_late(LoadConnection *connection, int64_t now_ns) noexcept nogil:
    """Requests whose time is over are cancelled, as a gRPC client does."""
    cdef Stream *stream = connection.first
    cdef int64_t deadline_ns = connection.owner.deadline_ns
    connection.owner.now_ns = now_ns
    while stream != NULL and stream.sent_ns + deadline_ns <= now_ns:
        if stream.id > 0:
            nghttp2_session_set_stream_user_data(connection.session, stream.id, NULL)
            nghttp2_submit_rst_stream(connection.session, NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_CANCEL)
            mark_unflushed(connection)
        stream.grpc_status = DEADLINE_EXCEEDED
        finish(stream, NGHTTP2_CANCEL, False)
        stream = connection.first
