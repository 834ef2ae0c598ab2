# work_queue: batchers that share threads. They take turns by deficit round robin over the estimated costs of their batches: a busy model
# delays another one by a quantum at most. All calls hold the GIL, which makes each one step; a thread lets go of it to sleep.

from libc.stdint cimport int64_t
from inferd._core.base.linux cimport sem_t
from inferd._core.base.scheduler cimport Flow, Scheduler
from inferd._core.batching.batcher cimport Batcher

cdef class WorkQueue:           # work for a few threads
    cdef Scheduler scheduler            # sources that have a batch to give
    cdef sem_t wakes                    # threads sleep on it
    cdef readonly int sleepers          # threads that sleep
    cdef int promised                   # of these, threads whose wake-up is on its way
    cdef readonly bint closed           # take returns None
    cdef int wake(self, schedule) except -1
    cpdef post(self)

cdef class Source(Flow):        # one batcher among those of a WorkQueue
    cdef WorkQueue work_queue
    cdef Batcher batcher                # its `behind` is where requests wait next, and has room, or has none
    cdef object schedule                # schedule(callback): wakes a thread for a request that came; None: at once
    cdef readonly object work           # work(batch): for the thread that took it
    cdef int most                       # batches that threads work on at one time
    cdef int64_t room_requests          # while so many requests
    cdef int64_t room_nbytes            # or bytes wait in `behind`, no batch is given
    cdef int at_work           # batches that threads work on
    cdef bint may_begin(self) noexcept
    cpdef arrived(self)
    cpdef offer(self)
    cpdef done(self)
