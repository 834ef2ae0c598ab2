# path: the path of a request through the server's native half, top to bottom. Rare cases are Python's (engine/, serving/), and are
# called from here: a name that is not served, typed contents that take long, a failed run, a model that leaves the event loop.
# Never in here: transports, files, onnxruntime, threads.

from libc.stdint cimport int64_t
from inferd._core.batching.batch cimport Batch
from inferd._core.batching.batcher cimport Batcher
from inferd._core.batching.request cimport Request
from inferd._core.codec.infer cimport InferRequest
from inferd._core.grpc.call cimport Call, InferHandler
from inferd._core.inference.bound_runs cimport BoundRuns
from inferd._core.inference.inline_policy cimport InlinePolicy
from inferd._core.inference.routes cimport Routes
from inferd._core.tensor.tensor cimport Signature, Tensors

cdef class ModelInfer(InferHandler):
    cdef Routes routes
    cdef object find            # find(name, version): the Route that the table has not, or raises why there is none
    cdef public object unpack   # unpack(call): has the typed contents of its message unpacked, and calls this again with the request
    cdef int model_infer(self, Call call, InferRequest request) except -1

cdef class Route:               # requests of one model version, on their way to its runs
    cdef public object model            # engine.model.Model, whose route this is; None once that is closed
    cdef readonly Signature signature   # what clients send
    cdef readonly Batcher ready         # requests that wait for a run
    cdef public Batcher waiting         # where requests wait first: `ready`, or the queue in front of the preprocess threads;
    cdef public Batcher large           # and those that take long to prepare, or None
    cdef public bytes contents          # of its inputs, an effort.Content each, where there is `large`
    cdef public dict rejected           # requests that were rejected before they waited, by Triton's reason
    cdef public object wake             # called when a request waits on threads and none did before; None: the model is active already
    # Runs on the event loop.
    cdef public bint inline             # the model runs there
    cdef public InlinePolicy policy     # whether it may; None: whatever its runs take
    cdef public bint works_alone        # a run works on the loop's thread alone: its processor time tells how long it took
    cdef public int64_t turn_ns         # of the loop's, when it runs several batches
    cdef public int64_t short_nbytes    # of the largest request whose run was seen to be short; 0: all are of one size
    cdef Runner instance                # the one that runs there
    cdef object schedule                # schedule(callback): at the end of the loop's present iteration
    cdef bint scheduled
    cdef readonly bint polling          # the loop is inside run_inline
    cpdef check(self, Request request)
    cpdef submit(self, Request request, Call call)
    cpdef count_rejection(self, error)
    cpdef schedule_inline(self)
    cdef int64_t run_timed(self, Batch batch) except -1

cdef class Runner:              # one backend, and the batch that it runs at the moment; engine.executor.Instance is one
    cdef readonly str name      # the model and its version, as messages say it
    cdef readonly object backend
    cdef BoundRuns bound        # the backend, where it is one: called without Python in between; or None
    cdef object finish          # finish(inputs, outputs): makes of a run's tensors what clients get; None: they get the outputs
    cdef readonly Batch running # while the model itself runs
    cdef readonly bint ended    # the model is unloaded
    cdef object lock            # taken to end a run, and by a run that is ended; never while a model runs
    cpdef run_batch(self, Batch batch)
    cpdef run(self, Batch part, Batch batch)
    cdef Tensors execute(self, int64_t rows, Batch batch)
