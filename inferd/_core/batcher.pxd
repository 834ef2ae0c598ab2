# batcher: which requests run together, and when. BatchQueue is the policy: integers in, integers out, no clock,
# no lock, no thread. Batcher is the mechanism around it: one mutex, one condition, the monotonic clock.
# The mutex guards plain C memory only: no Python object is made, freed or called under it.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from inferd._core.histogram cimport Statistics
from inferd._core.tensor cimport Signature, Tensors, TensorView

cdef enum:
    INLINE_INPUTS = 4           # views that a request holds without a second allocation

cdef struct Entry:              # what the queue knows of one request
    Entry *next
    Entry *previous
    int64_t rows
    uint64_t shape_key          # only entries of one key share a batch
    int64_t nbytes              # input bytes held while it waits
    int64_t deadline_ns         # monotonic; INT64_MAX: none
    int64_t queued_ns
    uint32_t priority           # 1 is first; 0 before the queue has put in its default
    int state                   # where it is now: see EntryState
    bint cancelled              # the caller went away: never run it
    void *owner                 # the Request; the queue or batch that holds the entry holds one reference

cdef class Request:             # one inference on its way: rows in, one answer out
    cdef Entry entry
    cdef TensorView *inputs     # in the signature's order once checked
    cdef readonly int input_count
    cdef TensorView room[INLINE_INPUTS]
    cdef readonly Signature signature       # of the model that it is for; set by check
    cdef readonly int64_t received_ns       # monotonic, when decoding began
    cdef readonly object call   # who asked: has deadline_ns, reply(answer), fail(error); set by Batcher.put
    cdef object answer          # made by respond; given to call.reply
    cdef object error           # a RequestError; given to call.fail instead of an answer
    cdef Batch batch            # the batch that it runs in, or None
    cdef int reserve_inputs(self, int count) except -1    # room for `count` views, zeroed
    # Checks this request against a model's signature; sets rows, shape key and input bytes in `entry`.
    cpdef check(self, Signature signature)
    # The encode stage: sets `answer` from this request's rows of the run's outputs. Subclasses define it.
    cpdef respond(self, Tensors outputs, Py_ssize_t first_row)
    # The caller went away: a waiting request never runs; the last one of a running batch terminates the run.
    cpdef cancel(self)

cdef class Batch:               # requests that run together; a call belongs to it until deliver
    cdef readonly list requests             # of Request
    cdef readonly list dropped              # of Request: expired or cancelled while they waited; answered, never run
    cdef readonly int64_t rows
    cdef int64_t taken_ns, gathered_ns, executed_ns, encoded_ns      # monotonic
    cdef Statistics statistics
    cdef int alive                          # requests that somebody still waits for
    cdef public object terminate            # called, once, when nobody waits any longer while the model runs; or None
    # Input i of the run: (rows, dims...) with a batch axis, else the one request's own shape.
    cpdef tuple input_shape(self, int index)
    cpdef gather(self, Tensors inputs)      # preprocess: writes every row once into the run's input arrays
    cpdef encode(self, Tensors outputs)     # encode: every request's answer from its rows
    cpdef fail(self, error)                 # the run failed: every request of this batch gets this RequestError
    cpdef deliver(self)                     # gives answers and errors to the calls, records the statistics; once
