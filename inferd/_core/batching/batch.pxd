# batch: requests that run together, from the queue to their responses: gather, encode or fail, deliver.

from libc.stdint cimport int64_t, uint64_t
from inferd._core.batching.queue cimport BatchQueue
from inferd._core.batching.request cimport Owner, Request
from inferd._core.grpc.call cimport Call
from inferd._core.metrics.histogram cimport Statistics
from inferd._core.tensor.tensor cimport Tensors

cdef class Origin(Owner):       # the part of a Batcher that its batches know
    cdef readonly BatchQueue queue
    cdef readonly Statistics statistics
    cdef readonly str name              # the model, for messages
    cdef bint as_triton                 # rejections have Triton's status
    cdef public tuple taps              # of Tap: they see the requests of its batches with their responses; None: there is none
    cdef readonly uint64_t expired      # requests whose time ran out, or that made room, before they ran
    cdef readonly uint64_t cancelled    # requests whose caller went away, or whose run was ended as each deadline had passed
    cdef readonly uint64_t failed       # requests whose run or encoding failed
    cpdef bint put(self, Request request, Call call) except? -1
    # A batch was delivered: the queue learns how long that took, to its responses or to the next queue.
    cdef int over(self, Batch batch, int64_t now_ns) except -1
    # Taps see a request with its response or its error. batch: the one that it is in; None: it waits.
    cdef int tap(self, Request request, object error, int64_t now_ns, Batch batch) except -1
    # Tells the taps of a request whose client went away before it had a response.
    cdef int tap_left(self, Request request, Batch batch) except -1

cdef class Batch(Owner):        # requests that run together; it owns them until deliver
    cdef readonly list requests             # of Request: to be run
    cdef readonly list dropped              # of Request: expired, evicted or cancelled while they waited; they never run
    cdef readonly int64_t rows              # of `requests`
    cdef int64_t taken_rows                 # rows when it was taken, including those of requests that were forwarded since
    cdef bint was_taken                     # some of its requests were to run: not a batch of dropped requests alone
    cdef int64_t taken_ns, gathered_ns, executed_ns, encoded_ns      # the end of each stage, monotonic; 0: not there yet
    cdef Statistics statistics              # where its run and its requests are recorded
    cdef Origin origin                      # where it came from: counts what fails
    cdef readonly int alive                 # requests that somebody still waits for
    cdef bint failed                        # the run of all gave no outputs: its parts and responses alone are in the statistics
    cdef list parts                         # Batches that were run again, and are not in the statistics yet; or None
    cdef bint delivered                     # its calls have their responses
    cdef set tapped                         # of Request: taps saw them before the delivery, because their deadline passed; or None
    cdef readonly bint terminated           # the run was told to end early
    cdef readonly object overdue            # a RequestError: the run was told to end because it took too long; else None
    cdef public object terminate            # called with the batch, once, to end the run; None: no run goes on
    # Input i of the run: (rows, dims...) with a batch axis, else the one request's own shape.
    cpdef tuple input_shape(self, int index)
    cpdef gather(self, Tensors inputs)      # preprocess: writes every row once into the run's input arrays
    cpdef encode(self, Tensors outputs)     # encode: every request's response from its rows
    cpdef fail(self, error)                 # the run failed: every request of this batch gets this RequestError
    cpdef list halves(self)                 # parts to be run again, where the run of all failed
    cpdef set clients(self)                 # the connection slots of its requests
    cpdef Batch of_clients(self, set clients)   # a part to be run again: the requests of these slots
    cpdef settle(self, list parts)          # all parts have run
    cpdef deliver(self)                     # gives responses and errors to the calls, records the statistics; once
    cdef deliver_at(self, int64_t now_ns)   # deliver, by a clock that was read just now
    cdef int64_t duration_ns(self) noexcept # gather, run and encode together; 0: they are not over
    cpdef bint end_if_late(self, int64_t now_ns)    # True: every deadline has passed, and the run has been told to end
    cpdef tap_late(self, int64_t now_ns)    # taps see the requests whose deadline has passed, though their responses are not there
    cpdef end(self, error)                  # the run takes longer than it may: tells it to end; its requests get this RequestError
    cpdef abandon(self)                     # the run does not end: its requests get the error now, and the run's outputs go nowhere
    cpdef forward(self, Request request, Origin batcher)   # a prepared request leaves this batch and waits for its run in `batcher`
    cpdef executed(self)                    # the model has run: what follows belongs to encode
    cdef record_parts(self)
    cdef bint deliver_one(self, Request request, int64_t now_ns) except -1     # True: with a response
    cdef int tap(self, Request request, object error, int64_t now_ns) except -1     # shows a request to the taps, once
    cdef int tap_left(self, Request request) except -1      # its caller went away: tells the taps
    cdef rejection(self, Request request, int64_t now_ns)   # the RequestError of a request that never runs
    cdef reject(self, Request request, int64_t now_ns)
    cdef stop(self)                         # ends the run, if it is going on
