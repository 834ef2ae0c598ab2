"""The options of a session, in words of this project and in those of onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferd.errors import ConfigError, StartError

if TYPE_CHECKING:
    import os

    from inferd.engine.runtime.arena import RunArena

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
GPU_PROVIDERS = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider"})
_GRAPH_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_EXECUTION_MODES = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}
_QUANTIZED = b"uantizeLinear"  # the end of QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear
_LOOKED_THROUGH_BYTES = 1 << 20  # in the session of a larger file, optimizers are little beside the weights


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


def wanted_providers(name: str, options: SessionOptions, available: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    wanted: list[tuple[str, dict[str, str]]] = []
    for provider in options.providers:
        full = _PROVIDERS.get(provider.name.lower(), provider.name)
        if full in available:
            wanted.append((full, dict(provider.options)))
            continue
        there = ", ".join(available)
        if full in GPU_PROVIDERS:
            raise StartError(
                f"model {name!r} asks for {full}, but the installed onnxruntime has only {there}: "
                "install inferd[gpu] instead of inferd[cpu], or ask for the CPU"
            )
        raise ConfigError(f"model {name!r} asks for the execution provider {provider.name!r}; this onnxruntime has {there}")
    if all(full != "CPUExecutionProvider" for full, _ in wanted):
        wanted.append(("CPUExecutionProvider", {}))
    return wanted


def may_be_quantized(source: str | os.PathLike[str] | bytes) -> bool:
    """Whether a file has operators such as DequantizeLinear, or is too large to look."""
    if not isinstance(source, bytes):
        path = Path(source)
        source = path.read_bytes() if path.stat().st_size <= _LOOKED_THROUGH_BYTES else _QUANTIZED
    return _QUANTIZED in source


def native_options(ort: Any, options: SessionOptions, arena: RunArena | None = None, *, quantized: bool = True) -> Any:
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
