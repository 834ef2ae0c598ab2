"""The interface of a compiled list of steps. Each kind has a module of its own: image, audio, text, table, tensors; outputs after the
graph.

compile_...(entry, place) reads one entry of the configuration and propagates datatypes and shapes through its steps. It raises ConfigError
naming the step that cannot feed the next. Its result is called from several threads at once, and keeps nothing of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from inferd.errors import ConfigError, InvalidArgument, RequestError
from inferd.steps.model_file import model_file

Array = np.ndarray[Any, np.dtype[Any]]

# One input of one request, rows first. BYTES: the elements of all rows in order, which are valid until the request has its response.
Value = Array | list[memoryview]

# Called with a request's place between rows and between steps that take long. Raises Cancelled or DeadlineExceeded where nobody waits
# for that request any longer.
Check = Callable[[int], None]

Wrong = Callable[[str], ConfigError]  # EntryPlace.wrong of one step


class TensorType(NamedTuple):
    """Datatype (the protocol's word) and shape of one row; -1 is any size."""

    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.datatype}[{','.join(map(str, self.shape))}]"


class Content(IntEnum):
    """The kind of an input's content, which decides the cost of preparing it; _core/batching/effort.pxd has the same numbers."""

    UNPREPARED = 0
    NUMBERS = 1
    TEXT = 2
    PICTURE = 3
    SOUND = 4


class PadAxis(NamedTuple):
    """An axis of one of the graph's inputs, the batch axis not counted, in which the requests of a batch may differ."""

    axis: int
    value: float = 0
    buckets: tuple[int, ...] = ()  # rising; empty: the longest of the batch
    left: bool = False  # filled up in front, so that what is real ends where the axis does


@dataclass(frozen=True)
class EntryPlace:
    """Where a list of steps stands. `where` begins its errors: "config.toml of model 'cats': preprocess 'image'"."""

    where: str
    free: Mapping[str, TensorType]  # the graph's inputs (or, of an output's list, its outputs) that no other entry names, in order
    folders: tuple[Path, ...] = ()  # where a file that a step names is looked for: the version's, then the model's
    inputs: Mapping[str, TensorType] = field(default_factory=dict)  # of an output's list: all of the graph's inputs
    taken: Mapping[str, str] = field(default_factory=dict)  # the tensors that another entry has -> which: "preprocess[0]"
    repository: Path | None = None  # into which symbolic links in the folders may lead

    def wrong(self, step: int, name: str, why: str) -> ConfigError:
        """The error of one step; `step` counts from 0, `why` says what was expected, what is there and the cure."""
        return ConfigError(f"{self.where}: steps[{step}] ({name}): {why}")

    def file(self, step: int, name: str, file: str) -> Path:
        """The path of a file that a step names. Raises ConfigError where it is not there, or lies outside of the repository."""
        try:
            return model_file(file, self.folders, self.repository)
        except ValueError as error:
            raise self.wrong(step, name, str(error)) from None

    def only_free(self, name: str) -> tuple[str, TensorType]:
        """The graph's input that the entry names, or the only one that is free. Raises ConfigError."""
        if name in self.free:
            return name, self.free[name]
        if name or not self.free:
            raise ConfigError(f"{self.where}: {self.not_free(name)}")
        if len(self.free) != 1:
            raise ConfigError(f"{self.where}: say which of the graph's tensors it is for: {self._shown_free()}")
        return next(iter(self.free.items()))

    def not_free(self, name: str) -> str:
        """Why the entry cannot have the tensor that it names, or, without a name, any, and the cure."""
        if name in self.taken:
            return f"{name!r} is that of {self.taken[name]} already, and has one entry at most: remove one of the two, or name another"
        if self.free:
            return f"{name!r} is none of the graph's tensors: name one of {self._shown_free()}"
        taken = ", ".join(f"{known!r} is that of {entry}" for known, entry in self.taken.items())
        return f"no tensor of the graph is left for it ({taken}): remove this entry, or another"

    def _shown_free(self) -> str:
        return ", ".join(f"{name!r} {kind}" for name, kind in self.free.items())


class InputPipeline(Protocol):
    """Compiled steps of one entry of `preprocess`. A class that derives from this one only writes what it has.

    inputs: those that clients send, each with its type. outputs: the graph's inputs that it feeds; -1: it differs from request to request.
    paddings: axes of the graph's inputs in which requests of different lengths share a batch, by input. content: that of all inputs.
    together: the most requests that gain by being prepared in one call; 1: none do.
    """

    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[tuple[str, TensorType], ...]
    paddings: Mapping[str, PadAxis] = {}
    content: Content = Content.NUMBERS
    together: int = 1

    def samples(self, count: int) -> Mapping[str, Array]:
        """So many rows of each of the graph's inputs that it feeds, where it gives none of zeros and empty texts."""
        return {}

    def prepare(self, requests: Sequence[Sequence[Value]], check: Check) -> list[list[Array] | RequestError]:
        """For each request, its values in the order of `inputs` -> its arrays in the order of `outputs`: C-contiguous, rows first.

        A request that cannot be prepared has its RequestError in its place, and the others are not affected. InvalidArgument names the
        input, the row, the reason and the cure (see wrong_row).
        """
        ...


class RowPipeline(InputPipeline):
    """An InputPipeline that takes one request at a time; subclasses define `prepare_one`."""

    def prepare(self, requests: Sequence[Sequence[Value]], check: Check) -> list[list[Array] | RequestError]:
        results: list[list[Array] | RequestError] = []
        for place, values in enumerate(requests):
            try:
                results.append(self.prepare_one(values, partial(check, place)))
            except RequestError as error:
                results.append(detached(error))
        return results

    def prepare_one(self, values: Sequence[Value], check: Callable[[], None]) -> list[Array]:
        """One request's values -> its arrays. Calls check() before each row. Raises RequestError."""
        raise NotImplementedError


class OutputPipeline(Protocol):
    """Compiled steps of one entry of `postprocess`. outputs: those that clients get; may be empty."""

    outputs: tuple[tuple[str, TensorType], ...]

    def finish(self, array: Array, inputs: Mapping[str, Array]) -> list[Array]:
        """The graph's output of a whole run, rows first -> arrays in the order of `outputs`, rows first; BYTES as objects that are str.

        inputs: the run's input arrays by the graph's names, as far as place.inputs has them. May write to nothing that it is given.
        """
        ...


def detached(error: RequestError) -> RequestError:
    """The same error, to be kept as a value: neither it nor those that led to it hold the frames that they were raised in.

    The frames hold all that was made of the request so far, such as hundreds of MB of pixels. They also hold the list that the error is in.
    So this memory, which no limit counts, would wait for the garbage collector. A frame of contextlib can hold its error, too, so each has
    to drop its own.
    """
    links: list[BaseException] = [error]
    while links:
        link = links.pop()
        links += filter(None, (link.__cause__, link.__context__))
        link.__cause__ = link.__context__ = link.__traceback__ = None
    return error


def wrong_row(name: str, row: int, why: str) -> InvalidArgument:
    """The error of a request whose input `name` cannot be used; `why` says what was expected, what came and the cure."""
    return InvalidArgument(f"input {name!r}, row {row}: {why}", reason="bad_content")


def within(field: str, number: int, least: int, most: int) -> int:
    """The same number, of a step's parameter. Raises ValueError naming it where it is another."""
    if not least <= number <= most:
        raise ValueError(f"expected {field} from {least} to {most}, got {number}")
    return number
