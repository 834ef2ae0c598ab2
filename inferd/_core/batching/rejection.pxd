# rejection: the errors of requests that a queue does not run. Their texts name the limit and its cure.

from libc.stdint cimport int64_t, uint32_t
from inferd._core.batching.queue cimport BatchQueue, Entry

cdef class CachedRejection:     # the rejection of requests that a model's queue does not admit
    cdef str name               # the model
    cdef bint as_triton         # errors are Unavailable
    cdef int status             # the text holds for this Admission,
    cdef uint32_t priority      # this priority level,
    cdef int64_t until_ns       # and until then, monotonic
    cdef str text               # the message of the error
    cdef int64_t retry_after_ns # how long the client is told to wait
    cdef of(self, BatchQueue queue, int status, uint32_t priority, int64_t now_ns)     # a ResourceExhausted, or Unavailable
    cdef forget(self)           # the limits have changed

# The error of a request that waited and never ran: it made room for another one, or its time ran out. as_triton: Unavailable if it made
# room or the queue's timeout passed. If the client's own deadline passed, it is DeadlineExceeded in any case.
cdef rejection_of(str name, const Entry *entry, BatchQueue queue, int64_t now_ns, bint as_triton)
