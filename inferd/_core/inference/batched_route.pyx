# cython: language_level=3
"""batched_route: requests of a model wait in a queue and run in batches, on the event loop or on threads (see batched_route.pxd)."""

cimport cython
from libc.stdint cimport int64_t
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.batching.batch cimport Batch
from inferd._core.batching.batcher cimport Batcher
from inferd._core.batching.request cimport Request
from inferd._core.grpc.call cimport Call
from inferd._core.inference.path cimport Route, Runner
from inferd._core.tensor.signature cimport Signature

from inferd.errors import Cancelled, DeadlineExceeded, Internal, RequestError, ResourceExhausted

cdef enum:
    GROWTH = 4                  # a request this many times larger than those with short runs sends the model to a thread
    LARGE_US = 50_000           # a request that takes more of one core to prepare waits in `large`: a photograph of 5 million pixels
    INLINE_BATCHES = 4          # the most batches that run_inline runs before the loop goes on


@cython.final
cdef class BatchedRoute(Route):
    """The route of a model whose requests wait in a queue and run in batches.

    model: the engine.model.Model. The route calls model.leave_loop(why).
    """

    def __init__(self, model, Signature signature not None, Batcher run_queue not None, Runner instance, schedule):
        self.model, self.signature, self.instance, self.schedule = model, signature, instance, schedule
        self.run_queue = self.first_queue = run_queue
        self.rejected = {"REJECTED": 0, "CANCELED": 0, "BACKEND": 0, "OTHER": 0}

    cpdef check(self, Request request):
        """Datatypes, shapes, sizes and rows against the signature. Raises InvalidArgument, and
        ResourceExhausted for a run that needs too much memory."""
        try:
            request.check(self.signature)
        except RequestError as error:
            self.count_rejection(error)
            raise

    cpdef submit(self, Request request, Call call):
        """Lets a checked request wait for its batch; the call gets its response later. Raises ResourceExhausted or Unavailable, at once."""
        cdef Batcher queue
        cdef bint alone
        if self.inline and 0 < GROWTH * self.short_nbytes < request.entry.nbytes and self.policy is not None:
            self.model.leave_loop(f"a request of {request.nbytes} bytes came, and runs are known to be short up to {self.short_nbytes}")
        try:
            queue = self.first_queue
            if self.large is not None and request.charge(self.contents) > LARGE_US:
                queue = self.large
            alone = queue.put(request, call)
        except RequestError as error:
            self.count_rejection(error)
            raise
        if not alone:
            return
        if self.inline:
            self.schedule_inline()
        elif self.first_waits is not None:
            self.first_waits()

    cpdef count_rejection(self, error):
        """Counts one request that was rejected before it waited."""
        if isinstance(error, (ResourceExhausted, DeadlineExceeded)) or error.reason in ("queue_full", "queue_time"):
            reason = "REJECTED"
        elif isinstance(error, Cancelled):
            reason = "CANCELED"
        elif isinstance(error, Internal):
            reason = "BACKEND"
        else:
            reason = "OTHER"
        self.rejected[reason] += 1

    # ---- from the queue to responses, on the event loop; on an executor thread engine/running/executor.py does the same ----

    cpdef schedule_inline(self):
        if not self.scheduled and self.schedule is not None:
            self.scheduled = True
            self.schedule(self.run_inline)

    def run_inline(self):
        """Runs waiting requests on the loop, a few batches at most: until the loop goes on, no response leaves, and new requests are
        stamped late."""
        cdef int64_t left_ns = self.turn_ns
        cdef int64_t run_ns
        cdef Batch batch
        self.scheduled = False
        self.polling = True
        try:
            for _ in range(INLINE_BATCHES):
                batch = self.run_queue.poll() if self.inline else None
                if batch is None:
                    break
                run_ns = self.run_timed(batch)
                batch.deliver_at(batch.encoded_ns or monotonic_ns())
                if self.policy is not None and run_ns:
                    why = self.policy.overrun(run_ns, batch.encoded_ns)
                    if why and not self.run_queue.closed:   # a model that drains runs its last requests here
                        self.model.leave_loop(why)
                        return
                left_ns -= run_ns
                if left_ns <= 0:
                    break
        finally:
            self.polling = False
        if self.inline and self.run_queue.queue.requests:
            self.schedule_inline()

    cdef int64_t run_timed(self, Batch batch) except -1:
        """Runs a batch on the loop, and returns how long it took, in ns. While the policy is in doubt, a run that works alone counts by its
        processor time: another process may have had the core meanwhile."""
        cdef int64_t busy_ns
        if self.policy is None or self.policy.debt <= 0 or not self.works_alone:
            Runner.run_batch(self.instance, batch)      # called through the class: no Python override is looked up
            return batch.duration_ns()
        busy_ns = thread_time_ns()
        Runner.run_batch(self.instance, batch)
        return min(batch.duration_ns(), thread_time_ns() - busy_ns)


cdef int64_t thread_time_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec
