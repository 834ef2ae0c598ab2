# cython: language_level=3
"""bound_runs: runs of a model whose arrays are bound before the first of them (see bound_runs.pxd).

Never in here: onnxruntime, what is done about a run that fails, batches.
"""

cimport cython
from libc.stdint cimport int64_t
from inferd._core.batching.batch cimport Batch
from inferd._core.tensor.tensor cimport Tensors

import threading


@cython.final
cdef class CurrentRun:
    """The run that `terminate` ends, and never the one after it.

    begin and end belong to the instance's thread, terminate to any. terminate reads `running` and writes `terminated` in one step under
    the GIL, and end the other way round. So an ordinary run takes no lock.
    """

    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()

    cpdef begin(self):
        self.running = True

    cpdef bint end(self) except -1:
        """The run is over. True: it was terminated."""
        self.running = False
        if not self.terminated:
            return False
        with self.lock:                     # terminate has returned
            self.options.terminate = False
            self.terminated = False
        return True

    cpdef terminate(self):
        """Ends the run that goes on, if there is one."""
        with self.lock:
            if self.running:
                self.terminated = True
                self.options.terminate = True


@cython.final
cdef class BoundRun:
    """The arrays of one number of rows, bound. A run is function(*arguments).

    A bound method is taken apart, so that its object is one of the prepared arguments and a run makes no tuple.
    """

    def __init__(self, Tensors inputs not None, Tensors outputs not None, binding, function, *arguments):
        self.inputs, self.outputs, self.binding = inputs, outputs, binding
        inner = getattr(function, "__func__", None)
        self.function, self.arguments = (function, arguments) if inner is None else (inner, (function.__self__, *arguments))


cdef class BoundRuns:
    """Runs of one instance. A subclass has the rare parts: bind, run_unbound and run_failed."""

    def bind(self, int64_t rows):
        """The BoundRun of so many rows, made at their first use, which it keeps in `bound`."""
        raise NotImplementedError

    def run_unbound(self, int64_t rows):
        """Runs without bound outputs: the model makes them."""
        raise NotImplementedError

    def run_failed(self, error, int64_t rows):
        """A bound run raised `error`: raises the RequestError for its requests, or returns the outputs of another try."""
        raise NotImplementedError

    cpdef Tensors inputs(self, Batch batch):
        """The arrays that `batch` is to be gathered into. Valid until the next call."""
        bound = self.bound[batch.rows]
        if bound is None:
            bound = self.bind(batch.rows)
        return (<BoundRun?>bound).inputs

    cpdef Tensors run(self, int64_t rows):
        """Runs the model over the first `rows` rows of the arrays that `inputs` gave."""
        cdef BoundRun bound = self.bound[rows]
        if bound is None or not self.keeps_promise:
            return self.run_unbound(rows)
        self.current.running = True
        try:
            bound.function(*bound.arguments)
        except Exception as error:
            return self.run_failed(error, rows)
        self.current.end()
        bound.proven = True
        return bound.outputs
