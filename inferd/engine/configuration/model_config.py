"""A model's configuration, from config.pbtxt or config.toml and from the graph.

Its schema is the ModelConfig message. The graph supplies all that the file leaves out; the file must agree with the graph. The path of a
configuration:

    read_model_config    the file, parsed and checked for unsupported fields           (unsupported.py)
    settle               instances, threads, limits: from the file, the server's defaults and the plan
    Runtime.load         the graph, by the runtime that the configuration chooses      (runtime/runtimes.py)
    complete             names, datatypes, shapes: from the graph; batching: from that and trial runs (batching.py, checks/probe.py)
    signature_of         the contract that requests are checked against, as far as the graph knows it
    show_to_clients      the tensors of clients, where steps come before or after the graph (inferd.steps)

Errors are ConfigError; they name the model, the file and the field. Never in here: onnxruntime, loading, folders of versions.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format, text_format

from inferd._core.tensor.signature import Signature
from inferd.engine.checks.probe import INDEPENDENT, Proof
from inferd.engine.configuration.batching import Batching, find_batch_axis, settle_sharing, wants_proof, why_no_axis
from inferd.engine.configuration.config_sources import Defaults, Written
from inferd.engine.configuration.resources import MAX_THREADS, gpu_providers, number, on_gpu
from inferd.engine.configuration.text_faults import value_fault
from inferd.engine.configuration.toml_faults import for_json, toml_faults, unknown_field
from inferd.engine.configuration.unsupported import faults, reject
from inferd.engine.graph.reshaping import holds_as_much
from inferd.engine.loading.planner import ThreadPlan
from inferd.engine.runtime.runtime import Graph, TensorInfo
from inferd.engine.runtime.runtimes import runtime_of
from inferd.errors import ConfigError, StartError
from inferd.protocol import POOL, inference, options

if TYPE_CHECKING:
    from inferd.protocol.inference import ModelConfig

CONFIG_FILES = ("config.pbtxt", "config.toml")
MAX_CONFIG_BYTES = 1 << 20
MAX_BATCH_SIZE = 65_536  # the same limits as the settings of the same names
MAX_QUEUE_REQUESTS = 10_000_000
MAX_QUEUE_BYTES = 1 << 50
MAX_QUEUE_WAIT_US = 3_600_000_000
MAX_QUEUE_DELAY_US = 60_000_000  # a batch that waits longer for more looks like a server that hangs
MAX_INLINE_LIMIT_US = 100_000
MAX_RUN_S = 86_400
MAX_RUN_BYTES = 1 << 50
NO_DEFAULTS = Defaults()


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_model_config(place: Path | None, name: str, defaults: Defaults = NO_DEFAULTS, called: str = "") -> Written:
    """The configuration of model `name` in the folder (or file) `place`; an empty one where there is none. defaults: whether a GPU runs
    models, among others. called: the name of the file in errors.

    Raises StartError if it cannot be read; ConfigError for wrong syntax (with the line), an unknown field (with a suggestion), or an
    unsupported one.
    """
    path, where, text = config_text(place, name, called)
    if path is None:
        return Written(inference.ModelConfig(), where, frozenset())
    written = parse_toml(text, where) if path.suffix == ".toml" else parse_text(text, where)
    reject(faults_of(written.config, name, defaults), where)
    return written


def config_text(place: Path | None, name: str, called: str = "") -> tuple[Path | None, str, str]:
    """The file, its name in errors, and its text; None and '' where there is no file. Raises ConfigError and StartError."""
    path = _find(place, name)
    where = f"{called or path.name} of model {name!r}" if path else f"model {name!r}"
    return path, where, _text_of(path, where) if path else ""


def faults_of(config: ModelConfig, name: str, defaults: Defaults = NO_DEFAULTS) -> Iterator[tuple[str, str]]:
    """Each field because of which model `name` cannot be served, and what is wrong with it, as far as that is known without the graph."""
    if config.name and config.name != name:
        yield "name", f"is {config.name!r}, and the model's folder or file says {name!r}: make them equal"
    yield from _limit_faults(config)
    yield from faults(config, on_cpu=not gpu_providers(config, defaults))


def _limit_faults(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Numbers that are negative, or so large that they would exhaust the machine before the first request."""
    numbers = {
        "max_batch_size": (config.max_batch_size, MAX_BATCH_SIZE),
        "dynamic_batching.max_queue_delay_microseconds": (config.dynamic_batching.max_queue_delay_microseconds, MAX_QUEUE_DELAY_US),
        "inferd.intra_op_threads": (config.inferd.intra_op_threads, MAX_THREADS),
        "inferd.inter_op_threads": (config.inferd.inter_op_threads, MAX_THREADS),
        "inferd.max_queue_requests": (config.inferd.max_queue_requests, MAX_QUEUE_REQUESTS),
        "inferd.max_queue_bytes": (config.inferd.max_queue_bytes, MAX_QUEUE_BYTES),
        "inferd.max_queue_wait_us": (config.inferd.max_queue_wait_us, MAX_QUEUE_WAIT_US),
        "inferd.inline_limit_us": (config.inferd.inline_limit_us, MAX_INLINE_LIMIT_US),
        "inferd.max_run_bytes": (config.inferd.max_run_bytes, MAX_RUN_BYTES),
        "inferd.preprocess_threads": (config.inferd.preprocess_threads, MAX_THREADS),
        "inferd.max_run_s": (config.inferd.max_run_s, MAX_RUN_S),
    }
    for field, (value, most) in numbers.items():
        if not 0 <= value <= most:
            yield field, f"is {value}; it must be a number from 0 (the default, or none) to {most}"


def _find(place: Path | None, name: str) -> Path | None:
    """The file. Opens none, as opening a pipe could wait forever."""
    if place is None or place.is_file():
        return place
    found = [place / file for file in CONFIG_FILES if os.path.lexists(place / file)]
    for path in found:
        if not path.is_file():
            kind = "a symbolic link to nothing" if not path.exists() else "a folder" if path.is_dir() else "a pipe, socket or device"
            raise ConfigError(
                f"{path.name} of model {name!r}: expected a regular file, got {kind}: put the configuration there, or remove it"
            )
    if len(found) > 1:
        raise ConfigError(f"model {name!r} has a config.pbtxt and a config.toml: remove one of them")
    return found[0] if found else None


def _text_of(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise StartError(f"{where} cannot be read: {error.strerror}") from None
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{where} is larger than {MAX_CONFIG_BYTES} bytes, so it is no configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{where}, line {line}: not UTF-8 text") from None


class TextFault(ConfigError):
    """A fault of config.pbtxt at a line and a column, both counted from 1."""

    def __init__(self, text: str, line: int, column: int) -> None:
        super().__init__(text)
        self.line, self.column = line, column


def parse_text(text: str, where: str) -> Written:
    """The configuration in config.pbtxt. Raises ConfigError, a TextFault where the place is known."""
    config = inference.ModelConfig()
    try:
        text_format.Parse(text, config, descriptor_pool=POOL)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        said = re.sub(r"^\d+:\d+ : ", "", str(error))
        said = re.sub(r'Message type "((?:inference|inferd\.v1)(?:\.\w+)+)" has no field named "([^"]*)"\.?', _no_field, said)
        said = re.sub(r'Field "(\w+)" is specified along with field "(\w+)".*', r"\1 and \2 cannot both be set: remove one", said)
        said = (value_fault(text, config.DESCRIPTOR, line, column) if line and column else "") or said
        fault = f"{where}{f', line {line}' if line else ''}: {_one_line(said)}"
        raise (TextFault(fault, line, column) if line and column else ConfigError(fault)) from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{where}: {_one_line(str(error)) or 'wrong syntax'}") from None
    bare = re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*', "", text)
    # max_batch_size is the one scalar whose absence matters. No other message has a field of that name.
    explicit = {"max_batch_size"} if re.search(r"\bmax_batch_size\s*:", bare) else set()
    return Written(config, where, frozenset(explicit | {field.name for field, _ in config.ListFields()}))


def _no_field(match: re.Match[str]) -> str:
    name = match[1].removeprefix("inference.").removeprefix("inferd.v1.")
    return unknown_field(match[2], POOL.FindMessageTypeByName(match[1]), f"in {name}")


def parse_toml(text: str, where: str) -> Written:
    """The configuration in config.toml. Raises ConfigError."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{where}: wrong TOML: {_one_line(str(error))}") from None
    config = inference.ModelConfig()
    try:
        for fault in toml_faults(values, config.DESCRIPTOR):
            raise ConfigError(f"{where}: {_one_line(fault)}")
        json_format.ParseDict(for_json(values), config, descriptor_pool=POOL)
    except (json_format.ParseError, ValueError, TypeError, OverflowError, AttributeError, RecursionError) as error:
        said = re.sub(r"Failed to parse \w+ field: ", "", str(error)).rstrip(".")  # protobuf's chain of one error for each level
        raise ConfigError(f"{where}: {_one_line(said)}") from None
    return Written(config, where, frozenset(values))


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 400 else line[:400] + "..."


# ---------------------------------------------------------------------------------------------------------------------
# Resources: what needs no graph


def settle(written: Written, name: str, defaults: Defaults, plan: ThreadPlan) -> ModelConfig:
    """A copy of the configuration with the instances, threads and limits that will be used."""
    config = inference.ModelConfig()
    config.CopyFrom(written.config)
    config.name = name
    runtime = runtime_of(config)
    config.platform, config.backend = runtime.platform, runtime.backend
    config.default_model_filename = config.default_model_filename or runtime.file
    if not config.version_policy.WhichOneof("policy_choice"):
        config.version_policy.latest.num_versions = 1
    group = config.instance_group[0] if config.instance_group else config.instance_group.add()
    del config.instance_group[1:]
    group.kind = group.KIND_GPU if on_gpu(written, defaults) else group.KIND_CPU
    group.name = group.name or name
    group.count = plan.instances
    if group.kind == group.KIND_CPU:
        del group.gpus[:]
    elif not group.gpus:
        group.gpus.append(0)
    own = config.inferd
    own.intra_op_threads = plan.intra_op_threads
    own.inter_op_threads = own.inter_op_threads or number(written, "inter_op_thread_count", 0, MAX_THREADS) or 1
    own.spinning = plan.spinning
    own.inline_limit_us = own.inline_limit_us or defaults.inline_limit_us
    own.max_queue_requests = own.max_queue_requests or defaults.max_queue_requests
    own.max_queue_bytes = own.max_queue_bytes or defaults.max_queue_bytes
    own.max_queue_wait_us = own.max_queue_wait_us or defaults.max_queue_wait_us
    own.max_run_s = own.max_run_s if own.HasField("max_run_s") else defaults.max_run_s
    own.max_run_bytes = own.max_run_bytes or defaults.max_run_bytes
    if own.inline == options.ModelOptions.AUTO:
        own.inline = options.ModelOptions.Choice.Value(defaults.inline.upper())
    if own.batching == options.ModelOptions.AUTO:
        own.batching = options.ModelOptions.Choice.Value(defaults.batching.upper())
    return config


# ---------------------------------------------------------------------------------------------------------------------
# The graph


def complete(
    written: Written, config: ModelConfig, graph: Graph, defaults: Defaults, prove: Callable[[ModelConfig], Proof] = lambda _: INDEPENDENT
) -> Batching:
    """Fills in tensors, max_batch_size and dynamic_batching from the graph. Returns why the model batches or not.

    prove(config): whether rows are independent (checks/probe.py). It is called if it decides or is worth a warning, with `config` as it is
    with a batch axis. Raises ConfigError where the configuration and the graph disagree, naming both sides.
    """
    plain = inference.ModelConfig()
    plain.CopyFrom(config)
    axis = find_batch_axis(written, config, graph, defaults)
    _complete_all_tensors(written.where, config, graph)
    proof = prove(config) if wants_proof(written, config, axis) else None
    if proof is not None and axis.guessed and (none := why_no_axis(proof, graph)):
        config.CopyFrom(plain)
        axis = axis._replace(why=f"no batching: {none} (set max_batch_size to batch all the same)")
        _complete_all_tensors(written.where, config, graph)
    _check_warmup(written.where, config)
    reject(
        faults(config, on_cpu=not gpu_providers(config, defaults)), written.where
    )  # again: max_batch_size and the number of instances are known now
    if config.max_batch_size <= 0 and config.dynamic_batching.preferred_batch_size:
        raise ConfigError(f"{written.where}: dynamic_batching.preferred_batch_size is set, and there is {axis.why}: remove it")
    return settle_sharing(written, config, axis, proof)


def _complete_all_tensors(where: str, config: ModelConfig, graph: Graph) -> None:
    batched = config.max_batch_size > 0
    _complete_tensors(where, "input", config.input, graph.inputs, batched, every=True)
    _complete_tensors(where, "output", config.output, graph.outputs, batched, every=False)


def _complete_tensors(where: str, side: str, tensors: Any, graph: Sequence[TensorInfo], batched: bool, *, every: bool) -> None:
    there = {tensor.name: tensor for tensor in graph}
    if not tensors:
        for tensor in graph:
            tensors.add(name=tensor.name)
    for entry in tensors:
        if entry.name not in there:
            raise ConfigError(f"{where}: {side} {entry.name!r} is not in the graph, which has {', '.join(map(_shown, graph))}")
        _complete_tensor(f"{where}: {side} {entry.name!r}", entry, there[entry.name], batched)
    missing = [tensor for tensor in graph if tensor.name not in {entry.name for entry in tensors}]
    if every and missing:
        raise ConfigError(
            f"{where}: {side} {_shown(missing[0])} of the graph is missing: list every {side}, or none to take them from the graph"
        )


def _complete_tensor(where: str, entry: Any, tensor: TensorInfo, batched: bool) -> None:
    word = datatype_word(entry.data_type)
    if word == "INVALID":
        entry.data_type = _number_of(tensor.datatype)
    elif word != tensor.datatype:
        raise ConfigError(f"{where}: data_type is {_spelled(word)}, and the graph says {_spelled(tensor.datatype)}")
    sizes = tensor.shape[1:] if batched else tensor.shape
    if not entry.dims:
        entry.dims.extend(-1 if isinstance(size, str) else size for size in sizes)
        return
    if not tensor.shape:
        return  # a scalar, or an unknown rank: onnxruntime does not say which, so the configuration decides
    axis_note = " (without the batch axis, as max_batch_size is over 0)" if batched else ""
    fits = len(entry.dims) == len(sizes) and all(isinstance(size, str) or size == dim for size, dim in zip(sizes, entry.dims, strict=True))
    if not fits:
        cure = _dims_cure(where, entry.dims, sizes)
        raise ConfigError(f"{where}: dims are {list(entry.dims)}, and the graph says {_dims(sizes)}{axis_note}: {cure}")


def _dims_cure(where: str, dims: Sequence[int], sizes: Sequence[int | str]) -> str:
    """The dims to write; or the reshape to add, if the dims that are there hold as many elements."""
    inner = [-1 if isinstance(size, str) else size for size in sizes]
    shown = f"[ {', '.join(map(str, inner))} ]" if inner else "[ ]"
    toml = where.startswith("config.toml")
    reshape = f"reshape.shape = {shown}" if toml else f"reshape {{ shape: {shown} }}"
    said = f"write `dims = {shown}`" if toml else f"write `dims: {shown}`"
    return f"{said}, or add `{reshape}`" if holds_as_much(dims, inner) else said


def _check_warmup(where: str, config: ModelConfig) -> None:
    """Raises ConfigError unless every warm-up names every input, with its datatype and sizes that fit."""
    inputs = {entry.name: entry for entry in config.input}
    for warmup in config.model_warmup:
        prefix = f"{where}: model_warmup {warmup.name!r}"
        if config.max_batch_size and not warmup.batch_size:
            raise ConfigError(f"{prefix}: batch_size is 0; the model batches: it must be 1 to {config.max_batch_size}")
        if set(warmup.inputs) | {name for name, entry in inputs.items() if entry.optional} != set(inputs):
            raise ConfigError(f"{prefix}: inputs are {sorted(warmup.inputs)}; name each of {sorted(inputs)}")
        for name, given in warmup.inputs.items():
            entry = inputs[name]
            if given.data_type != entry.data_type:
                came, wanted = _spelled(datatype_word(given.data_type)), _spelled(datatype_word(entry.data_type))
                raise ConfigError(f"{prefix}: inputs {name!r}: data_type is {came}; the input has {wanted}")
            if len(given.dims) != len(entry.dims) or any(want not in (-1, got) for want, got in zip(entry.dims, given.dims, strict=True)):
                raise ConfigError(f"{prefix}: inputs {name!r}: dims are {list(given.dims)}; the input has {list(entry.dims)}")


def signature_of(config: ModelConfig, graph: Graph, version: int) -> Signature:
    """The contract of one version: a completed configuration's tensors, in the graph's order, with the batch axis."""
    batch = (-1,) if config.max_batch_size > 0 else ()

    def specs(entries: Any, tensors: Sequence[TensorInfo]) -> list[tuple[str, str, tuple[int, ...]]]:
        named = {entry.name: entry for entry in entries}
        return [(t.name, datatype_word(named[t.name].data_type), (*batch, *named[t.name].dims)) for t in tensors if t.name in named]

    return Signature(
        config.name, str(version), specs(config.input, graph.inputs), specs(config.output, graph.outputs), config.max_batch_size
    )


def show_to_clients(config: ModelConfig, signature: Signature) -> None:
    """Replaces the graph's inputs and outputs by those that clients see, where steps change them. Equal ones stay."""
    batched = config.max_batch_size > 0
    sides: tuple[tuple[Any, Any], ...] = ((config.input, signature.input_specs), (config.output, signature.output_specs))
    for entries, specs in sides:
        kept = {entry.name: type(entry).FromString(entry.SerializeToString()) for entry in entries}
        del entries[:]
        for name, word, shape in specs:
            dims = shape[1:] if batched else shape
            known = kept.get(name)
            if known is not None and known.data_type == _number_of(word) and tuple(known.dims) == dims:
                entries.append(known)
            else:
                entries.add(name=name, data_type=_number_of(word), dims=dims)


def datatype_word(number: int) -> str:
    """ModelConfig's number of a datatype -> the Open Inference Protocol's word."""
    name = inference.DataType.Name(number).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def _number_of(word: str) -> Any:
    return inference.DataType.Value(_spelled(word))


def _spelled(word: str) -> str:
    return "TYPE_STRING" if word == "BYTES" else f"TYPE_{word}"


def _dims(sizes: Sequence[int | str]) -> str:
    return "[" + ", ".join(str(size) if isinstance(size, int) else (size or "any") for size in sizes) + "]"


def _shown(tensor: TensorInfo) -> str:
    return f"{tensor.name!r} {tensor.datatype}{_dims(tensor.shape)}"
