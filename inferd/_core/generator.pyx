# cython: language_level=3, boundscheck=False, wraparound=False
# generator: the load generator's connections: HTTP/2 in client role over libnghttp2. It asks ModelInfer in a closed or an open loop,
# reads every answer whole, and times it. One Generator is one thread's work; `run` polls, sends and receives without the GIL
# until a time has come. Linux only (epoll).
# Never in here: schedules (arrival times come in an array), sockets' making, percentiles, Python between two requests.
#
# Ownership: a Stream belongs to its Link's list from its sending to on_stream_close, or until the Link is dropped; both
# give it back to the free list. Bodies are bytes objects that live as long as the Generator. Nothing here is shared between
# threads: Python calls one method at a time.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport timespec


from inferd._core.answer cimport answer_fault
from inferd._core.clock cimport monotonic_ns
from inferd._core.nghttp2 cimport *

cdef extern from *:
    int __builtin_clzll(unsigned long long value) noexcept nogil

cdef extern from "sys/epoll.h" nogil:
    enum: EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLLIN, EPOLLOUT, EPOLL_CLOEXEC
    ctypedef union epoll_data:
        void *ptr
    cdef struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int count, int timeout_ms)

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <poll.h>
    #include <signal.h>
    #include <sys/prctl.h>
    #include <sys/socket.h>
    #include <time.h>
    #include <unistd.h>
    /* Waits until a descriptor is readable, to the nanosecond, which epoll_wait does not do. Declared here: poll.h only shows it to
       those who defined _GNU_SOURCE before the first header. */
    extern int ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    static inline int wait_readable(int fd, const struct timespec *timeout) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        return ppoll(&one, 1, timeout, 0);
    }
    """
    int wait_readable(int fd, const timespec *timeout) noexcept nogil
    Py_ssize_t recv(int fd, void *buffer, size_t nbytes, int flags) noexcept nogil
    Py_ssize_t send(int fd, const void *buffer, size_t nbytes, int flags) noexcept nogil
    int close(int fd) noexcept nogil
    int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long) noexcept nogil
    const int MSG_DONTWAIT, MSG_NOSIGNAL, PR_SET_TIMERSLACK

cdef enum:
    RECEIVE_NBYTES = 256 << 10  # one buffer for all connections
    SEND_NBYTES = 256 << 10     # of each connection: what the kernel has not taken yet
    WINDOW_NBYTES = 16 << 20    # what a server may send on a connection before it is read
    STREAM_WINDOW_NBYTES = 4 << 20
    EVENTS = 64                 # connections looked at between two looks at the clock
    PREFIX_NBYTES = 5
    TEXT_NBYTES = 256           # of an error's message
    MAX_OUTSTANDING = 100_000   # requests under way; more wait, and their waiting counts
    MAX_CAPTURED = 1024         # answers kept for whoever checks them, in number
    MAX_CAPTURED_NBYTES = 64 << 20      # and in bytes
    PART_BITS = 10              # as in bench/measurement.py
    BUCKETS = (42 - PART_BITS + 1) << PART_BITS
    MALFORMED = 17              # behind gRPC's 17 codes: OK, but not the answer it says it is
    CONNECTION = 18             # the connection went before the answer came
    CODES = 19

cdef int64_t HIGHEST_NS = (<int64_t>1 << 42) - 1

OK, CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = (
    0, 1, 2, 4, 7, 8, 12, 13, 14, 16)


cdef struct Counter:            # a distribution, as bench/measurement.py's Histogram has it
    uint64_t *counts
    int64_t sum_ns
    int64_t max_ns
    int64_t min_ns

cdef struct Sample:             # one request, for whoever wants them all
    int64_t intended_ns
    int64_t sent_ns
    int64_t done_ns
    int64_t code

cdef struct Captured:           # an answer that is to be checked; the bytes lie behind it
    Captured *next
    int body
    Py_ssize_t nbytes

cdef struct Stream:             # one request under way
    Link *link
    Stream *next                # of the link's list, in the order of sending; of the free list
    Stream *previous
    int64_t number              # since the beginning
    int body
    int32_t id
    int64_t intended_ns
    int64_t sent_ns
    const char *unsent          # the rest of the framed body
    Py_ssize_t unsent_nbytes
    int http_status             # 0: none came
    int grpc_status             # -1: none came
    uint8_t prefix[PREFIX_NBYTES]
    int prefix_nbytes
    Py_ssize_t answer_nbytes    # as announced
    Py_ssize_t filled_nbytes
    char *answer                # room for an answer that comes in pieces; kept when the Stream is free
    Py_ssize_t room_nbytes
    int messages                # whole ones that came
    const char *fault           # static text: why the answer is none
    char text[TEXT_NBYTES]      # grpc-message, percent-encoded
    int text_nbytes

cdef struct Link:               # one connection
    Link *next                  # all of a Generator's
    Link *next_dirty            # those that have something to send
    State *owner
    nghttp2_session *session
    int fd
    int number                  # as `add` was told
    int in_flight
    Stream *first
    Stream *last
    bint dirty
    bint leaving                # GOAWAY came: nothing new is asked here
    bint dead                   # waits for Python to drop it
    bint polls_output           # the kernel takes no more for now
    uint8_t *unsent             # SEND_NBYTES
    Py_ssize_t unsent_at
    Py_ssize_t unsent_end

cdef struct State:        # what the callbacks see of a Generator
    Link *links
    Link *dirty
    Link *turn                  # whose turn it is in an open loop
    Stream *free_streams
    Captured *captured          # newest first
    int captured_count
    Py_ssize_t captured_nbytes
    int64_t captured_lost
    const char **bodies         # framed
    Py_ssize_t *body_nbytes
    int body_count
    nghttp2_nv *headers
    size_t header_count
    int64_t max_answer_nbytes
    int64_t deadline_ns         # after the sending; 0: none
    int64_t verify_every        # 0: none
    int streams                 # closed loop: in flight on each link; 0: open loop
    int64_t startable           # requests that may still be sent
    int64_t number              # of the next request
    int64_t measured            # those sent that are counted
    int outstanding
    int64_t measure_from_ns     # what was meant to be sent earlier is warm-up, and not counted
    int64_t now_ns              # read once a wake-up, behind the receive
    int64_t waited_ns           # in the kernel, for something to do
    int64_t last_done_ns
    int64_t codes[CODES]
    char texts[CODES][TEXT_NBYTES]      # the first message of each code
    int text_nbytes[CODES]
    Counter latency
    Counter service
    Counter lateness
    Sample *samples
    Py_ssize_t sample_count
    Py_ssize_t sample_room
    int64_t samples_lost
    int died                    # links that died since Python looked


# ---- counting --------------------------------------------------------------------------------------------------------

cdef inline int bucket_of(int64_t value) noexcept nogil:
    cdef int shift
    if value < 1 << PART_BITS:
        return <int>value
    shift = 63 - __builtin_clzll(<unsigned long long>value) - PART_BITS
    return (shift << PART_BITS) + <int>(value >> shift)


cdef inline void count(Counter *counter, int64_t value) noexcept nogil:
    value = min(max(value, 0), HIGHEST_NS)
    counter.counts[bucket_of(value)] += 1
    counter.sum_ns += value
    counter.max_ns = max(counter.max_ns, value)
    counter.min_ns = min(counter.min_ns, value)


cdef tuple collect_counter(Counter *counter, uint64_t[::1] counts):
    """Moves all entries into `counts`; (sum, max, min) of them."""
    cdef int i
    if counts.shape[0] != BUCKETS:
        raise ValueError(f"expected {BUCKETS} buckets, got {counts.shape[0]}")
    totals = (counter.sum_ns, counter.max_ns, counter.min_ns)
    for i in range(BUCKETS):
        counts[i] += counter.counts[i]
    clear(counter)
    return totals


cdef void clear(Counter *counter) noexcept:
    memset(counter.counts, 0, BUCKETS * sizeof(uint64_t))
    counter.sum_ns = counter.max_ns = 0
    counter.min_ns = HIGHEST_NS


# ---- one request -------------------------------------------------------------------------------------------------------

cdef Stream *new_stream(State *state) noexcept nogil:
    cdef Stream *stream = state.free_streams
    if stream != NULL:
        state.free_streams = stream.next
    else:
        stream = <Stream *>calloc(1, sizeof(Stream))
        if stream == NULL:
            return NULL
    stream.http_status = 0
    stream.grpc_status = -1
    stream.prefix_nbytes = 0
    stream.filled_nbytes = 0
    stream.messages = 0
    stream.fault = NULL
    stream.text_nbytes = 0
    return stream


cdef bint ask(Link *link, int64_t intended_ns, int64_t now_ns) noexcept nogil:
    """Sends the next request on a link; False: it can't."""
    cdef State *state = link.owner
    cdef Stream *stream = new_stream(state)
    cdef nghttp2_data_provider2 provider
    if stream == NULL:
        return False
    stream.link = link
    stream.number = state.number
    stream.body = <int>(state.number % state.body_count)
    stream.intended_ns = intended_ns
    stream.sent_ns = now_ns
    stream.unsent = state.bodies[stream.body]
    stream.unsent_nbytes = state.body_nbytes[stream.body]
    provider.source.ptr = stream
    provider.read_callback = read_body
    stream.id = nghttp2_submit_request2(link.session, NULL, state.headers, state.header_count, &provider, stream)
    if stream.id < 0:                   # the connection has no stream ids left, or is going away
        stream.next = state.free_streams
        state.free_streams = stream
        link.leaving = True
        if link.in_flight == 0:
            kill(link)
        return False
    state.number += 1
    state.startable -= 1
    state.outstanding += 1
    link.in_flight += 1
    stream.next = NULL
    stream.previous = link.last
    if link.last != NULL:
        link.last.next = stream
    else:
        link.first = stream
    link.last = stream
    if intended_ns >= state.measure_from_ns:
        state.measured += 1
        count(&state.lateness, now_ns - intended_ns)
    mark_dirty(link)
    return True


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


cdef void take_answer(Stream *stream, const char *answer, Py_ssize_t nbytes) noexcept nogil:
    """One whole message has come."""
    cdef State *state = stream.link.owner
    stream.messages += 1
    stream.fault = answer_fault(answer, nbytes)
    if state.verify_every > 0 and stream.number % state.verify_every == 0 and stream.intended_ns >= state.measure_from_ns:
        capture(state, stream.body, answer, nbytes)


cdef void capture(State *state, int body, const char *answer, Py_ssize_t nbytes) noexcept nogil:
    cdef Captured *kept = NULL
    if state.captured_count < MAX_CAPTURED and state.captured_nbytes + nbytes <= MAX_CAPTURED_NBYTES:
        kept = <Captured *>malloc(sizeof(Captured) + nbytes)
    if kept == NULL:
        state.captured_lost += 1
        return
    kept.body = body
    kept.nbytes = nbytes
    memcpy(<char *>kept + sizeof(Captured), answer, nbytes)
    kept.next = state.captured
    state.captured = kept
    state.captured_count += 1
    state.captured_nbytes += nbytes


cdef void finish(Stream *stream, uint32_t error_code, bint lost) noexcept nogil:
    """The stream is closed: counts it, and asks again in a closed loop."""
    cdef Link *link = stream.link
    cdef State *state = link.owner
    cdef int64_t now_ns = state.now_ns
    cdef int code = CONNECTION if lost else code_of(stream, error_code)
    unlink(stream)
    if stream.intended_ns >= state.measure_from_ns:
        state.codes[code] += 1
        state.last_done_ns = now_ns
        if code == OK_CODE:
            count(&state.latency, now_ns - stream.intended_ns)
            count(&state.service, now_ns - stream.sent_ns)
        elif state.text_nbytes[code] == 0:
            keep_text(state, stream, code)
        if state.samples != NULL:
            keep_sample(state, stream, now_ns, code)
    if state.streams > 0 and state.startable > 0 and not link.leaving and not link.dead:
        ask(link, now_ns, now_ns)
    elif link.leaving and link.in_flight == 0:
        kill(link)


cdef enum:
    OK_CODE = 0


cdef int code_of(Stream *stream, uint32_t error_code) noexcept nogil:
    """gRPC's mapping of what came: its own status, else HTTP's, else the stream's reset."""
    if stream.grpc_status >= 0:
        if stream.grpc_status != OK_CODE:
            return stream.grpc_status if stream.grpc_status < MALFORMED else 2
        if stream.fault == NULL:
            if stream.messages == 0:
                stream.fault = "OK without an answer"
            elif stream.messages > 1 or stream.prefix_nbytes > 0:
                stream.fault = "more than one answer"
        return OK_CODE if stream.fault == NULL else MALFORMED
    if stream.http_status != 0 and stream.http_status != 200:
        if stream.http_status == 400:
            return 13
        if stream.http_status == 401:
            return 16
        if stream.http_status == 403:
            return 7
        if stream.http_status == 404:
            return 12
        if stream.http_status == 429 or 502 <= stream.http_status <= 504:
            return 14
        return 2
    if error_code == NGHTTP2_REFUSED_STREAM:
        return 14
    if error_code == NGHTTP2_CANCEL:
        return 1
    if error_code == NGHTTP2_ENHANCE_YOUR_CALM:
        return 8
    if error_code == NGHTTP2_INADEQUATE_SECURITY:
        return 7
    return 13 if error_code != NGHTTP2_NO_ERROR else 2


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


cdef void keep_sample(State *state, Stream *stream, int64_t now_ns, int code) noexcept nogil:
    cdef Sample *sample
    if state.sample_count == state.sample_room:
        state.samples_lost += 1
        return
    sample = &state.samples[state.sample_count]
    sample.intended_ns, sample.sent_ns, sample.done_ns, sample.code = stream.intended_ns, stream.sent_ns, now_ns, code
    state.sample_count += 1


cdef void unlink(Stream *stream) noexcept nogil:
    """Takes a stream out of its link's list and keeps it for the next request; its fields stay readable until then."""
    cdef Link *link = stream.link
    if stream.previous != NULL:
        stream.previous.next = stream.next
    else:
        link.first = stream.next
    if stream.next != NULL:
        stream.next.previous = stream.previous
    else:
        link.last = stream.previous
    link.in_flight -= 1
    link.owner.outstanding -= 1
    stream.next = link.owner.free_streams
    link.owner.free_streams = stream


# ---- nghttp2 calls back, without the GIL ---------------------------------------------------------------------------------

cdef int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_nbytes,
                   const uint8_t *value, size_t value_nbytes, uint8_t flags, void *user_data) noexcept nogil:
    cdef Stream *stream = <Stream *>nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
    if stream == NULL:
        return 0
    if name_nbytes == 7 and memcmp(name, ":status", 7) == 0:
        stream.http_status = decimal(value, value_nbytes)
    elif name_nbytes == 11 and memcmp(name, "grpc-status", 11) == 0:
        stream.grpc_status = decimal(value, value_nbytes)
    elif name_nbytes == 12 and memcmp(name, "grpc-message", 12) == 0:
        stream.text_nbytes = <int>min(value_nbytes, <size_t>TEXT_NBYTES)
        memcpy(stream.text, value, stream.text_nbytes)
    return 0


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
        if stream.filled_nbytes == 0 and not begin_answer(stream):
            return 0
        if stream.filled_nbytes == 0 and nbytes >= stream.answer_nbytes:
            taken = stream.answer_nbytes            # whole, in one piece: read where it lies
            take_answer(stream, <const char *>chunk, taken)
        else:
            taken = min(nbytes, stream.answer_nbytes - stream.filled_nbytes)
            if not make_room(stream):
                return 0
            memcpy(stream.answer + stream.filled_nbytes, chunk, taken)
            stream.filled_nbytes += taken
            if stream.filled_nbytes == stream.answer_nbytes:
                take_answer(stream, stream.answer, stream.answer_nbytes)
            else:
                return 0
        stream.prefix_nbytes = 0
        stream.filled_nbytes = 0
        chunk += taken
        nbytes -= taken
    return 0


cdef bint begin_answer(Stream *stream) noexcept nogil:
    """Reads the prefix of a message; False: it is none that can be read."""
    if stream.prefix[0] != 0:
        stream.fault = "the answer is compressed, which was not asked for"
        return False
    stream.answer_nbytes = (<Py_ssize_t>stream.prefix[1] << 24) | (stream.prefix[2] << 16) | (stream.prefix[3] << 8) | stream.prefix[4]
    if stream.answer_nbytes > stream.link.owner.max_answer_nbytes:
        stream.fault = "the answer is larger than the limit"
        return False
    return True


cdef bint make_room(Stream *stream) noexcept nogil:
    cdef char *grown
    if stream.room_nbytes < stream.answer_nbytes:
        grown = <char *>realloc(stream.answer, stream.answer_nbytes)
        if grown == NULL:
            stream.fault = "there is no memory for the answer"
            return False
        stream.answer = grown
        stream.room_nbytes = stream.answer_nbytes
    return True


cdef int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) noexcept nogil:
    cdef Link *link = <Link *>user_data
    if frame.hd.type == NGHTTP2_GOAWAY:
        link.leaving = True
    return 0


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


# ---- one connection -----------------------------------------------------------------------------------------------------

cdef inline void mark_dirty(Link *link) noexcept nogil:
    if not link.dirty:
        link.dirty = True
        link.next_dirty = link.owner.dirty
        link.owner.dirty = link


cdef void kill(Link *link) noexcept nogil:
    """Nothing more comes from this link; Python drops it when it looks."""
    if not link.dead:
        link.dead = True
        link.owner.died += 1


cdef void lose_streams(Link *link) noexcept nogil:
    """The connection went: what was under way on it has no answer."""
    while link.first != NULL:
        nghttp2_session_set_stream_user_data(link.session, link.first.id, NULL)
        finish(link.first, 0, True)


cdef void flush(Link *link, int epoll) noexcept nogil:
    """Hands the kernel what it takes of what nghttp2 has to say."""
    cdef const uint8_t *piece
    cdef nghttp2_ssize nbytes = 0
    cdef Py_ssize_t sent
    while not link.dead:
        while link.unsent_at < link.unsent_end:
            sent = send(link.fd, link.unsent + link.unsent_at, link.unsent_end - link.unsent_at, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    kill(link)
                elif not link.polls_output:
                    watch(link, epoll, EPOLL_CTL_MOD, True)
                return
            link.unsent_at += sent
        link.unsent_at = link.unsent_end = 0
        while link.unsent_end + FRAME_NBYTES <= SEND_NBYTES:
            nbytes = nghttp2_session_mem_send2(link.session, &piece)
            if nbytes <= 0:
                break
            if nbytes > SEND_NBYTES - link.unsent_end:
                nbytes = -1             # no frame of a client's is that long
                break
            memcpy(link.unsent + link.unsent_end, piece, nbytes)
            link.unsent_end += nbytes
        if nbytes < 0:
            kill(link)
        if link.unsent_end == 0:
            break
    if not nghttp2_session_want_read(link.session) and not nghttp2_session_want_write(link.session):
        kill(link)                      # the last word, after what the other side got wrong, has left
    elif link.polls_output and not link.dead:
        watch(link, epoll, EPOLL_CTL_MOD, False)


cdef enum:
    FRAME_NBYTES = (16 << 10) + 64      # the most that nghttp2 gives out at once: a frame of a client


cdef int watch(Link *link, int epoll, int operation, bint output) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN | (EPOLLOUT if output else 0)
    event.data.ptr = link
    link.polls_output = output
    return epoll_ctl(epoll, operation, link.fd, &event)


cdef void receive(Link *link, uint8_t *buffer) noexcept nogil:
    cdef State *state = link.owner
    cdef Py_ssize_t nbytes = recv(link.fd, buffer, RECEIVE_NBYTES, MSG_DONTWAIT)
    state.now_ns = monotonic_ns()        # an answer is there when its bytes are
    if nbytes < 0 and (errno == EAGAIN or errno == EINTR):
        return
    if nbytes <= 0 or nghttp2_session_mem_recv2(link.session, buffer, nbytes) < 0:
        kill(link)
    elif nghttp2_session_want_write(link.session) or not nghttp2_session_want_read(link.session):
        mark_dirty(link)


cdef void cancel_late(Link *link, int64_t now_ns) noexcept nogil:
    """Requests whose time is over are cancelled, as a gRPC client does."""
    cdef Stream *stream = link.first
    cdef int64_t deadline_ns = link.owner.deadline_ns
    while stream != NULL and stream.sent_ns + deadline_ns <= now_ns:
        nghttp2_session_set_stream_user_data(link.session, stream.id, NULL)
        nghttp2_submit_rst_stream(link.session, NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_CANCEL)
        mark_dirty(link)
        stream.grpc_status = 4
        link.owner.now_ns = now_ns
        finish(stream, NGHTTP2_CANCEL, False)
        stream = link.first


def fault_of(bytes answer not None):
    """What is wrong with a serialized ModelInferResponse; None: nothing that its bytes show."""
    cdef const char *fault = answer_fault(PyBytes_AS_STRING(answer), PyBytes_GET_SIZE(answer))
    return None if fault == NULL else fault.decode()


# ---- what Python sees ---------------------------------------------------------------------------------------------------

cdef class Generator:
    """Connections that ask ModelInfer, and what came of it.

    bodies: serialized ModelInferRequests, sent in turn. headers: (name, value) of every request, pseudo-headers first.
    deadline_ns: time from the sending until a request is cancelled, 0 for none. verify_every: each so many-th answer is kept for
    `take_answers`, 0 for none. sample_room: requests of which `take_samples` tells all times, 0 for none.
    """

    cdef State state
    cdef list framed            # the bodies behind their prefixes
    cdef list header_bytes
    cdef int epoll
    cdef uint8_t *buffer
    cdef list queue             # arrays of arrival times that have not begun, oldest first
    cdef bint queued            # whether there are any, for those who have no GIL
    cdef int64_t[::1] arrivals  # the array being used up
    cdef Py_ssize_t arrival     # next of it
    cdef Py_ssize_t arrival_count       # behind its last

    def __cinit__(self, *args, **kwargs):
        self.epoll = -1
        self.buffer = <uint8_t *>malloc(RECEIVE_NBYTES)
        self.state.latency.counts = <uint64_t *>calloc(BUCKETS, sizeof(uint64_t))
        self.state.service.counts = <uint64_t *>calloc(BUCKETS, sizeof(uint64_t))
        self.state.lateness.counts = <uint64_t *>calloc(BUCKETS, sizeof(uint64_t))
        if self.buffer == NULL or self.state.latency.counts == NULL or self.state.service.counts == NULL or self.state.lateness.counts == NULL:
            raise MemoryError

    def __init__(self, bodies, headers, *, int64_t deadline_ns=0, int64_t verify_every=0, Py_ssize_t sample_room=0,
                 int64_t max_answer_nbytes=1 << 30):
        cdef Py_ssize_t i
        if not bodies:
            raise ValueError("expected at least one body")
        if deadline_ns < 0 or verify_every < 0 or sample_room < 0:
            raise ValueError("expected no negative number")
        if self.framed is not None:
            raise ValueError("a Generator is made once")
        self.framed = [b"\x00" + len(body).to_bytes(4, "big") + bytes(body) for body in bodies]
        self.header_bytes = [(bytes(name), bytes(value)) for name, value in headers]
        self.state.bodies = <const char **>malloc(len(self.framed) * sizeof(char *))
        self.state.body_nbytes = <Py_ssize_t *>malloc(len(self.framed) * sizeof(Py_ssize_t))
        self.state.headers = <nghttp2_nv *>malloc((len(self.header_bytes) + 1) * sizeof(nghttp2_nv))
        if self.state.bodies == NULL or self.state.body_nbytes == NULL or self.state.headers == NULL:
            raise MemoryError
        for i, body in enumerate(self.framed):
            self.state.bodies[i] = PyBytes_AS_STRING(body)
            self.state.body_nbytes[i] = PyBytes_GET_SIZE(body)
        self.state.body_count = <int>len(self.framed)
        for i, (name, value) in enumerate(self.header_bytes):
            self.state.headers[i].name = <uint8_t *>PyBytes_AS_STRING(name)
            self.state.headers[i].namelen = PyBytes_GET_SIZE(name)
            self.state.headers[i].value = <uint8_t *>PyBytes_AS_STRING(value)
            self.state.headers[i].valuelen = PyBytes_GET_SIZE(value)
            self.state.headers[i].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
        self.state.header_count = len(self.header_bytes)
        self.state.deadline_ns = deadline_ns
        self.state.verify_every = verify_every
        self.state.max_answer_nbytes = max_answer_nbytes
        self.state.startable = 0
        self.state.measure_from_ns = INT64_MAX
        if sample_room > 0:
            self.state.samples = <Sample *>malloc(sample_room * sizeof(Sample))
            if self.state.samples == NULL:
                raise MemoryError
            self.state.sample_room = sample_room
        clear(&self.state.latency)
        clear(&self.state.service)
        clear(&self.state.lateness)
        self.queue = []
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, "epoll_create1")

    def __dealloc__(self):
        cdef Stream *stream
        cdef Captured *kept
        self.state.startable = 0
        while self.state.links != NULL:
            self.drop(self.state.links)
        while self.state.free_streams != NULL:
            stream = self.state.free_streams
            self.state.free_streams = stream.next
            free(stream.answer)
            free(stream)
        while self.state.captured != NULL:
            kept = self.state.captured
            self.state.captured = kept.next
            free(kept)
        free(self.state.bodies)
        free(self.state.body_nbytes)
        free(self.state.headers)
        free(self.state.samples)
        free(self.state.latency.counts)
        free(self.state.service.counts)
        free(self.state.lateness.counts)
        free(self.buffer)
        if self.epoll >= 0:
            close(self.epoll)

    # ---- connections ----

    def add(self, int fd, int number=0):
        """Takes a connected, non-blocking socket's descriptor, which stays the caller's to close after `take_dead` or `close`."""
        cdef nghttp2_settings_entry settings[2]
        cdef Link *link = <Link *>calloc(1, sizeof(Link))
        if link == NULL:
            raise MemoryError
        link.owner = &self.state
        link.fd = fd
        link.number = number
        link.unsent = <uint8_t *>malloc(SEND_NBYTES)
        if link.unsent == NULL or nghttp2_session_client_new2(&link.session, callbacks, link, NULL) != 0:
            free(link.unsent)
            free(link)
            raise MemoryError
        settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_ENABLE_PUSH, 0
        settings[1].settings_id, settings[1].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_NBYTES
        nghttp2_submit_settings(link.session, NGHTTP2_FLAG_NONE, settings, 2)
        nghttp2_session_set_local_window_size(link.session, NGHTTP2_FLAG_NONE, 0, WINDOW_NBYTES)
        link.next = self.state.links
        self.state.links = link
        if watch(link, self.epoll, EPOLL_CTL_ADD, False) < 0:
            code = errno
            self.drop(link)
            raise OSError(code, "epoll_ctl")
        mark_dirty(link)

    cdef void drop(self, Link *link):
        """Forgets a link; its socket is the caller's."""
        cdef Link **at = &self.state.links
        lose_streams(link)
        while at[0] != link:
            at = &at[0].next
        at[0] = link.next
        if link.dirty:
            at = &self.state.dirty
            while at[0] != link:
                at = &at[0].next_dirty
            at[0] = link.next_dirty
        if self.state.turn == link:
            self.state.turn = NULL
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, link.fd, NULL)
        nghttp2_session_del(link.session)
        free(link.unsent)
        free(link)

    def take_dead(self):
        """Numbers of the connections that have died since the last time; they are forgotten, their requests counted as lost."""
        cdef Link *link = self.state.links
        cdef Link *following
        cdef list numbers = []
        self.state.died = 0
        self.state.now_ns = monotonic_ns()
        while link != NULL:
            following = link.next
            if link.dead:
                numbers.append(link.number)
                self.drop(link)
            link = following
        return numbers

    def close(self):
        """Forgets every connection; what was under way counts as lost."""
        self.state.startable = 0
        self.state.now_ns = monotonic_ns()
        while self.state.links != NULL:
            self.drop(self.state.links)

    # ---- what to ask ----

    def start(self, int64_t measure_from_ns, int streams=0, int64_t requests=-1):
        """From now on: a closed loop with so many streams in flight on each connection, or, with 0, what `arrive` says. Requests
        that were meant for a time before measure_from_ns (monotonic) are warm-up and counted nowhere; requests: how many may be
        sent, -1 for no limit."""
        if streams < 0 or streams > 100_000:
            raise ValueError(f"streams: expected 0 to 100000, got {streams}")
        self.state.streams = streams
        self.state.measure_from_ns = measure_from_ns
        self.state.startable = requests if requests >= 0 else INT64_MAX

    def arrive(self, times_ns not None):
        """More arrivals of an open loop: ascending monotonic times, as an array of int64, after all that came before."""
        cdef int64_t[::1] checked = times_ns
        if checked.shape[0] > 0:
            self.queue.append(checked)
            self.queued = True

    def stop(self):
        """Nothing new is asked; what is under way goes on."""
        self.state.startable = 0

    # ---- the loop ----

    def run(self, int64_t until_ns, int64_t spin_ns=0):
        """Asks and receives until the time `until_ns` (monotonic), until nothing is left to do, or until a connection has died.
        spin_ns: before an arrival the processor is kept instead of slept away for so long. Returns the time."""
        cdef int64_t now_ns = monotonic_ns()
        cdef int64_t due_ns
        prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)    # this thread's: a sleep may end 50 us late otherwise
        self.state.now_ns = now_ns
        if self.state.streams > 0:
            self.fill()
        while self.state.died == 0:
            if self.state.streams == 0 and self.arrival >= self.arrival_count and self.queue:
                self.arrivals = self.queue.pop(0)
                self.arrival = 0
                self.arrival_count = self.arrivals.shape[0]
                self.queued = len(self.queue) > 0
            due_ns = self.next_due()
            if now_ns >= until_ns or (self.state.outstanding == 0 and (self.state.startable == 0 or due_ns == INT64_MAX)):
                break
            with nogil:
                now_ns = self.turn_around(until_ns, spin_ns)
        return now_ns

    cdef inline int64_t next_due(self) noexcept nogil:
        """When the next request is to be sent; in a closed loop that is an answer's business."""
        if self.state.startable <= 0 or self.state.streams > 0 or self.arrival >= self.arrival_count:
            return INT64_MAX
        return self.arrivals[self.arrival]

    cdef void fill(self) noexcept nogil:
        """Begins a closed loop on links that are not full."""
        cdef Link *link = self.state.links
        while link != NULL:
            while link.in_flight < self.state.streams and self.state.startable > 0 and not link.leaving and not link.dead:
                if not ask(link, self.state.now_ns, self.state.now_ns):
                    break
            link = link.next

    cdef int64_t turn_around(self, int64_t until_ns, int64_t spin_ns) noexcept nogil:
        """The loop itself, until the time has come, this array of arrivals is used up, nothing is under way, or a link died."""
        cdef epoll_event events[EVENTS]
        cdef Link *link
        cdef int64_t now_ns = monotonic_ns()
        cdef int64_t due_ns
        cdef int i, count
        while True:
            due_ns = self.next_due()
            while due_ns <= now_ns:
                link = self.next_link() if self.state.outstanding < MAX_OUTSTANDING else NULL
                if link == NULL or not ask(link, due_ns, now_ns):
                    due_ns = until_ns       # it waits for an answer, or for another connection
                    break
                self.arrival += 1
                due_ns = self.next_due()
                now_ns = monotonic_ns()
            self.flush_dirty()
            if self.state.died > 0 or now_ns >= until_ns:
                break
            if due_ns == INT64_MAX and (self.queued and self.state.startable > 0 or self.state.outstanding == 0):
                break                   # the next array begins, or there is nothing to wait for
            count = self.wait(events, min(due_ns, until_ns), now_ns, spin_ns)
            for i in range(count):
                link = <Link *>events[i].data.ptr
                if events[i].events & EPOLLOUT:
                    mark_dirty(link)
                if events[i].events & ~<uint32_t>EPOLLOUT and not link.dead:
                    receive(link, self.buffer)
            now_ns = monotonic_ns()
            if self.state.deadline_ns > 0:
                link = self.state.links
                while link != NULL:
                    cancel_late(link, now_ns)
                    link = link.next
        return now_ns

    cdef Link *next_link(self) noexcept nogil:
        """Round robin over the links that can be asked; NULL: there is none."""
        cdef Link *first
        cdef Link *link
        if self.state.turn == NULL:
            self.state.turn = self.state.links
        first = link = self.state.turn
        while link != NULL:
            self.state.turn = link.next if link.next != NULL else self.state.links
            if not link.leaving and not link.dead:
                return link
            link = self.state.turn
            if link == first:
                break
        return NULL

    cdef void flush_dirty(self) noexcept nogil:
        cdef Link *link
        while self.state.dirty != NULL:
            link = self.state.dirty
            self.state.dirty = link.next_dirty
            link.dirty = False
            flush(link, self.epoll)

    cdef int wait(self, epoll_event *events, int64_t until_ns, int64_t now_ns, int64_t spin_ns) noexcept nogil:
        """Events of the links; sleeps until one is there, or the time has come but for spin_ns."""
        cdef timespec timeout
        cdef int64_t rest_ns = until_ns - now_ns
        cdef int count = epoll_wait(self.epoll, events, EVENTS, 0)
        if self.state.deadline_ns > 0:
            rest_ns = min(rest_ns, DEADLINE_LOOK_NS)
        if count != 0 or rest_ns <= spin_ns:
            return max(count, 0)
        rest_ns -= spin_ns
        timeout.tv_sec = rest_ns // 1_000_000_000
        timeout.tv_nsec = rest_ns % 1_000_000_000
        wait_readable(self.epoll, &timeout)
        self.state.waited_ns += monotonic_ns() - now_ns
        return max(epoll_wait(self.epoll, events, EVENTS, 0), 0)

    # ---- what came of it ----

    @property
    def outstanding(self):
        """Requests under way."""
        return self.state.outstanding

    @property
    def sent(self):
        """Requests since the beginning, warm-up included."""
        return self.state.number

    @property
    def measured(self):
        """Requests since the beginning that are no warm-up."""
        return self.state.measured

    @property
    def exhausted(self):
        """As many requests were sent as `start` allowed."""
        return self.state.startable <= 0

    @property
    def waited_ns(self):
        """Time that `run` had nothing to do, since the beginning."""
        return self.state.waited_ns

    @property
    def last_done_ns(self):
        """When the last measured request was finished (monotonic); 0: none was."""
        return self.state.last_done_ns

    @property
    def arrivals_waiting(self):
        """Arrivals that were handed over and not sent."""
        return self.arrival_count - self.arrival + sum([len(times) for times in self.queue])

    def collect(self, uint64_t[::1] latency not None, uint64_t[::1] service not None, uint64_t[::1] lateness not None):
        """Moves what was counted since the last time into three arrays of buckets. Returns how many requests ended with each
        code (17: malformed, 18: connection lost) and (sum, max, min) in ns of each distribution."""
        cdef int i
        codes = [self.state.codes[i] for i in range(CODES)]
        totals = (collect_counter(&self.state.latency, latency), collect_counter(&self.state.service, service),
                  collect_counter(&self.state.lateness, lateness))
        memset(self.state.codes, 0, sizeof(self.state.codes))
        return codes, totals

    def messages(self):
        """The first message of each code that was no OK, percent-encoded as it came."""
        cdef int i
        return {i: self.state.texts[i][:self.state.text_nbytes[i]] for i in range(1, CODES) if self.state.text_nbytes[i] > 0}

    def take_answers(self):
        """(body's index, serialized ModelInferResponse) of the answers that are to be checked, and how many more there was no room
        for, since the last time."""
        cdef Captured *kept
        cdef list answers = []
        while self.state.captured != NULL:
            kept = self.state.captured
            self.state.captured = kept.next
            answers.append((kept.body, PyBytes_FromStringAndSize(<char *>kept + sizeof(Captured), kept.nbytes)))
            free(kept)
        lost = self.state.captured_lost
        self.state.captured_count = 0
        self.state.captured_nbytes = 0
        self.state.captured_lost = 0
        return answers[::-1], lost

    def take_samples(self):
        """Every measured request since the last time, as bytes: intended, sent and done (monotonic ns) and code, four int64 each; and
        how many more there was no room for."""
        samples = PyBytes_FromStringAndSize(<char *>self.state.samples, self.state.sample_count * sizeof(Sample))
        lost = self.state.samples_lost
        self.state.sample_count = 0
        self.state.samples_lost = 0
        return samples, lost


cdef enum:
    DEADLINE_LOOK_NS = 1_000_000        # how late a deadline may be noticed
