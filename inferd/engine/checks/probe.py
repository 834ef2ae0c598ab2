"""Proves, by trial runs while a model is loaded, that requests may share a run: that other rows do not change a row's response.

A graph only names its axes. Exporters name one axis twice ("unk__214", "unk__215"), or name a time axis as if it were a batch. And where
axis 0 is a batch, an operator may still use all of it: dynamic quantization takes one scale for the whole run. So rows run alone and in
batches of several sizes. Two questions are checked at the first, the middle and the last place:

- Does the response change with the values of other rows? Other rows at the same size run the same kernels in the same order, so the bits
  of independent rows stay the same.
- Does it change with the number of rows? Other sizes run other kernels, which round differently, so this needs a tolerance.

Never in here: configurations, requests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inferd.engine.graph.onnx_file import read_onnx
from inferd.tensors import Array, distances, is_fraction, numbers_as, zeros

if TYPE_CHECKING:
    import os

    from inferd.engine.runtime.runtime import LoadedModel, TensorInfo

log = logging.getLogger("inferd.engine")

Arrays = dict[str, Array]
Shapes = Mapping[str, Sequence[int | str]]  # of a row of each input; -1 or a name: any size

BATCHES = (2, 3, 8)  # rows of the batches that are tried, as far as max_rows and ENOUGH_S allow
FREE_SIZES = (8, 32, 1)  # of axes of any size, tried in this order: some models of images take multiples of 32 only
MOST_S = 5.0  # the smallest proof (LEAST_ROWS rows, alone and in batches of two) must take less
LEAST_ROWS = 10
ENOUGH_S = 2.0  # then more rows and larger batches are tried for so long
LIMITS = (100, 2)  # random whole numbers are below the first of these that the model takes: few vocabularies are smaller
SPREADS = ((1.0,), (0.1, 1.0, 10.0))  # of the fractions of one row after the other, for each series of trials
# Shares of an output's largest value:
SAME = 1e-5  # other rows may change a response by so much: it is the rounding of FP32
ROUNDING = 0.01  # the number of rows may change it by so much: TF32 and FP16 round more than FP32
OTHER = 0.05  # above it, axis 0 is no batch axis
DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")  # operators with one scale for the whole run


class Rows(Enum):
    """The result of the trials."""

    INDEPENDENT = "independent"  # other rows do not change a row's response
    INFLUENCED = "influenced"  # axis 0 is a batch, and other rows change a response a little
    DEPENDENT = "dependent"  # axis 0 is no batch axis
    UNKNOWN = "unknown"  # the model does not run the made-up rows, or runs them too slowly


class Proof(NamedTuple):
    """why: half a sentence that follows "requests share runs: " or "requests share no run: ". deterministic: whether the same rows gave
    the same bytes in two runs; None: they were not run twice."""

    rows: Rows
    why: str
    deterministic: bool | None = None


INDEPENDENT = Proof(Rows.INDEPENDENT, "rows are taken to be independent")


class _Change(NamedTuple):
    """How much a response changed, as a share of its output's largest value, and the name of the output."""

    share: float = 0.0
    output: str = ""


def prove_rows(
    model: LoadedModel,
    shapes: Shapes | None = None,
    max_rows: int = max(BATCHES),
    samples: Mapping[str, Array] | None = None,
    source: str | os.PathLike[str] | bytes = b"",
) -> Proof:
    """Runs rows alone and in batches of up to `max_rows`. Takes MOST_S at most, or a few runs of one row where these take longer.

    shapes: by input, by default the graph's. samples: rows for inputs where the model may not take random ones; the first axis is the
    rows. source: the model's file, whose operators may be the reason.
    """
    shapes = shapes or {tensor.name: tensor.shape[1:] for tensor in model.graph.inputs}
    failure: Exception | None = None
    for maker in _makers(model.graph.inputs, shapes, samples or {}):
        try:
            return _Trials(model, max_rows, source).prove(maker)
        except Exception as error:  # onnxruntime's own: the model does not take these sizes or values
            failure = error
            log.debug("model %r: a trial run failed: %s", model.name, error)
    return Proof(Rows.UNKNOWN, f"not proven, since the model does not run the rows that were made ({type(failure).__name__})")


def made_rows(inputs: Sequence[TensorInfo], count: int) -> Iterator[Arrays]:
    """Yields `count` rows of every input, in several sizes and kinds: first zeros and ones, then random numbers. An axis 0 that the graph
    fixes keeps its size."""
    first = {tensor.name: tensor.shape[0] if tensor.shape and isinstance(tensor.shape[0], int) else count for tensor in inputs}
    shapes = {tensor.name: tensor.shape[1:] for tensor in inputs}
    makers = sorted(_makers(inputs, shapes, {}), key=lambda maker: not maker.calm)
    scalars = {tensor.name for tensor in inputs if not tensor.shape}
    for maker in makers:
        rows = maker.rows(0, max([count, *(size for size in first.values())]), SPREADS[0])
        yield {name: array[0] if name in scalars else array[: first[name]] for name, array in rows.items()}


class _Trials:
    """The trial runs of one model on rows of one maker."""

    def __init__(self, model: LoadedModel, max_rows: int, source: str | os.PathLike[str] | bytes) -> None:
        self._model = model
        self._source = source
        self._sizes = [rows for rows in BATCHES if rows <= max_rows] or [min(BATCHES)]
        self._tried: set[int] = set()
        self._enough_s = time.monotonic() + ENOUGH_S
        self._row_s = 0.0  # the time of a run of one row
        self._by_others = _Change()
        self._by_itself = _Change()  # the same rows at the same places, run twice
        self._shape_fault = ""

    def prove(self, maker: _Maker) -> Proof:
        """Raises onnxruntime's error if the model does not take these rows."""
        maker.settle(self._model)  # these runs are cold
        started_s = time.monotonic()
        self._run(maker.rows(0, 1, SPREADS[0]), [0])
        self._row_s = time.monotonic() - started_s
        if LEAST_ROWS * self._row_s > MOST_S:
            return Proof(Rows.UNKNOWN, f"not proven, since a row takes {self._row_s:.1f} s and {LEAST_ROWS} of them may take {MOST_S:g} s")
        by_number = [self._series(maker.rows(0, 2 * max(self._sizes), SPREADS[0]), self._sizes)]
        for series, spread in enumerate(SPREADS[1:], 1):
            largest = max(self._tried, default=0)
            if self._shape_fault or not self._has_time(5 * largest):
                break
            try:
                by_number.append(self._series(maker.rows(series, 2 * max(self._sizes), spread), [largest]))
            except Exception as error:  # the first series ran, so these values failed
                log.debug("model %r: a trial run of other numbers failed: %s", self._model.name, error)
        return self._verdict(min(by_number))

    def _series(self, rows: Arrays, sizes: Sequence[int]) -> _Change:
        """Runs rows alone and in batches of these sizes. Returns the largest change that the number of rows brought about."""
        alone: dict[int, Arrays] = {}
        worst = _Change()
        for size in sizes:
            if self._tried and size not in self._tried and not self._has_time(5 * size):
                break
            places = {0, size // 2, size - 1}
            for place in places - set(alone):
                alone[place] = self._run(rows, [place])
            together = self._run(rows, range(size))
            for name, array in together.items():
                for place in places:
                    one = alone[place][name]
                    if array.ndim == 0 or array.shape[0] != size or one.shape != (1, *array.shape[1:]):
                        self._shape_fault = (
                            f"output {name!r} has shape {list(one.shape)} for one row, and {list(array.shape)} for {size} rows"
                        )
                        return worst
                    worst = max(worst, _Change(_share(array[place], one[0]), name))
            self._by_itself = max(self._by_itself, _difference(together, self._run(rows, range(size)), range(size)))
            for kept in (0, 1):  # every second place keeps its row, the others get another one
                others = [place if place % 2 == kept else place + max(self._sizes) for place in range(size)]
                self._by_others = max(self._by_others, _difference(together, self._run(rows, others), range(kept, size, 2)))
            self._tried.add(size)
        return worst

    def _has_time(self, rows: int) -> bool:
        return time.monotonic() + rows * self._row_s <= self._enough_s

    def _run(self, rows: Arrays, places: Sequence[int]) -> Arrays:
        return self._model.trial({name: np.ascontiguousarray(array[list(places)]) for name, array in rows.items()})

    def _verdict(self, by_number: _Change) -> Proof:
        """by_number: the change in the series where the number of rows changed least. Rounding may decide in others: a normalization of
        rows that are all alike divides by almost nothing."""
        found = self._found(by_number)
        return found._replace(deterministic=not self._by_itself.share) if self._tried else found

    def _found(self, by_number: _Change) -> Proof:
        if self._shape_fault:
            return Proof(Rows.DEPENDENT, self._shape_fault)
        if self._by_itself.share > ROUNDING:
            return Proof(Rows.UNKNOWN, f"not proven, since output {self._by_itself.output!r} of the same row changes from run to run")
        worst = by_number if by_number.share > ROUNDING else self._by_others
        if worst is by_number or worst.share > SAME + 10 * self._by_itself.share:
            cause = _cause(self._source)
            if by_number.share > OTHER and not cause:
                return Proof(Rows.DEPENDENT, f"output {by_number.output!r} of a row changes with the other rows of its batch")
            changes = f"the other rows of a run change output {worst.output!r} by up to {100 * worst.share:.2g} % of its largest value"
            return Proof(Rows.INFLUENCED, changes + cause)
        *most, last = map(str, sorted(self._tried))
        sizes = f"{', '.join(most)} and {last}" if most else last
        return Proof(Rows.INDEPENDENT, f"rows give the same alone and in batches of {sizes}")


class _Maker:
    """Makes rows: samples where there are some, else random ones. calm: zeros and ones instead, which fit more models. size: of axes of
    any size."""

    def __init__(self, inputs: Sequence[TensorInfo], shapes: Shapes, samples: Mapping[str, Array], size: int, calm: bool) -> None:
        self._inputs = inputs
        self._samples = samples
        self.calm = calm
        self._limits = {tensor.name: LIMITS[-1] for tensor in inputs}
        self._shapes = {
            name: tuple(axis if isinstance(axis, int) and axis >= 0 else size for axis in shape) for name, shape in shapes.items()
        }

    def settle(self, model: LoadedModel) -> None:
        """Finds how large whole numbers may be. Raises onnxruntime's error if the model takes no rows."""
        model.trial(self.rows(0, 1, SPREADS[0]))
        for tensor in self._inputs:
            if self.calm or not _is_whole(tensor) or tensor.name in self._samples:
                continue
            for limit in LIMITS:
                self._limits[tensor.name] = limit
                try:
                    model.trial(self.rows(0, 4, SPREADS[0]))
                    break
                except Exception as error:
                    log.debug("model %r: input %r does not take whole numbers below %d: %s", model.name, tensor.name, limit, error)

    def rows(self, series: int, count: int, spread: Sequence[float]) -> Arrays:
        """`count` rows of every input; the same rows for the same series."""
        generator = np.random.default_rng(series)
        return {tensor.name: self._rows(tensor, count, spread, generator) for tensor in self._inputs}

    def _rows(self, tensor: TensorInfo, count: int, spread: Sequence[float], generator: np.random.Generator) -> Array:
        known = self._samples.get(tensor.name)
        if known is not None:
            return np.resize(known, (count, *known.shape[1:]))
        shape = (count, *self._shapes[tensor.name])
        by_row = (count, *(1 for _ in shape[1:]))
        word = tensor.datatype
        if word == "BYTES":
            return zeros(word, shape) if self.calm else numbers_as(word, generator.integers(0, LIMITS[0], shape))
        fraction = is_fraction(word)
        values: Array
        if "mask" in tensor.name.lower() and not fraction:
            values = np.ones(shape)
        elif self.calm:
            values = np.broadcast_to((np.arange(count) % 2).reshape(by_row), shape)
        elif fraction:
            values = generator.normal(size=shape) * np.resize(spread, count).reshape(by_row)
        else:
            values = generator.integers(0, 2 if word == "BOOL" else self._limits[tensor.name], shape)
        return numbers_as(word, values)


def _makers(inputs: Sequence[TensorInfo], shapes: Shapes, samples: Mapping[str, Array]) -> Iterator[_Maker]:
    free = any(not isinstance(axis, int) or axis < 0 for name, shape in shapes.items() if name not in samples for axis in shape)
    for calm in (False, True):
        for size in FREE_SIZES if free else FREE_SIZES[:1]:
            yield _Maker(inputs, shapes, samples, size, calm)


def _is_whole(tensor: TensorInfo) -> bool:
    return "INT" in tensor.datatype and "mask" not in tensor.name.lower()


def _difference(one: Arrays, other: Arrays, places: Sequence[int]) -> _Change:
    """The most that the rows at these places differ."""
    return max(_Change(_share(other[name][place], array[place]), name) for name, array in one.items() for place in places)


def _share(one: Array, other: Array) -> float:
    """The largest difference, as a share of the largest value of `other`. 1 for values that are no fractions and differ at all."""
    if np.array_equal(one, other):
        return 0.0
    if np.asarray(one).dtype.kind not in "fc":  # a row of one text is a str
        return 1.0
    with np.errstate(all="ignore"):
        finite = np.abs(other[np.isfinite(other)].astype(np.float64))
        share = distances(one.astype(np.float64), other.astype(np.float64)).max() / max(float(finite.max(initial=0.0)), 1e-30)
    return float(share) if np.isfinite(share) else 1.0


def _cause(source: str | os.PathLike[str] | bytes) -> str:
    """Names operators that are known to mix rows; '' if there are none."""
    try:
        found = {node.operator for node in read_onnx(source).graph.nodes}.intersection(DYNAMIC)
    except (OSError, ValueError, IndexError, RecursionError):
        return ""
    return f", since {', '.join(sorted(found))} takes one scale for all of them" if found else ""
