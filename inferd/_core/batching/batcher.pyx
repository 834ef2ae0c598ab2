# cython: language_level=3, boundscheck=False, wraparound=False
"""batcher: a queue between the threads that put requests and those that take batches (see batcher.pxd).

All of this happens with the GIL held, except that threads sleep in take without it.

Never in here: what makes a batch (queue), what happens to it then (batch), models, sockets, protobuf; and, under the mutex, Python
objects.
"""

cimport cython
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport INT64_MAX, int64_t
from posix.time cimport CLOCK_MONOTONIC, timespec

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.base.linux cimport (
    pthread_cond_broadcast, pthread_cond_destroy, pthread_cond_init, pthread_cond_signal, pthread_cond_timedwait, pthread_cond_wait,
    pthread_condattr_destroy, pthread_condattr_init, pthread_condattr_setclock, pthread_condattr_t, pthread_mutex_destroy,
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_trylock, pthread_mutex_unlock
)
from inferd._core.batching.batch cimport Batch, Origin
from inferd._core.batching.queue cimport ADMITTED, DROPPED, IDLE, WAITING, BatchQueue, Entry, slot_of
from inferd._core.batching.rejection cimport CachedRejection
from inferd._core.batching.request cimport Request
from inferd._core.grpc.call cimport Call
from inferd._core.metrics.histogram cimport Statistics

from inferd.errors import Unavailable


cdef inline void release(Entry *entry, Request request) noexcept:
    """Ends the queue's hold on a request that has left it."""
    entry.next = NULL
    entry.batcher = NULL
    entry.owner = NULL
    Py_DECREF(request)


@cython.final
@cython.no_gc_clear                 # __dealloc__ needs the queue
cdef class Batcher(Origin):
    """A BatchQueue between the threads that put and those that take; the keywords are BatchQueue's.

    statistics: where delivered batches are recorded. name: the model, for messages. as_triton: a full queue and the queue's timeout are
    Unavailable, as in Triton.

    Everything that changes the queue holds the GIL and the mutex; a thread that waits in take only reads it, under the mutex
    alone. One sleeper is woken at a time: it takes what is due, and wakes the next if more is.
    """

    def __cinit__(self, int64_t max_rows, Statistics statistics not None, *, str name not None="", bint as_triton=False, **policy):
        cdef pthread_condattr_t attributes
        self.statistics = statistics
        self.name, self.as_triton = name or "(unnamed)", as_triton
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        if pthread_mutex_init(&self.mutex, NULL) != 0 or pthread_cond_init(&self.due, &attributes) != 0:
            raise MemoryError
        pthread_condattr_destroy(&attributes)
        self.alarm_ns = INT64_MAX
        self.queue = BatchQueue(max_rows, **policy)
        self.rejections = CachedRejection(self.name, as_triton)

    def __dealloc__(self):
        cdef Entry *entry = self.queue.first_from(0) if self.queue is not None else NULL
        cdef Entry *following
        cdef Request request
        while entry != NULL:                # no thread takes these any more
            self.queue.evict(entry)
            entry = self.queue.first_from(0)
        entry = self.queue.evicted if self.queue is not None else NULL
        while entry != NULL:
            following = entry.next
            request = <Request>entry.owner
            release(entry, request)
            request.call = request.prepared = None      # a call and its request refer to each other, unseen by the collector
            entry = following
        pthread_cond_destroy(&self.due)
        pthread_mutex_destroy(&self.mutex)

    cdef inline void lock(self) noexcept:
        """Takes the mutex with the GIL held. Only if a sleeper looks at the queue just now does it let go of the GIL and wait."""
        if pthread_mutex_trylock(&self.mutex) != 0:
            with nogil:
                pthread_mutex_lock(&self.mutex)

    cdef inline bint wakes(self, int64_t now_ns) noexcept nogil:
        """Under the mutex: whether the caller is to signal a sleeper once the mutex is free. True when a batch is due, or will be before
        any sleeper wakes by itself."""
        cdef int64_t due_ns
        if self.sleepers == 0 or self.woken:
            return False
        due_ns = self.queue.due(now_ns)
        if due_ns > now_ns and due_ns >= self.alarm_ns:
            return False
        self.woken = True
        return True

    def limit(self, int64_t max_queue_requests, int64_t max_queue_bytes, int64_t max_wait_ns):
        """The queue's limits from now on, as BatchQueue has them. Requests that wait already are kept."""
        if max_queue_requests < 1 or min(max_queue_bytes, max_wait_ns) < 0:
            raise ValueError("expected max_queue_requests of 1 or more, all else 0 or more")
        self.rejections.forget()
        self.lock()
        self.queue.max_requests, self.queue.max_nbytes, self.queue.max_wait_ns = max_queue_requests, max_queue_bytes, max_wait_ns
        pthread_mutex_unlock(&self.mutex)

    cpdef bint put(self, Request request, Call call) except? -1:
        """Lets a checked request wait for its turn, on behalf of `call`. True when nothing else waited: an inline instance must
        be scheduled. The queue holds the request until it is taken. Raises ResourceExhausted (full; as Triton: Unavailable) or
        Unavailable (closed)."""
        cdef Entry *entry = &request.entry
        cdef int64_t now_ns = monotonic_ns()
        cdef int64_t waited
        cdef int status
        cdef bint wake
        if entry.state != IDLE or entry.cancelled or request.call is not None:
            raise ValueError("a request waits for one call at a time")
        entry.deadline_ns = call.deadline_ns
        entry.connection_slot = slot_of(call.connection_id)
        entry.owner = <void *>request
        entry.batcher = <void *>self
        self.lock()
        if self.closed:                     # close() may have had the mutex meanwhile
            pthread_mutex_unlock(&self.mutex)
            raise Unavailable(f"model {self.name}: this version is being unloaded; retry, another version or replica may serve it")
        call.work = request
        if self.behind is not None:
            self.queue.look_behind(self.behind.queue, now_ns)
        waited = self.queue.requests
        status = self.queue.admit(entry, now_ns)
        wake = status == ADMITTED and self.wakes(now_ns)
        pthread_mutex_unlock(&self.mutex)
        if status != ADMITTED:
            call.work = None
            raise self.rejections.of(self.queue, status, entry.priority, now_ns)
        Py_INCREF(request)                  # the queue's own reference
        request.call = call
        if self.arrived is not None:
            self.arrived()
        elif wake and self.schedule is None:
            self.signal()
        elif wake:
            self.schedule(self.signal)
        return waited == 0

    cpdef signal(self):
        """Wakes a thread that sleeps in take. That thread needs the GIL next, so this one lets go of it."""
        with nogil:
            pthread_cond_signal(&self.due)

    def take(self):
        """Waits, without the GIL, until a batch is due. None: close or dismiss was called, and nothing is left for this thread."""
        cdef Batch batch
        while True:
            # The queue is emptied once this thread has the GIL, not when it wakes: requests that come meanwhile still join the
            # batch.
            batch = self.poll()
            if batch is not None:
                return batch
            with nogil:
                more = self.wait()
            if not more:
                return None

    cdef bint wait(self) noexcept nogil:
        """Sleeps until something is due (True), or this thread is to end (False)."""
        cdef int64_t now_ns, due_ns
        cdef timespec until
        cdef bint more = True
        pthread_mutex_lock(&self.mutex)
        self.woken = False                  # if this thread was woken, it has polled
        while True:
            if self.queue.requests == 0 and self.queue.evicted == NULL and (self.closed or self.leaving > 0):
                self.leaving -= self.leaving > 0
                more = False
                break
            now_ns = monotonic_ns()
            due_ns = self.queue.due(now_ns)
            if due_ns <= now_ns or self.closed:
                self.woken = True
                break
            self.sleepers += 1
            self.alarm_ns = min(self.alarm_ns, due_ns)
            if due_ns == INT64_MAX:
                pthread_cond_wait(&self.due, &self.mutex)
            else:
                until.tv_sec = due_ns // 1_000_000_000
                until.tv_nsec = due_ns % 1_000_000_000
                pthread_cond_timedwait(&self.due, &self.mutex, &until)
            self.sleepers -= 1
            self.woken = False
            self.alarm_ns = INT64_MAX       # may forget another sleeper's alarm: then one signal too many is sent
        pthread_mutex_unlock(&self.mutex)
        return more

    cdef inline void unlock_left(self) noexcept:
        """Requests have left the queue: frees the mutex, and tells those who wait for room."""
        pthread_mutex_unlock(&self.mutex)
        if self.left is not None:
            self.left()

    cpdef Batch poll(self):
        """The batch that is due now, with the requests that were dropped; dropped requests alone; or None. Never waits."""
        cdef int64_t now_ns
        cdef Entry *dropped
        cdef Entry *taken
        cdef bint wake
        if self.queue.requests == 0 and self.queue.evicted == NULL:
            return None
        self.lock()
        now_ns = monotonic_ns()
        if self.behind is not None:
            self.queue.look_behind(self.behind.queue, now_ns)
        dropped = self.queue.drop_hopeless(now_ns)
        taken = self.queue.form(now_ns)
        self.woken = False
        wake = self.wakes(now_ns)
        self.unlock_left()
        if wake:
            pthread_cond_signal(&self.due)
        return self.batch_of(taken, dropped, now_ns)

    cpdef Batch expire(self, int64_t now_ns):
        """The requests whose time has run out, or that made room, as a batch without a run, to be delivered; or None."""
        cdef Entry *dropped
        if now_ns < self.queue.next_expiry_ns and self.queue.evicted == NULL:
            return None
        self.lock()
        dropped = self.queue.drop_expired(now_ns)
        self.unlock_left()
        return self.batch_of(NULL, dropped, now_ns)

    cdef Batch batch_of(self, Entry *taken, Entry *dropped, int64_t now_ns):
        """Moves entries, and the queue's references to their requests, into a new batch; None if there are none."""
        cdef Batch batch
        cdef Entry *entry
        cdef Request request
        if taken == NULL and dropped == NULL:
            return None
        batch = Batch.__new__(Batch)
        batch.requests = []
        batch.dropped = []
        batch.taken_ns = now_ns
        batch.statistics = self.statistics
        batch.origin = self
        batch.was_taken = taken != NULL
        while taken != NULL:
            entry, taken = taken, taken.next
            request = <Request>entry.owner
            release(entry, request)
            if entry.cancelled:             # between leaving the queue and now
                batch.dropped.append(request)
            else:
                batch.requests.append(request)
                batch.rows += entry.rows
                batch.taken_rows += entry.rows
                batch.alive += 1
                request.batch = batch
        while dropped != NULL:
            entry, dropped = dropped, dropped.next
            request = <Request>entry.owner
            release(entry, request)
            entry.state = DROPPED
            request.batch = batch           # it is told if the caller goes away first
            batch.dropped.append(request)
        return batch

    cdef int over(self, Batch batch, int64_t now_ns) except -1:
        """A batch of this batcher was delivered: the queue learns how long that took, to its responses or to the next queue."""
        cdef bint passed = batch.encoded_ns > 0 or batch.rows < batch.taken_rows
        cdef int64_t run_ns = now_ns - batch.taken_ns if passed and not batch.failed else 0
        if not batch.was_taken:
            return 0                            # dropped requests alone
        self.lock()
        self.queue.over(batch.taken_rows, run_ns, now_ns)
        pthread_mutex_unlock(&self.mutex)
        return 0

    cdef bint caller_left(self, Request request) except? -1:
        """A waiting request was cancelled. False: it has left the queue, into a batch."""
        cdef bint waiting
        self.lock()
        waiting = request.entry.state == WAITING        # no other thread has taken it in the meantime
        if waiting:
            self.queue.remove(&request.entry)
        self.unlock_left()
        if waiting:
            if self.taps is not None:
                self.tap_left(request, None)
            release(&request.entry, request)
            request.call = request.prepared = None
            self.cancelled += 1
        return waiting

    def expect(self, int64_t requests, int64_t wait_ns):
        """A batch of so many requests has run and is about to be delivered. Their clients are likely to ask again: the next batch waits
        until as many are there, for wait_ns at most. Else the first to come would run alone, all others after it, and so on forever:
        batches of 1 and n - 1 by turns. Does nothing if a thread is to end, or the batcher is closed."""
        self.lock()
        if not self.closed and self.leaving == 0:
            self.queue.expect(requests, monotonic_ns() + wait_ns)
        pthread_mutex_unlock(&self.mutex)

    def dismiss(self):
        """One thread gets None from take, now or later, as soon as nothing is queued. `leaving` is 0 once all such threads have it."""
        self.lock()
        self.leaving += 1
        self.queue.expect(0, 0)             # polls that follow, on the loop, wait for no further requests
        pthread_mutex_unlock(&self.mutex)
        pthread_cond_broadcast(&self.due)

    def recall(self):
        """Takes back what `dismiss` has said. Returns how many threads it was said to and stay; the others have left already."""
        cdef int stay
        self.lock()
        stay = self.leaving
        self.leaving = 0
        pthread_mutex_unlock(&self.mutex)
        return stay

    def hurry(self):
        """Requests are taken without any delay from now on."""
        self.lock()
        self.queue.max_delay_ns = 0
        pthread_mutex_unlock(&self.mutex)
        pthread_cond_broadcast(&self.due)

    def close(self):
        """Puts are rejected from now on. Queued requests are taken without any delay; then take returns None to everyone."""
        self.lock()
        self.closed = True
        self.queue.max_delay_ns = 0
        self.queue.expect(0, 0)
        pthread_mutex_unlock(&self.mutex)
        pthread_cond_broadcast(&self.due)

    @property
    def depth(self):
        """Requests that wait."""
        return self.queue.requests

    @property
    def depth_bytes(self):
        """Bytes of their inputs."""
        return self.queue.nbytes
