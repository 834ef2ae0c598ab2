"""ONNX Runtime: from a file to something that runs batches. The one importer of onnxruntime in this project.

`OnnxModel.load` opens a file, `OnnxModel.graph` has its inputs and outputs, `OnnxModel.backend` makes one `Backend` per instance.
Two kinds of backend run a model. Where every size but the rows is known, buffers are allocated and bound once, as each binding costs
several microseconds. Where sizes vary, each input has a growing arena, and ONNX Runtime allocates the outputs.

Never in here: queues, requests, the model's configuration. onnxruntime is imported by the first load, never by importing this module.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from inferd._core.inference.bound_runs import BoundRun, BoundRuns, CurrentRun
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.engine.graph.onnx_file import Subgraph, initial_values, read_onnx
from inferd.engine.graph.reshaping import Reshape, find_reshapes
from inferd.engine.graph.weights import Parts, check_room, parted
from inferd.engine.graph.zipmap import Cut, without_zipmaps
from inferd.engine.loading.load_faults import explained
from inferd.engine.loading.load_limit import limited
from inferd.engine.runtime.arena import RunArena
from inferd.errors import Cancelled, ConfigError, Internal, InvalidArgument, ResourceExhausted, RunFailed, StartError
from inferd.tensors import DTYPES, Array, widened

if TYPE_CHECKING:
    from inferd._core.batching.batch import Batch
    from inferd.protocol.inference import ModelConfig

__all__ = ["Backend", "Graph", "OnnxModel", "Provider", "SessionOptions", "TensorInfo", "available_providers", "fits", "versions"]

log = logging.getLogger("inferd.engine")


# onnxruntime's type -> the Open Inference Protocol's word, ONNX's element number.
_TYPES: dict[str, tuple[str, int]] = {
    "tensor(bool)": ("BOOL", 9),
    "tensor(uint8)": ("UINT8", 2),
    "tensor(uint16)": ("UINT16", 4),
    "tensor(uint32)": ("UINT32", 12),
    "tensor(uint64)": ("UINT64", 13),
    "tensor(int8)": ("INT8", 3),
    "tensor(int16)": ("INT16", 5),
    "tensor(int32)": ("INT32", 6),
    "tensor(int64)": ("INT64", 7),
    "tensor(float16)": ("FP16", 10),
    "tensor(float)": ("FP32", 1),
    "tensor(double)": ("FP64", 11),
    "tensor(string)": ("BYTES", 8),
    "tensor(bfloat16)": ("BF16", 16),
}
_ONNX_NUMBER = dict(_TYPES.values())

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_EXTENSIONS_DOMAINS = ("ai.onnx.contrib", "com.microsoft.extensions")  # of the operators of onnxruntime-extensions
# onnxruntime's text when an operator failed; `words` is the operator's own text.
_FAILED_NODE = re.compile(r"while running (?P<operator>\S+) node\. Name:'.*' Status Message: (?P<words>.*)", re.DOTALL)
# The beginning of that text, which the model decides. The rest may hold values of the request, even text that matches this again.
_FAILED_FIRST = re.compile(
    r"(\[ONNXRuntimeError\] : \d+ : \w+ : |Error in execution: )?"
    r"Non-zero status code returned while running (?P<operator>\S+) node\. Name:'(?P<node>[^']*)'"
)
# The operator got no memory from C++ or from onnxruntime's arena. The request is not at fault.
_NO_MEMORY = re.compile(r"std::bad_(alloc|array_new_length)|.*Failed to allocate memory for requested buffer of size \d+", re.DOTALL)
# Seen with onnxruntime-extensions 0.15: docs/preprocessing.md says which operator does what.
_UNSAFE = (
    "it has operators of onnxruntime-extensions, of which some end the whole process, or never return, on what any client may send "
    "(DecodeImage, EncodeImage, RaggedTensorToDense, StringJoin and others)"
)
_MAX_WORDS = 300  # characters of an operator's own text in an error to a client
_GPU_PROVIDERS = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider"})
_GRAPH_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_EXECUTION_MODES = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}

_QUANTIZED = b"uantizeLinear"  # the end of QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear
_LOOKED_THROUGH_BYTES = 1 << 20  # in the session of a larger file, optimizers are little beside the weights
_ALIGN_BYTES = 64  # a cache line, and the widest vector that MLAS loads
_KEPT_BYTES = 16 << 20  # largest input whose memory a varying backend keeps; larger ones are freed after their run
_CACHED_SHAPES = 32  # combinations of input shapes for which a varying backend keeps its views and binding


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider and its options, as onnxruntime spells them: ("CUDAExecutionProvider", {"device_id": "0"})."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a model is loaded. Thread counts of 0 leave the choice to onnxruntime (all cores).

    `providers` are tried in order; the CPU provider always comes last. Idle threads do not spin unless `spinning`:
    a spinning thread gains some microseconds a run and takes a core away from everything else.
    `graph_optimization` is disable, basic, extended or all; `execution_mode` sequential or parallel.
    `entries` are onnxruntime's own session configuration entries, passed as they are, `run_entries` those of each run.
    `unsafe_operators`: load even a graph with operators that a request can use to end the process.
    `max_run_bytes`: memory that all runs of the model may take together; 0 is no limit. Ignored where `memory_arena` is off, a GPU runs
    the model, or operators are unsafe: some write past the end of their memory.
    `memory_pattern`: one block of memory for a whole run of a known shape. None: only where there is no limit, for the block is allocated
    beside the memory that the first run of that shape took.
    """

    providers: tuple[Provider, ...] = ()
    intra_op_threads: int = 0
    inter_op_threads: int = 1
    spinning: bool = False
    graph_optimization: str = "all"
    execution_mode: str = "sequential"
    memory_arena: bool = True
    memory_pattern: bool | None = None
    entries: Mapping[str, str] = field(default_factory=dict)
    run_entries: Mapping[str, str] = field(default_factory=dict)
    unsafe_operators: bool = False
    max_run_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a graph. A size is a number, a symbol's name, or '' where the graph says nothing."""

    name: str
    datatype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A model's inputs and outputs, in the graph's order."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Backend(Protocol):
    """Runs batches of one instance, one at a time. Every method but `terminate` belongs to the instance's thread."""

    def inputs(self, batch: Batch) -> Tensors:
        """The arrays that `batch` is to be gathered into. Valid until the next call."""

    def run(self, rows: int) -> Tensors:
        """Runs the model over the first `rows` rows of the arrays that `inputs` returned. The outputs are valid until the next run.

        Raises Cancelled when `terminate` ended the run, InvalidArgument when an operator of onnxruntime-extensions rejects the contents.
        Raises ResourceExhausted when the run needs more than the model's memory limit. Raises Internal when an output does not match the
        signature, RunFailed when the model fails otherwise.
        """

    def terminate(self) -> None:
        """Ends the current run, if there is one, from any thread. The next run is not affected."""

    def close(self) -> None:
        """Frees buffers and bindings. Nothing runs afterwards."""


def _onnxruntime() -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else its wheels log their use in the home folder, and may send it
    try:
        import onnxruntime  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise StartError(
            "onnxruntime is not installed, and a model needs it: "
            "install inferd[cpu], or inferd[gpu] on a machine with an NVIDIA GPU (never both)"
        ) from None
    return onnxruntime


def available_providers() -> tuple[str, ...]:
    """Execution providers that this onnxruntime was built with. One that is built in may still fail for want of a device."""
    return tuple(_onnxruntime().get_available_providers())


def versions() -> dict[str, str]:
    """The version and the build line of the installed onnxruntime."""
    ort = _onnxruntime()
    return {"onnxruntime": ort.__version__, "build": ort.get_build_info()}


class OnnxModel:
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
        self.listed = frozenset[str]()  # inputs that have an initializer, and are inputs by the configuration
        self.defaults: dict[str, bytes] = {}  # of inputs that requests may leave out, as requests carry tensors
        self._session = session
        self._run_entries: Mapping[str, str] = {}
        self._rejecting = rejecting
        self._few_session, self._few_rows = session, 0  # the session for runs of at most so many rows
        self.providers: tuple[str, ...] = tuple(session.get_providers())

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes, options: SessionOptions | None = None, *, name: str = "") -> OnnxModel:
        """Loads a file, or the bytes of one. `name` is what errors call the model; the file's stem by default.

        Raises ConfigError for a broken or absent file, an unsupported type or an unknown provider. Raises StartError without onnxruntime,
        for an unreadable file, and for a provider that is absent or does not start.
        """
        options = options or SessionOptions()
        if not name:
            name = "model" if isinstance(source, bytes) else Path(source).stem
        ort = _onnxruntime()
        if not isinstance(source, bytes) and not Path(source).is_file():
            raise ConfigError(f"model {name!r}: there is no file {os.fspath(source)!r}; name a .onnx file, or a folder that holds one")
        if not isinstance(source, bytes) and not os.access(source, os.R_OK):
            raise StartError(f"model {name!r}: {os.fspath(source)!r} cannot be read: give the server's user the right to")
        if not isinstance(source, bytes):
            check_room(name, source)
        providers = _wanted_providers(name, options, ort.get_available_providers())
        on_cpu = all(full == "CPUExecutionProvider" for full, _ in providers)
        limited = on_cpu and options.memory_arena and not options.unsafe_operators
        with RunArena.opened(ort, options.max_run_bytes if limited else 0) as arena:
            native = _native_options(ort, options, arena, quantized=_may_be_quantized(source))
            session, extended, classes = _open_without_zipmaps(ort, name, source, native, providers)
        _reject_silent_fallback(name, providers, session.get_providers())
        if extended and not options.unsafe_operators:
            raise ConfigError(
                f"model {name!r}: {_UNSAFE}: export without them and have inferd prepare pictures and texts (preprocess in the "
                "configuration), or, where only trusted clients ask, set unsafe_operators in the inferd part of that"
            )
        if extended:
            log.warning("model %r: %s; it is served, for unsafe_operators is set: let only trusted clients ask", name, _UNSAFE)
        rejecting = _extensions_of(source) if extended else frozenset()
        model = cls(name, session, _graph_of(name, session, classes), rejecting, arena, classes)
        model._run_entries = options.run_entries
        return model

    def adapt(self, config: ModelConfig, where: str, source: str | os.PathLike[str] | bytes) -> None:
        """Changes graph, trials and backends to what clients see: the shapes of `reshape`, and listed inputs that have a default in the
        file. source: as for `load`. Raises ConfigError."""
        self._add_listed(config, where, source)
        self._reshape(config, where)

    def _add_listed(self, config: ModelConfig, where: str, source: str | os.PathLike[str] | bytes) -> None:
        """onnxruntime does not list an input that has an initializer among its inputs."""
        known = {node.name: node for node in self._session.get_overridable_initializers()}
        listed = [_tensor_of(self.name, "input", known[entry.name]) for entry in config.input if entry.name in known]
        optional = {entry.name for entry in config.input if entry.optional}
        if without := sorted(optional - set(known)):
            raise ConfigError(
                f"{where}: input {without[0]!r}: optional is true, and the graph has no default for it: leave optional out, or export the "
                "model with an initializer of that name among the graph's inputs"
            )
        self.listed = frozenset(tensor.name for tensor in listed)
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
        """One run outside of any instance, for questions about the model while it loads. Every output by name.

        Raises onnxruntime's own exceptions. BF16 inputs are arrays of UINT16; BF16 outputs are returned as FP32.
        """
        names = [tensor.name for tensor in self.graph.outputs]
        ort = _onnxruntime()
        options = ort.RunOptions()
        options.log_severity_level = 4
        with limited(partial(setattr, options, "terminate", True)):
            return self._try(names, inputs, options)

    def _try(self, names: list[str], inputs: Mapping[str, Array], options: Any) -> dict[str, Array]:
        ort = _onnxruntime()
        inputs = {name: _inward(self._reshapes, name, array) for name, array in inputs.items()}
        if not any(tensor.datatype == "BF16" for tensor in (*self.graph.inputs, *self.graph.outputs)):
            outputs = zip(names, self._session.run(names, inputs, options), strict=True)
            return {name: _outward(self._reshapes, name, array) for name, array in outputs}
        of_array = ort.OrtValue.ortvalue_from_numpy_with_onnx_type  # numpy has no such type, OrtValue has
        feed = {tensor.name: of_array(inputs[tensor.name], _ONNX_NUMBER[tensor.datatype]) for tensor in self.graph.inputs}
        values = self._session.run_with_ort_values(names, feed, options)
        arrays = {
            tensor.name: _outward(self._reshapes, tensor.name, _array_of(value, tensor.datatype))
            for tensor, value in zip(self.graph.outputs, values, strict=True)
        }
        wide = {tensor.name for tensor in self.graph.outputs if tensor.datatype == "BF16"}
        return {name: widened(array) if name in wide else array for name, array in arrays.items()}

    def give_few_rows_to(self, other: OnnxModel, rows: int) -> None:
        """Backends made from now on run batches of at most `rows` on the session of `other`, the same model loaded with fewer threads."""
        self._few_session, self._few_rows = other._session, rows
        self.arenas += other.arenas

    def backend(self, signature: Signature) -> Backend:
        """A backend for one instance. Instances share this model's session; each has buffers of its own.

        Raises ConfigError where memory is too small for the buffers.
        """
        words = {word for _, word, _ in (*signature.run_input_specs, *signature.run_output_specs)}
        if "BYTES" in words and "BF16" in words:
            raise ConfigError(
                f"model {self.name!r} mixes BYTES and BF16, which onnxruntime's Python interface cannot run: cast BF16 to FP32 in the graph"
            )
        try:
            given = self._session, signature, self._rejecting, self.arena, self._reshapes
            few = self._few_session, self._few_rows
            backend = _BoundBackend(*given, *few) if signature.fixed else _VaryingBackend(*given)
        except (MemoryError, ValueError):  # ValueError: numpy, for sizes that no machine has
            raise ConfigError(
                f"model {self.name!r}: the arrays of a run of {max(signature.max_batch_size, 1)} rows do not fit this machine's memory: "
                "set a smaller max_batch_size, or smaller dims"
            ) from None
        backend.enter(self._run_entries)
        return backend


def _wanted_providers(name: str, options: SessionOptions, available: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    wanted: list[tuple[str, dict[str, str]]] = []
    for provider in options.providers:
        full = _PROVIDERS.get(provider.name.lower(), provider.name)
        if full in available:
            wanted.append((full, dict(provider.options)))
            continue
        there = ", ".join(available)
        if full in _GPU_PROVIDERS:
            raise StartError(
                f"model {name!r} asks for {full}, but the installed onnxruntime has only {there}: "
                "install inferd[gpu] instead of inferd[cpu], or ask for the CPU"
            )
        raise ConfigError(f"model {name!r} asks for the execution provider {provider.name!r}; this onnxruntime has {there}")
    if all(full != "CPUExecutionProvider" for full, _ in wanted):
        wanted.append(("CPUExecutionProvider", {}))
    return wanted


def _may_be_quantized(source: str | os.PathLike[str] | bytes) -> bool:
    """Whether a file has operators such as DequantizeLinear, or is too large to look."""
    if not isinstance(source, bytes):
        path = Path(source)
        source = path.read_bytes() if path.stat().st_size <= _LOOKED_THROUGH_BYTES else _QUANTIZED
    return _QUANTIZED in source


def _native_options(ort: Any, options: SessionOptions, arena: RunArena | None = None, *, quantized: bool = True) -> Any:
    """quantized: with the optimizers of quantized operators. A session keeps all of its optimizers, and those take 19 KB."""
    native = ort.SessionOptions()
    native.intra_op_num_threads = options.intra_op_threads
    native.inter_op_num_threads = options.inter_op_threads
    native.graph_optimization_level = getattr(
        ort.GraphOptimizationLevel, _choice("graph_optimization", options.graph_optimization, _GRAPH_LEVELS)
    )
    native.execution_mode = getattr(ort.ExecutionMode, _choice("execution_mode", options.execution_mode, _EXECUTION_MODES))
    native.enable_cpu_mem_arena = options.memory_arena
    native.enable_mem_pattern = arena is None if options.memory_pattern is None else options.memory_pattern
    native.log_severity_level = 4  # fatal: what fails is raised, and told once, by us
    spin = "1" if options.spinning else "0"
    entries = {
        "session.intra_op.allow_spinning": spin,
        "session.inter_op.allow_spinning": spin,
        **({} if quantized else {"session.disable_quant_qdq": "1"}),
        **(arena.entries if arena else {}),
        **options.entries,
    }
    for key, value in entries.items():
        native.add_session_config_entry(key, value)
    return native


def _choice(option: str, value: str, choices: Mapping[str, str]) -> str:
    if value not in choices:
        raise ConfigError(f"{option} is {value!r}; it must be one of {', '.join(choices)}")
    return choices[value]


def _open_without_zipmaps(
    ort: Any, name: str, source: str | os.PathLike[str] | bytes, native: Any, providers: list[tuple[str, dict[str, str]]]
) -> tuple[Any, bool, Cut]:
    """Returns what _open_session returns, and the ZipMaps that were cut. onnxruntime has no type for skl2onnx's ZipMap of FP64."""
    try:
        session, extended = _open_session(ort, name, source, native, providers)
        if not any(output.type.startswith("seq(map(") for output in session.get_outputs()):
            return session, extended, {}
    except ConfigError as error:
        if "ZipMap" not in str(error):
            raise
    content, cut = without_zipmaps(source)
    return *_open_session(ort, name, content, native, providers), cut


def _open_session(
    ort: Any,
    name: str,
    source: str | os.PathLike[str] | bytes,
    native: Any,
    providers: list[tuple[str, dict[str, str]]],
    *,
    extended: bool = False,
) -> tuple[Any, bool]:
    """The session, and whether it needs the operators of onnxruntime-extensions."""
    file = source if isinstance(source, bytes) else os.fspath(source)
    if not extended and (parts := _parts_of(native, source, providers)) is not None:
        names, weights = list(parts.weights), list(parts.weights.values())
        native.add_external_initializers_from_files_in_memory(names, weights, [each.nbytes for each in weights])
        file = parts.graph
    try:
        # enable_fallback=0: onnxruntime must not print, and retry on the CPU, when a provider fails.
        session = ort.InferenceSession(file, native, providers=providers, enable_fallback=0)
        return session, extended
    except UnicodeDecodeError:
        raise _not_utf8(name) from None
    except Exception as error:
        text = _plain(error, source)
        domain = next((domain for domain in _EXTENSIONS_DOMAINS if domain in text), None)
        if domain and not extended:
            return _open_session(ort, name, source, _extended(name, domain, native), providers, extended=True)
        asked = [full for full, _ in providers if full != "CPUExecutionProvider"]
        if asked and any(full.removesuffix("ExecutionProvider").lower() in text.lower() for full in asked):
            raise StartError(f"model {name!r}: {', '.join(asked)} did not start: {text}") from None
        raise ConfigError(f"model {name!r} cannot be loaded: {explained(text)}") from None


def _parts_of(native: Any, source: str | os.PathLike[str] | bytes, providers: list[tuple[str, dict[str, str]]]) -> Parts | None:
    """None: onnxruntime reads the whole source, as it is small, for a GPU, or this version takes no weights from memory."""
    on_gpu = any(full in _GPU_PROVIDERS for full, _ in providers)
    if isinstance(source, bytes) or on_gpu or not hasattr(native, "add_external_initializers_from_files_in_memory"):
        return None
    return parted(source)


def _extended(name: str, domain: str, native: Any) -> Any:
    """Session options that know the operators of onnxruntime-extensions: models that carry their own preprocessing have them."""
    # The package is not imported: it would set a variable of the environment that makes protobuf slow in every child process.
    spec = find_spec("onnxruntime_extensions")
    folders = spec.submodule_search_locations if spec is not None else None
    libraries = [path for folder in folders or () for path in sorted(Path(folder).glob("_extensions_pydll*"))]
    if not libraries:
        raise ConfigError(
            f"model {name!r} has operators of {domain}, and the package that knows them is not installed: pip install 'inferd[extensions]'"
        )
    native.register_custom_ops_library(str(libraries[0]))
    return native


def _extensions_of(source: str | os.PathLike[str] | bytes) -> frozenset[str]:
    """The operators of onnxruntime-extensions in a file, without those whose name an operator of another domain has, too."""
    try:
        file = read_onnx(source)
    except (OSError, ValueError, IndexError, RecursionError):
        return frozenset()
    theirs, others = set[str](), set[str]()
    graphs = [file.graph, *(Subgraph(function.nodes, frozenset(), ()) for function in file.functions.values())]
    while graphs:
        for node in graphs.pop().nodes:
            (theirs if node.domain in _EXTENSIONS_DOMAINS else others).add(node.operator)
            graphs += node.graphs
    return frozenset(theirs - others)


def _rejection(error: Exception, rejecting: frozenset[str], model_name: str, inputs: Sequence[str]) -> InvalidArgument | None:
    """The error for a client whose request one of these operators rejected; None where something else failed."""
    found = _FAILED_NODE.search(str(error)) if rejecting else None
    if found is None or found["operator"] not in rejecting or _NO_MEMORY.fullmatch(found["words"].strip()):
        return None
    words = " ".join(word for word in found["words"].split() if "/" not in word and "\\" not in word)  # no paths
    names = ", ".join(map(repr, inputs))
    return InvalidArgument(
        f"model {model_name!r}: its operator {found['operator']} rejected what was sent ({words:.{_MAX_WORDS}}): "
        f"send what that operator takes in {names:.{_MAX_WORDS}}",
        reason="bad_content",
    )


def _run_failed(model_name: str, error: Exception) -> RunFailed:
    """The error of a failed run. The first text is without onnxruntime's, which may hold values of the request."""
    found = _FAILED_FIRST.match(str(error))
    place = f" in operator {found['operator']}, node {found['node']!r}" if found else ""
    memory = ": it got no memory" if _NO_MEMORY.search(str(error)) else ""
    return RunFailed(f"model {model_name!r}: onnxruntime raised {type(error).__name__}{place}{memory}", str(error))


def _plain(error: Exception, source: str | os.PathLike[str] | bytes) -> str:
    """onnxruntime's own words, on one line, without its code in front and without our folders."""
    text = str(error)
    if not isinstance(source, bytes):
        text = text.replace(os.fspath(source), Path(source).name)
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def _reject_silent_fallback(name: str, wanted: list[tuple[str, dict[str, str]]], active: Sequence[str]) -> None:
    """onnxruntime-gpu lists the CUDA provider on machines without a GPU, and then runs on the CPU without a word."""
    missing = [full for full, _ in wanted if full not in active]
    if missing:
        raise StartError(
            f"model {name!r} asks for {', '.join(missing)}, but onnxruntime started only {', '.join(active)}: "
            "check the GPU, its driver and the CUDA and cuDNN libraries (inferd[gpu] brings them), or ask for the CPU"
        )


def _graph_of(name: str, session: Any, classes: Cut) -> Graph:
    """classes: by output whose ZipMap was cut. The output has a column for each class, even if onnxruntime does not know its shape."""
    try:
        inputs, outputs = (
            tuple(_tensor_of(name, side, node) for node in nodes)
            for side, nodes in (("input", session.get_inputs()), ("output", session.get_outputs()))
        )
    except UnicodeDecodeError:
        raise _not_utf8(name) from None
    known = (replace(each, shape=("", len(classes[each.name]))) if each.name in classes and not each.shape else each for each in outputs)
    return Graph(inputs, tuple(known))


def _not_utf8(name: str) -> ConfigError:
    return ConfigError(
        f"model {name!r} cannot be loaded: the name of an input, output, axis or operator in its file is not UTF-8 text, as ONNX has it: "
        "give it another name, and export the model again"
    )


def _tensor_of(name: str, side: str, node: Any) -> TensorInfo:
    if node.type not in _TYPES:
        cure = "cast or remove it in the graph"
        if node.type.startswith("seq(map("):
            cure = "convert the model with zipmap=False (skl2onnx: options={'zipmap': False}), which gives a plain tensor"
        elif node.type.startswith("seq("):
            cure = "give each element an output of its own, or join them with ConcatFromSequence"
        elif node.type.startswith("optional("):
            cure = "make it an ordinary tensor in the graph"
        raise ConfigError(f"model {name!r}: {side} {node.name!r} has the type {node.type}, which no request can carry: {cure}")
    return TensorInfo(node.name, _TYPES[node.type][0], tuple("" if size is None else size for size in node.shape))


Spec = tuple[str, str, tuple[int, ...]]  # name, datatype, shape with the batch axis; -1: any size
Reshapes = Mapping[str, Reshape]  # by tensor


def _inward(reshapes: Reshapes, name: str, array: Array) -> Array:
    """The same memory in the graph's shape."""
    return array.reshape(reshapes[name].inward(array.shape)) if name in reshapes else array


def _outward(reshapes: Reshapes, name: str, array: Array) -> Array:
    """The same memory in the shape that clients see."""
    return array.reshape(reshapes[name].outward(array.shape)) if name in reshapes else array


class _Run:
    """Shared by both backends: the run that `terminate` ends, and runs whose outputs onnxruntime allocates."""

    def __init__(
        self,
        session: Any,
        signature: Signature,
        rejecting: frozenset[str] = frozenset(),
        arena: RunArena | None = None,
        reshapes: Reshapes | None = None,
    ) -> None:
        self._rejecting = rejecting
        self._reshapes = reshapes or {}
        self._arena = arena
        self._batched = signature.max_batch_size > 0
        self._input_specs, self._output_specs = signature.run_input_specs, signature.run_output_specs
        self._input_words = [word for _, word, _ in self._input_specs]
        self._output_words = [word for _, word, _ in self._output_specs]
        self._output_names = [name for name, _, _ in self._output_specs]
        self._model_name = signature.model_name.decode()
        self._options = _onnxruntime().RunOptions()
        self._options.log_severity_level = 4  # fatal: a failed run is raised, and told once, by us
        self.current = CurrentRun(self._options)
        self._session = session
        # The objects inside session and binding skip a Python layer, worth half a microsecond a run.
        self._inside = hasattr(session, "_sess") and hasattr(session.io_binding(), "_iobinding")
        self._inner = self._inside_of(session)
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
            arrays = [_inward(self._reshapes, name, array) for array, (name, _, _) in zip(arrays, self._input_specs, strict=True)]
        if not self._as_values:
            return {name: array for array, (name, _, _) in zip(arrays, self._input_specs, strict=True)}
        of_array = _onnxruntime().OrtValue.ortvalue_from_numpy_with_onnx_type
        return {name: of_array(array, _ONNX_NUMBER[word]) for array, (name, word, _) in zip(arrays, self._input_specs, strict=True)}

    def _run_allocating(self, feed: dict[str, Any], rows: int, *, again: bool = False) -> Tensors:
        self.current.begin()
        try:
            if self._as_values:
                values = self._session.run_with_ort_values(self._output_names, feed, self._options)
            else:
                arrays = self._inner.run(self._output_names, feed, self._options)
        except Exception as error:
            if self.current.end():
                raise _cancelled() from None
            if not again and self._make_room(error):
                return self._run_allocating(feed, rows, again=True)
            self._raise_rejection(error, rows)
            raise _run_failed(self._model_name, error) from None
        self.current.end()
        if self._as_values:
            arrays = [_array_of(value, word) for value, word in zip(values, self._output_words, strict=True)]
        if self._reshapes:
            arrays = [_outward(self._reshapes, name, array) for array, name in zip(arrays, self._output_names, strict=True)]
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
        rejection = _rejection(error, self._rejecting, self._model_name, [name for name, _, _ in self._input_specs])
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


class _BoundBackend(_Run, BoundRuns):
    """Every size but the rows is known: arrays, views and bindings are made once, and a run allocates nothing."""

    def __init__(
        self,
        session: Any,
        signature: Signature,
        rejecting: frozenset[str] = frozenset(),
        arena: RunArena | None = None,
        reshapes: Reshapes | None = None,
        few_session: Any = None,
        few_rows: int = 0,
    ) -> None:
        super().__init__(session, signature, rejecting, arena, reshapes)
        self._few_session, self._few_rows = few_session, few_rows
        self._most_rows = max(signature.max_batch_size, 1)
        self._input_arrays = [self._whole(spec) for spec in self._input_specs]
        self._output_arrays = [self._whole(spec) for spec in self._output_specs]
        self.bound = [None] * (self._most_rows + 1)
        self.keeps_promise = True

    def _whole(self, spec: Spec) -> Array:
        _, word, shape = spec
        return _aligned((self._most_rows, *shape[1:]) if self._batched else shape, DTYPES[word])

    def _views(self, arrays: list[Array], rows: int) -> list[Array]:
        return [array[:rows] for array in arrays] if self._batched else arrays

    def bind(self, rows: int) -> BoundRun:
        """Makes the binding for this many rows, at their first run."""
        inputs, outputs = self._views(self._input_arrays, rows), self._views(self._output_arrays, rows)
        session = self._few_session if rows <= self._few_rows else self._session
        binding = session.io_binding()
        for array, (name, word, _) in zip(inputs, self._input_specs, strict=True):
            shape = list(_inward(self._reshapes, name, array).shape)
            binding.bind_input(name, "cpu", 0, _ONNX_NUMBER[word], shape, array.ctypes.data)
        for array, (name, word, _) in zip(outputs, self._output_specs, strict=True):
            shape = list(_inward(self._reshapes, name, array).shape)
            binding.bind_output(name, "cpu", 0, _ONNX_NUMBER[word], shape, array.ctypes.data)
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
            raise _cancelled() from None
        if self._make_room(error):
            return self._run_allocating(self._feed(self._views(self._input_arrays, rows)), rows, again=True)
        self._raise_rejection(error, rows)
        bound = self.bound[rows]
        if bound is not None and bound.proven:
            raise _run_failed(self._model_name, error) from None
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


class _VaryingBackend(_Run):
    """Sizes vary: each input has an arena that grows up to _KEPT_BYTES, and its arrays are views of it. A larger input gets a new array.
    onnxruntime allocates the outputs.

    Views of the last _CACHED_SHAPES combinations of shapes are kept. Text has no arena: its elements are Python objects.
    """

    def __init__(
        self,
        session: Any,
        signature: Signature,
        rejecting: frozenset[str] = frozenset(),
        arena: RunArena | None = None,
        reshapes: Reshapes | None = None,
    ) -> None:
        super().__init__(session, signature, rejecting, arena, reshapes)
        self._arenas: list[Array] = [_aligned((0,), np.uint8) for _ in self._input_specs]
        self._views: dict[tuple[tuple[int, ...], ...], tuple[Tensors, dict[str, Any]]] = {}
        self._next_feed: dict[str, Any] = {}  # the next run's inputs
        self._has_text = "BYTES" in self._input_words

    def inputs(self, batch: Batch) -> Tensors:
        shapes = tuple([batch.input_shape(index) for index in range(len(self._input_specs))])
        views = self._views.get(shapes)
        if views is None:
            arrays = [self._array(index, shape) for index, shape in enumerate(shapes)]
            views = self._tensors(arrays, self._input_words, batch.rows), self._feed(arrays)
            if len(self._views) >= _CACHED_SHAPES:
                del self._views[next(iter(self._views))]
            if not self._has_text and all(array.nbytes <= _KEPT_BYTES for array in arrays):
                self._views[shapes] = views
        tensors, self._next_feed = views
        return tensors

    def _array(self, index: int, shape: tuple[int, ...]) -> Array:
        dtype = DTYPES[self._input_words[index]]
        if dtype.hasobject:
            return np.empty(shape, dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes > _KEPT_BYTES:  # the allocation costs little beside such a run
            return _aligned(shape, dtype)
        if nbytes > self._arenas[index].nbytes:
            self._arenas[index] = _aligned((max(nbytes, 2 * self._arenas[index].nbytes),), np.uint8)
            self._views.clear()  # they look into the old arena
        array: Array = self._arenas[index][:nbytes].view(dtype).reshape(shape)
        return array

    def run(self, rows: int) -> Tensors:
        feed, self._next_feed = self._next_feed, {}
        return self._run_allocating(feed, rows)

    def close(self) -> None:
        self._next_feed = {}
        self._views.clear()
        self._arenas = []


def fits(promised: Sequence[int | str], shape: Sequence[int]) -> bool:
    """Whether an array has the promised shape. -1, or a symbol, stands for any size."""
    return len(promised) == len(shape) and all(
        isinstance(size, str) or size in (-1, got) for size, got in zip(promised, shape, strict=True)
    )


def _cancelled() -> Cancelled:
    return Cancelled("the run was ended because nobody waits for its answer any longer")


def _aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array whose first byte lies at a multiple of 64. The system gives it pages only as rows are used."""
    wanted = np.dtype(dtype)
    nbytes = math.prod(shape) * wanted.itemsize
    room = np.empty(nbytes + _ALIGN_BYTES, dtype=np.uint8)
    start = -room.ctypes.data % _ALIGN_BYTES
    aligned: Array = room[start : start + nbytes].view(wanted).reshape(shape)
    return aligned


def _array_of(value: Any, word: str) -> Array:
    """The memory of an OrtValue as an array, without a copy. The array keeps the value alive."""
    if word != "BF16":
        array: Array = value.numpy()
        return array
    shape = tuple(value.shape())
    nbytes = 2 * math.prod(shape)
    if nbytes == 0:
        return np.empty(shape, dtype=np.uint16)
    memory: Any = (ctypes.c_char * nbytes).from_address(value.data_ptr())
    memory.owner = value
    return np.frombuffer(memory, dtype=np.uint16).reshape(shape)
