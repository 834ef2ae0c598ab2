# batcher: the mechanism around the policy (queue.pxd): one mutex, one condition, the monotonic clock.
# The mutex guards plain C memory only: no Python object is made, freed or called under it.

from libc.stdint cimport int64_t
from inferd._core.batching.batch cimport Batch, Origin
from inferd._core.batching.queue cimport Entry
from inferd._core.batching.rejection cimport CachedRejection

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef class Batcher(Origin):     # a BatchQueue between threads
    cdef public Batcher behind          # where requests that were taken here wait again (Batch.forward); or None
    # schedule(callback) calls back at the end of the event loop's iteration: put, which the loop calls alone, wakes a sleeper then.
    # None: put wakes it at once, and any thread may call it.
    cdef public object schedule
    cdef pthread_mutex_t mutex          # guards queue and the flags below where they are read without the GIL
    cdef pthread_cond_t ready           # signalled when a batch may be due
    cdef pthread_cond_t room            # signalled when fewer wait than before
    cdef int waiting                    # threads in take that sleep
    cdef int wait_for_room              # threads in wait_room that sleep
    cdef bint woken                     # one of them has been signalled, or is awake, and has not polled yet: no other is needed
    cdef int64_t alarm_ns               # a sleeper wakes by itself then, or earlier; INT64_MAX: none does
    cdef readonly int leaving           # threads in take that `dismiss` sends away once nothing waits
    cdef readonly bint closed
    cdef CachedRejection rejections
    cpdef signal(self)
    cpdef Batch poll(self)
    cpdef Batch expire(self, int64_t now_ns)
    cdef void lock(self) noexcept
    cdef bint wakes(self, int64_t now_ns) noexcept nogil
    cdef bint wait(self) noexcept nogil
    cdef void unlock_left(self) noexcept
    cdef Batch batch_of(self, Entry *taken, Entry *dropped, int64_t now_ns)
