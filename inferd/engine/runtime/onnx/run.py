"""A run that onnxruntime allocates the outputs of, and the end of one from another thread: the part that both backends share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from inferd._core.inference.bound_runs import CurrentRun
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.engine.runtime.onnx.arrays import Reshapes, array_of, fits, inward, outward
from inferd.engine.runtime.onnx.library import onnxruntime
from inferd.engine.runtime.onnx.run_faults import cancelled, rejection_of, run_failure
from inferd.engine.runtime.onnx.tensor_types import ONNX_NUMBER
from inferd.errors import Internal, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inferd.engine.runtime.arena import RunArena
    from inferd.tensors import Array


class OpenSession(NamedTuple):
    """A session of onnxruntime, and what its runs share. rejecting, arena: see OnnxModel."""

    session: Any
    rejecting: frozenset[str] = frozenset()
    arena: RunArena | None = None
    reshapes: Reshapes = {}


class Run:
    """Shared by both backends: the run that `terminate` ends, and runs whose outputs onnxruntime allocates."""

    def __init__(self, opened: OpenSession, signature: Signature) -> None:
        self._session, self._rejecting, self._arena, self._reshapes = opened
        self._batched = signature.max_batch_size > 0
        self._input_specs, self._output_specs = signature.run_input_specs, signature.run_output_specs
        self._input_words = [word for _, word, _ in self._input_specs]
        self._output_words = [word for _, word, _ in self._output_specs]
        self._output_names = [name for name, _, _ in self._output_specs]
        self._model_name = signature.model_name.decode()
        self._options = onnxruntime().RunOptions()
        self._options.log_severity_level = 4  # fatal: a failed run is raised, and told once, by us
        self.current = CurrentRun(self._options)
        # The objects inside session and binding skip a Python layer, worth half a microsecond a run.
        self._inside = hasattr(self._session, "_sess") and hasattr(self._session.io_binding(), "_iobinding")
        self._inner = self._inside_of(self._session)
        self._as_values = "BF16" in (*self._input_words, *self._output_words)  # numpy has no such type, OrtValue has

    def enter(self, entries: Mapping[str, str]) -> None:
        """Adds onnxruntime's own configuration entries to each run from now on."""
        for key, value in entries.items():
            self._options.add_run_config_entry(key, value)

    def _inside_of(self, session: Any) -> Any:
        return session._sess if self._inside else session

    def terminate(self) -> None:
        self.current.terminate()

    def _tensors(self, arrays: list[Array], words: list[str], rows: int) -> Tensors:
        return Tensors(arrays, words, self._batched, rows if self._batched else None)

    def _feed(self, arrays: list[Array]) -> dict[str, Any]:
        """Inputs by name, as `_run_allocating` takes them; they share the arrays' memory."""
        if self._reshapes:
            arrays = [inward(self._reshapes, name, array) for array, (name, _, _) in zip(arrays, self._input_specs, strict=True)]
        if not self._as_values:
            return {name: array for array, (name, _, _) in zip(arrays, self._input_specs, strict=True)}
        of_array = onnxruntime().OrtValue.ortvalue_from_numpy_with_onnx_type
        return {name: of_array(array, ONNX_NUMBER[word]) for array, (name, word, _) in zip(arrays, self._input_specs, strict=True)}

    def _run_allocating(self, feed: dict[str, Any], rows: int, *, again: bool = False) -> Tensors:
        self.current.begin()
        try:
            if self._as_values:
                values = self._session.run_with_ort_values(self._output_names, feed, self._options)
            else:
                arrays = self._inner.run(self._output_names, feed, self._options)
        except Exception as error:
            if self.current.end():
                raise cancelled() from None
            if not again and self._make_room(error):
                return self._run_allocating(feed, rows, again=True)
            self._raise_rejection(error, rows)
            raise run_failure(self._model_name, error) from None
        self.current.end()
        if self._as_values:
            arrays = [array_of(value, word) for value, word in zip(values, self._output_words, strict=True)]
        if self._reshapes:
            arrays = [outward(self._reshapes, name, array) for array, name in zip(arrays, self._output_names, strict=True)]
        self._check_shapes(arrays, rows)
        return self._tensors(arrays, self._output_words, rows)

    def _make_room(self, error: Exception) -> bool:
        """Returns unused memory of a full arena to the system. True: the same run may find room now."""
        return self._arena is not None and self._arena.was_full(error) and self._arena.give_back() > 0

    def _raise_rejection(self, error: Exception, rows: int) -> None:
        """Raises ResourceExhausted where the run needed too much memory, InvalidArgument where an operator rejected the contents."""
        if self._arena is not None and self._arena.was_full(error):
            self._arena.give_back()
            count = f"{rows} row{'s' if rows > 1 else ''}" if self._batched else "this size"
            raise ResourceExhausted(
                f"model {self._model_name!r}: a run of {count} needs more than the {self._arena.limit_bytes} bytes that the model's runs "
                "may take: send fewer rows or smaller tensors, or have max_run_bytes raised",
                reason="run_memory",
            ) from None
        rejection = rejection_of(error, self._rejecting, self._model_name, [name for name, _, _ in self._input_specs])
        if rejection is not None:
            raise rejection from None

    def _check_shapes(self, arrays: list[Array], rows: int) -> None:
        """Raises Internal where onnxruntime allocated an output of another shape than the signature promises."""
        for array, (name, _, promised) in zip(arrays, self._output_specs, strict=True):
            shape = array.shape
            if promised == () and not self._batched:
                continue  # onnxruntime reports () for an output of unknown rank, too
            if not fits(promised, shape) or (self._batched and shape[0] != rows):
                raise Internal(
                    f"model {self._model_name!r} gave output {name!r} of shape {list(shape)} for {rows} rows, and its signature "
                    f"promises {list(promised)}: correct the dims, or set max_batch_size: 0, in the model's configuration"
                )
