# bound_runs: runs of a model whose arrays are bound before the first run, one binding for each number of rows. A run is then one call
# with prepared arguments. Never in here: onnxruntime, what is done about a run that fails, batches.

from libc.stdint cimport int64_t
from inferd._core.batching.batch cimport Batch
from inferd._core.tensor.tensor cimport Tensors

cdef class CurrentRun:          # an instance's; `terminate` ends it
    cdef object options         # onnxruntime's RunOptions, which all runs of the instance take
    cdef object lock            # held to terminate a run, and at the end of a run that was terminated
    cdef bint running           # a run goes on
    cdef bint terminated        # it was told to end
    cpdef begin(self)
    cpdef bint end(self) except -1      # True: it was terminated; the next one isn't
    cpdef terminate(self)

cdef class BoundRun:            # the arrays of one number of rows
    cdef readonly Tensors inputs, outputs
    cdef object binding         # keeps alive what `arguments` refer to
    cdef object function        # the session's; a run is function(*arguments)
    cdef tuple arguments
    cdef public bint proven     # a run has filled `outputs`: the graph keeps its promise

cdef class BoundRuns:           # a Backend (engine/runtime/onnx/bound_backend.py); its subclass does the rare parts
    cdef public CurrentRun current      # ends a run that goes on
    cdef public list bound      # index: rows; a BoundRun, or None before its first use
    cdef public bint keeps_promise      # False: the outputs' real shapes are not what the graph declares
    cpdef Tensors inputs(self, Batch batch)
    cpdef Tensors run(self, int64_t rows)
