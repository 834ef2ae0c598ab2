"""The backend of a model whose sizes are all known but the rows: buffers are allocated and bound once, as a binding costs microseconds."""

from __future__ import annotations

import logging
from typing import Any

from inferd._core.inference.bound_runs import BoundRun, BoundRuns
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.engine.runtime.onnx.arrays import Spec, aligned, inward
from inferd.engine.runtime.onnx.run import OpenSession, Run
from inferd.engine.runtime.onnx.run_faults import cancelled, run_failure
from inferd.engine.runtime.onnx.tensor_types import ONNX_NUMBER
from inferd.tensors import DTYPES, Array

log = logging.getLogger("inferd.engine")


class BoundBackend(Run, BoundRuns):
    """Every size but the rows is known: arrays, views and bindings are made once, and a run allocates nothing."""

    def __init__(self, opened: OpenSession, signature: Signature, few_session: Any = None, few_rows: int = 0) -> None:
        super().__init__(opened, signature)
        self._few_session, self._few_rows = few_session, few_rows
        self._most_rows = max(signature.max_batch_size, 1)
        self._input_arrays = [self._whole(spec) for spec in self._input_specs]
        self._output_arrays = [self._whole(spec) for spec in self._output_specs]
        self.bound = [None] * (self._most_rows + 1)
        self.keeps_promise = True

    def _whole(self, spec: Spec) -> Array:
        _, word, shape = spec
        return aligned((self._most_rows, *shape[1:]) if self._batched else shape, DTYPES[word])

    def _views(self, arrays: list[Array], rows: int) -> list[Array]:
        return [array[:rows] for array in arrays] if self._batched else arrays

    def bind(self, rows: int) -> BoundRun:
        """Makes the binding for this many rows, at their first run."""
        inputs, outputs = self._views(self._input_arrays, rows), self._views(self._output_arrays, rows)
        session = self._few_session if rows <= self._few_rows else self._session
        binding = session.io_binding()
        for array, (name, word, _) in zip(inputs, self._input_specs, strict=True):
            shape = list(inward(self._reshapes, name, array).shape)
            binding.bind_input(name, "cpu", 0, ONNX_NUMBER[word], shape, array.ctypes.data)
        for array, (name, word, _) in zip(outputs, self._output_specs, strict=True):
            shape = list(inward(self._reshapes, name, array).shape)
            binding.bind_output(name, "cpu", 0, ONNX_NUMBER[word], shape, array.ctypes.data)
        bound = self.bound[rows] = BoundRun(
            self._tensors(inputs, self._input_words, rows),
            self._tensors(outputs, self._output_words, rows),
            binding,
            self._inside_of(session).run_with_iobinding,
            binding._iobinding if self._inside else binding,
            self._options,
        )
        return bound

    def run_unbound(self, rows: int) -> Tensors:
        """Runs without the bound output arrays, because outputs differ from the shapes that the graph declares."""
        return self._run_allocating(self._feed(self._views(self._input_arrays, rows)), rows)

    def run_failed(self, error: Exception, rows: int) -> Tensors:
        """Called when a bound run raised `error`: runs once more where that may succeed, else raises the error for the requests."""
        if self.current.end():
            raise cancelled() from None
        if self._make_room(error):
            return self._run_allocating(self._feed(self._views(self._input_arrays, rows)), rows, again=True)
        self._raise_rejection(error, rows)
        bound = self.bound[rows]
        if bound is not None and bound.proven:
            raise run_failure(self._model_name, error) from None
        return self._run_unproven(rows)

    def _run_unproven(self, rows: int) -> Tensors:
        """Called when the first bound run of this many rows failed. onnxruntime does not fill an array whose shape is not the output's
        real one. If the run succeeds without bound arrays, the graph's declaration is wrong, and they are not used again."""
        outputs = self.run_unbound(rows)
        log.warning("model %r: outputs differ from the shapes that its graph declares, so they are not bound", self._model_name)
        self.keeps_promise = False
        return outputs

    def close(self) -> None:
        self.bound = []
        self._input_arrays = []
        self._output_arrays = []
