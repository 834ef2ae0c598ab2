"""Translates a settled configuration to the options of ONNX Runtime: execution providers, threads and graph optimization.

The configuration has the words of Triton's ONNX Runtime back end (`parameters`, `optimization`, `execution_accelerators`). Never in here:
onnxruntime itself, the graph.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from inferd.engine.configuration.resources import gpu_providers, number
from inferd.engine.runtime.arena import DECAY_S
from inferd.engine.runtime.onnx.options import Provider, SessionOptions
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from inferd.engine.configuration.config_sources import Defaults, Written
    from inferd.protocol.inference import ModelConfig

_GRAPH_LEVELS = {0: "all", -1: "basic", 1: "extended", 2: "disable"}  # the numbers of Triton's ONNX Runtime back end
_CUDA_PARAMETERS = {
    "cudnn_conv_algo_search": {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"},
    "gpu_mem_limit": {},
    "arena_extend_strategy": {"0": "kNextPowerOfTwo", "1": "kSameAsRequested"},
    "do_copy_in_default_stream": {},
    "cudnn_conv_use_max_workspace": {},
}
_PARAMETERS = ("intra_op_thread_count", "inter_op_thread_count", "execution_mode", "enable_mem_arena", "enable_mem_pattern")
_SHRINKAGE = "memory.enable_memory_arena_shrinkage"  # an entry of each run: the devices whose arenas shrink after it
_DEVICES = re.compile(r"(cpu|gpu):\d+(;(cpu|gpu):\d+)*", re.ASCII)
_KNOWN = (*_PARAMETERS, *_CUDA_PARAMETERS, _SHRINKAGE)
MISSPELT = 0.85  # a key that is so similar to one of these is misspelt; others are keys of other back ends
# onnxruntime takes any key, and ignores unknown ones. These are those of its onnxruntime_session_options_config_keys.h, without keys that
# have a parameter or a field here.
_ENTRIES = frozenset(
    "session." + word
    for word in (
        "allow_released_opsets_only",
        "collect_node_memory_stats_to_file",
        "debug_layout_transformation",
        "disable_aot_function_inlining",
        "disable_cpu_ep_fallback",
        "disable_double_qdq_remover",
        "disable_model_compile",
        "disable_prepacking",
        "disable_qdq_constant_folding",
        "disable_quant_qdq",
        "dynamic_block_base",
        "enable_dq_matmulnbits_fusion",
        "enable_quant_qdq_cleanup",
        "force_spinning_stop",
        "graph_optimizations_loop_level",
        "inter_op.allow_spinning",
        "intra_op.allow_spinning",
        "intra_op_thread_affinities",
        "load_model_format",
        "model_external_initializers_file_folder_path",
        "node_partition_config_file",
        "optimized_model_external_initializers_file_name",
        "optimized_model_external_initializers_min_size_in_bytes",
        "qdq_matmulnbits_accuracy_level",
        "qdq_matmulnbits_block_size",
        "qdqisint8allowed",
        "record_ep_graph_assignment_info",
        "resource_cuda_partitioning_settings",
        "save_external_prepacked_constant_initializers",
        "save_model_format",
        "set_denormal_as_zero",
        "strict_shape_type_inference",
        "use_device_allocator_for_initializers",
        "use_env_allocators",
        "use_ort_model_bytes_directly",
        "use_ort_model_bytes_for_initializers",
        "x64quantprecision",
    )
)
_TENSORRT_PARAMETERS = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_PRECISIONS: dict[str, dict[str, str]] = {"FP32": {}, "FP16": {"trt_fp16_enable": "1"}, "INT8": {"trt_int8_enable": "1"}}


def session_options(written: Written, config: ModelConfig, defaults: Defaults) -> SessionOptions:
    """The options for a settled configuration. Raises ConfigError."""
    ignored_keys = {key for key, _ in ignored_parameters(written.config, on_cpu=not gpu_providers(written.config, defaults))}
    parameters = {key: value.string_value for key, value in config.parameters.items() if key not in ignored_keys}
    for key in parameters:
        if key.startswith("session.") and key not in _ENTRIES:
            near = difflib.get_close_matches(key, _ENTRIES, 1)
            hint = f"did you mean {near[0]!r}?" if near else "remove it"
            raise ConfigError(f"{written.where}: parameters {key!r} is no session option that onnxruntime documents: {hint}")
        if key not in _KNOWN and key not in _ENTRIES:
            near = difflib.get_close_matches(key, _KNOWN, 1, MISSPELT)
            hint = f": did you mean {near[0]!r}?" if near else ""
            known = ", ".join(_KNOWN)
            raise ConfigError(f"{written.where}: parameters {key!r} is not known; known are {known} and onnxruntime's session.*{hint}")
    if _SHRINKAGE in parameters and not _DEVICES.fullmatch(parameters[_SHRINKAGE]):
        raise ConfigError(
            f"{written.where}: parameters {_SHRINKAGE!r} is {parameters[_SHRINKAGE]!r:.100}; it must name devices, such as gpu:0;cpu:0"
        )
    level = config.optimization.graph.level
    if level not in _GRAPH_LEVELS:
        raise ConfigError(
            f"{written.where}: optimization.graph.level is {level}; it is -1 (basic), 1 (extended) or 2 (none), or left out (all)"
        )
    parallel = bool(number(written, "execution_mode", 0, 1)) or config.inferd.inter_op_threads > 1
    return SessionOptions(
        providers=tuple(_providers(written, config, defaults, parameters)),
        intra_op_threads=config.inferd.intra_op_threads,
        inter_op_threads=config.inferd.inter_op_threads,
        spinning=config.inferd.spinning,
        unsafe_operators=config.inferd.unsafe_operators,
        graph_optimization=_GRAPH_LEVELS[level],
        execution_mode="parallel" if parallel else "sequential",
        memory_arena=bool(number(written, "enable_mem_arena", 0, 1, 1)),
        max_run_bytes=config.inferd.max_run_bytes,
        memory_pattern=bool(number(written, "enable_mem_pattern", 0, 1)) if "enable_mem_pattern" in parameters else None,
        entries={key: value for key, value in parameters.items() if key in _ENTRIES},
        run_entries={key: value for key, value in parameters.items() if key == _SHRINKAGE},
    )


def ignored_parameters(config: ModelConfig, *, on_cpu: bool) -> Iterator[tuple[str, str]]:
    """On a CPU: parameters for a GPU, and those of other back ends unless they look misspelt."""
    for key in sorted(config.parameters) if on_cpu else ():
        if key == _SHRINKAGE:
            yield key, f"has no effect: on the CPU, memory that no run uses goes back to the system every {DECAY_S:g} s in any case"
        elif key in _CUDA_PARAMETERS:
            yield key, "has no effect: it is for a GPU, and the model runs on the CPU"
        elif key not in _PARAMETERS and not key.startswith("session.") and not difflib.get_close_matches(key, _KNOWN, 1, MISSPELT):
            yield key, f"has no effect: inferd knows {', '.join(_PARAMETERS)} and onnxruntime's session.*"


def _providers(written: Written, config: ModelConfig, defaults: Defaults, parameters: Mapping[str, str]) -> Iterator[Provider]:
    accelerators = config.optimization.execution_accelerators
    wanted = gpu_providers(written.config, defaults)
    if not wanted:
        return
    asked = {accelerator.name: dict(accelerator.parameters) for accelerator in accelerators.gpu_execution_accelerator}
    for name in asked:
        if name not in ("cuda", "tensorrt"):
            raise ConfigError(f"{written.where}: gpu_execution_accelerator {name!r} is not supported; it may be tensorrt or cuda")
    for name in asked:
        if name not in wanted:
            raise ConfigError(f"{written.where}: gpu_execution_accelerator {name!r} needs instance_group kind KIND_GPU")
    for name in wanted:
        device = {"device_id": str(config.instance_group[0].gpus[0])}
        if name == "tensorrt":
            yield Provider(name, device | _tensorrt_options(written, asked.get(name, {})))
        else:
            legacy = {key: _CUDA_PARAMETERS[key].get(value, value) for key, value in parameters.items() if key in _CUDA_PARAMETERS}
            yield Provider(name, device | legacy | asked.get(name, {}))


def _tensorrt_options(written: Written, parameters: Mapping[str, str]) -> dict[str, str]:
    """Translates Triton's names of TensorRT options to onnxruntime's. Names that start with trt_ are onnxruntime's already."""
    result: dict[str, str] = {}
    for key, value in parameters.items():
        if key == "precision_mode":
            if value not in _PRECISIONS:
                raise ConfigError(f"{written.where}: tensorrt precision_mode is {value!r}; it must be FP32, FP16 or INT8")
            result |= _PRECISIONS[value]
        elif key in _TENSORRT_PARAMETERS or key.startswith("trt_"):
            result[_TENSORRT_PARAMETERS.get(key, key)] = value
        else:
            known = ", ".join(("precision_mode", *_TENSORRT_PARAMETERS))
            raise ConfigError(f"{written.where}: tensorrt parameter {key!r} is not known; known are {known} and onnxruntime's trt_*")
    return result
