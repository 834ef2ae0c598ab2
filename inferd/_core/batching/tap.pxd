# tap: a bounded look at a model's requests that have ended (Envoy's word). Consumers work on a thread of their own: the recorder,
# a shadow, a canary. A tap holds references and copies nothing. It drops requests that it has no room for, and counts them.
# Never in here: what a request means, files, threads. All of it runs with the GIL held.

from libc.stdint cimport int64_t, uint64_t
from inferd._core.batching.request cimport Request

cdef class Tapped:              # one request and what it got
    cdef readonly Request request
    cdef readonly object response           # as the request's class makes it: Message, LateCall, dict; None: it got an error
    cdef const char *data                   # of a Message: its bytes as they were; a stream writes its own head in front of them later
    cdef Py_ssize_t nbytes
    cdef readonly int code                  # gRPC's; 0: a response
    cdef readonly int group                 # of its key in a canary (base/key)
    cdef readonly str message               # of an error; else None
    cdef readonly int64_t received_ns       # monotonic
    cdef readonly int64_t decode_ns, queue_ns, preprocess_ns, execute_ns, encode_ns, total_ns   # durations; 0: it did not come to that
    cdef Tap tap                            # is charged for what this holds, until the last reference goes
    cdef Py_ssize_t held_nbytes

cdef class Tap:
    cdef readonly uint64_t seen             # requests with a response or an error, or whose deadline passed
    cdef readonly uint64_t offered          # of these, in the share
    cdef readonly uint64_t dropped          # of these, lost: there was no room
    cdef readonly Py_ssize_t held, held_nbytes      # requests that wait, or that the consumer still holds
    cdef Py_ssize_t max_held
    cdef readonly Py_ssize_t max_held_nbytes
    cdef public Py_ssize_t max_nbytes       # longer requests, with their responses, are dropped at the moment
    cdef uint64_t threshold                 # of 2^32: a draw below it is in the share
    cdef bint sticky                        # the draw is a hash of the request's id
    cdef uint64_t drawn                     # state of the generator, never 0
    cdef list waiting                       # of Tapped
    cdef bint wants(self, Request request) except -1            # counts it; whether it is in the share
    cdef Tapped keep(self, Request request, object error)       # None: there is no room. The caller fills in the times, and puts it
    cdef int put(self, Tapped tapped) except -1                 # it waits for the consumer
    cdef int left(self, Request request) except -1              # its client went away before a response, and before its deadline
