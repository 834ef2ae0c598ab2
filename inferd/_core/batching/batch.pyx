# cython: language_level=3, boundscheck=False, wraparound=False
"""batch: requests that run together, from the queue to their responses (see batch.pxd).

A Batch is gathered, run, encoded or failed, and delivered, whatever happens. It owns its requests until then. All of this happens with
the GIL held, except the run itself and the copying of large inputs and outputs.

Never in here: what makes a batch (queue), how rows are copied (rows), locks, models, sockets, protobuf.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.batching.queue cimport DROPPED, IDLE
from inferd._core.batching.rejection cimport rejection_of
from inferd._core.batching.request cimport Owner, Request
from inferd._core.batching.rows cimport longest, pads, write_rows
from inferd._core.batching.tap cimport Tap, Tapped
from inferd._core.grpc.call cimport Call
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors
from inferd._core.tensor.view cimport TensorView

import logging

from inferd.errors import DeadlineExceeded, Internal, RequestError

log = logging.getLogger("inferd.batcher")

# For taps
NO_RESPONSE = Internal("the request got no response; this is a fault of the server")
TOO_LATE = DeadlineExceeded("the deadline passed before the response was there", reason="deadline")

cdef enum:
    # A client's clock and the server's differ by the way of a message. A cancel in the last part in 20 of a request's time means its
    # deadline.
    LATE_PART = 20


cdef class Origin(Owner):
    """Where batches come from."""

    cpdef bint put(self, Request request, Call call) except? -1:
        raise NotImplementedError

    cdef int over(self, Batch batch, int64_t now_ns) except -1:
        raise NotImplementedError

    cdef int tap(self, Request request, object error, int64_t now_ns, Batch batch) except -1:
        cdef Tapped tapped
        cdef Tap tap
        for tap in self.taps:
            try:
                tapped = tap.keep(request, error) if tap.wants(request) else None
                if tapped is not None:
                    fill_times(tapped, request, now_ns, batch)
                    tap.put(tapped)
            except Exception:
                log.exception("model %s: a request could not be tapped", self.name)
        return 0

    cdef int tap_left(self, Request request, Batch batch) except -1:
        cdef int64_t now_ns = monotonic_ns()
        cdef Tap tap
        if request.entry.deadline_ns - now_ns > (request.entry.deadline_ns - request.received_ns) // LATE_PART:
            for tap in self.taps:
                tap.left(request)
        else:
            self.tap(request, TOO_LATE, now_ns, batch)
        return 0


cdef int fill_times(Tapped tapped, Request request, int64_t now_ns, Batch batch) except -1:
    """batch: in which it ran; None: in none."""
    tapped.received_ns, tapped.total_ns = request.received_ns, now_ns - request.received_ns
    tapped.decode_ns = request.decoded_ns or request.entry.queued_ns - request.received_ns
    if batch is not None and batch.gathered_ns:
        tapped.queue_ns = batch.taken_ns - request.entry.queued_ns + request.prepare_wait_ns
        tapped.preprocess_ns = batch.gathered_ns - batch.taken_ns + request.prepare_ns
        if batch.executed_ns:
            tapped.execute_ns = batch.executed_ns - batch.gathered_ns
            tapped.encode_ns = max(batch.encoded_ns - batch.executed_ns, 0)     # the deadline may pass before it is over
    return 0


@cython.final
cdef class Batch(Owner):
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
        """The preprocess stage: writes every row once, at its place in the run's input arrays (rows.pxd). Raises Internal."""
        if self.taken_ns == 0:              # a part: its run begins now
            self.taken_ns = monotonic_ns()
        write_rows(self.requests, inputs)
        self.gathered_ns = monotonic_ns()

    cpdef encode(self, Tensors outputs):
        """The encode stage: every request that was not cancelled makes its response. A request that cannot fails alone."""
        cdef Py_ssize_t first_row = 0
        cdef Request request
        if self.executed_ns == 0:
            self.executed_ns = monotonic_ns()
        for each in self.requests:
            request = <Request>each
            if not request.entry.cancelled:
                try:
                    request.encode(outputs, first_row)
                except RequestError as error:
                    request.error = error
                except Exception:
                    log.exception("model %s: encoding a response failed", self.origin.name)
                    request.error = Internal(
                        f"model {self.origin.name}: the response could not be encoded; the server's log has the details")
            first_row += request.entry.rows
        if outputs.classes is not None:
            outputs.classes = None
        self.encoded_ns = monotonic_ns()

    cpdef executed(self):
        """The model has run; the encode stage begins."""
        self.executed_ns = monotonic_ns()

    cpdef forward(self, Request request, Origin batcher):
        """A prepared request leaves this batch and waits for its run in `batcher`. A request that `batcher` rejects stays: deliver gives
        its call the error. If the caller goes away on the way, the batch that takes the request from `batcher` finds that."""
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
            call.work = request
            return
        self.requests.remove(request)
        self.rows -= request.entry.rows
        self.alive -= 1

    cpdef fail(self, error):
        """The run gave no outputs: each request of this batch gets `error`, a RequestError."""
        cdef Request request
        self.failed = True
        for request in self.requests:
            request.error = error
            request.response = None
        self.encoded_ns = monotonic_ns()

    cpdef list halves(self):
        """Two batches to be run again after the run of this one failed, made of the requests that somebody still waits for. One batch if
        only one of several requests is left; none if this batch had a single request.

        Requests are in order of connections, and divided between two of these if they come from several, as near to the middle as
        that allows. The parts are gathered and encoded, or failed, and never delivered: this batch delivers their requests.
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
        alive.sort(key=slot_of_request)
        at = division(alive)
        return [part_of(self, alive[:at]), part_of(self, alive[at:])]

    cpdef settle(self, list parts):
        """All `parts` have run. Each request has its own response or error; the statistics count the parts that succeeded."""
        self.failed = True
        self.parts = parts
        if self.executed_ns == 0:
            self.executed_ns = monotonic_ns()
        self.encoded_ns = monotonic_ns()

    cpdef set clients(self):
        """The connection slots of its requests that somebody still waits for; 0: of requests that came by none."""
        cdef Request request
        return {request.entry.connection_slot for request in self.requests if not request.entry.cancelled}

    cpdef Batch of_clients(self, set clients):
        """A part to be run again, as those of `halves`: the requests of these connection slots that somebody still waits for."""
        cdef Request request
        return part_of(self, [request for request in self.requests
                              if not request.entry.cancelled and request.entry.connection_slot in clients])

    cpdef bint end_if_late(self, int64_t now_ns):
        """Ends the run when the deadline of every request that somebody waits for has passed. On the loop's thread."""
        cdef Request request
        if self.delivered or self.terminated or self.alive == 0:
            return False
        for request in self.requests:
            if not request.entry.cancelled and request.entry.deadline_ns > now_ns:
                return False
        self.stop()
        return self.terminated

    cpdef tap_late(self, int64_t now_ns):
        """Taps see the requests whose deadline has passed while this batch runs, and those that it drops: it may never be delivered.
        On the loop's thread."""
        cdef Request request
        if self.delivered or self.origin.taps is None:
            return
        if self.tapped is None:
            self.tapped = set()
        for request in self.requests:
            if request.entry.deadline_ns <= now_ns and not request.entry.cancelled and request not in self.tapped:
                self.tap(request, TOO_LATE, now_ns)
                self.tapped.add(request)
        for request in self.dropped:
            if not request.entry.cancelled and request not in self.tapped:
                self.tap(request, self.rejection(request, now_ns), now_ns)
                self.tapped.add(request)

    cpdef end(self, error):
        """The run takes longer than it may: tells it to end. Its requests get `error`, a RequestError. On the loop's thread."""
        self.overdue = error
        self.stop()
        self.terminated = True              # between two runs of parts, too: no other begins

    cpdef abandon(self):
        """The run was told to end and does not: delivers all requests while it still goes on. On the loop's thread."""
        cdef Request request
        for request in self.requests:
            if request.response is None and request.error is None:
                request.error = self.overdue
        self.deliver()

    cdef bint caller_left(self, Request request) except? -1:
        if self.origin.taps is not None:
            self.tap_left(request)
        if request.entry.state == DROPPED:
            return True
        self.alive -= 1
        if self.alive == 0:
            self.stop()
        return True

    cdef stop(self):
        terminate, self.terminate = self.terminate, None
        if terminate is not None:
            self.terminated = True
            terminate(self)

    cpdef deliver(self):
        """Gives every call its response or error: on the loop's thread, once; later calls do nothing. The batch holds no request then."""
        self.deliver_at(monotonic_ns())

    cdef deliver_at(self, int64_t now_ns):
        cdef list requests = self.requests
        cdef list dropped = self.dropped
        cdef uint64_t responses = 0
        if self.delivered:
            return
        self.delivered = True
        self.origin.over(self, now_ns)
        self.requests = []
        self.dropped = []
        self.terminate = None
        if self.encoded_ns and not self.failed:
            self.statistics.record_run(self.rows, self.gathered_ns - self.taken_ns, self.executed_ns - self.gathered_ns,
                                       self.encoded_ns - self.executed_ns)
        elif self.parts is not None:
            self.record_parts()
        for request in requests:
            responses += self.deliver_one(<Request>request, now_ns)
        self.statistics.record_stages(responses, self.executed_ns - self.gathered_ns, self.encoded_ns - self.executed_ns)
        for request in dropped:
            self.reject(<Request>request, now_ns)
        self.tapped = None

    cdef record_parts(self):
        """Records the parts that were run again and did not fail."""
        cdef Batch part
        for part in self.parts:
            if part.encoded_ns and not part.failed:
                self.statistics.record_run(part.rows, part.gathered_ns - part.taken_ns, part.executed_ns - part.gathered_ns,
                                           part.encoded_ns - part.executed_ns)
        self.parts = None

    cdef bint deliver_one(self, Request request, int64_t now_ns) except -1:
        """Gives one call its response or error; True: a response. An exception of a call is logged and stops no other call."""
        cdef Call call = request.call
        cdef bint responds = False
        response, error = request.response, request.error
        if self.origin.taps is not None and call is not None and not request.entry.cancelled:
            self.tap(request, error, now_ns)
        # An error's traceback holds frames, and these the request: without this line both would live for ever.
        request.call = request.response = request.error = request.batch = request.prepared = None
        request.entry.state = IDLE
        if request.entry.cancelled or call is None:
            self.origin.cancelled += 1
            return False
        if error is None and response is not None:
            responds = True
            self.statistics.record_request(
                request.entry.rows, request.decoded_ns or request.entry.queued_ns - request.received_ns,
                self.taken_ns - request.entry.queued_ns + request.prepare_wait_ns,
                self.gathered_ns - self.taken_ns + request.prepare_ns, now_ns - request.received_ns)
        elif self.terminated and self.overdue is None:
            self.origin.cancelled += 1
        else:
            self.origin.failed += 1
            error = error or Internal(f"model {self.origin.name}: the request got no response; this is a fault of the server")
        try:
            if error is None:
                call.reply(response)
            else:
                call.fail(error)
        except Exception:
            log.exception("model %s: a response could not be delivered", self.origin.name)
        return responds

    cdef int tap(self, Request request, object error, int64_t now_ns) except -1:
        if self.tapped is not None and request in self.tapped:
            return 0
        if error is None and request.response is None:
            error = NO_RESPONSE
        return self.origin.tap(request, error, now_ns, self)

    cdef int tap_left(self, Request request) except -1:
        if request.entry.state == DROPPED:
            now_ns = monotonic_ns()
            self.tap(request, self.rejection(request, now_ns), now_ns)
        elif self.tapped is None or request not in self.tapped:
            self.origin.tap_left(request, self)
        return 0

    cdef rejection(self, Request request, int64_t now_ns):
        return rejection_of(self.origin.name, &request.entry, self.origin.queue, now_ns, self.origin.as_triton)

    cdef reject(self, Request request, int64_t now_ns):
        """Fails the call of one request that never ran: it made room, its time ran out, or its caller went away."""
        cdef Call call = request.call
        request.call = request.error = request.batch = request.prepared = None
        request.entry.state = IDLE
        if request.entry.cancelled or call is None:
            self.origin.cancelled += 1
            return
        self.origin.expired += 1
        try:
            error = self.rejection(request, now_ns)
            if self.origin.taps is not None:
                self.tap(request, error, now_ns)
            call.fail(error)
        except Exception:
            log.exception("model %s: a rejection could not be delivered", self.origin.name)

    @property
    def run_ns(self):
        """How long gather, run and encode took together; 0 before they are over."""
        return self.duration_ns()

    cdef int64_t duration_ns(self) noexcept:
        return self.encoded_ns - self.taken_ns if self.encoded_ns else 0

    @property
    def execute_ns(self):
        """How long the model itself ran; 0 before that is over, or if it failed."""
        return self.executed_ns - self.gathered_ns if self.executed_ns else 0

    @property
    def finished_ns(self):
        """Monotonic time at which the run was encoded or failed; 0 before."""
        return self.encoded_ns


def slot_of_request(Request request not None):
    """Its connection slot."""
    return request.entry.connection_slot


cdef Py_ssize_t division(list requests):
    """Where to divide requests in order of their connections: between two of these, or else in the middle."""
    cdef Py_ssize_t middle = len(requests) // 2
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t i
    for i in range(1, len(requests)):
        if (<Request>requests[i]).entry.connection_slot != (<Request>requests[i - 1]).entry.connection_slot and (
                at == 0 or abs(i - middle) < abs(at - middle)):
            at = i
    return at or middle


cdef Batch part_of(Batch batch, list requests):
    """A batch of some requests of `batch`, to be run again."""
    cdef Batch part = Batch.__new__(Batch)
    cdef Request request
    part.requests, part.dropped = requests, []
    for request in requests:
        part.rows += request.entry.rows
    part.alive = len(requests)
    part.statistics, part.origin = batch.statistics, batch.origin
    return part
