# cython: language_level=3, boundscheck=False, wraparound=False
# generator: the load generator's loop: when to send on which connection, in a closed or an open loop, and when to sleep. One thread
# runs one Generator; `run` polls, sends and receives without the GIL until a time has come. Linux only (epoll).
# Never in here: what a response is (connection, http2, http1), schedules (arrival times come in an array), sockets' making, percentiles.
#
# Bodies are bytes objects that live as long as the Generator. Python calls one method at a time.

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport errno
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from inferd._core.load.response cimport Expected
from inferd._core.base.clock cimport monotonic_ns
from inferd._core.load.connection cimport (
    BUCKETS, CODES, CONNECTION, RECEIVE_NBYTES, UNANSWERED, Captured, Counter, LoadConnection, Sample, Stream, count_wait,
    count_waiting, end_rejected, free_connection, give_up, give_up_arrival, mark_unflushed, new_connection, receive,
    receive_left, send_next, watch,
)
from inferd._core.load.arrivals cimport Arrivals
from inferd._core.load.connections cimport (
    check_raised, drop, end_late, fill, flush_marked, is_connected, is_greeted, measure_left, next_connection, send_rejected,
    wait,
)
from inferd._core.base.linux cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLLOUT, PR_SET_TIMERSLACK, close, epoll_create1, epoll_event, prctl,
)
from inferd._core.load.load_protocol cimport LoadProtocol
from inferd._core.load.tls cimport Tls
from inferd._core.codec.wire cimport Bytes

cdef enum:
    EVENTS = 64                         # connections looked at between two looks at the clock
    TURN = 64                           # requests of an open loop sent between two looks at the responses: these must not grow old unread
    MAX_OUTSTANDING = 100_000           # requests under way; more wait, and their waiting counts

cdef int64_t HIGHEST_NS = (<int64_t>1 << 42) - 1


cdef int expect(Expected *expected, list words) except -1:
    """words: models, outputs, versions. Points to what these lists go on holding; the arrays are the caller's to free."""
    expected.models, expected.model_count = spans(words[0]), <int>len(words[0])
    expected.outputs, expected.output_count = spans(words[1]), <int>len(words[1])
    expected.versions, expected.version_count = spans(words[2]), <int>len(words[2])
    return 0


cdef Bytes *spans(list words) except NULL:
    cdef Py_ssize_t i
    cdef bytes word
    cdef Bytes *made = <Bytes *>malloc((len(words) + 1) * sizeof(Bytes))
    if made == NULL:
        raise MemoryError
    for i, word in enumerate(words):
        made[i].data = PyBytes_AS_STRING(word)
        made[i].nbytes = PyBytes_GET_SIZE(word)
    return made


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


cdef class Generator:
    def __cinit__(self, *args, **kwargs):
        self.epoll = -1
        self.arrivals = Arrivals()
        self.buffer = <uint8_t *>malloc(RECEIVE_NBYTES)
        self.state.latency.counts = <uint64_t *>calloc(BUCKETS, sizeof(uint64_t))
        self.state.service.counts = <uint64_t *>calloc(BUCKETS, sizeof(uint64_t))
        self.state.lateness.counts = <uint64_t *>calloc(BUCKETS, sizeof(uint64_t))
        if NULL in (<void *>self.buffer, <void *>self.state.latency.counts, <void *>self.state.service.counts,
                    <void *>self.state.lateness.counts):
            raise MemoryError

    def __init__(self, bodies, LoadProtocol protocol not None, *, int64_t deadline_ns=0, int64_t verify_every=0, Py_ssize_t sample_room=0,
                 int64_t max_response_nbytes=256 << 20, models=(), outputs=(), versions=()):
        cdef Py_ssize_t i
        if not bodies:
            raise ValueError("expected at least one body")
        if deadline_ns < 0 or verify_every < 0 or sample_room < 0:
            raise ValueError("expected no negative number")
        if self.sent_bodies is not None:
            raise ValueError("a Generator is made once")
        self.sent_bodies = protocol.as_sent([bytes(body) for body in bodies])
        self.protocol = protocol
        self.state.protocol = &protocol.functions
        self.state.bodies = <const char **>malloc(len(self.sent_bodies) * sizeof(char *))
        self.state.body_nbytes = <Py_ssize_t *>malloc(len(self.sent_bodies) * sizeof(Py_ssize_t))
        if self.state.bodies == NULL or self.state.body_nbytes == NULL:
            raise MemoryError
        for i, body in enumerate(self.sent_bodies):
            self.state.bodies[i] = PyBytes_AS_STRING(body)
            self.state.body_nbytes[i] = PyBytes_GET_SIZE(body)
        self.state.body_count = <int>len(self.sent_bodies)
        self.words = [list(models), list(outputs), list(versions)]
        expect(&self.state.expected, self.words)
        self.state.deadline_ns = deadline_ns
        self.state.verify_every = verify_every
        self.state.max_response_nbytes = max_response_nbytes
        self.state.startable = 0
        self.state.measure_from_ns = self.state.responses_from_ns = INT64_MAX
        if sample_room > 0:
            self.state.samples = <Sample *>malloc(sample_room * sizeof(Sample))
            if self.state.samples == NULL:
                raise MemoryError
            self.state.sample_room = sample_room
        clear(&self.state.latency)
        clear(&self.state.service)
        clear(&self.state.lateness)
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, "epoll_create1")

    def __dealloc__(self):
        cdef Stream *stream
        cdef Captured *kept
        self.state.startable = 0
        while self.state.connections != NULL:
            drop(self.state.connections, self.epoll)
        end_rejected(&self.state, CONNECTION, INT64_MAX)
        while self.state.free_streams != NULL:
            stream = self.state.free_streams
            self.state.free_streams = stream.next
            free(stream.response)
            free(stream)
        while self.state.captured != NULL:
            kept = self.state.captured
            self.state.captured = kept.next
            free(kept)
        free(self.state.bodies)
        free(self.state.body_nbytes)
        free(self.state.expected.models)
        free(self.state.expected.outputs)
        free(self.state.expected.versions)
        free(self.state.samples)
        free(self.state.latency.counts)
        free(self.state.service.counts)
        free(self.state.lateness.counts)
        free(self.buffer)
        if self.epoll >= 0:
            close(self.epoll)

    # ---- connections ----

    def add(self, int fd, int number=0, Tls tls=None):
        """Takes a connected, non-blocking socket's descriptor, which stays the caller's to close after `take_dead` or `close`. tls: what
        is spoken on it; None: plaintext."""
        cdef LoadConnection *connection = new_connection(&self.state, fd, number, NULL if tls is None else &tls.seal)
        if connection == NULL:
            raise MemoryError
        if watch(connection, self.epoll, EPOLL_CTL_ADD, False) < 0:
            code = errno
            free_connection(connection)
            raise OSError(code, "epoll_ctl")
        if tls is not None:
            receive_left(connection, self.buffer)

    def greet(self, int64_t until_ns):
        """Waits for the SETTINGS of the servers, before which no connection sends a request. Ends when all are there, when a connection has
        died, or at the time `until_ns` (monotonic). Returns whether waiting longer may be of use."""
        cdef int64_t now_ns = monotonic_ns()
        with nogil:
            while self.state.died == 0 and now_ns < until_ns and not is_greeted(&self.state):
                flush_marked(&self.state, self.epoll)
                now_ns = self.take_events(until_ns, 0)
        check_raised(&self.state)
        return self.state.died == 0 and not is_greeted(&self.state)

    def take_dead(self):
        """Numbers of the connections that have died since the last time; they are forgotten, their requests counted as lost."""
        cdef LoadConnection *connection = self.state.connections
        cdef LoadConnection *following
        cdef list numbers = []
        self.state.died = 0
        self.state.now_ns = monotonic_ns()
        while connection != NULL:
            following = connection.next
            if connection.dead:
                numbers.append(connection.number)
                drop(connection, self.epoll)
            connection = following
        if numbers and not is_connected(&self.state):
            self.state.blocked = True
        return numbers

    def close(self):
        """Forgets every connection; what was under way counts as lost."""
        self.state.startable = 0
        self.state.now_ns = monotonic_ns()
        while self.state.connections != NULL:
            drop(self.state.connections, self.epoll)
        end_rejected(&self.state, CONNECTION, INT64_MAX)

    # ---- what to send ----

    def start(self, int64_t measure_from_ns, int streams=0, int64_t requests=-1):
        """From now on: a closed loop with so many streams in flight on each connection, or, with 0, the arrivals of `arrive`. Requests
        that were meant for a time before measure_from_ns (monotonic) are warm-up, and counted nowhere. In a closed loop, those still
        under way at that time are measured, from their sending: nothing else is sent there while they wait.
        requests: how many are measured, these included; -1: no limit. Warm-up requests do not count, however late they are."""
        cdef int64_t left = 0
        if streams < 0 or streams > 100_000:
            raise ValueError(f"streams: expected 0 to 100000, got {streams}")
        self.state.streams = streams
        self.state.responses_from_ns = measure_from_ns
        if streams > 0 and measure_from_ns <= monotonic_ns():
            left = measure_left(&self.state, &measure_from_ns)
        self.state.measure_from_ns = measure_from_ns
        self.state.startable = max(requests - left, 0) if requests >= 0 else INT64_MAX

    def arrive(self, times_ns not None):
        """More arrivals of an open loop: ascending monotonic times, as an array of int64, after all that came before."""
        self.arrivals.put(times_ns)

    def give_up(self):
        """Nobody waits any longer: requests under way count as having no response, with their time so far as latency. This includes those
        of the warm-up: they were waited for all the time. Returns how many they are."""
        cdef LoadConnection *connection = self.state.connections
        cdef int count = self.state.outstanding
        self.state.measure_from_ns = 0
        self.state.startable = 0
        self.state.now_ns = monotonic_ns()
        while connection != NULL:
            give_up(connection)
            connection = connection.next
        end_rejected(&self.state, UNANSWERED, INT64_MAX)
        return count

    def overdue(self, int64_t until_ns):
        """Arrivals that were due before until_ns and were not sent: all of the warm-up, and as many others as may still be measured."""
        if self.state.startable <= 0:
            return 0
        due, warm_up = (sum([int(np.searchsorted(times, before_ns)) for times in self.arrivals.waiting()])
                        for before_ns in (until_ns, min(until_ns, self.state.measure_from_ns)))
        return warm_up + min(due - warm_up, self.state.startable)

    def give_up_overdue(self, int64_t until_ns):
        """Nobody sends overdue or rejected requests any more. Without a connection they count as lost with it, else as having no response
        (see give_up). Returns how many were overdue."""
        cdef int64_t now_ns = monotonic_ns()
        cdef int code = UNANSWERED if is_connected(&self.state) else CONNECTION
        count = self.overdue(until_ns)
        self.state.now_ns = now_ns
        if code == UNANSWERED:
            self.state.measure_from_ns = 0
        end_rejected(&self.state, code, INT64_MAX)
        for intended_ns in np.concatenate(self.arrivals.waiting())[:count].tolist() if count else ():
            give_up_arrival(&self.state, intended_ns, now_ns, code)
        return count

    def count_waiting(self, int64_t until_ns, int64_t longer_than_ns):
        """Counts the time so far as latency, where it is longer than longer_than_ns: it took so long at least. For requests under way, and
        for those that were due before until_ns and could not be sent. None of them ends, and none is an error. Nothing counts before the
        measuring has begun; then the rest of the warm-up does, too."""
        cdef LoadConnection *connection = self.state.connections
        self.state.now_ns = monotonic_ns()
        if self.state.now_ns < self.state.responses_from_ns:
            return
        while connection != NULL:
            count_waiting(&self.state, connection.first, longer_than_ns)
            connection = connection.next
        count_waiting(&self.state, self.state.rejected, longer_than_ns)
        count = self.overdue(until_ns) if self.state.blocked else 0
        for intended_ns in np.concatenate(self.arrivals.waiting())[:count].tolist() if count else ():
            count_wait(&self.state, intended_ns, intended_ns, longer_than_ns)

    def stop(self):
        """No new request is sent; those under way go on."""
        self.state.startable = 0

    # ---- the loop ----

    def run(self, int64_t until_ns, int64_t spin_ns=0):
        """Sends and receives until the time `until_ns` (monotonic), until nothing is left to do, or until a connection has died. Requests
        that are meant for that time or a later one are left to the next run, which may count otherwise.
        spin_ns: for so long before an arrival the thread spins instead of sleeping. Returns the time."""
        cdef int64_t now_ns = monotonic_ns()
        cdef int64_t due_ns
        prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)    # this thread's: a sleep may end 50 us late otherwise
        self.state.now_ns = now_ns
        send_rejected(&self.state)
        if self.state.streams > 0:
            fill(&self.state)
        while self.state.died == 0:
            if self.state.streams == 0:
                self.arrivals.go_on()
            due_ns = self.next_due()
            if now_ns >= until_ns or (self.state.outstanding == 0 and (self.state.startable == 0 or due_ns == INT64_MAX)):
                break
            with nogil:
                now_ns = self.turn_around(until_ns, spin_ns)
        check_raised(&self.state)
        return now_ns

    cdef int64_t next_due(self) noexcept nogil:
        """When the next request is to be sent; in a closed loop that is a response's business."""
        return INT64_MAX if self.state.startable <= 0 or self.state.streams > 0 else self.arrivals.due_ns()

    cdef int64_t turn_around(self, int64_t until_ns, int64_t spin_ns) noexcept nogil:
        """The loop itself, until the time has come, this array of arrivals is used up, nothing is under way, or a connection died."""
        cdef LoadConnection *connection
        cdef int64_t now_ns = monotonic_ns()
        cdef int64_t due_ns, turn_end
        while True:
            if self.state.blocked:      # up to now
                self.state.blocked = False
                self.state.hindered_ns = now_ns
            if self.state.rejected != NULL:
                send_rejected(&self.state)
            due_ns = self.next_due()
            turn_end = self.state.number + TURN
            while due_ns <= now_ns and due_ns < until_ns and self.state.number < turn_end:
                connection = next_connection(&self.state) if self.state.outstanding < MAX_OUTSTANDING else NULL
                self.state.blocked = connection == NULL
                if connection == NULL or not send_next(connection, due_ns, now_ns):
                    due_ns = until_ns       # it waits for a response, or for another connection
                    break
                self.arrivals.next += 1
                due_ns = self.next_due()
                now_ns = monotonic_ns()
            flush_marked(&self.state, self.epoll)
            if self.state.died > 0 or now_ns >= until_ns:
                break
            if due_ns == INT64_MAX and (self.arrivals.queued and self.state.startable > 0 or self.state.outstanding == 0):
                break                   # the next array begins, or there is nothing to wait for
            now_ns = self.take_events(min(due_ns, until_ns), spin_ns)
        return now_ns

    cdef int64_t take_events(self, int64_t until_ns, int64_t spin_ns) noexcept nogil:
        """Sleeps until something comes, or the time has, and reads it; ends what is late. Returns the time."""
        cdef epoll_event events[EVENTS]
        cdef LoadConnection *connection
        cdef int64_t now_ns
        cdef int i
        cdef int count = wait(&self.state, self.epoll, events, EVENTS, until_ns, spin_ns)
        for i in range(count):
            connection = <LoadConnection *>events[i].data.ptr
            if connection == NULL:            # no connection's: it has woken the loop, and that was all
                continue
            if events[i].events & EPOLLOUT:
                mark_unflushed(connection)
            if events[i].events & ~<uint32_t>EPOLLOUT and not connection.dead:
                receive(connection, self.buffer)
        now_ns = monotonic_ns()
        if self.state.deadline_ns > 0:
            end_late(&self.state, now_ns)
        return now_ns

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
    def blocked(self):
        """Whether overdue requests wait for a connection, or for responses. If not, the generator itself is behind."""
        return self.state.blocked

    @property
    def held_back(self):
        """Measured requests that waited here until the server took another stream on their connection, or by HTTP/1.1 until a connection
        was free."""
        return self.state.held_back

    @property
    def exhausted(self):
        """Whether as many requests were sent as `start` allowed."""
        return self.state.startable <= 0

    @property
    def finished(self):
        """Requests since the beginning that have ended, however."""
        return self.state.number - self.state.outstanding

    @property
    def waited_ns(self):
        """Time that `run` had nothing to do, since the beginning."""
        return self.state.waited_ns

    @property
    def arrivals_waiting(self):
        """Arrivals that were handed over and not sent."""
        return self.arrivals.left()

    def collect(self, uint64_t[::1] latency not None, uint64_t[::1] service not None, uint64_t[::1] lateness not None):
        """Moves what was counted since the last time into three arrays of buckets. Returns (codes, totals, responses). codes:
        how many requests ended with each code (17: malformed, 18: connection lost, 19: no response). totals: (sum, max, min) in ns of each
        distribution. responses: how many came with OK, those to warm-up requests included."""
        cdef int i
        codes = [self.state.codes[i] for i in range(CODES)]
        totals = (collect_counter(&self.state.latency, latency), collect_counter(&self.state.service, service),
                  collect_counter(&self.state.lateness, lateness))
        memset(self.state.codes, 0, sizeof(self.state.codes))
        responses, self.state.ok_responses = self.state.ok_responses, 0
        return codes, totals, responses

    def messages(self):
        """The first message of each code that was no OK, percent-encoded as it came. Where no server said one: why its connection went."""
        cdef int i
        return {i: self.state.texts[i][:self.state.text_nbytes[i]] for i in range(1, CODES) if self.state.text_nbytes[i] > 0}

    def take_responses(self):
        """(body's index, response) of those that are to be checked, and how many more there was no room for, since the last time. A
        response is a serialized ModelInferResponse; by HTTP/1.1 its Inference-Header-Content-Length, an int64 (-1: none), and its body."""
        cdef Captured *kept
        cdef list responses = []
        while self.state.captured != NULL:
            kept = self.state.captured
            self.state.captured = kept.next
            responses.append((kept.body, PyBytes_FromStringAndSize(<char *>kept + sizeof(Captured), kept.nbytes)))
            free(kept)
        lost = self.state.captured_lost
        self.state.captured_count = 0
        self.state.captured_nbytes = 0
        self.state.captured_lost = 0
        return responses[::-1], lost

    def take_samples(self):
        """Every measured request since the last time, as bytes, and how many more there was no room for. Each has four int64: intended,
        sent and done (monotonic ns), and code."""
        samples = PyBytes_FromStringAndSize(<char *>self.state.samples, self.state.sample_count * sizeof(Sample))
        lost = self.state.samples_lost
        self.state.sample_count = 0
        self.state.samples_lost = 0
        return samples, lost
