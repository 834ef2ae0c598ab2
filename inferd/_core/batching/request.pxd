# request: one inference on its way from a client to its response, whichever way it came. It waits in a Batcher, then belongs to a Batch,
# which gives its call the response.

cimport cython
from libc.stdint cimport int64_t
from inferd._core.batching.queue cimport Entry
from inferd._core.grpc.call cimport Call
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors
from inferd._core.tensor.view cimport TensorView

cdef enum:
    INLINE_INPUTS = 2           # inputs that a request holds without a second allocation; with 2 it fits Python's fast allocator

cdef class Owner:               # where a request waits or runs: a Batcher or a Batch
    # The request's caller has gone. False: the request isn't there any longer.
    cdef bint caller_left(self, Request request) except? -1

@cython.no_gc                   # repeated in the .pyx; a subclass in another module sees only the .pxd
cdef class Request:             # one inference on its way: rows in, one response out
    cdef Entry entry            # the request, as its queue knows it
    cdef TensorView *inputs     # in the signature's order once checked; in `room` or `more_room`
    cdef readonly int input_count
    cdef int sent_count         # of a request that was prepared: its inputs as they came, which lie behind `inputs`; else 0
    cdef TensorView room[INLINE_INPUTS]     # memory of `inputs`,
    cdef bytes more_room        # or of more than INLINE_INPUTS, else None. A bytes object needs no __dealloc__ here
    cdef readonly Signature signature       # its model's; set by check
    cdef readonly int64_t received_ns       # monotonic, when decoding began
    cdef readonly Call call     # gets the response; set by Batcher.put, None once its batch was delivered
    cdef object response        # made by encode; given to call.reply
    cdef object error           # a RequestError; given to call.fail instead of a response
    cdef Owner batch            # the Batch that it runs in, or None
    cdef Tensors prepared       # made of its inputs before it ran: `inputs` point into it then; or None
    cdef int64_t decoded_ns, prepare_wait_ns, prepare_ns    # a prepared request's: how long it decoded, waited and was prepared
    cdef int reserve_inputs(self, int count) except -1    # room for `count` views, zeroed
    # Checks this request against a model's signature; sets rows, shape key and input bytes in `entry`.
    cpdef check(self, Signature signature)
    # Its entry's cost is the microseconds that preparing it is likely to take, which it returns.
    cpdef int64_t charge(self, bytes contents)
    # The encode stage: sets `response` from this request's rows of the run's outputs. Subclasses define it.
    cpdef encode(self, Tensors outputs, Py_ssize_t first_row)
    # Bytes of messages that a reference to this request, before it is delivered, keeps from being freed, its response's among them.
    cdef Py_ssize_t held_nbytes(self)
    # The caller went away: a waiting request never runs, and the last one of a running batch terminates the run.
    cpdef cancel(self)

# A request's inputs as the client sent them.
cdef inline const TensorView *sent_views(Request request, int *count) noexcept:
    count[0] = request.sent_count or request.input_count
    return request.inputs + (request.input_count if request.sent_count > 0 else 0)

# Memory of `owner`, which the view holds.
cdef object view_bytes(object owner, const char *data, Py_ssize_t nbytes)
