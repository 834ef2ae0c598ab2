# path: the path of a request through the server's native half, top to bottom. It calls Python (engine/, serving/) only for unknown names,
# long typed contents, failed runs, and models that leave the event loop.
# Never in here: transports, files, onnxruntime, threads.

from libc.stdint cimport int64_t
from inferd._core.batching.batch cimport Batch
from inferd._core.batching.batcher cimport Batcher
from inferd._core.batching.request cimport Request
from inferd._core.codec.infer cimport InferRequest
from inferd._core.grpc.call cimport Call, InferHandler, StreamHandler
from inferd._core.inference.bound_runs cimport BoundRuns
from inferd._core.inference.inline_policy cimport InlinePolicy
from inferd._core.inference.routes cimport Routes
from inferd._core.inference.split cimport Split
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors

cdef class Route

cdef class ModelInfer(InferHandler):
    cdef Routes routes          # the models that are served
    cdef object find            # find(name, version): a Route that the table does not have; raises why there is none
    cdef public object wait     # wait(call, request): whether it waits for its model, to come back as from unpack; None: none waits
    cdef public object unpack   # unpack(call): unpacks the typed contents of its message, and calls this object again with the request
    cdef int model_infer(self, Call call, InferRequest request) except -1
    cdef Route find_or_wait(self, Call call, InferRequest request)

cdef class ModelStreamInfer(StreamHandler):
    cdef ModelInfer model_infer

cdef class Route:               # requests of one model version, on their way to its runs
    cdef public object model            # engine.model.Model, whose route this is; None once that is closed
    cdef readonly Signature signature   # what clients send
    cdef Batcher run_queue     # requests that wait for a run
    cdef public Batcher first_queue     # where requests wait first: run_queue, or the queue of the preprocess threads
    cdef public Batcher large           # the first queue of requests that take long to prepare; None: first_queue
    cdef public bytes contents          # with `large`: an effort.Content for each input
    cdef public Split split             # requests without a version may go to another route; None: they do not
    cdef public dict rejected           # requests that were rejected before they waited, by Triton's reason
    cdef public object activate         # called when the first request waits for a thread, so that `expire` visits the model; None: it does
    # Runs on the event loop.
    cdef public bint inline             # the model runs there
    cdef public InlinePolicy policy     # decides whether it may; None: it always may
    cdef public bint works_alone        # a run works on the loop's thread alone: its processor time tells how long it took
    cdef public int64_t turn_ns         # how long it runs batches before the loop goes on
    cdef public int64_t short_nbytes    # the largest request whose run was seen to be short; 0: all requests have one size
    cdef Runner instance                # the one that runs there
    cdef object schedule                # schedule(callback) is loop.call_soon: the callback runs before the loop handles new events
    cdef bint scheduled                 # run_inline is
    cdef readonly bint polling          # the loop is inside run_inline
    cpdef check(self, Request request)
    cpdef submit(self, Request request, Call call)
    cpdef count_rejection(self, error)
    cpdef schedule_inline(self)
    cdef int64_t run_timed(self, Batch batch) except -1

cdef class Runner:              # one backend, and the batch that it runs at the moment; engine.executor.Instance is one
    cdef readonly str name      # the model and its version, as messages say it
    cdef readonly object backend
    cdef BoundRuns bound        # the backend if it is a BoundRuns, to be called without Python in between; or None
    cdef object finish          # finish(inputs, outputs): makes the tensors that clients get; None: they get the outputs
    cdef readonly Batch running # the batch, while the model itself runs; or None
    cdef readonly bint ended    # the model is unloaded
    cdef object lock            # held to end a run, and by a run that was ended; never while a model runs
    cpdef run_batch(self, Batch batch)
    cpdef run(self, Batch part, Batch batch)
    cdef Tensors execute(self, int64_t rows, Batch batch)
