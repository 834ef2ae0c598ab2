# batcher: requests on their way through queues and runs. Request and Batch say who owns what and who is answered; Batcher is the
# mechanism around the policy (batch_queue.pxd): one mutex, one condition, the monotonic clock.
# The mutex guards plain C memory only: no Python object is made, freed or called under it.

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from inferd._core.batching.queue cimport BatchQueue, Entry
from inferd._core.grpc.call cimport Call
from inferd._core.metrics.histogram cimport Statistics
from inferd._core.tensor.tensor cimport Signature, Tensors, TensorView

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef enum:
    INLINE_INPUTS = 2           # views that a request holds without a second allocation; with 2 it fits Python's fast allocator

@cython.no_gc                   # said here, too: a subclass elsewhere looks only at the .pxd
cdef class Request:             # one inference on its way: rows in, one response out
    cdef Entry entry
    cdef TensorView *inputs     # in the signature's order once checked
    cdef readonly int input_count
    cdef TensorView room[INLINE_INPUTS]
    cdef readonly Signature signature       # of the model that it is for; set by check
    cdef readonly int64_t received_ns       # monotonic, when decoding began
    cdef readonly Call call     # who asked; set by Batcher.put, None again once answered
    cdef object answer          # made by respond; given to call.reply
    cdef object error           # a RequestError; given to call.fail instead of a response
    cdef Batch batch            # the batch that it runs in, or None
    cdef Tensors prepared       # what was made of its inputs before it ran, and what `inputs` then point into; or None
    cdef int64_t decoded_ns, prepare_wait_ns, prepare_ns    # prepared ones: how long its decoding, waiting and preparing took
    cdef int reserve_inputs(self, int count) except -1    # room for `count` views, zeroed
    # Checks this request against a model's signature; sets rows, shape key and input bytes in `entry`.
    cpdef check(self, Signature signature)
    cpdef int64_t charge(self, bytes contents)
    # The encode stage: sets `answer` from this request's rows of the run's outputs. Subclasses define it.
    cpdef respond(self, Tensors outputs, Py_ssize_t first_row)
    # The caller went away: a waiting request never runs; the last one of a running batch terminates the run.
    cpdef cancel(self)

cdef class Batch:               # requests that run together; a call belongs to it until deliver
    cdef readonly list requests             # of Request
    cdef readonly list dropped              # of Request: expired or cancelled while they waited; answered, never run
    cdef readonly int64_t rows
    cdef int64_t taken_rows                 # rows when it was taken; those of requests that were forwarded among them
    cdef bint was_taken                     # out of a queue: not of expired requests alone
    cdef int64_t taken_ns, gathered_ns, executed_ns, encoded_ns      # monotonic; 0: not there yet
    cdef Statistics statistics
    cdef Batcher batcher                    # where it came from: counts what fails
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
    cpdef bint expire(self, int64_t now_ns) # True: every deadline has passed, and the run has been told to end
    cpdef end(self, error)                  # the run takes longer than it may: tells it to end, and its requests this RequestError
    cpdef abandon(self)                     # it does not end: tells them at once; what the run gives later goes to nobody
    cpdef forward(self, Request request, Batcher batcher)   # a prepared request leaves this batch and waits for its run in `batcher`
    cpdef executed(self)                    # the model has run: what follows belongs to encode
    cdef record_parts(self)
    cdef answer(self, Request request, int64_t now_ns)
    cdef reject(self, Request request, int64_t now_ns)
    cdef too_late(self, Request request, int64_t now_ns)
    cdef stop(self)                         # nobody waits any longer: terminates the run if it is going on

cdef class Batcher:             # a BatchQueue between threads
    cdef readonly BatchQueue queue
    cdef readonly Statistics statistics
    cdef readonly str name              # the model, for messages
    cdef public Batcher behind          # where requests that were taken here wait again (Batch.forward); or None
    cdef pthread_mutex_t mutex          # guards queue and the flags below where they are read without the GIL
    cdef pthread_cond_t ready           # signalled when a batch may be due
    cdef pthread_cond_t room            # signalled when fewer wait than before
    cdef int waiting                    # threads in take that sleep
    cdef int wait_for_room              # threads in wait_room that sleep
    cdef bint woken                     # one of them has been signalled, or is awake, and has not polled yet: no other is needed
    cdef int64_t alarm_ns               # a sleeper wakes by itself then, or earlier; INT64_MAX: none does
    cdef readonly int leaving           # threads in take that `dismiss` sends away once nothing waits
    cdef readonly bint closed
    cdef int told_status                # of the last rejection, an Admission; others are told the same until told_until_ns
    cdef uint32_t told_priority
    cdef str told
    cdef int64_t told_retry_ns
    cdef int64_t told_until_ns
    cdef readonly uint64_t expired      # requests whose time ran out before they ran
    cdef readonly uint64_t cancelled    # requests whose caller went away before they were answered
    cdef readonly uint64_t failed       # requests whose run or encoding failed
    cpdef bint put(self, Request request, Call call) except? -1
    cpdef Batch poll(self)
    cpdef Batch expire(self, int64_t now_ns)
    cdef void lock(self) noexcept
    cdef bint wakes(self, int64_t now_ns) noexcept nogil
    cdef bint wait(self) noexcept nogil
    cdef void unlock_left(self) noexcept
    cdef rejection(self, int status, uint32_t priority, int64_t now_ns)
    cdef eviction(self, int64_t now_ns)
    cdef str full(self, int status, uint32_t priority)
    cdef int64_t retry_ns(self, int64_t now_ns)
    cdef over(self, Batch batch, int64_t now_ns)
    cdef Batch batch_of(self, Entry *taken, Entry *dropped, int64_t now_ns)
    cdef bint withdraw(self, Request request) noexcept      # a waiting request was cancelled; False: it is in a batch by now
