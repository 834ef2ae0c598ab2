# cython: language_level=3
"""rejection: the errors of requests that a queue does not run (see rejection.pxd).

Never in here: the decision to reject one (queue), calls, locks.
"""

from libc.stdint cimport int64_t, uint32_t
from inferd._core.batching.queue cimport (
    BYTES_FULL, LEVEL_FULL, MIN_RETRY_NS, TOO_LATE, WAIT_FULL, BatchQueue, Entry, Level
)

from inferd.errors import DeadlineExceeded, ResourceExhausted, Unavailable


cdef class CachedRejection:
    """The text of the last rejection of one model's queue. Further rejections get the same text for a millisecond: to make and encode it
    each time would be most of the cost of a rejection."""

    def __cinit__(self, str name not None, bint as_triton):
        self.name, self.as_triton = name, as_triton

    cdef forget(self):
        self.until_ns = 0

    cdef of(self, BatchQueue queue, int status, uint32_t priority, int64_t now_ns):
        if now_ns >= self.until_ns or status != self.status or priority != self.priority:
            self.status, self.priority = status, priority
            self.text = f"model {self.name}: {full(queue, status, priority)}"
            self.retry_after_ns = queue.retry_ns(now_ns)
            self.until_ns = now_ns + MIN_RETRY_NS
        error = Unavailable if self.as_triton else ResourceExhausted
        return error(self.text, reason="queue_time" if status == TOO_LATE else "queue_full", retry_after_ns=self.retry_after_ns)


cdef rejection_of(str name, const Entry *entry, BatchQueue queue, int64_t now_ns, bint as_triton):
    timed_out = DeadlineExceeded
    if entry.evicted:
        return (Unavailable if as_triton else ResourceExhausted)(
            f"model {name}: its queue is full, and this request made room for one of a connection that has fewer waiting; retry "
            "later, or send fewer requests at once", reason="queue_full", retry_after_ns=queue.retry_ns(now_ns))
    waited_ns = now_ns - entry.queued_ns
    if 0 < entry.timeout_ns <= waited_ns and entry.queued_ns + entry.timeout_ns < entry.deadline_ns:
        limit = "the timeout of the model's queue policy passed"
        timed_out = Unavailable if as_triton else DeadlineExceeded
    elif entry.deadline_ns <= now_ns:
        limit = "its deadline passed"
    else:
        limit = f"{(entry.deadline_ns - now_ns) / 1e6:.1f} ms were left until its deadline, too little for a run,"
    return timed_out(
        f"model {name}: {limit} while the request waited in the queue ({waited_ns / 1e6:.1f} ms), so it was not "
        "run; allow more time, or send fewer requests at once", reason="queue_timeout")


cdef str full(BatchQueue queue, int status, uint32_t priority):
    """The limit that a request did not fit, and its cure."""
    cdef Level *level = &queue.levels[priority - 1]
    if status == TOO_LATE:
        # Not DEADLINE_EXCEEDED: there is time left, to ask another replica, or this one when fewer wait.
        return (f"{queue.running} batches run and {queue.requests} requests wait, so the response would come after the request's deadline; "
                "retry later, or allow more time")
    if status == LEVEL_FULL:
        found = (f"priority level {priority} of its queue is full: {level.requests} requests wait, the most that max_queue_size of "
                 "the level's queue policy allows")
    elif status == BYTES_FULL:
        found = f"its queue is full: {queue.nbytes} bytes of input wait, and max_queue_bytes allows {queue.max_nbytes}"
    elif status == WAIT_FULL:
        found = f"its queue is full: {queue.requests} requests wait, which takes longer than max_queue_wait_us allows"
    else:
        found = f"its queue is full: {queue.requests} requests wait, the most that max_queue_requests allows"
    return f"{found}; retry later, or have the limit raised"
