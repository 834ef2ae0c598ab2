# cython: language_level=3, boundscheck=False, wraparound=False
# scheduled_load: the load generator's connections for a schedule that comes from elsewhere, such as MLPerf's LoadGen. Other threads
# say what to send; the loop, asleep in epoll, wakes and sends it at once. Linux only (eventfd).
# Never in here: what a protocol is, and a response (connection), what a connection is looked at for (generator), when to send.
#
# Threads: one runs the loop and calls everything else but `schedule` and `stop`, which are any thread's. Between them lies a ring of
# scheduled requests: the callers of `schedule` own its tail, the loop its head. The mutex guards both numbers and the entries at the tail.

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.load.generator cimport Generator
from inferd._core.load.connection cimport LoadConnection, send_body
from inferd._core.load.connections cimport check_raised, flush_marked, next_connection, send_rejected
from inferd._core.base.linux cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, EPOLL_CTL_ADD, EPOLLET, EPOLLIN, PR_SET_TIMERSLACK, close, epoll_ctl, epoll_event, eventfd, eventfd_write,
    prctl, pthread_cond_broadcast, pthread_cond_destroy, pthread_cond_init, pthread_cond_t, pthread_cond_wait, pthread_mutex_destroy,
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)

cdef enum:
    ROOM = 65_536               # scheduled requests that wait; a caller with more waits for room
    PIECE = 1024                # scheduled requests handed over at once
    MAX_OUTSTANDING = 100_000   # requests under way

cdef struct Scheduled:
    uint64_t tag
    int body
    int64_t scheduled_ns


cdef class ScheduledLoad(Generator):
    cdef pthread_mutex_t mutex
    cdef pthread_cond_t roomy   # half of the ring is empty
    cdef bint has_lock
    cdef int wakeup             # an eventfd in the loop's epoll
    cdef Scheduled *ring
    cdef int64_t head           # of all scheduled requests ever, the first that was not sent,
    cdef int64_t tail           # and the next one to come
    cdef int64_t seen           # the tail when the loop last looked
    cdef bint sleeping          # the loop wants to be woken
    cdef bint queueing          # a caller waits for room
    cdef readonly bint stopped
    cdef int limit              # requests under way
    cdef bint from_sending
    cdef Py_ssize_t ended_room  # for twice as many: requests under way, and those whose end was not reported yet
    cdef int64_t busy_from_ns   # since when something is under way; 0: nothing is
    cdef readonly int64_t under_way_ns      # time in which something was under way, since the beginning, until nothing was
    cdef readonly int64_t last_ended_ns     # when a request was last over (monotonic); 0: none was

    def __cinit__(self, *args, **kwargs):
        self.wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.wakeup < 0:
            raise OSError(errno, "eventfd")
        if pthread_mutex_init(&self.mutex, NULL) != 0 or pthread_cond_init(&self.roomy, NULL) != 0:
            raise MemoryError
        self.has_lock = True

    def __init__(self, bodies, protocol, *, int at_once=0, **kwargs):
        cdef epoll_event event
        if not 0 <= at_once <= MAX_OUTSTANDING:
            raise ValueError(f"at_once: expected 0 to {MAX_OUTSTANDING}, got {at_once}")
        super().__init__(bodies, protocol, **kwargs)
        self.limit = at_once or MAX_OUTSTANDING
        self.from_sending = at_once > 0
        self.ended_room = 2 * self.limit
        self.ring = <Scheduled *>malloc(ROOM * sizeof(Scheduled))
        self.state.ended = <uint64_t *>calloc(self.ended_room, sizeof(uint64_t))
        if self.ring == NULL or self.state.ended == NULL:
            raise MemoryError
        event.events = EPOLLIN | EPOLLET        # each write to it is one event, without a read
        event.data.ptr = NULL
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.wakeup, &event) < 0:
            raise OSError(errno, "epoll_ctl")

    def __dealloc__(self):
        free(self.ring)
        free(self.state.ended)
        self.state.ended = NULL         # Generator's part ends what is under way
        if self.has_lock:
            pthread_cond_destroy(&self.roomy)
            pthread_mutex_destroy(&self.mutex)
        if self.wakeup >= 0:
            close(self.wakeup)

    # ---- any thread's ----

    def schedule(self, list tags not None, list bodies not None):
        """Schedules requests: for each a number that `run` returns once it is over, however it ended, and the number of its body. Waits
        while too many wait; after `stop` it does nothing."""
        cdef Scheduled piece[PIECE]
        cdef int64_t scheduled_ns = monotonic_ns()
        cdef Py_ssize_t begin, i, count
        cdef bint taken
        if len(tags) != len(bodies):
            raise ValueError(f"expected a body for each tag, got {len(bodies)} for {len(tags)}")
        for begin in range(0, len(tags), PIECE):
            count = min(<Py_ssize_t>PIECE, len(tags) - begin)
            for i in range(count):
                piece[i].tag = tags[begin + i]
                piece[i].body = bodies[begin + i]
                piece[i].scheduled_ns = scheduled_ns
                if not 0 <= piece[i].body < self.state.body_count:
                    raise IndexError(f"body {piece[i].body}: there are {self.state.body_count}")
            with nogil:
                taken = self.put(piece, count)
            if not taken:
                break

    cdef bint put(self, Scheduled *piece, Py_ssize_t count) noexcept nogil:
        """Hands scheduled requests to the loop, once there is room; False: it has stopped."""
        cdef Py_ssize_t i
        cdef bint wake
        pthread_mutex_lock(&self.mutex)
        while self.tail + count - self.head > ROOM and not self.stopped:
            self.queueing = True
            pthread_cond_wait(&self.roomy, &self.mutex)
        if not self.stopped:
            for i in range(count):
                self.ring[(self.tail + i) % ROOM] = piece[i]
            self.tail += count
        wake, self.sleeping = self.sleeping, False
        pthread_mutex_unlock(&self.mutex)
        if wake:
            eventfd_write(self.wakeup, 1)
        return not self.stopped

    def stop(self):
        """Ends `run`, now and ever after, and releases the callers that wait in `schedule`."""
        with nogil:
            pthread_mutex_lock(&self.mutex)
            self.stopped = True
            pthread_cond_broadcast(&self.roomy)
            pthread_mutex_unlock(&self.mutex)
            eventfd_write(self.wakeup, 1)

    # ---- the loop ----

    def run(self, int64_t until_ns, int64_t spin_ns=0):
        """Sends and receives until the time `until_ns` (monotonic), until something is over, or until a connection has died. Returns the
        tags of what is over."""
        cdef Py_ssize_t i
        prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)    # this thread's, and of those that it starts: a sleep may end 50 us late otherwise
        self.settle()                   # what a dropped connection took along
        if self.state.ended_count == 0:
            with nogil:
                self.serve(until_ns, spin_ns)
        check_raised(&self.state)
        ended = [self.state.ended[i] for i in range(self.state.ended_count)]
        self.state.ended_count = 0
        return ended

    cdef void serve(self, int64_t until_ns, int64_t spin_ns) noexcept nogil:
        cdef int64_t now_ns = monotonic_ns()
        while True:
            if self.state.blocked:      # up to now
                self.state.blocked = False
                self.state.hindered_ns = now_ns
            if self.state.rejected != NULL:
                send_rejected(&self.state)
            self.send_scheduled()       # before the caller hears what is over: the server has work meanwhile
            flush_marked(&self.state, self.epoll)
            if self.state.ended_count > 0 or self.state.died > 0 or now_ns >= until_ns or self.stopped:
                break
            if self.has_seen_all():
                now_ns = self.take_events(until_ns, spin_ns)
            self.settle()

    cdef void send_scheduled(self) noexcept nogil:
        """Sends what is scheduled, as far as `limit` allows."""
        cdef int64_t head = self.head
        cdef int64_t now_ns
        cdef Scheduled *scheduled
        cdef LoadConnection *connection
        pthread_mutex_lock(&self.mutex)
        self.seen = self.tail
        pthread_mutex_unlock(&self.mutex)
        while head < self.seen and self.state.outstanding < self.limit \
                and self.state.outstanding + self.state.ended_count < self.ended_room:
            connection = next_connection(&self.state)
            self.state.blocked = connection == NULL
            if connection == NULL:
                break
            scheduled = &self.ring[head % ROOM]
            now_ns = monotonic_ns()
            if send_body(connection, scheduled.body, scheduled.tag, now_ns if self.from_sending else scheduled.scheduled_ns, now_ns):
                head += 1
                if self.busy_from_ns == 0:
                    self.busy_from_ns = now_ns
            elif not connection.leaving:      # there is no memory
                break
        if head == self.head:
            return
        pthread_mutex_lock(&self.mutex)
        self.head = head
        if self.queueing and self.tail - head <= ROOM // 2:
            self.queueing = False
            pthread_cond_broadcast(&self.roomy)
        pthread_mutex_unlock(&self.mutex)

    cdef bint has_seen_all(self) noexcept nogil:
        """Whether nothing was scheduled since the loop looked; then it may sleep, and the next `schedule` wakes it."""
        pthread_mutex_lock(&self.mutex)
        self.sleeping = self.seen == self.tail
        pthread_mutex_unlock(&self.mutex)
        return self.sleeping

    cdef void settle(self) noexcept nogil:
        """Adds up the time in which something was under way."""
        if self.state.ended_count > 0:
            self.last_ended_ns = self.state.now_ns
        if self.busy_from_ns > 0 and self.state.outstanding == 0:
            self.under_way_ns += self.state.now_ns - self.busy_from_ns
            self.busy_from_ns = 0

    # ---- what came of it ----

    @property
    def has_dead(self):
        """Whether `take_dead` has something to tell."""
        return self.state.died > 0

    @property
    def waiting_count(self):
        """Scheduled requests that were not sent yet."""
        cdef int64_t count
        pthread_mutex_lock(&self.mutex)
        count = self.tail - self.head
        pthread_mutex_unlock(&self.mutex)
        return count
