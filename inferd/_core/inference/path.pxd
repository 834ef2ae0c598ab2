# path: the path of a request through the server's native half, top to bottom. It calls Python (engine/, serving/) for unknown names,
# long typed contents, runs of varying sizes, steps behind the graph and failed runs. Between `submit` and `run_batch` lies a route:
# batched_route.pxd is the one of most models.
# Never in here: transports, files, onnxruntime, threads.

from libc.stdint cimport int64_t
from inferd._core.batching.batch cimport Batch
from inferd._core.batching.request cimport Request
from inferd._core.codec.infer cimport InferRequest
from inferd._core.grpc.call cimport Call, InferHandler, StreamHandler
from inferd._core.inference.bound_runs cimport BoundRuns
from inferd._core.inference.routes cimport Routes
from inferd._core.inference.split cimport Split
from inferd._core.monitor.feature_counts cimport FeatureCounts
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

cdef class Route:               # where the requests of one model version go; the table holds nothing but routes
    cdef readonly Signature signature   # what clients send
    cdef public Split split             # requests without a version may go to another route; None: they do not
    cpdef check(self, Request request)
    cpdef submit(self, Request request, Call call)

cdef class Runner:              # one backend, and the batch that it runs at the moment; engine.running.executor.Instance is one
    cdef readonly str name      # the model and its version, as messages say it
    cdef readonly object backend
    cdef BoundRuns bound        # the backend if it is a BoundRuns, to be called without Python in between; or None
    cdef public FeatureCounts features      # counts the rows of its runs; None: the version is not watched
    cdef object finish          # finish(inputs, outputs): makes the tensors that clients get; None: they get the outputs
    cdef readonly Batch running # the batch, while the model itself runs; or None
    cdef readonly bint ended    # the model is unloaded
    cdef object lock            # held to end a run, and by a run that was ended; never while a model runs
    cpdef run_batch(self, Batch batch)
    cpdef run(self, Batch part, Batch batch)
    cdef Tensors execute(self, int64_t rows, Batch batch)
