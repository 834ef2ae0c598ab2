"""Whether a model has a batch axis, and whether requests share its runs. Two questions:

- The axis: decided by max_batch_size in the file, or by dims that leave axis 0 out. Else the names of the graph's axes decide, unless
  trial runs show that axis 0 is no batch.
- Sharing: decided by inferd.batching (or the server's setting), then by dynamic_batching. As in Triton, a file that lists inputs and
  outputs without dynamic_batching gets none. Other files get it only where trial runs prove that rows are independent.

Without shared runs a model still takes requests of several rows: each is one run. Never in here: the trial runs (checks/probe.py), files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from inferd.engine.checks.probe import INDEPENDENT, Proof, Rows
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from inferd.engine.configuration.config_sources import Defaults, Written
    from inferd.engine.runtime.runtime import Graph, TensorInfo
    from inferd.protocol.inference import ModelConfig

SHARED, ALONE = "requests share runs: ", "requests share no run: "
UNDECLARED = "the configuration lists inputs and outputs without dynamic_batching (as in Triton; set it to share runs)"


class Axis(NamedTuple):
    """why: the reason for a batch axis, or for none. guessed: by the names of axes alone. cure: where the export fixed the axis at 1."""

    why: str
    guessed: bool = False
    cure: str = ""


class Batching(NamedTuple):
    """why: the decision, for people. doubt: a warning, empty if there is none. Requests share runs without a proof, or share none because
    trial runs proved nothing or the export fixed the batch axis."""

    why: str
    doubt: str = ""


def find_batch_axis(written: Written, config: ModelConfig, graph: Graph, defaults: Defaults) -> Axis:
    """Decides whether there is a batch axis, by the file and the names of axes, and sets max_batch_size where it guesses one."""
    why_not = _no_batch_axis(graph)
    if config.max_batch_size > 0:
        if not all(_may_be_rows(tensor, config.max_batch_size) for tensor in (*graph.inputs, *graph.outputs)):
            raise ConfigError(
                f"{written.where}: max_batch_size is {config.max_batch_size}, but the graph has no batch axis ({why_not}): "
                "set max_batch_size to 0, or export the model with a dynamic first axis"
            )
        return Axis(f"max_batch_size {config.max_batch_size} as configured")
    if "max_batch_size" in written.fields:
        return Axis("no batching: max_batch_size 0 as configured")
    if why_not:
        return Axis(f"no batching: {why_not}", cure=_EXPORT if _is_fixed_at_one(graph) else "")
    ranks = {tensor.name: len(tensor.shape) for tensor in (*graph.inputs, *graph.outputs)}
    told = [entry for entries in (config.input, config.output) for entry in entries if entry.dims]
    whole = [entry.name for entry in told if len(entry.dims) == ranks.get(entry.name)]
    if whole:
        return Axis(f"no batching: the dims of {whole[0]!r} are the graph's whole shape")
    config.max_batch_size = defaults.max_batch_size
    symbol = next((str(tensor.shape[0]) for tensor in graph.inputs if not _MADE_UP.fullmatch(str(tensor.shape[0]))), "")
    axis = f"the symbol {symbol!r}" if symbol else "dynamic"
    return Axis(f"batches of up to {defaults.max_batch_size} rows: axis 0 of every tensor is {axis}", guessed=not told)


def _may_be_rows(tensor: TensorInfo, max_batch_size: int) -> bool:
    """Whether axis 0 can hold so many rows. An axis that the export fixed at 1 can hold one."""
    return bool(tensor.shape) and (isinstance(tensor.shape[0], str) or tensor.shape[0] == max_batch_size == 1)


def wants_proof(written: Written, config: ModelConfig, axis: Axis) -> bool:
    """Whether trial runs decide anything, or are worth a warning."""
    own = config.inferd
    if config.max_batch_size <= 0:
        return False
    if axis.guessed:
        return True
    if config.max_batch_size == 1 or own.batching == own.OFF:
        return False
    return own.batching == own.ON or config.HasField("dynamic_batching") or not _lists_tensors(written)


def why_no_axis(proof: Proof, graph: Graph) -> str:
    """Why a guessed batch axis is none; '' where it may be one."""
    if proof.rows is Rows.DEPENDENT:
        return proof.why
    return _two_names(graph, ignored=_UNNAMED) if proof.rows is Rows.UNKNOWN else ""  # trial runs proved nothing: names decide


def settle_sharing(written: Written, config: ModelConfig, axis: Axis, proof: Proof | None) -> Batching:
    """Writes into the configuration whether requests share runs, and why."""
    if config.max_batch_size <= 0:
        config.inferd.batching_reason = axis.why
        return Batching(axis.why, f"{axis.why}: {axis.cure}" if axis.cure else "")
    shared, why, unproven = _decide(written, config, proof)
    if shared:
        config.dynamic_batching.SetInParent()
    why = f"{SHARED if shared else ALONE}{why}"
    config.inferd.batching_reason = why
    doubt = why if unproven else ""
    if proof is not None and shared and proof.rows is not Rows.INDEPENDENT:
        doubt = f"requests share runs, but {proof.why}"
    return Batching(f"{axis.why}; {why}", doubt)


def shares_runs(config: ModelConfig) -> bool:
    """Whether requests share runs, by a settled configuration."""
    return config.HasField("dynamic_batching") and config.inferd.batching != config.inferd.OFF


def why_alone(config: ModelConfig) -> tuple[str, str]:
    """Why requests share no run though a run may have several rows, and the cure where it is one line. config: a settled one."""
    if config.max_batch_size <= 1 or shares_runs(config):
        return "", ""
    why = config.inferd.batching_reason.removeprefix(ALONE)
    return ("no dynamic_batching in its configuration", "add `dynamic_batching {}` first") if why == UNDECLARED else (why, "")


def _decide(written: Written, config: ModelConfig, proof: Proof | None) -> tuple[bool, str, bool]:
    """Whether requests share runs, why, and whether only a proof is missing."""
    own = config.inferd
    if own.batching == own.OFF:
        return False, "batching is off", False
    if config.max_batch_size == 1:
        return False, "max_batch_size is 1", False
    if own.batching == own.ON:
        return True, "batching is on", False
    if config.HasField("dynamic_batching"):
        return True, "dynamic_batching is set", False
    if _lists_tensors(written):
        return False, UNDECLARED, False
    proof = proof or INDEPENDENT
    if proof.rows is Rows.INDEPENDENT:
        return True, proof.why, False
    return False, f"{proof.why} (set dynamic_batching, or inferd.batching to ON, to share runs all the same)", proof.rows is Rows.UNKNOWN


def _lists_tensors(written: Written) -> bool:
    """Whether the file lists inputs and outputs. Triton completes others, and lets them batch."""
    return {"input", "output"} <= written.fields


_EXPORT = (
    "export the model with a dynamic first axis (torch.onnx.export takes dynamic_shapes, skl2onnx FloatTensorType([None, ...])), "
    "or write max_batch_size 0 into its configuration if one row is meant"
)

# Names that do not identify an axis: tf2onnx, paddle2onnx and torch's exporter make them up, often several for one axis.
_MADE_UP = re.compile(r"|\?|unk_*\d+|.*DynamicDimension\.?\d*|.+_dim_\d+")
_UNNAMED = re.compile("")


def _no_batch_axis(graph: Graph) -> str:
    """Why axis 0 cannot be the batch. '' if it is dynamic in every tensor, of one name, and no other axis has that name."""
    if not graph.inputs:
        return "the graph has no inputs"
    for side, tensor in _tensors(graph):
        if not tensor.shape:
            return f"{side} {tensor.name!r} has no axes"
        if isinstance(tensor.shape[0], int):
            return f"axis 0 of {side} {tensor.name!r} is fixed at {tensor.shape[0]}"
    if two_names := _two_names(graph, ignored=_MADE_UP):
        return two_names
    symbols = {tensor.shape[0] for _, tensor in _tensors(graph)} - {"", "?"}
    for side, tensor in _tensors(graph):
        for axis, size in enumerate(tensor.shape[1:], 1):
            if size in symbols:
                return f"axis {axis} of {side} {tensor.name!r} is {size!r}, too, so rows depend on each other"
    return ""


def _is_fixed_at_one(graph: Graph) -> bool:
    """Whether each input is one row, the default of exporters."""
    return bool(graph.inputs) and all(len(tensor.shape) > 1 and tensor.shape[0] == 1 for tensor in graph.inputs)


def _tensors(graph: Graph) -> list[tuple[str, TensorInfo]]:
    return [*(("input", each) for each in graph.inputs), *(("output", each) for each in graph.outputs)]


def _two_names(graph: Graph, ignored: re.Pattern[str]) -> str:
    """Names two tensors whose axis 0 have different names, without the `ignored` ones; '' if there are none."""
    names: dict[str, str] = {}
    for side, tensor in _tensors(graph):
        first = str(tensor.shape[0])
        if not ignored.fullmatch(first):
            names.setdefault(first, f"{side} {tensor.name!r}")
    if len(names) < 2:
        return ""
    (one, here), (other, there) = list(names.items())[:2]
    return f"axis 0 is {one!r} in {here} and {other!r} in {there}"
