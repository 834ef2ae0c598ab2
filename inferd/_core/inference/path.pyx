# cython: language_level=3
"""path: the path of a request, top to bottom (see path.pxd).

wire bytes -> transport -> model_infer: decode, route, check, submit -> (queue)
           -> run_batch: gather, execute, encode -> deliver -> transport
"""

cimport cython
from libc.stdint cimport int64_t

from inferd._core.batching.batch cimport Batch
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

from inferd.errors import Cancelled


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


cdef class Route:
    """Where the requests of one model version go. Python may derive from it, too; a route in Cython costs no look-up.

    Both methods belong to the event loop's thread. In the embedded engine, which has no loop, any thread may call them.
    """

    def __init__(self, Signature signature not None):
        self.signature = signature

    cpdef check(self, Request request):
        """Rejects a request that does not match the signature, before it waits. Raises InvalidArgument, and
        ResourceExhausted for a run that needs too much memory."""
        raise NotImplementedError

    cpdef submit(self, Request request, Call call):
        """Takes a checked request; the call gets its response, at once or later. Raises ResourceExhausted or Unavailable, at once."""
        raise NotImplementedError


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
        if self.features is not None:
            self.features.see(part, outputs)
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
