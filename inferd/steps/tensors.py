"""Plain tensors: numbers of the graph's own shape, scaled, normalized or cast. Never in here: the arithmetic (numbers.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from inferd.errors import ConfigError
from inferd.steps import numbers
from inferd.steps.pipeline import Array, EntryPlace, RowPipeline, TensorType, Value

if TYPE_CHECKING:
    from inferd.protocol.options import Preprocess

STEPS = ("scale", "normalize", "cast")
DEFAULT_DATATYPE = "FP32"
WIDE = ("FP64", "INT32", "INT64", "UINT32", "UINT64")  # which FP32 rounds: scaled and normalized in FP64 for a graph that takes it


class TensorPipeline(RowPipeline):
    """All rows of a request at once."""

    def __init__(self, wire: tuple[str, TensorType], steps: Sequence[numbers.Apply], output: tuple[str, TensorType]) -> None:
        self.inputs = (wire,)
        self.outputs = (output,)
        self._steps = tuple(steps)

    def prepare_one(self, values: Sequence[Value], check: Callable[[], None]) -> list[Array]:
        (sent,) = values
        assert isinstance(sent, np.ndarray)
        array: Array = sent
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large is infinity, as in the graph
            for step in self._steps:
                check()
                array = step(array)
        return [np.ascontiguousarray(array)]


def compile_tensor(entry: Preprocess, place: EntryPlace) -> TensorPipeline:
    """The pipeline of a list of scale, normalize and cast alone. Raises ConfigError naming the step."""
    name, wanted = place.only_free(entry.input)
    datatype = sent = entry.datatype or DEFAULT_DATATYPE
    if sent not in numbers.CASTS:
        raise ConfigError(f"{place.where}: datatype: expected one of {', '.join(numbers.CASTS)}, got {sent!r}")
    channels, rank = (wanted.shape or (1,))[-1], len(wanted.shape) + 1  # with the rows
    steps: list[numbers.Apply] = []
    for index, step in enumerate(entry.steps):
        word = step.WhichOneof("step") or ""
        made = "FP64" if datatype in WIDE and wanted.datatype == "FP64" else "FP32"
        try:
            if word == "scale":
                steps.append(numbers.scale(step.scale, made))
            elif word == "normalize":
                steps.append(numbers.normalize(step.normalize, max(channels, 1), rank - 1, rank, made))
            elif word == "cast":
                steps.append(numbers.cast(step.cast))
            else:
                raise ValueError(f"a list that takes {sent} has {', '.join(STEPS)} and nothing else: remove it, or the entry's datatype")
        except ValueError as error:
            raise place.wrong(index, word, str(error)) from None
        datatype = step.cast.datatype if word == "cast" else made
    if datatype != wanted.datatype:
        why = f"the steps make {datatype}, and the graph's input {name!r} takes {wanted}"
        raise ConfigError(f"{place.where}: {why}: add cast to {wanted.datatype} as the last step")
    kind = TensorType(datatype, wanted.shape)
    return TensorPipeline((entry.name or name, TensorType(sent, wanted.shape)), steps, (name, kind))
