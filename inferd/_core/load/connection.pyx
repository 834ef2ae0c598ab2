# cython: language_level=3, boundscheck=False, wraparound=False
# connection: one connection of the load generator (see connection.pxd).

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EINTR, EPIPE, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, strerror, strlen

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.base.linux cimport EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, MSG_DONTWAIT, MSG_NOSIGNAL, epoll_ctl, epoll_event, recv, send
from inferd._core.load.tls cimport decrypt, encrypt

cdef enum:
    LAST_NBYTES = 16 << 20              # the most that is read of a connection that takes nothing more,
    LAST_READ_NBYTES = 16 << 10         # so many at once
    KEPT_NBYTES = 64 << 10              # of a request's room for a response, when it is over
    MAX_REJECTIONS = 2                  # so often a request is sent again
    MAX_CAPTURED = 4096                 # responses kept for `take_responses`
    MAX_CAPTURED_NBYTES = 64 << 20      # and in bytes

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
        state.held_back += (stream.hindered and state.protocol.waits_free) or (stream.id == 0 and connection.greeted)
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
    cdef Stream *stream
    while state.rejected != NULL and state.rejected.sent_ns <= sent_before_ns:
        stream = state.rejected
        state.rejected = stream.next
        state.outstanding -= 1
        count_ended(state, stream, code)
        release(state, stream)


cdef bint open_stream(Stream *stream) noexcept nogil:
    """Gives a request to the session; False: the connection takes no more, now and ever."""
    cdef LoadConnection *connection = stream.connection
    if not connection.owner.protocol.submit(stream):
        stream.id = 0
        connection.leaving = True
        if connection.in_flight == 0:
            kill(connection, NULL)
        return False
    stream.opened_ns = max(stream.sent_ns, connection.owner.now_ns)
    connection.open += 1
    mark_unflushed(connection)
    return True


cdef void open_waiting(LoadConnection *connection) noexcept nogil:
    """The server takes more: waiting requests begin, in their order, except those whose response is likely to come too late. These would
    take the time of the next ones. On a connection that goes away they are rejected."""
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
            finish(stream, CANCEL, False)
        elif connection.leaving or not open_stream(stream):
            finish(stream, NO_ERROR, True)
    connection.opening = False


cdef inline bint is_too_late(Stream *stream) noexcept nogil:
    """Whether what is left of its deadline is over, or is less than good responses take."""
    cdef State *state = stream.connection.owner
    cdef int64_t rest_ns = stream.sent_ns + state.deadline_ns - state.now_ns
    return rest_ns <= 0 or rest_ns < state.response_ns


cdef inline bint is_drawn(int64_t number, int64_t every) noexcept nogil:
    """About one request in `every`, by a hash of its number (splitmix64's last step): so each body has its turn, for any number of them."""
    cdef uint64_t mixed = <uint64_t>number * 0x9E3779B97F4A7C15U
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9U
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBU
    return (mixed ^ (mixed >> 31)) % <uint64_t>every == 0


cdef void keep_response(Stream *stream, const char *first, Py_ssize_t first_nbytes, const char *rest,
                        Py_ssize_t rest_nbytes) noexcept nogil:
    cdef State *state = stream.connection.owner
    cdef Captured *kept = NULL
    cdef Py_ssize_t nbytes = first_nbytes + rest_nbytes
    if state.verify_every == 0 or not is_drawn(stream.number, state.verify_every) or stream.intended_ns < state.measure_from_ns:
        return
    if state.captured_count < MAX_CAPTURED and state.captured_nbytes + nbytes <= MAX_CAPTURED_NBYTES:
        kept = <Captured *>malloc(sizeof(Captured) + nbytes)
    if kept == NULL:
        state.captured_lost += 1
        return
    kept.body = stream.body
    kept.nbytes = nbytes
    memcpy(<char *>kept + sizeof(Captured), first, first_nbytes)
    if rest_nbytes > 0:
        memcpy(<char *>kept + sizeof(Captured) + first_nbytes, rest, rest_nbytes)
    kept.next = state.captured
    state.captured = kept
    state.captured_count += 1
    state.captured_nbytes += nbytes


cdef void finish(Stream *stream, Closed closed, bint lost) noexcept nogil:
    cdef LoadConnection *connection = stream.connection
    cdef State *state = connection.owner
    cdef bint again = False
    if lost or (connection.parting_nbytes > 0 and stream.http_status == 0 and stream.grpc_status < 0):
        memcpy(stream.text, connection.parting, connection.parting_nbytes)
        stream.text_nbytes = connection.parting_nbytes
    else:
        state.protocol.explain(stream, closed)
    if is_untouched(stream, closed):
        again = not connection.leaving and not connection.dead
        keep_rejected(stream)
    else:
        detach(stream)
        state.outstanding -= 1
        count_ended(state, stream, CONNECTION if lost else ended_as(stream, closed))
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


cdef inline int ended_as(Stream *stream, Closed closed) noexcept nogil:
    return UNANSWERED if stream.gave_up else stream.connection.owner.protocol.code_of(stream, closed)


cdef bint is_untouched(Stream *stream, Closed closed) noexcept nogil:
    """Whether the server has never looked at a request: a gRPC client sends it again silently."""
    return ((stream.id == 0 or closed == REFUSED_STREAM) and stream.http_status == 0 and stream.grpc_status < 0
            and not stream.gave_up and stream.rejections < MAX_REJECTIONS)


cdef void count_ended(State *state, Stream *stream, int code) noexcept nogil:
    """Counts the outcome of a request, whose connection may have gone."""
    cdef int64_t now_ns = state.now_ns
    cdef bint missed
    if state.deadline_ns > 0 and code < CONNECTION and now_ns > stream.sent_ns + state.deadline_ns:
        code = DEADLINE_EXCEEDED        # whatever the server says: a gRPC client waits no longer
    # grpcio's servers say CANCELLED where a deadline has passed by their clock, which under load is some milliseconds behind
    missed = code == DEADLINE_EXCEEDED or (code == CANCELLED and state.deadline_ns > 0)
    if code == OK and now_ns >= state.responses_from_ns:
        state.ok_responses += 1
    if code == OK and state.deadline_ns > 0:
        note_response(state, now_ns - stream.opened_ns)
    if stream.intended_ns >= state.measure_from_ns:
        state.codes[code] += 1
        if missed:                      # there is no response until then, even if the server said so earlier
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
    if state.response_ns == 0:
        state.response_ns = took_ns
    state.response_ns += (took_ns - state.response_ns) // 8


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
    while stream != NULL:
        count_wait(state, stream.intended_ns, stream.intended_ns if stream.hindered else stream.sent_ns, longer_than_ns)
        stream = stream.next


cdef void count_wait(State *state, int64_t intended_ns, int64_t sent_ns, int64_t longer_than_ns) noexcept nogil:
    """The time so far of a request that is not over counts as its latency, if it is longer."""
    if state.now_ns - intended_ns > longer_than_ns:
        count(&state.latency, state.now_ns - intended_ns)
        count(&state.service, state.now_ns - sent_ns)


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


cdef int decimal(const uint8_t *text, size_t nbytes) noexcept nogil:
    cdef int value = 0
    cdef size_t i
    if nbytes == 0 or nbytes > 3:
        return 999
    for i in range(nbytes):
        if text[i] < c'0' or text[i] > c'9':
            return 999
        value = value * 10 + text[i] - c'0'
    return value


# ---- a connection's life ---------------------------------------------------------------------------------------------------

cdef LoadConnection *new_connection(State *state, int fd, int number, Seal *seal) noexcept:
    """A connection, whose first words wait to be flushed."""
    cdef LoadConnection *connection = <LoadConnection *>calloc(1, sizeof(LoadConnection))
    if connection == NULL:
        return NULL
    connection.owner = state
    connection.fd = fd
    connection.number = number
    connection.unsent = <uint8_t *>malloc(SEND_NBYTES)
    if connection.unsent == NULL or not state.protocol.begin(connection):
        free(connection.unsent)
        free(connection)
        return NULL
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
        state.protocol.let_go(connection.first)
        finish(connection.first, NO_ERROR, True)
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
    state.protocol.end(connection)
    if connection.seal != NULL:
        Py_DECREF(<object>connection.seal.tls)
    free(connection.unsent)
    free(connection)


# ---- bytes in and out -----------------------------------------------------------------------------------------------------

cdef void part(LoadConnection *connection, const char *text, Py_ssize_t nbytes) noexcept nogil:
    cdef Py_ssize_t i
    if nbytes < 0:
        nbytes = <Py_ssize_t>strlen(text)
    for i in range(min(nbytes, <Py_ssize_t>TEXT_NBYTES - connection.parting_nbytes)):
        connection.parting[connection.parting_nbytes] = printable(text[i])
        connection.parting_nbytes += 1


cdef void kill(LoadConnection *connection, const char *why) noexcept nogil:
    if why != NULL and connection.parting_nbytes == 0:
        part(connection, why, -1)
    if not connection.dead:
        connection.dead = True
        connection.owner.died += 1


cdef void flush(LoadConnection *connection, int epoll) noexcept nogil:
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
        connection.owner.protocol.fill(connection)
        if connection.seal != NULL:
            encrypt_unsent(connection)
        if connection.unsent_end == 0:
            break
    if connection.polls_output and not connection.dead:
        watch(connection, epoll, EPOLL_CTL_MOD, False)


cdef void encrypt_unsent(LoadConnection *connection) noexcept nogil:
    """Encrypts the bytes that are to be sent, in place."""
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


cdef bint take(LoadConnection *connection, uint8_t *buffer, Py_ssize_t nbytes, Py_ssize_t room) noexcept nogil:
    """Gives the session what has come. False: nothing more is to be read."""
    if connection.seal != NULL:
        return take_encrypted(connection, buffer, nbytes, room)
    return connection.owner.protocol.take(connection, buffer, nbytes)


cdef bint take_encrypted(LoadConnection *connection, uint8_t *buffer, Py_ssize_t nbytes, Py_ssize_t room) noexcept nogil:
    """The same by TLS: gives the session all whole records, then tells it of the connection's end."""
    cdef Py_ssize_t opened = room
    while opened == room:
        opened = decrypt(connection.seal, buffer, nbytes, room)
        nbytes = 0
        if opened > 0 and not connection.owner.protocol.take(connection, buffer, opened):
            return False
    if connection.seal.owes:
        mark_unflushed(connection)
    if connection.seal.closed:
        connection.owner.protocol.hang_up(connection)
    if connection.seal.fault[0] != 0:
        kill(connection, connection.seal.fault)
    return True


cdef void receive_left(LoadConnection *connection, uint8_t *buffer) noexcept nogil:
    take_encrypted(connection, buffer, 0, RECEIVE_NBYTES)


cdef void receive(LoadConnection *connection, uint8_t *buffer) noexcept nogil:
    cdef State *state = connection.owner
    cdef Py_ssize_t nbytes = recv(connection.fd, buffer, RECEIVE_NBYTES, MSG_DONTWAIT)
    state.now_ns = monotonic_ns()       # a response is there when its bytes are
    if nbytes < 0 and (errno == EAGAIN or errno == EINTR):
        return
    if nbytes > 0:
        take(connection, buffer, nbytes, RECEIVE_NBYTES)
    elif nbytes < 0:
        kill(connection, ended_by(errno))
    else:
        end_of_bytes(connection)


cdef void end_of_bytes(LoadConnection *connection) noexcept nogil:
    """The server has closed. By TLS it says so itself, else its last response may have been cut off."""
    if connection.seal == NULL:
        connection.owner.protocol.hang_up(connection)
    kill(connection, ended_by(0))


cdef void read_last(LoadConnection *connection, int error) noexcept nogil:
    """The server takes nothing any more. Its last words can still be read: responses, and why it goes. It may go on sending."""
    cdef uint8_t buffer[LAST_READ_NBYTES]
    cdef Py_ssize_t nbytes = 1
    cdef Py_ssize_t left = LAST_NBYTES
    kill(connection, NULL)              # nothing is sent in place of the requests that end now
    while nbytes > 0 and left > 0:
        nbytes = recv(connection.fd, buffer, LAST_READ_NBYTES, MSG_DONTWAIT)
        left -= nbytes
        connection.owner.now_ns = monotonic_ns()
        if nbytes > 0 and not take(connection, buffer, nbytes, LAST_READ_NBYTES):
            break
    if nbytes == 0:
        end_of_bytes(connection)
    kill(connection, ended_by(error))


cdef inline const char *ended_by(int error) noexcept nogil:
    """Why the connection ended, by its socket's error; 0: it was read to its end."""
    if error == 0 or error == EPIPE:
        return "the server closed the connection"
    return strerror(error)


cdef void give_up(LoadConnection *connection) noexcept nogil:
    """Nobody waits any longer: requests under way have no response, and took so long at least."""
    connection.leaving = True           # nothing is sent in their place,
    connection.opening = True           # and no waiting request begins
    while connection.first != NULL:
        connection.owner.protocol.let_go(connection.first)
        connection.first.gave_up = True
        finish(connection.first, NO_ERROR, False)


cdef void cancel_late(LoadConnection *connection, int64_t now_ns) noexcept nogil:
    """Requests whose time is over are cancelled, as a gRPC client does."""
    cdef Stream *stream = connection.first
    cdef int64_t deadline_ns = connection.owner.deadline_ns
    connection.owner.now_ns = now_ns
    while stream != NULL and stream.sent_ns + deadline_ns <= now_ns:
        connection.owner.protocol.cancel(stream)
        stream.grpc_status = DEADLINE_EXCEEDED
        finish(stream, CANCEL, False)
        stream = connection.first
