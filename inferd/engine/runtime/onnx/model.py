"""One ONNX file, loaded: its graph, its session, and the backends that run it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferd.engine.checks.bounds import why_unbounded
from inferd.engine.graph.onnx_file import initial_values
from inferd.engine.graph.reshaping import find_reshapes
from inferd.engine.graph.weights import check_room
from inferd.engine.loading.load_limit import limited
from inferd.engine.runtime.arena import RunArena
from inferd.engine.runtime.onnx.arrays import Reshapes, array_of, inward, outward
from inferd.engine.runtime.onnx.bound_backend import BoundBackend
from inferd.engine.runtime.onnx.library import onnxruntime
from inferd.engine.runtime.onnx.options import SessionOptions, may_be_quantized, native_options, wanted_providers
from inferd.engine.runtime.onnx.run import OpenSession
from inferd.engine.runtime.onnx.session import extensions_of, open_without_zipmaps, reject_silent_fallback
from inferd.engine.runtime.onnx.tensor_types import ONNX_NUMBER, graph_of, tensor_of
from inferd.engine.runtime.onnx.varying_backend import VaryingBackend
from inferd.engine.runtime.runtime import Graph, LoadedModel, TensorInfo
from inferd.errors import ConfigError, StartError
from inferd.tensors import Array, widened

if TYPE_CHECKING:
    from inferd._core.tensor.signature import Signature
    from inferd.engine.graph.zipmap import Cut
    from inferd.engine.runtime.runtime import Backend
    from inferd.protocol.inference import ModelConfig

log = logging.getLogger("inferd.engine")

# Seen with onnxruntime-extensions 0.15: docs/preprocessing.md says which operator does what.
_UNSAFE = (
    "it has operators of onnxruntime-extensions, of which some end the whole process, or never return, on what any client may send "
    "(DecodeImage, EncodeImage, RaggedTensorToDense, StringJoin and others)"
)


class OnnxModel(LoadedModel):
    """One ONNX file, loaded: its graph, the providers that it really runs on, and the session that its instances share."""

    def __init__(
        self,
        name: str,
        session: Any,
        graph: Graph,
        rejecting: frozenset[str] = frozenset(),
        arena: RunArena | None = None,
        classes: Cut | None = None,
    ) -> None:
        """rejecting: operators of onnxruntime-extensions, which may reject contents as steps do. arena: gives runs their memory;
        None: onnxruntime does, without a limit. classes: the columns of outputs whose ZipMap was cut, by output."""
        self.name = name
        self.classes: Cut = classes or {}
        self.arena = arena
        self.arenas = [arena] if arena is not None else []  # every arena that its backends' runs use
        self.graph = graph  # as clients see it: `reshape` changes it
        self._reshapes: Reshapes = {}
        self._listed = frozenset[str]()  # inputs that have an initializer, and are inputs by the configuration
        self.defaults: dict[str, bytes] = {}  # of inputs that requests may leave out, as requests carry tensors
        self._session = session
        self._run_entries: Mapping[str, str] = {}
        self._rejecting = rejecting
        self._few_session, self._few_rows = session, 0  # the session for runs of at most so many rows
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self.device = self.providers[0]
        self._file: str | os.PathLike[str] | None = None

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes, options: SessionOptions | None = None, *, name: str = "") -> OnnxModel:
        """Loads a file, or the bytes of one. `name` is what errors call the model; the file's stem by default.

        Raises ConfigError for a broken or absent file, an unsupported type or an unknown provider. Raises StartError without onnxruntime,
        for an unreadable file, and for a provider that is absent or does not start.
        """
        options = options or SessionOptions()
        if not name:
            name = "model" if isinstance(source, bytes) else Path(source).stem
        ort = onnxruntime()
        if not isinstance(source, bytes):
            if not Path(source).is_file():
                raise ConfigError(f"model {name!r}: there is no file {os.fspath(source)!r}; name a .onnx file, or a folder that holds one")
            if not os.access(source, os.R_OK):
                raise StartError(f"model {name!r}: {os.fspath(source)!r} cannot be read: give the server's user the right to")
            check_room(name, source)
        providers = wanted_providers(name, options, ort.get_available_providers())
        on_cpu = all(full == "CPUExecutionProvider" for full, _ in providers)
        limited = on_cpu and options.memory_arena and not options.unsafe_operators
        with RunArena.opened(ort, options.max_run_bytes if limited else 0) as arena:
            native = native_options(ort, options, arena, quantized=may_be_quantized(source))
            session, extended, classes = open_without_zipmaps(ort, name, source, native, providers)
        reject_silent_fallback(name, providers, session.get_providers())
        if extended and not options.unsafe_operators:
            raise ConfigError(
                f"model {name!r}: {_UNSAFE}: export without them and have inferd prepare pictures and texts (preprocess in the "
                "configuration), or, where only trusted clients ask, set unsafe_operators in the inferd part of that"
            )
        if extended:
            log.warning("model %r: %s; it is served, for unsafe_operators is set: let only trusted clients ask", name, _UNSAFE)
        rejecting = extensions_of(source) if extended else frozenset()
        model = cls(name, session, graph_of(name, session, classes), rejecting, arena, classes)
        model._run_entries = options.run_entries
        model._file = None if isinstance(source, bytes) else source
        return model

    def adapt(self, config: ModelConfig, where: str, source: str | os.PathLike[str] | bytes) -> None:
        """Changes graph, trials and backends to what clients see: the shapes of `reshape`, and listed inputs that have a default in the
        file. source: as for `load`. Raises ConfigError."""
        self._add_listed(config, where, source)
        self._reshape(config, where)

    def _add_listed(self, config: ModelConfig, where: str, source: str | os.PathLike[str] | bytes) -> None:
        """onnxruntime does not list an input that has an initializer among its inputs."""
        known = {node.name: node for node in self._session.get_overridable_initializers()}
        listed = [tensor_of(self.name, "input", known[entry.name]) for entry in config.input if entry.name in known]
        optional = {entry.name for entry in config.input if entry.optional}
        if without := sorted(optional - set(known)):
            raise ConfigError(
                f"{where}: input {without[0]!r}: optional is true, and the graph has no default for it: leave optional out, or export the "
                "model with an initializer of that name among the graph's inputs"
            )
        self._listed = frozenset(tensor.name for tensor in listed)
        if listed:
            self.graph = Graph((*self.graph.inputs, *listed), self.graph.outputs)
        if not optional:
            return
        try:
            values = initial_values(source, {tensor.name: tensor.datatype for tensor in listed if tensor.name in optional})
        except (OSError, ValueError, IndexError) as error:
            raise ConfigError(f"{where}: optional is true, and the defaults in the ONNX file cannot be read: {error}") from None
        self.defaults = values

    def _reshape(self, config: ModelConfig, where: str) -> None:
        tensors = (*self.graph.inputs, *self.graph.outputs)
        self._reshapes = reshapes = find_reshapes(config, {tensor.name: tensor.shape for tensor in tensors}, where)

        def seen(side: tuple[TensorInfo, ...]) -> tuple[TensorInfo, ...]:
            return tuple(replace(each, shape=reshapes[each.name].seen(each.shape)) if each.name in reshapes else each for each in side)

        if reshapes:
            self.graph = Graph(seen(self.graph.inputs), seen(self.graph.outputs))

    def trial(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Raises onnxruntime's own exceptions. BF16 inputs are arrays of UINT16; BF16 outputs are returned as FP32."""
        options = onnxruntime().RunOptions()
        options.log_severity_level = 4
        with limited(partial(setattr, options, "terminate", True)):
            return self._try(inputs, options)

    def _try(self, inputs: Mapping[str, Array], options: Any) -> dict[str, Array]:
        names = [tensor.name for tensor in self.graph.outputs]
        inputs = {name: inward(self._reshapes, name, array) for name, array in inputs.items()}
        if not any(tensor.datatype == "BF16" for tensor in (*self.graph.inputs, *self.graph.outputs)):
            outputs = zip(names, self._session.run(names, inputs, options), strict=True)
            return {name: outward(self._reshapes, name, array) for name, array in outputs}
        of_array = onnxruntime().OrtValue.ortvalue_from_numpy_with_onnx_type  # numpy has no such type, OrtValue has
        feed = {tensor.name: of_array(inputs[tensor.name], ONNX_NUMBER[tensor.datatype]) for tensor in self.graph.inputs}
        values = self._session.run_with_ort_values(names, feed, options)
        arrays = {
            tensor.name: outward(self._reshapes, tensor.name, array_of(value, tensor.datatype))
            for tensor, value in zip(self.graph.outputs, values, strict=True)
        }
        wide = {tensor.name for tensor in self.graph.outputs if tensor.datatype == "BF16"}
        return {name: widened(array) if name in wide else array for name, array in arrays.items()}

    def why_unbounded(self) -> str:
        return LoadedModel.why_unbounded(self) if self._file is None else why_unbounded(self._file, self._listed)

    def give_few_rows_to(self, other: LoadedModel, rows: int) -> None:
        assert isinstance(other, OnnxModel)
        self._few_session, self._few_rows = other._session, rows
        self.arenas = [*self.arenas, *other.arenas]

    def backend(self, signature: Signature) -> Backend:
        """Instances share this model's session."""
        words = {word for _, word, _ in (*signature.run_input_specs, *signature.run_output_specs)}
        if "BYTES" in words and "BF16" in words:
            raise ConfigError(
                f"model {self.name!r} mixes BYTES and BF16, which onnxruntime's Python interface cannot run: cast BF16 to FP32 in the graph"
            )
        try:
            given = OpenSession(self._session, self._rejecting, self.arena, self._reshapes), signature
            backend = BoundBackend(*given, self._few_session, self._few_rows) if signature.fixed else VaryingBackend(*given)
        except (MemoryError, ValueError):  # ValueError: numpy, for sizes that no machine has
            raise ConfigError(
                f"model {self.name!r}: the arrays of a run of {max(signature.max_batch_size, 1)} rows do not fit this machine's memory: "
                "set a smaller max_batch_size, or smaller dims"
            ) from None
        backend.enter(self._run_entries)
        return backend
