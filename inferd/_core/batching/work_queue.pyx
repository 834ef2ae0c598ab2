# cython: language_level=3
"""work_queue: batchers that share threads. They take turns by deficit round robin over the estimated costs of their batches: a busy model
delays another one by a quantum at most. All calls hold the GIL, which makes each one step; a thread lets go of it to sleep.

Never in here: threads, what the work is, when a batch is due: batchers here have no delay.
"""

cimport cython
from libc.stdint cimport int64_t
from inferd._core.base.linux cimport sem_destroy, sem_init, sem_post, sem_t, sem_wait
from inferd._core.base.scheduler cimport NOWHERE, Flow, Scheduler
from inferd._core.batching.batch cimport Batch
from inferd._core.batching.batcher cimport Batcher
from inferd._core.batching.request cimport Request

cdef enum:
    BATCH_COST = 50             # microseconds: a batch takes its time, however little its requests are estimated at


@cython.final
cdef class WorkQueue:
    """quantum: what the batches of one source may cost before others go first, in microseconds."""

    cdef Scheduler scheduler            # sources that have a batch to give
    cdef sem_t wakes                    # threads sleep on it
    cdef readonly int sleepers          # threads that sleep
    cdef int promised                   # of these, threads whose wake-up is on its way
    cdef readonly bint closed           # take returns None

    def __cinit__(self, int64_t quantum):
        self.scheduler = Scheduler(quantum)
        if sem_init(&self.wakes, 0, 0) != 0:
            raise MemoryError

    def __dealloc__(self):
        sem_destroy(&self.wakes)

    def take(self):
        """Waits, without the GIL, for the next batch: (its source, batch). The caller works on it, then calls source.done(). None: close
        was called."""
        cdef Source source
        cdef Flow flow
        cdef Batch batch
        while not self.closed:
            flow = self.scheduler.next()
            if flow is not None:
                source = <Source>flow
                batch = source.batcher.poll() if source.may_begin() else None
                source.at_work += batch is not None
                self.scheduler.charge(source, cost_of(batch) if batch is not None else 0, source.may_begin())
                if batch is None:
                    continue
                if self.scheduler.has_work():
                    self.wake(None)
                return source, batch
            if self.scheduler.has_work():
                continue                    # all of them have large debts
            self.sleepers += 1
            with nogil:
                while sem_wait(&self.wakes) != 0:
                    pass                    # a signal came
            self.sleepers -= 1
            self.promised -= 1
        return None

    def close(self):
        """Ends the threads: each gets None from take. Batches that wait are left to their batcher."""
        self.closed = True
        while self.promised < self.sleepers:
            self.wake(None)

    cdef int wake(self, schedule) except -1:
        """Wakes one thread more, if one sleeps."""
        if self.promised >= self.sleepers:
            return 0
        self.promised += 1
        if schedule is None:
            self.post()
        else:
            schedule(self.post)
        return 0

    cpdef post(self):
        """That thread needs the GIL next, so this one lets go of it."""
        with nogil:
            sem_post(&self.wakes)


@cython.final
cdef class Source(Flow):
    """batcher: has no delay. Its requests go to batcher.behind when they are done. work: see `take`.

    Its batcher calls `arrived` when a request waits, and the batcher behind calls `offer` when it may have room. A Source gives batches
    while fewer than `most` are at work, and the batcher behind holds less than room_requests and room_nbytes, or is closed.
    """

    cdef WorkQueue work_queue
    cdef Batcher batcher                # its `behind` is where requests wait next, and has room, or has none
    cdef object schedule                # schedule(callback): wakes a thread for a request that came; None: at once
    cdef readonly object work           # work(batch): for the thread that took it
    cdef int most                       # batches that threads work on at one time
    cdef int64_t room_requests          # while so many requests
    cdef int64_t room_nbytes            # or bytes wait in `behind`, no batch is given
    cdef int at_work                    # batches that threads work on

    def __init__(self, WorkQueue work_queue not None, Batcher batcher not None, work, *, int most, int64_t room_requests,
                 int64_t room_nbytes, schedule=None):
        self.work_queue, self.batcher, self.work, self.schedule = work_queue, batcher, work, schedule
        self.most, self.room_requests, self.room_nbytes = most, room_requests, room_nbytes

    @property
    def busy(self):
        """Whether requests wait here, or are worked on."""
        return self.at_work > 0 or self.batcher.queue.requests > 0

    cdef bint may_begin(self) noexcept:
        cdef Batcher behind = self.batcher.behind
        if self.batcher.queue.requests == 0 or self.at_work >= self.most:
            return False
        return behind.closed or (behind.queue.requests < self.room_requests and behind.queue.nbytes < self.room_nbytes)

    cpdef arrived(self):
        """A request waits. The thread wakes by `schedule`, behind the other requests that come in the same iteration of the loop."""
        if self.place == NOWHERE and self.may_begin():
            self.work_queue.scheduler.add(self)
            self.work_queue.wake(self.schedule)

    cpdef offer(self):
        """Requests have left the batcher behind, or a batch is done. On any thread."""
        if self.place == NOWHERE and self.may_begin():
            self.work_queue.scheduler.add(self)
            self.work_queue.wake(None)

    cpdef done(self):
        """A thread is done with a batch that it took."""
        self.at_work -= 1
        self.offer()


cdef int64_t cost_of(Batch batch) noexcept:
    cdef int64_t cost = BATCH_COST
    cdef Request request
    for request in batch.requests:
        cost += request.entry.cost
    return cost
