# cython: language_level=3, boundscheck=False, wraparound=False
"""request: one inference on its way from a client to its response (see request.pxd).

Its owner is the caller until Batcher.put, the queue until poll or take, the batch until deliver. All of this happens with the GIL held.

Never in here: queues, batches, models, sockets, protobuf.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, UINT32_MAX, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.batching.effort cimport ROW_NS, content_ns
from inferd._core.batching.queue cimport WAITING
from inferd._core.tensor.datatypes cimport BYTES, word_of
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors
from inferd._core.tensor.view cimport MAX_TENSORS, ArrayView, TensorView

import numpy

from inferd._core.tensor.datatypes import DATATYPES

cdef const char *NOTHING = b""      # where a buffer of no bytes lies


cdef class Owner:
    """Where a request waits or runs."""

    cdef bint caller_left(self, Request request) except? -1:
        raise NotImplementedError


@cython.no_gc                       # its cycles, with call and batch, are cut when it leaves the queue or the batch
cdef class Request:
    """One inference on its way. Subclasses bring the inputs and make the response: codec.InferRequest, local.LocalRequest."""

    def __cinit__(self, *args, **kwargs):
        self.received_ns = monotonic_ns()
        self.entry.deadline_ns = INT64_MAX

    cdef int reserve_inputs(self, int count) except -1:
        cdef TensorView *views = self.room
        if count < 0 or count > MAX_TENSORS:
            raise ValueError(f"expected 0 to {<int>MAX_TENSORS} inputs, got {count}")
        if count > INLINE_INPUTS:
            self.more_room = PyBytes_FromStringAndSize(NULL, count * sizeof(TensorView))
            views = <TensorView *>PyBytes_AS_STRING(self.more_room)
        memset(views, 0, count * sizeof(TensorView))
        self.inputs = views
        self.input_count = count
        return 0

    cpdef check(self, Signature signature):
        cdef int64_t nbytes = 0
        cdef int i
        if self.input_count < signature.input_count and signature.defaults:
            fill_left_out(self, signature)
        signature.check(self.inputs, self.input_count, &self.entry.rows, &self.entry.shape_key, &self.entry.near_key)
        for i in range(self.input_count):
            nbytes += self.inputs[i].nbytes
        self.entry.nbytes = nbytes
        self.entry.cost = <uint32_t>min(self.entry.rows, <int64_t>UINT32_MAX)
        self.signature = signature

    cpdef encode(self, Tensors outputs, Py_ssize_t first_row):
        raise NotImplementedError(f"{type(self).__name__} does not say how it makes a response")

    cpdef int64_t charge(self, bytes contents):
        """Charges its connection for what preparing it is likely to take, in microseconds of one core, which it returns; until the next
        check. contents: an effort.Content for each of the signature's inputs. After check, before Batcher.put."""
        cdef int64_t ns = self.entry.rows * ROW_NS
        cdef int i
        for i in range(min(self.input_count, <int>len(contents))):
            ns += content_ns(<const uint8_t *>self.inputs[i].data, self.inputs[i].nbytes, <uint8_t>contents[i])
        self.entry.cost = <uint32_t>min(ns // 1000, <int64_t>UINT32_MAX)
        return self.entry.cost

    @property
    def rows(self):
        """Rows that it adds to a batch, once checked."""
        return self.entry.rows

    @property
    def nbytes(self):
        """Bytes of its inputs, once checked."""
        return self.entry.nbytes

    @property
    def cancelled(self):
        """Whether its caller has gone."""
        return self.entry.cancelled != 0

    @property
    def deadline_ns(self):
        """Monotonic; INT64_MAX: none."""
        return self.entry.deadline_ns

    def values(self):
        """Its checked inputs in the signature's order: read-only arrays with the shapes of the wire; of BYTES, a list of the elements
        as memoryviews. They hold the request, and so the memory behind them."""
        cdef int i
        return [value_of(self, &self.inputs[i]) for i in range(self.input_count)]

    def sent(self):
        """(name, datatype word, shape, read-only memoryview of the raw bytes) of every input as the client sent it, in the message's order.
        Once checked: in the signature's order, with the defaults of inputs that the client left out. Also after delivery, and of a
        prepared request."""
        cdef int count = 0
        cdef const TensorView *views = sent_views(self, &count)
        cdef const TensorView *view
        cdef Py_ssize_t nbytes
        cdef const char *word
        cdef list found = []
        cdef int i, axis
        for i in range(count):
            view = &views[i]
            word = word_of(view.datatype, &nbytes)
            shape = tuple([view.shape[axis] for axis in range(view.rank)])
            found.append((view.name[:view.name_nbytes].decode(), word[:nbytes].decode(), shape, view_bytes(self, view.data, view.nbytes)))
        return found

    cdef Py_ssize_t held_nbytes(self):
        return self.entry.nbytes

    def prepare(self, Tensors tensors not None, tuple names not None, Signature signature not None):
        """From now on its inputs are those of `signature`: `tensors` under `names`, and the client's own for every other name. They are
        checked as a client's are: a fault of a preparation is an error, and never a write behind an array. Raises InvalidArgument."""
        cdef TensorView *views = <TensorView *>calloc(signature.input_count + 1, sizeof(TensorView))
        cdef int count = 0
        cdef int i, place
        if views == NULL:
            raise MemoryError
        try:
            for i in range(signature.input_count):
                if signature.input_names[i] in names:
                    place = names.index(signature.input_names[i])
                    view_array(&views[count], tensors, place)
                    views[count].name = signature.inputs[i].name
                    views[count].name_nbytes = signature.inputs[i].name_nbytes
                    count += 1
                else:
                    count += find_view(self, signature.inputs[i].name, signature.inputs[i].name_nbytes, &views[count])
            if self.sent_count == 0:
                self.sent_count = self.input_count
                keep_views(self, views, count, self.inputs)
            else:
                keep_views(self, views, count, self.inputs + self.input_count)
        finally:
            free(views)
        self.prepared = tensors
        self.check(signature)

    def reject(self, error not None):
        """It cannot be prepared: Batch.deliver gives its call this RequestError."""
        self.error = error

    @property
    def rejected(self):
        """Whether its call will get an error."""
        return self.error is not None

    cpdef cancel(self):
        """The caller went away: no response is sent. On the loop's thread; later calls do nothing."""
        if self.entry.cancelled:
            return
        self.entry.cancelled = True
        if self.entry.state == WAITING and (<Owner>self.entry.batcher).caller_left(self):
            return
        if self.batch is not None:
            self.batch.caller_left(self)


@cython.final
cdef class Loan:
    """Bytes of a request, or of its response, as a buffer that holds it."""

    cdef object owner
    cdef const char *at
    cdef Py_ssize_t nbytes

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, <void *>self.at, self.nbytes, True, flags)


cdef object view_bytes(object owner, const char *data, Py_ssize_t nbytes):
    cdef Loan loan
    if nbytes <= 0:
        return memoryview(b"")
    loan = Loan.__new__(Loan)
    loan.owner, loan.at, loan.nbytes = owner, data, nbytes
    return memoryview(loan)


cdef object value_of(Request request, TensorView *view):
    """One checked input: an array, or the elements of a BYTES tensor."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t nbytes
    cdef uint32_t length
    cdef const char *word
    cdef int axis
    memory = view_bytes(request, view.data, view.nbytes)
    if view.datatype == BYTES:
        elements = []
        while at + 4 <= view.nbytes:
            memcpy(&length, view.data + at, 4)
            at += 4
            if length > view.nbytes - at:
                break                       # never after a check
            elements.append(memory[at:at + length])
            at += length
        return elements
    word = word_of(view.datatype, &nbytes)
    dtype = DATATYPES[word[:nbytes].decode()][2]
    shape = [view.shape[axis] for axis in range(view.rank)]
    return numpy.frombuffer(memory, dtype).reshape(shape) if view.nbytes > 0 else numpy.empty(shape, dtype)


cdef int keep_views(Request request, const TensorView *views, int count, const TensorView *sent) except -1:
    """From now on the request's inputs are `views`. Behind them are `sent`, its sent_count inputs as they came."""
    cdef bytes room = PyBytes_FromStringAndSize(NULL, (count + request.sent_count) * sizeof(TensorView))
    cdef TensorView *kept = <TensorView *>PyBytes_AS_STRING(room)
    memcpy(kept, views, count * sizeof(TensorView))
    memcpy(kept + count, sent, request.sent_count * sizeof(TensorView))
    request.more_room, request.inputs, request.input_count = room, kept, count
    return 0


cdef int view_array(TensorView *view, Tensors tensors, int index) except -1:
    """An array of `tensors` as a tensor of a request."""
    cdef ArrayView *array = &tensors.views[index]
    cdef int axis
    view.datatype = array.datatype
    view.rank = array.rank
    for axis in range(array.rank):
        view.shape[axis] = array.shape[axis]
    if array.datatype == BYTES:
        tensors.serialize(index)
        view.nbytes = array.row_offsets[array.shape[0] if tensors.batched else 1]
    else:
        view.nbytes = array.row_nbytes * (array.shape[0] if tensors.batched else 1)
    view.data = array.data
    return 0


cdef int fill_left_out(Request request, Signature signature) except -1:
    """Gives the request the inputs that it may leave out, and has, as the signature's defaults. The check that follows finds all faults."""
    cdef TensorView *views
    cdef TensorView found
    cdef int count = request.input_count
    cdef int64_t rows = 1
    cdef int i
    cdef const char *content
    if signature.max_batch_size > 0:
        if count > 0:
            rows = request.inputs[0].shape[0] if request.inputs[0].rank > 0 else 0
        if not 1 <= rows <= signature.max_batch_size:
            return 0
    views = <TensorView *>calloc(signature.input_count + 1, sizeof(TensorView))
    if views == NULL:
        raise MemoryError
    try:
        memcpy(views, request.inputs, count * sizeof(TensorView))
        for i in range(signature.input_count):
            default = signature.defaults.get(signature.input_names[i])
            if default is None or count == signature.input_count or find_view(
                    request, signature.inputs[i].name, signature.inputs[i].name_nbytes, &found):
                continue
            shape, contents, row_nbytes = default
            views[count].name, views[count].name_nbytes = signature.inputs[i].name, signature.inputs[i].name_nbytes
            views[count].datatype = signature.inputs[i].datatype
            for size in (rows, *shape) if signature.max_batch_size > 0 else shape:
                views[count].shape[views[count].rank] = size
                views[count].rank += 1
            content = contents                      # the signature, which the request holds, holds it
            views[count].data, views[count].nbytes = content, rows * <int64_t>row_nbytes
            count += 1
        keep_views(request, views, count, request.inputs + request.input_count)
    finally:
        free(views)
    return 0


cdef int find_view(Request request, const char *name, Py_ssize_t name_nbytes, TensorView *found) noexcept:
    """The request's own input of that name: 1, or 0 where there is none."""
    cdef int i
    for i in range(request.input_count):
        if request.inputs[i].name_nbytes == name_nbytes and memcmp(request.inputs[i].name, name, name_nbytes) == 0:
            found[0] = request.inputs[i]
            return 1
    return 0
