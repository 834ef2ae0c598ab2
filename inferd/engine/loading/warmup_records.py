"""Warm-up by records: clients' requests in a model's folder `warmup`, as `inferd serve --record` wrote them.

They run before the model is ready, prepared by its steps as requests are. Never in here: the format of records (record/), how one
request runs (warmup.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from inferd._core.batching.local import LocalRequest
from inferd.engine.loading import warmup
from inferd.errors import ConfigError, RequestError, StartError
from inferd.record.reader import Segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from inferd._core.tensor.signature import Signature
    from inferd.engine.running.executor import Instance
    from inferd.record.reader import Recorded

MOST_OF_SHAPES = 2  # requests whose inputs have the same shapes
MOST_REQUESTS = 32
MOST_NBYTES = 64 << 20  # inputs of all requests together
LONGEST_NS = 10_000_000_000  # no further request once the runs took so long


def run_records(
    files: Iterable[Path], instances: Sequence[Instance], signature: Signature, prepare: warmup.Prepare | None, title: str
) -> int:
    """Runs requests of the records on every instance, the newest first, and returns how many. signature: that of clients. title: the
    model's, for errors. Raises ConfigError that names the file if it is no record of this model, StartError if a run fails."""
    ran = spent_ns = 0
    for request in _chosen(files, signature, title):
        if spent_ns > LONGEST_NS:
            break
        try:
            for instance in instances:
                spent_ns += warmup.run_once(instance, signature, _inputs(request), prepare)
        except RequestError as error:
            raise StartError(f"{title}: warm-up by {request.where} failed: {error}") from None
        ran += 1
    return ran


def _chosen(files: Iterable[Path], signature: Signature, title: str) -> list[Recorded]:
    """The requests to run, newest first."""
    chosen: list[Recorded] = []
    for file in files:
        try:
            newest = _newest(file, signature, f"{title}: warm-up by")
        except StartError as error:
            raise StartError(f"{title}: warm-up by {file}: {error}") from None
        chosen = _few_of_each([*chosen, *newest])
    for request in chosen:
        try:
            LocalRequest(_inputs(request)).check(signature)
        except RequestError as error:
            raise ConfigError(
                f"{title}: warm-up by {request.where}: expected requests that this version takes: {error}; remove the file from the "
                "folder 'warmup', or record this version"
            ) from None
    return chosen


def _newest(file: Path, signature: Signature, what: str) -> list[Recorded]:
    """The newest requests that got a response. Raises ConfigError where there are none, or where they cannot run again."""
    model, where = signature.model_name.decode(), f"{what} {file}"
    segments = Segments([file], what)
    found = segments.newest(model)
    for name, how in segments.changed.items():
        if name in signature.input_names:
            done = {"omit": "left out", "hash": "hashed"}.get(how, how)
            raise ConfigError(f"{where}: the input {name!r} was {done} when it was recorded: such requests cannot run again")
    answered = [request for request in found if request.code == 0]
    if not answered:
        raise ConfigError(f"{where}: expected requests of the model {model!r} that got a response, got {len(found)} with errors alone")
    return answered


def _few_of_each(requests: list[Recorded]) -> list[Recorded]:
    """The newest requests of each combination of shapes, newest first. They are copies, so that the record's memory can be freed."""
    found: list[Recorded] = []
    counts: Counter[object] = Counter()
    left_nbytes = MOST_NBYTES
    for request in sorted(requests, key=lambda request: request.arrival_ns, reverse=True):
        shapes = tuple(tensor[:3] for tensor in request.input_tensors)
        nbytes = sum(memoryview(tensor.data).nbytes for tensor in request.input_tensors)
        if len(found) == MOST_REQUESTS:
            break
        if counts[shapes] < MOST_OF_SHAPES and (nbytes <= left_nbytes or not found):
            counts[shapes] += 1
            left_nbytes -= nbytes
            own = [tensor._replace(data=bytes(tensor.data)) for tensor in request.input_tensors]
            found.append(replace(request, input_tensors=own, output_tensors=[]))
    return found


def _inputs(request: Recorded) -> warmup.Inputs:
    return [(tensor.name, tensor.datatype, request.inputs[tensor.name]) for tensor in request.input_tensors]
