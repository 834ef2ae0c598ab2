# request: one inference on its way from a client to its response, whichever way it came. It waits in a Batcher, becomes part of a Batch,
# and is answered by that.

cimport cython
from libc.stdint cimport int64_t
from inferd._core.batching.queue cimport Entry
from inferd._core.grpc.call cimport Call
from inferd._core.tensor.tensor cimport Signature, Tensors, TensorView

cdef enum:
    INLINE_INPUTS = 2           # views that a request holds without a second allocation; with 2 it fits Python's fast allocator

cdef class Owner:               # where a request waits or runs: a Batcher or a Batch
    # The request's caller has gone. False: the request isn't there any longer.
    cdef bint caller_left(self, Request request) except? -1

@cython.no_gc                   # said here, too: a subclass elsewhere looks only at the .pxd
cdef class Request:             # one inference on its way: rows in, one response out
    cdef Entry entry
    cdef TensorView *inputs     # in the signature's order once checked
    cdef readonly int input_count
    cdef TensorView room[INLINE_INPUTS]
    cdef bytes more_room        # of `inputs` where they are more than that, or None; no __dealloc__ is needed, which each request would pay
    cdef readonly Signature signature       # of the model that it is for; set by check
    cdef readonly int64_t received_ns       # monotonic, when decoding began
    cdef readonly Call call     # who asked; set by Batcher.put, None again once answered
    cdef object answer          # made by respond; given to call.reply
    cdef object error           # a RequestError; given to call.fail instead of a response
    cdef Owner batch            # the Batch that it runs in, or None
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
