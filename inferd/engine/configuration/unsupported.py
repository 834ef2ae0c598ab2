"""Fields of a model's configuration that inferd does not support, and values that no server could honour.

A configuration is never half obeyed: each of these raises a ConfigError that names the field, its meaning and the cure. Fields that change
no response and are common in repositories are only logged at load (`ignored`). On a CPU these include all fields for a GPU alone. Never in
here: the graph (model_config compares with it), files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from inferd.engine.graph.reshaping import holds_as_much
from inferd.engine.runtime.runtimes import unknown_names
from inferd.errors import ConfigError

MAX_INSTANCES = 1024
MAX_WARMUP_ELEMENTS = 1 << 27  # of one input of one run: 1 GiB at 8 bytes each

# Rejected with any value: field -> what it asks for, then a semicolon and the cure, unless that is to remove the field.
_STATEFUL = (
    "stateful sequences; keep the model where it is, or export its state as inputs and outputs: without the field its responses are wrong"
)
_RAGGED = "keep the model where it is: without the field its responses are wrong"
_FIELDS = {
    "runtime": "another build of the back end",
    "sequence_batching": _STATEFUL,
    "cc_model_filenames": "a file for each compute capability; write default_model_filename",
    "batch_input": f"inputs that describe a ragged batch; {_RAGGED}",
    "batch_output": f"outputs of a ragged batch; {_RAGGED}",
    "model_operations": "libraries of custom operators",
    "model_repository_agents": "repository agents",
    "model_metrics": "metrics of its own; remove the field: inferd's histograms are always on",
}
# Rejected with any value except their default.
_VALUES = {
    "response_cache.enable": "a response cache",
    "model_transaction_policy.decoupled": "several responses to one request",
    "optimization.priority": "priority over other models",
    "optimization.eager_batching": "eager batching; remove the field: a batch gathers while another runs without it",
}
# The same, where a GPU runs the model; on a CPU they have no effect.
_GPU_VALUES = {
    "optimization.cuda.graphs": "CUDA graphs",
    "optimization.cuda.busy_wait_events": "busy waiting on CUDA events",
    "optimization.cuda.graph_spec": "CUDA graphs",
    "optimization.cuda.output_copy_stream": "a CUDA stream for outputs",
    "optimization.gather_kernel_buffer_threshold": "a gather kernel",
    "optimization.input_pinned_memory.enable": "page-locked buffers",
    "optimization.output_pinned_memory.enable": "page-locked buffers",
}
_GPU_GROUP = {
    "secondary_devices": "secondary devices",
    "profile": "TensorRT optimization profiles",
}
_INSTANCE_GROUP = {
    "rate_limiter": "a rate limiter",
    "passive": "passive instances",
    "host_policy": "a host policy",
}
_TENSOR = {
    "is_shape_tensor": "a TensorRT shape tensor",
    "allow_ragged_batch": "ragged batches",
    "is_non_linear_format_io": "a vectorized memory layout",
}
_ENSEMBLE_CURE = (
    "write its preprocessing as steps into the configuration of the model that it feeds (docs/preprocessing.md), and remove this folder"
)


def reject(faults: Iterable[tuple[str, str]], where: str) -> None:
    """Raises ConfigError for all faults, (field, what is wrong with it), if there are any.

    `where` names the file in the message: "config.pbtxt of model 'digits'".
    """
    found = [f"{field} {message}" for field, message in faults]
    if len(found) > 1:
        found = [f"({number}) {fault}" for number, fault in enumerate(found, 1)]
    if found:
        raise ConfigError(f"{where}: {'; '.join(found)}")


def ignored(config: Any, *, on_cpu: bool) -> Iterator[tuple[str, str]]:
    """Fields that have no effect here, each with the reason or a replacement. They change no response, so the model is served."""
    if config.metric_tags:
        yield "metric_tags", "has no effect: add labels where Prometheus scrapes (relabel_configs)"
    accelerators = config.optimization.execution_accelerators
    if accelerators.cpu_execution_accelerator:
        field = "optimization.execution_accelerators.cpu_execution_accelerator"
        yield field, "has no effect: ONNX Runtime's own CPU provider runs the model"
    batching = config.dynamic_batching
    policies = {"default_queue_policy": batching.default_queue_policy}
    policies |= {f"priority_queue_policy[{level}]": policy for level, policy in sorted(batching.priority_queue_policy.items())}
    for name, policy in policies.items():
        if policy.allow_timeout_override and not policy.default_timeout_microseconds:
            field = f"dynamic_batching.{name}.allow_timeout_override"
            yield field, "has no effect without default_timeout_microseconds, which a request's timeout shortens: set that, too"
    if not on_cpu:
        return
    if any(group.kind == group.KIND_GPU for group in config.instance_group):
        yield "instance_group.kind", "KIND_GPU has no effect: this machine has no GPU, and the model runs on the CPU"
    fields = [field for field in _GPU_VALUES if _is_set(config, field)]
    groups = config.instance_group
    fields += [f"instance_group.{field}" for field in ("gpus", *_GPU_GROUP) if any(_is_set(group, field) for group in groups)]
    if accelerators.gpu_execution_accelerator:
        fields.append("optimization.execution_accelerators.gpu_execution_accelerator")
    for field in fields:
        yield field, "has no effect: it is for a GPU, and the model runs on the CPU"


def faults(config: Any, *, on_cpu: bool) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it), in the order in which people read a configuration."""
    yield from _enum_faults(config, "")
    if config.platform == "ensemble" or config.HasField("ensemble_scheduling"):
        yield "ensemble_scheduling", f"asks for a model made of other models, which inferd does not do: {_ENSEMBLE_CURE}"
        return
    yield from (
        (field, f"is {value!r}; inferd runs ONNX models only: export the model to ONNX as 1/model.onnx, then leave it out")
        for field, value in unknown_names(config)
    )
    yield from _asks(config, _FIELDS, "")
    yield from _asks(config, _VALUES, "")
    if not on_cpu:
        yield from _asks(config, _GPU_VALUES, "")
    yield from _tensor_faults(config)
    yield from _version_faults(config.version_policy)
    yield from _instance_faults(config, on_cpu=on_cpu)
    if config.HasField("dynamic_batching"):
        yield from _batching_faults(config, config.dynamic_batching)
    yield from _warmup_faults(config)
    options = config.inferd
    if options.inline_busy_percent > 100:
        yield "inferd.inline_busy_percent", f"is {options.inline_busy_percent}; it is a share from 1 to 100"


def gpu_faults(config: Any) -> list[tuple[str, str]]:
    """The fields of a model for GPUs that only a machine with a GPU rejects."""
    if all(group.kind == group.KIND_CPU or not (group.kind == group.KIND_GPU or group.gpus) for group in config.instance_group):
        return []
    here = list(faults(config, on_cpu=True))
    return [fault for fault in faults(config, on_cpu=False) if fault not in here]


def _asks(message: Any, table: dict[str, str], prefix: str) -> Iterator[tuple[str, str]]:
    for path, what in table.items():
        if _is_set(message, path):
            asked, _, cure = what.partition("; ")
            yield prefix + path, f"asks for {asked}, which inferd does not do: {cure or 'remove the field'}"


def _is_set(message: Any, path: str) -> bool:
    *parents, field = path.split(".")
    for parent in parents:
        message = getattr(message, parent)
    return any(present.name == field for present, _ in message.ListFields())


def _enum_faults(message: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Numbers without a name in fields that hold names, at any depth: the parsers let them through."""
    for field, value in message.ListFields():
        place = f"{prefix}{field.name}"
        many = not isinstance(value, int | float | str | bytes) and not hasattr(value, "ListFields")
        if field.enum_type is not None:
            known = field.enum_type.values_by_number
            for number in (number for number in (value if many else [value]) if number not in known):
                yield place, f"is {number}; it must be one of {', '.join(known[each].name for each in sorted(known))}"
        elif field.message_type is None or not field.message_type.fields:
            continue
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in sorted(value):
                    yield from _enum_faults(value[key], f"{place}[{key!r}].")
        else:
            for index, each in enumerate(value if many else [value]):
                yield from _enum_faults(each, f"{place}[{index}]." if many else f"{place}.")


def _tensor_faults(config: Any) -> Iterator[tuple[str, str]]:
    for side, tensors in (("input", config.input), ("output", config.output)):
        seen = set()
        for tensor in tensors:
            prefix = f"{side} {tensor.name!r}: "
            if not tensor.name:
                yield side, "has an entry without a name: write the graph's name"
            if tensor.name in seen:
                yield side, f"has two entries named {tensor.name!r}: remove one"
            seen.add(tensor.name)
            yield from _asks(tensor, _TENSOR, prefix)
            fields = (("dims", tensor.dims), ("reshape.shape", tensor.reshape.shape))
            wrong = [(field, size) for field, sizes in fields for size in sizes if size < -1 or size == 0]
            for field, size in wrong:
                yield f"{prefix}{field}", f"holds {size}; an axis has a size of 1 or more, or -1 for any"
            if tensor.HasField("reshape") and not wrong and not holds_as_much(tensor.dims, tensor.reshape.shape):
                shape, dims = list(tensor.reshape.shape), list(tensor.dims)
                cure = "write as many elements into both, before and behind each axis of any size (-1)"
                yield f"{prefix}reshape", f"has the shape {shape}, and dims are {dims}: {cure}"
            if getattr(tensor, "format", 0) and len(tensor.dims) != 3:
                yield f"{prefix}format", f"describes images, which have 3 dims; there are {len(tensor.dims)}"


def _version_faults(policy: Any) -> Iterator[tuple[str, str]]:
    if policy.HasField("specific"):
        if not policy.specific.versions:
            yield "version_policy.specific.versions", "is empty, so nothing would be served: name a version, or remove the policy"
        for version in policy.specific.versions:
            if version < 1:
                yield "version_policy.specific.versions", f"holds {version}; versions are 1 or more"


def _instance_faults(config: Any, *, on_cpu: bool) -> Iterator[tuple[str, str]]:
    groups = config.instance_group
    devices = {tuple(group.gpus) for group in groups if group.gpus}
    if not on_cpu and (len({group.kind for group in groups}) > 1 or len(devices) > 1):
        yield (
            "instance_group",
            f"has {len(groups)} groups of several kinds or devices; inferd runs all instances of a model alike: write one kind and one GPU",
        )
    if len(groups) > 1 and sum(max(group.count, 1) for group in groups) > MAX_INSTANCES:
        yield "instance_group.count", f"is more than {MAX_INSTANCES} in all groups together; write fewer"
    for group in groups:
        yield from _asks(group, _INSTANCE_GROUP, "instance_group.")
        if not on_cpu:
            yield from _asks(group, _GPU_GROUP, "instance_group.")
        if group.kind == group.KIND_MODEL:
            yield "instance_group.kind", "is KIND_MODEL; write KIND_CPU, KIND_GPU or KIND_AUTO"
        if not 0 <= group.count <= MAX_INSTANCES:
            yield "instance_group.count", f"is {group.count}; it must be 1 to {MAX_INSTANCES}, or 0 to let inferd choose"
        if len(group.gpus) > 1 and not on_cpu:
            yield "instance_group.gpus", f"names {len(group.gpus)} devices; a model runs on one: name one, and start a process for each"
        if group.gpus and group.kind == group.KIND_CPU:
            yield "instance_group.gpus", "is set beside KIND_CPU: remove one of them"
        if any(gpu < 0 for gpu in group.gpus):
            yield "instance_group.gpus", "holds a negative device number"


def _batching_faults(config: Any, batching: Any) -> Iterator[tuple[str, str]]:
    for size in batching.preferred_batch_size:
        if size < 1 or size > config.max_batch_size > 0:
            yield "dynamic_batching.preferred_batch_size", f"holds {size}; it must be 1 to max_batch_size ({config.max_batch_size})"
    if batching.preserve_ordering and sum(max(group.count, 1) for group in config.instance_group) > 1:
        yield "dynamic_batching.preserve_ordering", "needs a single instance: set instance_group.count to 1, or remove it"
    levels, default = batching.priority_levels, batching.default_priority_level
    if levels and not 1 <= default <= levels:
        yield (
            "dynamic_batching.default_priority_level",
            f"is {default}; it is the level of requests that name none: with priority_levels {levels} write 1 (first) to {levels} (last)",
        )
    if default and not levels:
        yield "dynamic_batching.default_priority_level", f"is {default} without priority_levels: set that, too"
    if levels > 1000:
        yield "dynamic_batching.priority_levels", f"is {levels}; at most 1000 are possible"
    for level, policy in sorted(batching.priority_queue_policy.items()):
        if not 1 <= level <= levels:
            yield "dynamic_batching.priority_queue_policy", f"names level {level}; priority_levels is {levels}"
        yield from _queue_faults(policy, f"dynamic_batching.priority_queue_policy[{level}]")
    yield from _queue_faults(batching.default_queue_policy, "dynamic_batching.default_queue_policy")


def _queue_faults(policy: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if policy.timeout_action == policy.DELAY:
        yield f"{prefix}.timeout_action", "is DELAY, which inferd does not do: a request that waited too long is rejected (REJECT)"


def _warmup_faults(config: Any) -> Iterator[tuple[str, str]]:
    for warmup in config.model_warmup:
        prefix = f"model_warmup {warmup.name!r}: "
        if config.max_batch_size and warmup.batch_size > config.max_batch_size:
            yield f"{prefix}batch_size", f"is {warmup.batch_size}; max_batch_size is {config.max_batch_size}"
        if warmup.count > 10_000:
            yield f"{prefix}count", f"is {warmup.count}; at most 10000 are possible"
        for name, tensor in sorted(warmup.inputs.items()):
            if any(size < 1 for size in tensor.dims):
                yield f"{prefix}inputs {name!r}: dims", f"is {list(tensor.dims)}; a warm-up needs sizes of 1 or more"
            elif math.prod(tensor.dims) * max(warmup.batch_size, 1) > MAX_WARMUP_ELEMENTS:
                yield (
                    f"{prefix}inputs {name!r}: dims",
                    f"is {list(tensor.dims)}; with the rows of batch_size at most {MAX_WARMUP_ELEMENTS} elements are possible",
                )
