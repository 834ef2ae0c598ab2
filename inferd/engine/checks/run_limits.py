"""Limits on requests for a model with free axes: limits of axes, and an estimate of a run's memory, checked before the run.

Attention takes memory by the square of its tokens, a convolution by its pixels. So a load makes trial runs of growing size and measures
them exactly (RunArena). The last two show how the memory grows: a row of n times as many bytes takes n ** growth times as much. If that
estimate is too low, the arena's limit still ends the run.

Never in here: the check itself (tensor.pyx), the arena.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

from inferd.engine.loading import warmup
from inferd.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inferd._core.tensor.signature import Signature
    from inferd.engine.running.executor import Instance
    from inferd.engine.runtime.arena import RunArena
    from inferd.engine.runtime.runtime import Graph

MOST_SIZES = 10  # 1 to 4 ** 9
TRIED_BYTES = 64 << 20  # a trial run that takes so much memory is the last one,
TRIED_NS = 50_000_000  # and so is one that takes so much time
MAX_GROWTH = 3.0


class RunCost(NamedTuple):
    """A row with `nbytes` of inputs takes cost_bytes in its run; a row with n times as many takes n ** growth times as much."""

    nbytes: int
    cost_bytes: int
    growth: float


def learn(instance: Instance, signature: Signature, examples: warmup.Examples, arena: RunArena, limit_bytes: int) -> RunCost | None:
    """Measures trial runs of one row whose free axes are all 1, 4, 16 and so on, without sizes that the model rejects. None if they do
    not suffice. Called on the loader's thread, while nothing else runs."""
    if any(word == "BYTES" for _, word, _ in signature.input_specs):
        return None  # the tensors that a model makes of a text do not follow its bytes
    found: list[tuple[int, int]] = []
    tried_bytes, run_ns = 0, 0
    for power in range(MOST_SIZES):
        inputs = warmup.rows_of(signature, examples, 1, 4**power)
        nbytes = sum(array.nbytes for _, _, array in inputs)
        if sum(array.size for _, _, array in inputs) > warmup.MOST_TRIED or (found and nbytes == found[-1][0]):
            break  # too large; or no input has a free axis
        if tried_bytes >= min(TRIED_BYTES, limit_bytes // 4) or run_ns >= TRIED_NS:
            break
        started_ns = time.monotonic_ns()
        try:
            tried_bytes = arena.needed_by(lambda inputs=inputs: warmup.run_once(instance, signature, inputs))  # type: ignore[misc]
        except RequestError:
            tried_bytes = 0
        run_ns = time.monotonic_ns() - started_ns
        if tried_bytes > 0 and nbytes > 0:
            found.append((nbytes, tried_bytes))
    return _fitted(found)


def _fitted(found: list[tuple[int, int]]) -> RunCost | None:
    """found: (bytes of inputs, bytes of the run), in ascending order."""
    if len(found) < 2:
        return None
    (less, less_cost), (nbytes, cost_bytes) = found[-2:]
    growth = math.log(cost_bytes / less_cost) / math.log(nbytes / less)
    return RunCost(nbytes, cost_bytes, min(max(growth, 1.0), MAX_GROWTH))


def limit_axes(signature: Signature, graph: Graph, most: Mapping[str, int], where: str) -> None:
    """Sets max_axis of a model's configuration in its signature. Raises ConfigError for a key that names nothing."""
    first_axis = 1 if signature.max_batch_size > 0 else 0
    symbols = {tensor.name: tensor.shape for tensor in graph.inputs}
    known: set[str] = {"*"}
    for index, (name, _, shape) in enumerate(signature.input_specs):
        for axis in range(first_axis, len(shape)):
            if shape[axis] >= 0:
                continue
            names = {"*", name}
            if len(symbols.get(name, ())) == len(shape):
                names.add(str(symbols[name][axis]) or name)
            known |= names
            limits = [most[key] for key in names if most.get(key)]
            if limits:
                signature.limit_axis(index, axis, min(limits))
    unknown = sorted(set(most) - known)
    if unknown:
        there = ", ".join(map(repr, sorted(known)))
        raise ConfigError(
            f"{where}: inferd.max_axis has {unknown[0]!r}, which names no free axis and no input that has one; known are {there}"
        )
