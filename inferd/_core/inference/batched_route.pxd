# batched_route: the route of a model whose requests wait in a queue and run in batches. It calls Python only for a model that leaves the
# event loop, and for the first request that waits for a thread.
# Never in here: names of models, threads, which queues there are.

cimport cython
from libc.stdint cimport int64_t
from inferd._core.batching.batch cimport Batch
from inferd._core.batching.batcher cimport Batcher
from inferd._core.inference.inline_policy cimport InlinePolicy
from inferd._core.inference.path cimport Route, Runner

@cython.final
cdef class BatchedRoute(Route):
    cdef public object model            # engine.model.Model, whose route this is; None once that is closed
    cdef Batcher run_queue              # requests that wait for a run
    cdef public Batcher first_queue     # where requests wait first: run_queue, or the queue of the preprocess threads
    cdef public Batcher large           # the first queue of requests that take long to prepare; None: first_queue
    cdef public bytes contents          # with `large`: an effort.Content for each input
    cdef public dict rejected           # requests that were rejected before they waited, by Triton's reason
    cdef public object first_waits      # first_waits(): called when a request waits alone for a thread; None: nobody has to know
    # Runs on the event loop.
    cdef public bint inline             # the model runs there
    cdef public InlinePolicy policy     # decides whether it may; None: it always may
    cdef public bint works_alone        # a run works on the loop's thread alone: its processor time tells how long it took
    cdef public int64_t turn_ns         # how long it runs batches before the loop goes on
    cdef public int64_t short_nbytes    # the largest request whose run was seen to be short; 0: all requests have one size
    cdef Runner instance                # the one that runs there
    cdef object schedule                # schedule(callback) is loop.call_soon: the callback runs before the loop handles new events
    cdef bint scheduled                 # run_inline is
    cdef readonly bint polling          # the loop is inside run_inline
    cpdef count_rejection(self, error)
    cpdef schedule_inline(self)
    cdef int64_t run_timed(self, Batch batch) except -1
