# cython: language_level=3, boundscheck=False, wraparound=False
"""batcher: requests on their way through queues and runs (see batcher.pxd).

A Request waits in a Batcher, becomes part of a Batch, and is answered by Batch.deliver. Who owns it moves with it: the caller
until put, the queue until poll or take, the batch until deliver. All of this happens with the GIL held, except that threads
sleep in take, and large inputs are copied, without it.

Never in here: what makes a batch (batch_queue), models, sockets, protobuf; and, under the mutex, Python objects.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport INT64_MAX, UINT16_MAX, UINT32_MAX, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clockid_t, timespec

from inferd._core.batching.queue cimport (
    ADMITTED, BYTES_FULL, IDLE, LEVEL_FULL, SOURCES, TOO_LATE, WAIT_FULL, WAITING, BatchQueue, Entry, Level
)
from inferd._core.base.clock cimport monotonic_ns
from inferd._core.batching.effort cimport ROW_NS, content_ns
from inferd._core.grpc.call cimport Call
from inferd._core.metrics.histogram cimport Statistics
from inferd._core.grpc.message cimport count_copied
from inferd._core.tensor.padding cimport Mask, Padding, padded_size
from inferd._core.tensor.padded_copy cimport Pieces, place_mask, place_padded, place_whole, write_pieces
from inferd._core.tensor.tensor cimport BYTES, MAX_TENSORS, ArrayView, Signature, Tensors, TensorView, fill_objects, itemsize, word_of

import logging

import numpy

from inferd._core.tensor.tensor import DATATYPES
from inferd.errors import DeadlineExceeded, Internal, RequestError, ResourceExhausted, Unavailable

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_trylock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_condattr_init(pthread_condattr_t *attributes)
    int pthread_condattr_setclock(pthread_condattr_t *attributes, clockid_t clock)
    int pthread_condattr_destroy(pthread_condattr_t *attributes)
    int pthread_cond_init(pthread_cond_t *condition, pthread_condattr_t *attributes)
    int pthread_cond_destroy(pthread_cond_t *condition)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
    int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const timespec *until)
    int pthread_cond_signal(pthread_cond_t *condition)
    int pthread_cond_broadcast(pthread_cond_t *condition)

cdef enum:
    COPY_BLOCKS = 128           # row blocks that are verified before any of them is copied
    COPY_NOGIL_NBYTES = 65536   # at least this much is copied without the GIL: letting go of it costs more than a short copy
    MIN_RETRY_NS = 1_000_000    # least and most that a rejected client is told to wait
    MAX_RETRY_NS = 1_000_000_000

cdef struct Block:              # one memcpy of the preprocess stage
    char *to
    const char *source
    Py_ssize_t nbytes

cdef const char *NOTHING = b""      # where a buffer of no bytes lies

log = logging.getLogger("inferd.batcher")


# ---- a request ---------------------------------------------------------------------------------------------------

@cython.no_gc                       # its cycles, with call and batch, are cut when it leaves the queue or the batch
cdef class Request:
    """One inference on its way. Subclasses bring the inputs and make the response: codec.InferRequest, local.LocalRequest."""

    def __cinit__(self, *args, **kwargs):
        self.received_ns = monotonic_ns()
        self.entry.deadline_ns = INT64_MAX

    def __dealloc__(self):
        if self.inputs != self.room:
            free(self.inputs)

    cdef int reserve_inputs(self, int count) except -1:
        cdef TensorView *views = self.room
        if count < 0 or count > MAX_TENSORS:
            raise ValueError(f"expected 0 to {<int>MAX_TENSORS} inputs, got {count}")
        if count > INLINE_INPUTS:
            views = <TensorView *>calloc(count, sizeof(TensorView))
            if views == NULL:
                raise MemoryError
        else:
            memset(views, 0, count * sizeof(TensorView))
        if self.inputs != self.room:
            free(self.inputs)
        self.inputs = views
        self.input_count = count
        return 0

    cpdef check(self, Signature signature):
        cdef int64_t nbytes = 0
        cdef int i
        signature.check(self.inputs, self.input_count, &self.entry.rows, &self.entry.shape_key, &self.entry.near_key)
        for i in range(self.input_count):
            nbytes += self.inputs[i].nbytes
        self.entry.nbytes = nbytes
        self.entry.cost = <uint32_t>min(self.entry.rows, <int64_t>UINT32_MAX)
        self.signature = signature

    cpdef respond(self, Tensors outputs, Py_ssize_t first_row):
        raise NotImplementedError(f"{type(self).__name__} does not say how it is answered")

    def prefer(self, uint32_t priority=0, int64_t timeout_ns=0):
        """The caller's wishes about the queue: a priority level (1 is first, 0: the model's default) and how long it may wait
        (0: as long as the deadline lets it). The model's queue policy decides whether they count. Before Batcher.put."""
        self.entry.priority = <uint16_t>min(priority, <uint32_t>UINT16_MAX)
        self.entry.timeout_ns = max(timeout_ns, 0)

    cpdef int64_t charge(self, bytes contents):
        """Its turn costs what preparing it is likely to take, in microseconds of one core, which is returned; until the next check.
        contents: an effort.Content for each of the signature's inputs. After check, before Batcher.put."""
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

    def prepare(self, Tensors tensors not None, tuple names not None, Signature signature not None):
        """From now on its inputs are those of `signature`: `tensors` under `names`, and for every other name what came. Checked as what
        comes is, so that a fault of a preparation is an error and never a write behind an array. Raises InvalidArgument."""
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
            self.reserve_inputs(count)
            memcpy(self.inputs, views, count * sizeof(TensorView))
        finally:
            free(views)
        self.prepared = tensors
        self.check(signature)

    def reject(self, error not None):
        """It cannot be prepared: Batch.deliver answers it with this RequestError."""
        self.error = error

    @property
    def rejected(self):
        """Whether it will be answered with an error."""
        return self.error is not None

    cpdef cancel(self):
        """The caller went away: nothing will be answered. On the loop's thread; later calls do nothing."""
        if self.entry.cancelled:
            return
        self.entry.cancelled = True
        if self.entry.state == WAITING and (<Batcher>self.entry.batcher).withdraw(self):
            return
        if self.batch is not None:
            self.batch.alive -= 1
            if self.batch.alive == 0:
                self.batch.stop()


@cython.final
cdef class Loan:
    """Bytes of a request as a buffer that holds the request."""

    cdef Request request
    cdef const char *at
    cdef Py_ssize_t nbytes

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, <void *>self.at, self.nbytes, True, flags)


cdef object value_of(Request request, TensorView *view):
    """One checked input: an array, or the elements of a BYTES tensor."""
    cdef Loan loan = Loan.__new__(Loan)
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t nbytes
    cdef uint32_t length
    cdef const char *word
    cdef int axis
    loan.request = request
    loan.at = view.data if view.nbytes > 0 else NOTHING
    loan.nbytes = view.nbytes
    memory = memoryview(loan) if view.nbytes > 0 else memoryview(b"")
    if view.datatype == BYTES:
        elements = []
        while at + 4 <= view.nbytes:
            memcpy(&length, view.data + at, 4)
            at += 4
            if length > view.nbytes - at:
                break                       # not after a check
            elements.append(memory[at:at + length])
            at += length
        return elements
    word = word_of(view.datatype, &nbytes)
    dtype = DATATYPES[word[:nbytes].decode()][2]
    shape = [view.shape[axis] for axis in range(view.rank)]
    return numpy.frombuffer(memory, dtype).reshape(shape) if view.nbytes > 0 else numpy.empty(shape, dtype)


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


cdef int find_view(Request request, const char *name, Py_ssize_t name_nbytes, TensorView *found) noexcept:
    """The request's own input of that name: 1, or 0 where there is none."""
    cdef int i
    for i in range(request.input_count):
        if request.inputs[i].name_nbytes == name_nbytes and memcmp(request.inputs[i].name, name, name_nbytes) == 0:
            found[0] = request.inputs[i]
            return 1
    return 0


# ---- a batch -------------------------------------------------------------------------------------------------------

@cython.final
@cython.freelist(8)
cdef class Batch:
    """Requests that run together: gather, encode or fail, deliver. Made by a Batcher; must be delivered, whatever happens."""

    cpdef tuple input_shape(self, int index):
        """Shape of input `index` of the run: (rows, dims...) with a batch axis, else the request's own shape. A padded axis is as long as
        the longest request needs it. Behind the inputs of requests come masks."""
        cdef Request first = self.requests[0]
        cdef Signature signature = first.signature
        cdef TensorView *view
        cdef int axis, mask
        if index < 0 or index >= first.input_count:
            mask = index - first.input_count
            if signature is None or mask < 0 or mask >= signature.mask_count:
                raise IndexError(f"input {index} of {first.input_count}")
            return self.rows, longest(self.requests, signature, signature.run_masks[mask].input)
        view = &first.inputs[index]
        shape = [view.shape[axis] for axis in range(view.rank)]
        if signature is not None and signature.max_batch_size > 0:
            shape[0] = self.rows
            if pads(signature) and signature.input_paddings[index].axis > 0:
                shape[signature.input_paddings[index].axis] = longest(self.requests, signature, index)
        return tuple(shape)

    cpdef gather(self, Tensors inputs):
        """The preprocess stage: every row is written once, at its place in the run's input arrays. Rows that are shorter than theirs are
        filled up, and masks say where.

        Sizes were checked against the signature; they are verified again against the arrays, so that a fault elsewhere is an
        Internal error and never a write behind an array.
        """
        cdef Block blocks[COPY_BLOCKS]
        cdef int pending = 0
        cdef int64_t first_row = 0
        cdef Request request
        cdef int i
        if self.taken_ns == 0:              # a part: its run begins now
            self.taken_ns = monotonic_ns()
        if self.requests and pads((<Request>self.requests[0]).signature):
            gather_padded(self.requests, inputs)
            self.gathered_ns = monotonic_ns()
            return
        for request in self.requests:
            if request.input_count != inputs.count:
                raise Internal("the model's input buffers do not fit the request; this is a fault of the server")
            for i in range(inputs.count):
                if inputs.views[i].datatype == BYTES:
                    gather_objects(request, inputs, i, first_row)
                    continue
                place_rows(&blocks[pending], &request.inputs[i], inputs, i, first_row, request.entry.rows)
                pending += 1
                if pending == COPY_BLOCKS:
                    copy_blocks(blocks, pending)
                    pending = 0
            first_row += request.entry.rows
        copy_blocks(blocks, pending)
        self.gathered_ns = monotonic_ns()

    cpdef encode(self, Tensors outputs):
        """The encode stage: every request that somebody still waits for makes its response. One that cannot fails alone."""
        cdef Py_ssize_t first_row = 0
        cdef Request request
        if self.executed_ns == 0:
            self.executed_ns = monotonic_ns()
        for request in self.requests:
            if not request.entry.cancelled:
                try:
                    request.respond(outputs, first_row)
                except RequestError as error:
                    request.error = error
                except Exception:
                    log.exception("model %s: encoding an answer failed", self.batcher.name)
                    request.error = Internal(
                        f"model {self.batcher.name}: the answer could not be encoded; the server's log has the details")
            first_row += request.entry.rows
        self.encoded_ns = monotonic_ns()

    cpdef executed(self):
        """The model has run; what is made of its outputs from now on belongs to the encode stage."""
        self.executed_ns = monotonic_ns()

    cpdef forward(self, Request request, Batcher batcher):
        """A prepared request of this batch waits for its run in `batcher` from now on; this batch answers it only where that rejects it.

        A caller that goes away in between is found by whoever takes the request from `batcher`.
        """
        cdef Call call = request.call
        cdef int64_t now_ns = monotonic_ns()
        if request.batch is not self or call is None or request.entry.cancelled:
            return                              # deliver counts it
        request.decoded_ns = request.entry.queued_ns - request.received_ns
        request.prepare_wait_ns = self.taken_ns - request.entry.queued_ns
        request.prepare_ns = now_ns - self.taken_ns
        request.batch = request.call = None
        request.entry.state = IDLE
        try:
            batcher.put(request, call)
        except RequestError as error:
            request.batch, request.call, request.error = self, call, error
            call.request = request
            return
        self.requests.remove(request)
        self.rows -= request.entry.rows
        self.alive -= 1

    cpdef fail(self, error):
        """The run gave no outputs: each request of this batch is answered with `error`, a RequestError."""
        cdef Request request
        self.failed = True
        for request in self.requests:
            request.error = error
            request.answer = None
        self.encoded_ns = monotonic_ns()

    cpdef list halves(self):
        """Two batches, to be run again, where the run of this one failed: of its requests that somebody still waits for. One batch where
        one of several is left; none where this batch had a single request.

        They are in order of connections, and divided between two connections where they come from several, as near to the middle
        as that allows. They are gathered and encoded, or failed, and never delivered: this batch answers their requests.
        """
        cdef list alive = []
        cdef Request request
        if len(self.requests) <= 1:
            return []
        for request in self.requests:
            if not request.entry.cancelled:
                alive.append(request)
        if len(alive) <= 1:
            return [part_of(self, alive)] if alive else []
        alive.sort(key=source_of)
        at = division(alive)
        return [part_of(self, alive[:at]), part_of(self, alive[at:])]

    cpdef settle(self, list parts):
        """All `parts` have been run that halves gave. Requests have their own responses or errors; the parts that succeeded are the runs
        that the statistics count."""
        self.failed = True
        self.parts = parts
        if self.executed_ns == 0:
            self.executed_ns = monotonic_ns()
        self.encoded_ns = monotonic_ns()

    cpdef set clients(self):
        """The connections of its requests that somebody still waits for, as numbers; 0: those of no connection in particular."""
        cdef Request request
        return {request.entry.source for request in self.requests if not request.entry.cancelled}

    cpdef Batch of_clients(self, set clients):
        """A part of it, as `halves` gives them: the requests of these connections that somebody still waits for."""
        cdef Request request
        return part_of(self, [request for request in self.requests
                              if not request.entry.cancelled and request.entry.source in clients])

    cpdef bint expire(self, int64_t now_ns):
        """Ends the run when the deadline of every request that somebody waits for has passed. On the loop's thread."""
        cdef Request request
        if self.delivered or self.terminated or self.alive == 0:
            return False
        for request in self.requests:
            if not request.entry.cancelled and request.entry.deadline_ns > now_ns:
                return False
        self.stop()
        return self.terminated

    cpdef end(self, error):
        """The run takes longer than it may: tells it to end. `error`, a RequestError, is for the requests. On the loop's thread."""
        self.overdue = error
        self.stop()
        self.terminated = True              # between two runs of parts, too: no other begins

    cpdef abandon(self):
        """The run was told to end and does not: answers all requests while it still goes on. On the loop's thread."""
        cdef Request request
        for request in self.requests:
            if request.answer is None and request.error is None:
                request.error = self.overdue
        self.deliver()

    cdef stop(self):
        terminate, self.terminate = self.terminate, None
        if terminate is not None:
            self.terminated = True
            terminate(self)

    cpdef deliver(self):
        """Answers every request: on the loop's thread, once; a second time does nothing. The batch holds no request afterwards."""
        cdef list requests = self.requests
        cdef list dropped = self.dropped
        cdef Request request
        cdef int64_t now_ns = monotonic_ns()
        if self.delivered:
            return
        self.delivered = True
        self.batcher.over(self, now_ns)
        self.requests = []
        self.dropped = []
        self.terminate = None
        if self.encoded_ns and not self.failed:
            self.statistics.record_run(self.rows, self.gathered_ns - self.taken_ns, self.executed_ns - self.gathered_ns,
                                       self.encoded_ns - self.executed_ns)
        elif self.parts is not None:
            self.record_parts()
        for request in requests:
            self.answer(request, now_ns)
        for request in dropped:
            self.reject(request, now_ns)

    cdef record_parts(self):
        """The runs of what was run again, and did not fail."""
        cdef Batch part
        for part in self.parts:
            if part.encoded_ns and not part.failed:
                self.statistics.record_run(part.rows, part.gathered_ns - part.taken_ns, part.executed_ns - part.gathered_ns,
                                           part.encoded_ns - part.executed_ns)
        self.parts = None

    cdef answer(self, Request request, int64_t now_ns):
        """Gives one request of the run its response or error. What a call raises is logged and stops no other."""
        cdef Call call = request.call
        answer, error = request.answer, request.error
        # An error's traceback holds the frames in which it was raised, and those the request: kept, both would live for ever.
        request.call = request.answer = request.error = request.batch = request.prepared = None
        request.entry.state = IDLE
        if request.entry.cancelled or call is None:
            self.batcher.cancelled += 1
            return
        if error is None and answer is not None:
            self.statistics.record_request(
                request.entry.rows, request.decoded_ns or request.entry.queued_ns - request.received_ns,
                self.taken_ns - request.entry.queued_ns + request.prepare_wait_ns,
                self.gathered_ns - self.taken_ns + request.prepare_ns, self.executed_ns - self.gathered_ns,
                self.encoded_ns - self.executed_ns,
                now_ns - request.received_ns)
        elif self.terminated and self.overdue is None:
            self.batcher.cancelled += 1
        else:
            self.batcher.failed += 1
            error = error or Internal(f"model {self.batcher.name}: the request got no answer; this is a fault of the server")
        try:
            if error is None:
                call.reply(answer)
            else:
                call.fail(error)
        except Exception:
            log.exception("model %s: an answer could not be delivered", self.batcher.name)

    cdef reject(self, Request request, int64_t now_ns):
        """Answers one request that never ran: it made room, its time ran out, or its caller went away."""
        cdef Call call = request.call
        request.call = request.error = request.batch = request.prepared = None
        request.entry.state = IDLE
        if request.entry.cancelled or call is None:
            self.batcher.cancelled += 1
            return
        self.batcher.expired += 1
        try:
            call.fail(self.batcher.eviction(now_ns) if request.entry.evicted else self.too_late(request, now_ns))
        except Exception:
            log.exception("model %s: a rejection could not be delivered", self.batcher.name)

    cdef too_late(self, Request request, int64_t now_ns):
        """What a request is told whose time ran out."""
        waited_ms = (now_ns - request.entry.queued_ns) / 1e6
        if 0 < request.entry.timeout_ns <= now_ns - request.entry.queued_ns and \
                request.entry.queued_ns + request.entry.timeout_ns < request.entry.deadline_ns:
            limit = "the timeout of the model's queue policy passed"
        elif request.entry.deadline_ns <= now_ns:
            limit = "its deadline passed"
        else:
            limit = f"{(request.entry.deadline_ns - now_ns) / 1e6:.1f} ms were left until its deadline, too little for a run,"
        return DeadlineExceeded(
            f"model {self.batcher.name}: {limit} while the request waited in the queue ({waited_ms:.1f} ms), so it was not "
            "run; allow more time, or send fewer requests at once", reason="queue_timeout")

    @property
    def run_ns(self):
        """How long gather, run and encode took together; 0 before they are over."""
        return self.encoded_ns - self.taken_ns if self.encoded_ns else 0

    @property
    def execute_ns(self):
        """How long the model itself ran; 0 before that is over, or if it failed."""
        return self.executed_ns - self.gathered_ns if self.executed_ns else 0

    @property
    def finished_ns(self):
        """Monotonic time at which the run was encoded or failed; 0 before."""
        return self.encoded_ns


def source_of(Request request not None):
    """The connection that it came by, as a number."""
    return request.entry.source


cdef Py_ssize_t division(list requests):
    """Where to divide requests in order of their connections: between two of these, or else in the middle."""
    cdef Py_ssize_t middle = len(requests) // 2
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t i
    for i in range(1, len(requests)):
        if (<Request>requests[i]).entry.source != (<Request>requests[i - 1]).entry.source and (
                at == 0 or abs(i - middle) < abs(at - middle)):
            at = i
    return at or middle


cdef Batch part_of(Batch batch, list requests):
    """Some requests of a batch, to be run again."""
    cdef Batch part = Batch.__new__(Batch)
    cdef Request request
    part.requests, part.dropped = requests, []
    for request in requests:
        part.rows += request.entry.rows
    part.alive = len(requests)
    part.statistics, part.batcher = batch.statistics, batch.batcher
    return part


cdef inline int place_rows(Block *block, TensorView *view, Tensors arrays, int index, int64_t first_row, int64_t rows) except -1:
    """Where the bytes of one input go. Raises Internal when they do not fit there."""
    cdef ArrayView *array = &arrays.views[index]
    cdef Py_ssize_t nbytes = rows * array.row_nbytes if arrays.batched else array.row_nbytes
    if view.nbytes != nbytes or view.datatype != array.datatype or (
            first_row + rows > array.shape[0] if arrays.batched else first_row > 0):
        raise Internal(f"input {index}: {view.nbytes} bytes do not fit the model's buffer for {rows} rows; this is a fault of the server")
    block.to = array.data + (first_row * array.row_nbytes if arrays.batched else 0)
    block.source = view.data
    block.nbytes = nbytes
    return 0


cdef int gather_objects(Request request, Tensors inputs, int index, int64_t first_row) except -1:
    try:
        fill_objects(&request.inputs[index], inputs.arrays[index], first_row)
    except ValueError as error:
        raise Internal(f"input {index}: {error}; this is a fault of the server") from None
    count_copied(request.inputs[index].nbytes)
    return 0


cdef int copy_blocks(Block *blocks, int count) except -1:
    """Copies verified blocks. Their memory belongs to requests of a batch, which holds them until it is delivered."""
    cdef Py_ssize_t total = 0
    cdef int i
    for i in range(count):
        total += blocks[i].nbytes
    if total < COPY_NOGIL_NBYTES:
        for i in range(count):
            memcpy(blocks[i].to, blocks[i].source, blocks[i].nbytes)
    else:
        with nogil:
            for i in range(count):
                memcpy(blocks[i].to, blocks[i].source, blocks[i].nbytes)
    count_copied(total)
    return 0


# ---- rows of unequal length ----------------------------------------------------------------------------------------

cdef inline bint pads(Signature signature) noexcept:
    return signature is not None and signature.input_paddings != NULL


cdef int64_t longest(list requests, Signature signature, int index):
    """What the padded axis of an input has in a run of these requests."""
    cdef int axis = signature.input_paddings[index].axis
    cdef int64_t length = 0
    cdef Request request
    for request in requests:
        if index < request.input_count and axis < request.inputs[index].rank:
            length = max(length, request.inputs[index].shape[axis])
    return padded_size(&signature.input_paddings[index], length)


cdef int gather_padded(list requests, Tensors inputs) except -1:
    """Batch.gather where some input is padded: all else is as there, and masks come behind the inputs of requests."""
    cdef Pieces[COPY_BLOCKS] pieces
    cdef Block block
    cdef int pending = 0
    cdef int64_t first_row = 0
    cdef Request request
    cdef int i
    memset(&block, 0, sizeof(Block))
    for request in requests:
        if not pads(request.signature) or request.input_count + request.signature.mask_count != inputs.count:
            raise Internal("the model's input buffers do not fit the request; this is a fault of the server")
        for i in range(inputs.count):
            if i < request.input_count and request.signature.input_paddings[i].axis == 0:
                if inputs.views[i].datatype == BYTES:
                    gather_objects(request, inputs, i, first_row)
                    continue
                place_rows(&block, &request.inputs[i], inputs, i, first_row, request.entry.rows)
                place_whole(&pieces[pending], block.to, block.source, block.nbytes)
            elif not place_unequal(&pieces[pending], request, inputs, i, first_row):
                raise Internal(f"input {i}: {request.entry.rows} rows do not fit the model's buffer; this is a fault of the server")
            pending += 1
            if pending == COPY_BLOCKS:
                copy_pieces(pieces, pending)
                pending = 0
        first_row += request.entry.rows
    return copy_pieces(pieces, pending)


cdef inline bint place_unequal(Pieces *place, Request request, Tensors arrays, int index, int64_t first_row) noexcept:
    """Where an input that is padded, or a mask, goes. False: it does not fit there."""
    cdef ArrayView *array = &arrays.views[index]
    cdef Signature signature = request.signature
    cdef const Padding *padding
    cdef Mask *mask
    if not arrays.batched:
        return False
    if index < request.input_count:
        return place_padded(place, &request.inputs[index], array, &signature.input_paddings[index], itemsize(array.datatype), first_row,
                            request.entry.rows)
    mask = &signature.run_masks[index - request.input_count]
    padding = &signature.input_paddings[mask.input]
    return place_mask(place, array, mask, itemsize(array.datatype), first_row, request.entry.rows,
                      request.inputs[mask.input].shape[padding.axis], padding.left)


cdef int copy_pieces(const Pieces *pieces, int count) except -1:
    """As copy_blocks."""
    cdef Py_ssize_t copied = 0
    cdef Py_ssize_t made = 0
    cdef int i
    for i in range(count):
        made += pieces[i].fill_nbytes
        if pieces[i].one != NULL:
            made += pieces[i].nbytes
        else:
            copied += pieces[i].nbytes
    if copied + made < COPY_NOGIL_NBYTES:
        for i in range(count):
            write_pieces(&pieces[i])
    else:
        with nogil:
            for i in range(count):
                write_pieces(&pieces[i])
    count_copied(copied)
    return 0


# ---- between threads ----------------------------------------------------------------------------------------------

cdef inline void release(Entry *entry, Request request) noexcept:
    """Ends the queue's hold on a request that has left it."""
    entry.next = NULL
    entry.batcher = NULL
    entry.owner = NULL
    Py_DECREF(request)


@cython.final
@cython.no_gc_clear                 # __dealloc__ needs the queue
cdef class Batcher:
    """A BatchQueue between the threads that put and those that take; the keywords are BatchQueue's.

    statistics: where delivered batches are recorded. name: the model, for messages.

    Everything that changes the queue holds the GIL and the mutex; a thread that waits in take only reads it, under the mutex
    alone. One sleeper is woken at a time: it takes what is due, and wakes the next if more is.
    """

    def __cinit__(self, int64_t max_rows, Statistics statistics not None, *, str name not None="", **policy):
        cdef pthread_condattr_t attributes
        self.statistics = statistics
        self.name = name or "(unnamed)"
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        if pthread_mutex_init(&self.mutex, NULL) != 0 or pthread_cond_init(&self.ready, &attributes) != 0 \
                or pthread_cond_init(&self.room, &attributes) != 0:
            raise MemoryError
        pthread_condattr_destroy(&attributes)
        self.alarm_ns = INT64_MAX
        self.queue = BatchQueue(max_rows, **policy)

    def __dealloc__(self):
        cdef Entry *entry = self.queue.first_from(0) if self.queue is not None else NULL
        cdef Entry *following
        cdef Request request
        while entry != NULL:                # nobody will take these
            self.queue.evict(entry)
            entry = self.queue.first_from(0)
        entry = self.queue.evicted if self.queue is not None else NULL
        while entry != NULL:
            following = entry.next
            request = <Request>entry.owner
            release(entry, request)
            request.call = request.prepared = None      # a call and its request refer to each other, unseen by the collector
            entry = following
        pthread_cond_destroy(&self.ready)
        pthread_cond_destroy(&self.room)
        pthread_mutex_destroy(&self.mutex)

    cdef inline void lock(self) noexcept:
        """Takes the mutex with the GIL held. Lets go of the GIL only if it has to wait, which is for a sleeper's short look."""
        if pthread_mutex_trylock(&self.mutex) != 0:
            with nogil:
                pthread_mutex_lock(&self.mutex)

    cdef inline bint wakes(self, int64_t now_ns) noexcept nogil:
        """Under the mutex: whether to signal a sleeper, once the mutex is free again: something is due, or will be before any
        sleeper's own time is up."""
        cdef int64_t due_ns
        if self.waiting == 0 or self.woken:
            return False
        due_ns = self.queue.due(now_ns)
        if due_ns > now_ns and due_ns >= self.alarm_ns:
            return False
        self.woken = True
        return True

    def limit(self, int64_t max_queue_requests, int64_t max_queue_bytes, int64_t max_wait_ns):
        """The queue's limits from now on, as BatchQueue has them. What waits goes on waiting, however much it is."""
        if max_queue_requests < 1 or min(max_queue_bytes, max_wait_ns) < 0:
            raise ValueError("expected max_queue_requests of 1 or more, all else 0 or more")
        self.told_until_ns = 0
        self.lock()
        self.queue.max_requests, self.queue.max_nbytes, self.queue.max_wait_ns = max_queue_requests, max_queue_bytes, max_wait_ns
        pthread_mutex_unlock(&self.mutex)

    cpdef bint put(self, Request request, Call call) except? -1:
        """Lets a checked request wait for its turn, on behalf of `call`. True when nothing else waited: an inline instance must
        be scheduled. The queue holds the request until it is taken. Raises ResourceExhausted (full) or Unavailable (closed)."""
        cdef Entry *entry = &request.entry
        cdef int64_t now_ns = monotonic_ns()
        cdef int64_t waited
        cdef int status
        cdef bint wake
        if entry.state != IDLE or entry.cancelled or request.call is not None:
            raise ValueError("a request waits for one call at a time")
        if self.closed:
            raise Unavailable(f"model {self.name}: this version is being unloaded; retry, another version or replica may answer")
        entry.deadline_ns = call.deadline_ns
        entry.source = <uint16_t>(1 + call.source % SOURCES) if call.source else 0
        call.request = request
        entry.owner = <void *>request
        entry.batcher = <void *>self
        self.lock()
        if self.behind is not None:
            self.queue.look_behind(self.behind.queue, now_ns)
        waited = self.queue.requests
        status = self.queue.admit(entry, now_ns)
        wake = status == ADMITTED and self.wakes(now_ns)
        pthread_mutex_unlock(&self.mutex)
        if status != ADMITTED:
            call.request = None
            raise self.rejection(status, entry.priority, now_ns)
        Py_INCREF(request)                  # the queue's own reference
        request.call = call
        if wake:
            pthread_cond_signal(&self.ready)
        return waited == 0

    cdef rejection(self, int status, uint32_t priority, int64_t now_ns):
        """What a request that is not admitted is told. The words are made, and encoded (grpc.pyx), once a millisecond: they would be
        most of what a rejection costs."""
        if now_ns >= self.told_until_ns or status != self.told_status or priority != self.told_priority:
            self.told_status, self.told_priority = status, priority
            self.told = f"model {self.name}: {self.full(status, priority)}"
            self.told_retry_ns = self.retry_ns(now_ns)
            self.told_until_ns = now_ns + MIN_RETRY_NS
        return ResourceExhausted(self.told, reason="queue_time" if status == TOO_LATE else "queue_full", retry_after_ns=self.told_retry_ns)

    cdef eviction(self, int64_t now_ns):
        """What a request is told that made room for another one."""
        return ResourceExhausted(
            f"model {self.name}: its queue is full, and this request made room for one of a connection that has fewer waiting; retry "
            "later, or send fewer requests at once", reason="queue_full", retry_after_ns=self.retry_ns(now_ns))

    cdef str full(self, int status, uint32_t priority):
        cdef Level *level = &self.queue.levels[priority - 1]
        if status == TOO_LATE:
            # Not DEADLINE_EXCEEDED: there is time left, to ask another replica, or this one when fewer wait.
            return (f"{self.queue.requests} requests wait, so that the answer would come after the request's deadline; retry later, or "
                    "allow more time")
        if status == LEVEL_FULL:
            what = (f"priority level {priority} of its queue is full: {level.requests} requests wait, the most that max_queue_size of "
                    "the level's queue policy allows")
        elif status == BYTES_FULL:
            what = f"its queue is full: {self.queue.nbytes} bytes of input wait, and max_queue_bytes allows {self.queue.max_nbytes}"
        elif status == WAIT_FULL:
            what = f"its queue is full: {self.queue.requests} requests wait, which takes longer than max_queue_wait_us allows"
        else:
            what = f"its queue is full: {self.queue.requests} requests wait, the most that max_queue_requests allows"
        return f"{what}; retry later, or have the limit raised"

    cdef int64_t retry_ns(self, int64_t now_ns):
        """When half of what waits now is likely to have run; where nothing is known, as much later as the run that goes on has lasted."""
        cdef int64_t wait_ns = self.queue.wait_ns((self.queue.requests + 1) // 2, (self.queue.rows + 1) // 2, now_ns)
        if wait_ns == 0 and self.queue.running > 0:
            wait_ns = now_ns - self.queue.taken_ns
        return min(max(wait_ns, MIN_RETRY_NS), MAX_RETRY_NS)

    def take(self):
        """Waits, without the GIL, until a batch is due. None: close or dismiss was called, and nothing is left for this thread."""
        cdef Batch batch
        while True:
            # The queue is emptied with the GIL held, not at the moment of waking: what comes while this thread waits for the
            # GIL still joins the batch.
            batch = self.poll()
            if batch is not None:
                return batch
            with nogil:
                more = self.wait()
            if not more:
                return None

    cdef bint wait(self) noexcept nogil:
        """Sleeps until something is due (True), or this thread is to leave (False)."""
        cdef int64_t now_ns, due_ns
        cdef timespec until
        cdef bint more = True
        pthread_mutex_lock(&self.mutex)
        self.woken = False                  # if it was this thread, it has looked
        while True:
            if self.queue.requests == 0 and self.queue.evicted == NULL and (self.closed or self.leaving > 0):
                self.leaving -= self.leaving > 0
                more = False
                break
            now_ns = monotonic_ns()
            due_ns = self.queue.due(now_ns)
            if due_ns <= now_ns or self.closed:
                self.woken = True
                break
            self.waiting += 1
            self.alarm_ns = min(self.alarm_ns, due_ns)
            if due_ns == INT64_MAX:
                pthread_cond_wait(&self.ready, &self.mutex)
            else:
                until.tv_sec = due_ns // 1_000_000_000
                until.tv_nsec = due_ns % 1_000_000_000
                pthread_cond_timedwait(&self.ready, &self.mutex, &until)
            self.waiting -= 1
            self.woken = False
            self.alarm_ns = INT64_MAX       # may forget another sleeper's: then one signal too many is sent
        pthread_mutex_unlock(&self.mutex)
        return more

    def wait_room(self, int64_t requests, int64_t nbytes):
        """Waits, without the GIL, until fewer than so many requests and bytes wait here, or the batcher is closed."""
        with nogil:
            pthread_mutex_lock(&self.mutex)
            while not self.closed and (self.queue.requests >= requests or self.queue.nbytes >= nbytes):
                self.wait_for_room += 1
                pthread_cond_wait(&self.room, &self.mutex)
                self.wait_for_room -= 1
            pthread_mutex_unlock(&self.mutex)

    cdef inline void unlock_left(self) noexcept:
        """Requests have left the queue: frees the mutex, and whoever waits for that looks."""
        cdef bint waited = self.wait_for_room > 0       # under the mutex: who waits writes it without the GIL
        pthread_mutex_unlock(&self.mutex)
        if waited:
            pthread_cond_broadcast(&self.room)

    cpdef Batch poll(self):
        """The batch that is due now, or dropped requests alone, or None. Never waits."""
        cdef int64_t now_ns
        cdef Entry *dropped
        cdef Entry *taken
        cdef bint wake
        if self.queue.requests == 0 and self.queue.evicted == NULL:
            return None
        self.lock()
        now_ns = monotonic_ns()
        if self.behind is not None:
            self.queue.look_behind(self.behind.queue, now_ns)
        dropped = self.queue.drop_expired(now_ns, self.queue.hurry_ns(now_ns))
        taken = self.queue.form(now_ns)
        self.woken = False
        wake = self.wakes(now_ns)
        self.unlock_left()
        if wake:
            pthread_cond_signal(&self.ready)
        return self.batch_of(taken, dropped, now_ns)

    cpdef Batch expire(self, int64_t now_ns):
        """A batch of the requests whose time has run out, or that made room, to be delivered; or None."""
        cdef Entry *dropped
        if now_ns < self.queue.next_expiry_ns and self.queue.evicted == NULL:
            return None
        self.lock()
        dropped = self.queue.drop_expired(now_ns, 0)
        self.unlock_left()
        return self.batch_of(NULL, dropped, now_ns)

    cdef Batch batch_of(self, Entry *taken, Entry *dropped, int64_t now_ns):
        """Moves entries, and the queue's references to their requests, into a new batch; None if there are none."""
        cdef Batch batch
        cdef Entry *entry
        cdef Request request
        if taken == NULL and dropped == NULL:
            return None
        batch = Batch.__new__(Batch)
        batch.requests = []
        batch.dropped = []
        batch.taken_ns = now_ns
        batch.statistics = self.statistics
        batch.batcher = self
        batch.was_taken = taken != NULL
        while taken != NULL:
            entry, taken = taken, taken.next
            request = <Request>entry.owner
            release(entry, request)
            if entry.cancelled:             # between leaving the queue and now
                batch.dropped.append(request)
            else:
                batch.requests.append(request)
                batch.rows += entry.rows
                batch.taken_rows += entry.rows
                batch.alive += 1
                request.batch = batch
        while dropped != NULL:
            entry, dropped = dropped, dropped.next
            request = <Request>entry.owner
            release(entry, request)
            batch.dropped.append(request)
        return batch

    cdef over(self, Batch batch, int64_t now_ns):
        """A batch of this batcher was delivered. What it took, to its responses or the next queue, is learned."""
        cdef bint passed = batch.encoded_ns > 0 or batch.rows < batch.taken_rows
        cdef int64_t run_ns = now_ns - batch.taken_ns if passed and not batch.failed else 0
        if not batch.was_taken:
            return                              # dropped requests alone
        self.lock()
        self.queue.over(batch.taken_rows, run_ns, now_ns)
        pthread_mutex_unlock(&self.mutex)

    cdef bint withdraw(self, Request request) noexcept:
        cdef bint waiting
        self.lock()
        waiting = request.entry.state == WAITING        # no other thread has taken it in the meantime
        if waiting:
            self.queue.remove(&request.entry)
        self.unlock_left()
        if waiting:
            release(&request.entry, request)
            request.call = request.prepared = None
            self.cancelled += 1
        return waiting

    def expect(self, int64_t requests, int64_t wait_ns):
        """A batch of so many requests was run and is about to be answered. Their clients are likely to ask again: for wait_ns at
        most the next batch waits until as many are there. Else the first to come would be run alone, all others after it, and so
        on forever: batches of 1 and n - 1 in turn. Does nothing when the thread that asks is to leave, or the batcher is closed."""
        self.lock()
        if not self.closed and self.leaving == 0:
            self.queue.expect(requests, monotonic_ns() + wait_ns)
        pthread_mutex_unlock(&self.mutex)

    def dismiss(self):
        """One thread that waits in take, now or later, is to get None as soon as nothing is queued. `leaving` is 0 once it has."""
        self.lock()
        self.leaving += 1
        self.queue.expect(0, 0)             # whoever polls next, on the loop, waits for nobody
        pthread_mutex_unlock(&self.mutex)
        pthread_cond_broadcast(&self.ready)

    def close(self):
        """Puts are rejected from now on. What is queued is taken at once, without any delay; then take returns None to everyone."""
        self.lock()
        self.closed = True
        self.queue.max_delay_ns = 0
        self.queue.expect(0, 0)
        pthread_mutex_unlock(&self.mutex)
        pthread_cond_broadcast(&self.ready)
        pthread_cond_broadcast(&self.room)

    @property
    def depth(self):
        """Requests that wait."""
        return self.queue.requests

    @property
    def depth_bytes(self):
        """Bytes of their inputs."""
        return self.queue.nbytes
