"""Opens a file as a session of onnxruntime: its graph and its weights apart, without ZipMaps, with operators of onnxruntime-extensions
where it has some."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from inferd.engine.graph.onnx_file import Subgraph, read_onnx
from inferd.engine.graph.weights import Parts, parted
from inferd.engine.graph.zipmap import Cut, without_zipmaps
from inferd.engine.loading.load_faults import explained
from inferd.engine.runtime.onnx.options import GPU_PROVIDERS
from inferd.engine.runtime.onnx.tensor_types import not_utf8
from inferd.errors import ConfigError, StartError

_EXTENSIONS_DOMAINS = ("ai.onnx.contrib", "com.microsoft.extensions")  # of the operators of onnxruntime-extensions


def open_without_zipmaps(
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
        raise not_utf8(name) from None
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
    on_gpu = any(full in GPU_PROVIDERS for full, _ in providers)
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


def extensions_of(source: str | os.PathLike[str] | bytes) -> frozenset[str]:
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


def _plain(error: Exception, source: str | os.PathLike[str] | bytes) -> str:
    """onnxruntime's own words, on one line, without its code in front and without our folders."""
    text = str(error)
    if not isinstance(source, bytes):
        text = text.replace(os.fspath(source), Path(source).name)
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def reject_silent_fallback(name: str, wanted: list[tuple[str, dict[str, str]]], active: Sequence[str]) -> None:
    """onnxruntime-gpu lists the CUDA provider on machines without a GPU, and then runs on the CPU without a word."""
    missing = [full for full, _ in wanted if full not in active]
    if missing:
        raise StartError(
            f"model {name!r} asks for {', '.join(missing)}, but onnxruntime started only {', '.join(active)}: "
            "check the GPU, its driver and the CUDA and cuDNN libraries (inferd[gpu] brings them), or ask for the CPU"
        )
