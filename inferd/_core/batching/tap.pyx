# cython: language_level=3
"""tap: a bounded look at a model's requests that have ended (see tap.pxd)."""

cimport cython
from libc.stdint cimport uint64_t

from inferd._core.base.key cimport group_of
from inferd._core.batching.request cimport Request, view_bytes
from inferd._core.grpc.message cimport Message

import os

UNTAPPED = "inferd-diff"        # the id of requests that compare models: they are not traffic

cdef enum:
    MAX_HELD = 16384
    MAX_HELD_NBYTES = 64 << 20
    OWN_NBYTES = 1 << 10        # of a request and its response, beside their messages


@cython.final
@cython.no_gc_clear             # __dealloc__ needs the tap
cdef class Tapped:
    """One request that has ended, with its response or error. `request.sent()` gives its inputs, `response_bytes` a Message's bytes."""

    def __dealloc__(self):
        if self.tap is not None:
            self.tap.held -= 1
            self.tap.held_nbytes -= self.held_nbytes

    @property
    def response_bytes(self):
        """The response as it was sent: a read-only view of a Message; None where the response is of another kind, or an error."""
        return view_bytes(self.response, self.data, self.nbytes) if type(self.response) is Message else None


cdef class Tap:
    """Sees the requests of its models (Model.tap) when they have ended, and keeps a share of them until `take`. A request whose deadline
    passes is one of them, with DeadlineExceeded. A request that its client cancels earlier is not. A tap never keeps a request whose id
    is UNTAPPED.

    share: 0 to 1. sticky: a request is in the share by a hash of its id, the same in all processes; one without an id by chance.
    max_held, max_held_nbytes: room for requests that wait, or that the consumer still holds. A full tap drops newer ones.
    """

    def __init__(self, double share=1.0, *, bint sticky=False, Py_ssize_t max_held=MAX_HELD, Py_ssize_t max_held_nbytes=MAX_HELD_NBYTES,
                 uint64_t seed=0):
        self.share = share
        self.sticky, self.max_held, self.max_held_nbytes = sticky, max_held, max_held_nbytes
        self.max_nbytes = max_held_nbytes
        self.drawn = seed or int.from_bytes(os.urandom(8), "little") | 1
        self.waiting = []

    @property
    def share(self):
        """The share of requests that it keeps; may change at any time."""
        return self.threshold / <double>(1 << 32)

    @share.setter
    def share(self, double share):
        if not 0 <= share <= 1:
            raise ValueError(f"share: expected 0 to 1, got {share}")
        self.threshold = <uint64_t>(share * <double>(1 << 32) + 0.5)

    def take(self, Py_ssize_t most=1024):
        """The oldest Tapped that wait, `most` at most, as a list. From any thread."""
        cdef list taken = self.waiting[:most]
        del self.waiting[:most]
        return taken

    cdef bint wants(self, Request request) except -1:
        cdef uint64_t draw
        self.seen += 1
        if self.sticky and (id := getattr(request, "id", "")):
            draw = hash_of(id.encode())
        else:
            self.drawn ^= self.drawn << 13
            self.drawn ^= self.drawn >> 7
            self.drawn ^= self.drawn << 17
            draw = self.drawn
        if draw >> 32 >= self.threshold:
            return False
        return getattr(request, "id", "") != UNTAPPED

    cdef Tapped keep(self, Request request, object error):
        cdef Py_ssize_t nbytes
        cdef Tapped tapped
        cdef Message message
        self.offered += 1
        if self.held >= self.max_held:
            self.dropped += 1
            return None
        nbytes = OWN_NBYTES + request.held_nbytes()
        if nbytes > self.max_nbytes or self.held_nbytes + nbytes > self.max_held_nbytes:
            self.dropped += 1
            return None
        tapped = Tapped.__new__(Tapped)
        tapped.request, tapped.group = request, group_of(request.call.key if request.call is not None else 0)
        if error is not None:
            tapped.code, tapped.message = error.code, str(error)
        else:
            tapped.response = request.response
            if type(tapped.response) is Message:
                message = <Message>tapped.response
                tapped.data, tapped.nbytes = message.data, message.nbytes
        tapped.tap, tapped.held_nbytes = self, nbytes
        self.held += 1
        self.held_nbytes += nbytes
        return tapped

    cdef int put(self, Tapped tapped) except -1:
        self.waiting.append(tapped)
        return 0

    cdef int left(self, Request request) except -1:
        return 0


cdef uint64_t hash_of(bytes key):
    """FNV-1a, mixed so that its upper bits depend on every byte."""
    cdef uint64_t found = 0xCBF29CE484222325ULL
    cdef unsigned char byte
    for byte in key:
        found = (found ^ byte) * 0x100000001B3ULL
    found = (found ^ found >> 33) * 0xFF51AFD7ED558CCDULL
    return found ^ found >> 33
