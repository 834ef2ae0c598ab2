"""Requests of a record (`inferd serve --record`), to be sent again in the order in which they came. Never in here: when they are sent."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd.client_inputs.inputs import listed
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from inferd.client_inputs.targets import Description
    from inferd.record.reader import Segments
    from inferd.tensors import Array

Offsets = np.ndarray[Any, np.dtype[np.int64]]


def is_record(path: str) -> bool:
    """Whether the path names a record, and not another file."""
    return bool(path) and (Path(path).is_dir() or Path(path).suffix == ".arrow")


def recorded_requests(
    path: str, description: Description, count: int | None, most_bytes: int
) -> tuple[list[bytes], list[dict[str, Array]], list[str]]:
    """The bodies for this model, the arrays in each, and notices. Requests of the model's name, or of the only model that the record has.

    Raises ConfigError: no record, requests of another model, inputs that were left out or hashed, or more than most_bytes.
    """
    from inferd.protocol import inference
    from inferd.record.reader import Segments

    where = f"--recorded {path}"
    segments = Segments([path], where)
    model = _model(segments, description.model, where)
    takes = f"the model (the record is of {model}) takes: {listed(description.inputs)}"
    known = {spec.name: spec.datatype for spec in description.inputs}
    bodies: list[bytes] = []
    inputs: list[dict[str, Array]] = []
    held_bytes = 0
    in_order = sorted(segments.requests(model), key=lambda row: row.arrival_ns)  # several processes may have written the segments
    for row in islice(in_order, count):
        request = inference.ModelInferRequest(model_name=description.model, model_version=description.version)
        for tensor in row.input_tensors:
            if segments.changed.get(tensor.name) == "hash":
                raise ConfigError(f"{where}: the input {tensor.name} was hashed when it was recorded: such requests cannot be sent again")
            if known and known.get(tensor.name) != tensor.datatype:
                raise ConfigError(f"{where}: {row.where}, has the input {tensor.name} ({tensor.datatype}); {takes}")
            request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            request.raw_input_contents.append(bytes(tensor.data))
            held_bytes += len(request.raw_input_contents[-1])
        if held_bytes > most_bytes:
            raise ConfigError(f"{where}: its requests take more than {most_bytes >> 20} MiB; send fewer, with --count {len(bodies)}")
        if missing := [name for name in known if name not in row.inputs and segments.changed.get(name) == "omit"]:
            raise ConfigError(f"{where}: the input {missing[0]} was left out when it was recorded: such requests cannot be sent again")
        bodies.append(request.SerializeToString())
        inputs.append(row.inputs)
    notices = [f"{file}: {fault}" for file, fault in segments.faults.items()]
    if model and description.model and model != description.model:
        notices.append(f"the requests were recorded of the model {model}")
    return bodies, inputs, notices


def arrivals_of(path: str, where: str) -> Offsets:
    """Nanoseconds since the first arrival, ascending, of PATH or PATH:MODEL."""
    from inferd.record.reader import Segments

    model = ""
    if not Path(path).exists() and ":" in path:
        path, _, model = path.rpartition(":")
    segments = Segments([path], where)
    model = model or _model(segments, "", where)
    found = [row.arrival_ns for row in segments.requests(model)]
    if not found:
        raise ConfigError(f"{where}: holds no arrival of the model {model}; it has {_counts(segments)}")
    times = np.sort(np.array(found, np.int64))
    offsets: Offsets = times - times[0]
    return offsets


def _model(segments: Segments, asked: str, where: str) -> str:
    """The model whose requests are meant. Raises ConfigError where that is in doubt."""
    there = segments.models()
    if asked in there:
        return asked
    if len(there) == 1:
        return next(iter(there))
    if not there:
        raise ConfigError(f"{where}: expected requests, got a record without any")
    what = f"requests of the model {asked!r}" if asked else "requests of one model; name it with trace:PATH:MODEL"
    raise ConfigError(f"{where}: expected {what}, got a record of: {_counts(segments)}")


def _counts(segments: Segments) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(segments.models().items())[:10])
