# batch: requests that run together, from the queue to their responses: gather, encode or fail, deliver.

from libc.stdint cimport int64_t, uint64_t
from inferd._core.batching.queue cimport BatchQueue
from inferd._core.batching.request cimport Owner, Request
from inferd._core.grpc.call cimport Call
from inferd._core.metrics.histogram cimport Statistics
from inferd._core.tensor.tensor cimport Tensors

cdef class Origin(Owner):       # where batches come from: what a Batch needs to know of its Batcher
    cdef readonly BatchQueue queue
    cdef readonly Statistics statistics
    cdef readonly str name              # the model, for messages
    cdef readonly uint64_t expired      # requests whose time ran out, or that made room, before they ran
    cdef readonly uint64_t cancelled    # requests whose caller went away before they were answered
    cdef readonly uint64_t failed       # requests whose run or encoding failed
    cpdef bint put(self, Request request, Call call) except? -1
    # A batch was delivered: what it took, to its responses or the next queue, is learned.
    cdef int over(self, Batch batch, int64_t now_ns) except -1

cdef class Batch(Owner):        # requests that run together; a call belongs to it until deliver
    cdef readonly list requests             # of Request
    cdef readonly list dropped              # of Request: expired or cancelled while they waited; answered, never run
    cdef readonly int64_t rows
    cdef int64_t taken_rows                 # rows when it was taken; those of requests that were forwarded among them
    cdef bint was_taken                     # out of a queue: not of expired requests alone
    cdef int64_t taken_ns, gathered_ns, executed_ns, encoded_ns      # monotonic; 0: not there yet
    cdef Statistics statistics
    cdef Origin origin                      # where it came from: counts what fails
    cdef readonly int alive                 # requests that somebody still waits for
    cdef bint failed                        # the run gave no outputs: nothing of it goes into the statistics
    cdef list parts                         # that were run again, and are not in the statistics yet; or None
    cdef bint delivered
    cdef readonly bint terminated           # the run was told to end early
    cdef readonly object overdue            # a RequestError: it was told so because it took longer than it may; else None
    cdef public object terminate            # called with the batch, once, when nobody waits any longer while the model runs; or None
    # Input i of the run: (rows, dims...) with a batch axis, else the one request's own shape.
    cpdef tuple input_shape(self, int index)
    cpdef gather(self, Tensors inputs)      # preprocess: writes every row once into the run's input arrays
    cpdef encode(self, Tensors outputs)     # encode: every request's answer from its rows
    cpdef fail(self, error)                 # the run failed: every request of this batch gets this RequestError
    cpdef list halves(self)                 # parts to be run again, where the run of all failed; `settle` when all of them have
    cpdef set clients(self)
    cpdef Batch of_clients(self, set clients)   # a part of it, too
    cpdef settle(self, list parts)
    cpdef deliver(self)                     # gives answers and errors to the calls, records the statistics; once
    cdef deliver_at(self, int64_t now_ns)   # the same, for whoever has just read the clock
    cdef int64_t duration_ns(self) noexcept
    cpdef bint expire(self, int64_t now_ns) # True: every deadline has passed, and the run has been told to end
    cpdef end(self, error)                  # the run takes longer than it may: tells it to end, and its requests this RequestError
    cpdef abandon(self)                     # it does not end: tells them at once; what the run gives later goes to nobody
    cpdef forward(self, Request request, Origin batcher)   # a prepared request leaves this batch and waits for its run in `batcher`
    cpdef executed(self)                    # the model has run: what follows belongs to encode
    cdef record_parts(self)
    cdef bint answer(self, Request request, int64_t now_ns) except -1     # True: with a response
    cdef reject(self, Request request, int64_t now_ns)
    cdef stop(self)                         # nobody waits any longer: terminates the run if it is going on
