# cython: language_level=3
"""path: the path of a request, top to bottom (see path.pxd).

wire bytes -> transport -> model_infer: decode, route, check, submit -> (queue)
           -> run_batch: gather, execute, encode -> deliver -> transport
"""

cimport cython
from libc.stdint cimport int64_t
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.batching.batch cimport Batch
from inferd._core.batching.batcher cimport Batcher
from inferd._core.batching.request cimport Request
from inferd._core.codec.infer cimport InferRequest, decode_request, request_key
from inferd._core.codec.stream_response cimport reject_response, wrap_response
from inferd._core.codec.wire cimport Bytes
from inferd._core.grpc.call cimport Call, InferHandler, StreamHandler
from inferd._core.grpc.message cimport Message
from inferd._core.inference.bound_runs cimport BoundRuns
from inferd._core.inference.routes cimport Routes
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors

import threading

from inferd.errors import Cancelled, DeadlineExceeded, Internal, RequestError, ResourceExhausted

cdef enum:
    GROWTH = 4                  # a request this many times larger than those with short runs sends the model to a thread
    LARGE_US = 50_000           # a request that takes more of one core to prepare waits in `large`: a photograph of 5 million pixels
    INLINE_BATCHES = 4          # the most batches that run_inline runs before the loop goes on


# ---- from a message to a queue ----

@cython.final
cdef class ModelInfer(InferHandler):
    """ModelInfer, the hot method."""

    def __init__(self, Routes routes not None, find not None):
        self.routes, self.find = routes, find

    def __call__(self, Call call not None, InferRequest request=None):
        self.model_infer(call, request)

    cdef int infer(self, Call call) except -1:
        return self.model_infer(call, None)

    cdef int model_infer(self, Call call, InferRequest request) except -1:
        """One inference: rejected here by an exception, or queued; the response goes to the call when its batch has run.
        request: its decoded message, if a thread has decoded it."""
        cdef Route route
        cdef Bytes name, version
        if request is None:
            request = decode_request(call.message, True)
            if request is None:
                self.unpack(call)
                return 0
        name, version = request.text(request.name_text), request.text(request.version_text)
        found = self.routes.get(&name, &version)
        route = <Route>found if found is not None else self.find_or_wait(call, request)     # the table holds nothing but routes
        if route is None:
            return 0
        if route.split is not None and version.nbytes == 0:
            call.key = call.key or request_key(request)     # tallies count by it
            if route.split.takes(call.key):
                route = <Route>route.split.candidate
        route.check(request)
        route.submit(request, call)
        return 0

    cdef Route find_or_wait(self, Call call, InferRequest request):
        """The rare case, where the table has no such model or version. None: the request waits."""
        if self.wait is not None and self.wait(call, request):
            return None
        return self.find(request.model_name, request.model_version)


@cython.final
cdef class ModelStreamInfer(StreamHandler):
    """ModelStreamInfer: each of a stream's requests goes the way of ModelInfer."""

    def __init__(self, ModelInfer model_infer not None):
        self.model_infer = model_infer

    cdef int infer(self, Call call) except -1:
        return self.model_infer.model_infer(call, None)

    cpdef Message wrap(self, Message response):
        return wrap_response(response)

    cpdef Message rejection(self, Message request, error):
        return reject_response(request, str(error))


@cython.final
cdef class Route:
    """One model version, as its requests pass through it. `check`, `submit` and run_inline belong to the event loop's thread. In the
    embedded engine, which has no loop, nothing is inline, and any thread may call the first two.

    model: the engine.model.Model. The route calls model.leave_loop(why).
    """

    def __init__(self, model, Signature signature not None, Batcher run_queue not None, Runner instance, schedule):
        self.model, self.signature, self.instance, self.schedule = model, signature, instance, schedule
        self.run_queue = self.first_queue = run_queue
        self.rejected = {"REJECTED": 0, "CANCELED": 0, "BACKEND": 0, "OTHER": 0}

    cpdef check(self, Request request):
        """Datatypes, shapes, sizes and rows against the signature. Raises InvalidArgument."""
        try:
            request.check(self.signature)
        except RequestError as error:
            self.count_rejection(error)
            raise

    cpdef submit(self, Request request, Call call):
        """Lets a checked request wait for its batch; the call gets its response later. Raises ResourceExhausted or Unavailable, at once."""
        cdef Batcher queue
        cdef bint alone
        if self.inline and 0 < GROWTH * self.short_nbytes < request.entry.nbytes and self.policy is not None:
            self.model.leave_loop(f"a request of {request.nbytes} bytes came, and runs are known to be short up to {self.short_nbytes}")
        try:
            queue = self.first_queue
            if self.large is not None and request.charge(self.contents) > LARGE_US:
                queue = self.large
            alone = queue.put(request, call)
        except RequestError as error:
            self.count_rejection(error)
            raise
        if not alone:
            return
        if self.inline:
            self.schedule_inline()
        elif self.activate is not None:
            self.activate()

    cpdef count_rejection(self, error):
        """Counts one request that was rejected before it waited."""
        if isinstance(error, (ResourceExhausted, DeadlineExceeded)) or error.reason in ("queue_full", "queue_time"):
            reason = "REJECTED"
        elif isinstance(error, Cancelled):
            reason = "CANCELED"
        elif isinstance(error, Internal):
            reason = "BACKEND"
        else:
            reason = "OTHER"
        self.rejected[reason] += 1

    # ---- from the queue to responses, on the event loop; on an executor thread engine/running/executor.py does the same ----

    cpdef schedule_inline(self):
        if not self.scheduled and self.schedule is not None:
            self.scheduled = True
            self.schedule(self.run_inline)

    def run_inline(self):
        """Runs waiting requests on the loop, a few batches at most: until the loop goes on, no response leaves, and new requests are
        stamped late."""
        cdef int64_t left_ns = self.turn_ns
        cdef int64_t run_ns
        cdef Batch batch
        self.scheduled = False
        self.polling = True
        try:
            for _ in range(INLINE_BATCHES):
                batch = self.run_queue.poll() if self.inline else None
                if batch is None:
                    break
                run_ns = self.run_timed(batch)
                batch.deliver_at(batch.encoded_ns or monotonic_ns())
                if self.policy is not None and run_ns:
                    why = self.policy.overrun(run_ns, batch.encoded_ns)
                    if why and not self.run_queue.closed:   # a model that drains runs its last requests here
                        self.model.leave_loop(why)
                        return
                left_ns -= run_ns
                if left_ns <= 0:
                    break
        finally:
            self.polling = False
        if self.inline and self.run_queue.queue.requests:
            self.schedule_inline()

    cdef int64_t run_timed(self, Batch batch) except -1:
        """Runs a batch on the loop, and returns how long it took, in ns. While the policy is in doubt, a run that works alone counts by its
        processor time: another process may have had the core meanwhile."""
        cdef int64_t busy_ns
        if self.policy is None or self.policy.debt <= 0 or not self.works_alone:
            Runner.run_batch(self.instance, batch)      # called through the class: no Python override is looked up
            return batch.duration_ns()
        busy_ns = thread_time_ns()
        Runner.run_batch(self.instance, batch)
        return min(batch.duration_ns(), thread_time_ns() - busy_ns)


cdef int64_t thread_time_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


# ---- a run ----

cdef class Runner:
    """One backend, and the batch that it runs at the moment, one at a time. A subclass handles a run that failed."""

    def __init__(self, str name not None, backend not None, finish=None):
        self.name, self.backend, self.finish = name, backend, finish
        self.lock = threading.Lock()
        self.bound = backend if isinstance(backend, BoundRuns) else None

    cpdef run_batch(self, Batch batch):
        """Preprocess, execute, encode. Afterwards every request of the batch has a response or an error; deliver gives them out."""
        if not batch.requests:
            return                              # all of them expired while they waited
        try:
            Runner.run(self, batch, batch)
        except Exception as error:
            self.run_failed(batch, error)

    cpdef run(self, Batch part, Batch batch):
        """Runs `part`: `batch`, or some requests of it."""
        cdef Tensors inputs, outputs
        inputs = BoundRuns.inputs(self.bound, part) if self.bound is not None else self.backend.inputs(part)
        part.gather(inputs)
        outputs = self.execute(part.rows, batch)
        if self.finish is not None:
            part.executed()
            outputs = self.finish(inputs, outputs)
        part.encode(outputs)

    cdef Tensors execute(self, int64_t rows, Batch batch):
        """Runs the model, unless nobody waits for it. From now to the end of the run `batch.terminate` can end it."""
        self.running = batch
        batch.terminate = self.end_run
        try:
            if batch.alive == 0 or batch.terminated:
                raise Cancelled(f"{self.name}: nobody waits for the response any longer")
            return BoundRuns.run(self.bound, rows) if self.bound is not None else self.backend.run(rows)
        finally:
            batch.terminate = self.running = None
            if batch.terminated or self.ended:
                with self.lock:                 # end_run and end have returned, or will see that this run is over
                    pass

    def end_run(self, Batch batch):
        """Ends this batch's run, and never the one after it. From any thread."""
        with self.lock:
            if self.running is batch:
                self.backend.terminate()

    def end(self):
        """The model is unloaded: ends the run that is going on, if there is one. From any thread. Idempotent."""
        if self.ended:
            return
        self.ended = True
        with self.lock:
            if self.running is not None:
                self.backend.terminate()

    def run_failed(self, Batch batch, error):
        """The run of a batch raised `error`: gives every request of it a response or an error."""
        raise NotImplementedError
