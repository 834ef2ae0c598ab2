# batcher: the mechanism around the policy (queue.pxd): one mutex, one condition, the monotonic clock.
# The mutex guards plain C memory only: no Python object is made, freed or called under it.

from libc.stdint cimport int64_t
from inferd._core.base.linux cimport pthread_cond_t, pthread_mutex_t
from inferd._core.batching.batch cimport Batch, Origin
from inferd._core.batching.queue cimport Entry
from inferd._core.batching.rejection cimport CachedRejection

cdef class Batcher(Origin):     # a BatchQueue between threads
    cdef public Batcher behind          # where requests that were taken here wait again (Batch.forward); or None
    # schedule(callback) is the event loop's call_soon: put wakes a sleeper by it, and only the loop's thread calls put.
    # None: put wakes a sleeper at once, and any thread may call it.
    cdef public object schedule
    cdef public object arrived          # called when a request has come, by put; None: threads sleep in take
    cdef public object left             # called when requests have left; None: nobody waits for room here
    cdef pthread_mutex_t mutex          # guards queue and the flags below where they are read without the GIL
    cdef pthread_cond_t due             # signalled when a batch may be due
    cdef int sleepers                   # threads that sleep in take
    cdef bint woken                     # one of the sleepers was signalled and has not polled yet: no other is needed
    cdef int64_t alarm_ns               # a sleeper wakes by itself then, or earlier; INT64_MAX: none does
    cdef readonly int leaving           # threads in take that `dismiss` ends once nothing waits
    cdef readonly bint closed           # put rejects; what waits is still taken
    cdef CachedRejection rejections     # the text of the last rejection
    cpdef signal(self)
    cpdef Batch poll(self)
    cpdef Batch expire(self, int64_t now_ns)
    cdef void lock(self) noexcept
    cdef bint wakes(self, int64_t now_ns) noexcept nogil
    cdef bint wait(self) noexcept nogil
    cdef void unlock_left(self) noexcept
    cdef Batch batch_of(self, Entry *taken, Entry *dropped, int64_t now_ns)
