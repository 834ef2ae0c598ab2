"""Tables: records in JSON, CSV, Arrow or as typed columns -> the graph's inputs, each column into its own or all into one matrix.

A record is read and its values are settled (records.py), and each column's encoding is applied (columns.py). One call of struct writes all
features of a datatype, for all rows of all requests at hand. Never in here: reading of records, the meaning of values.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferd.errors import ConfigError, RequestError
from inferd.protocol import options
from inferd.steps.columns import BadValue, Column, column_of
from inferd.steps.pipeline import Array, Check, Content, EntryPlace, InputPipeline, TensorType, Value, Wrong, detached
from inferd.steps.records import READERS, Reader, Row, listed

if TYPE_CHECKING:
    from inferd.protocol.options import Preprocess

MAX_COLUMNS = 4096
MAX_TENSOR_COLUMNS = 256  # each is an input of the request, of which there are no more
TOGETHER_REQUESTS = 64
RECORD = "record"  # the input that clients send, where the entry gives no name

_CODES = {"FP32": "f", "FP64": "d", "INT64": "q", "INT32": "i", "BOOL": "?"}  # of struct
_DTYPES: dict[str, Any] = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32, "BOOL": np.bool_}


class Group(NamedTuple):
    """Features of one datatype that are written together.

    pick: they, out of all of a row, in order; None: all. matrix: they are one output, row by row; else each is one of its own.
    places: of the outputs. tail: an output's shape behind its rows.
    """

    datatype: str
    pick: Callable[[Row], Row] | None
    width: int
    matrix: bool
    places: tuple[int, ...]
    tail: tuple[int, ...]

    def block(self, rows: Sequence[Row]) -> Array:
        """All of them: [rows, *tail] of a matrix, else [outputs, rows, *tail]. Raises struct.error and OverflowError."""
        picked = rows if self.pick is None else [self.pick(row) for row in rows]
        in_order = picked if self.matrix else zip(*picked, strict=True)
        flat: Iterable[Any] = picked[0] if len(picked) == 1 else chain.from_iterable(in_order)
        block = self._written(flat, len(rows) * self.width)
        return block.reshape(len(rows), *self.tail) if self.matrix else block.reshape(self.width, len(rows), *self.tail)

    def arrays(self, block: Array, first: int, end: int) -> list[Array]:
        """The outputs of some of a block's rows."""
        return [block[first:end]] if self.matrix else list(block[:, first:end])

    def _written(self, flat: Iterable[Any], size: int) -> Array:
        if self.datatype == "BYTES":
            return np.array(list(flat), dtype=object)
        packed = struct.Struct(f"={size}{_CODES[self.datatype]}")
        memory = bytearray(packed.size)
        packed.pack_into(memory, 0, *flat)
        return np.frombuffer(memory, dtype=_DTYPES[self.datatype])


class Records(NamedTuple):
    """The rows of one request."""

    request: int  # its place in the call of prepare
    values: Sequence[Row]
    features: Sequence[Row]


class TablePipeline(InputPipeline):
    """See InputPipeline. `reader`: one format's way from a request's values to settled rows.

    One-row requests are cheapest together: their rows are written into arrays by one call.
    """

    together = TOGETHER_REQUESTS
    content = Content.TEXT

    def __init__(
        self,
        inputs: Sequence[tuple[str, TensorType]],
        outputs: Sequence[tuple[str, TensorType]],
        columns: Sequence[Column],
        groups: Sequence[Group],
        reader: Reader,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._groups = tuple(groups)
        self._columns = tuple(columns)
        # From the last to the first, as several features in the place of one value move what is behind them.
        backwards = [(place, column.convert, column.plain) for place, column in reversed(list(enumerate(columns)))]
        self._converted = tuple((place, convert) for place, convert, _ in backwards)  # of a row of which something is missing
        self._encoded = tuple((place, convert) for place, convert, plain in backwards if not plain)  # of any other
        self._fills = any(column.fills for column in columns)
        self._reader = reader

    def samples(self, count: int) -> dict[str, Array]:
        """See InputPipeline: a graph may fail at values that are not allowed."""
        if not any(column.chooses for column in self._columns):
            return {}
        rows = [[feature for column in self._columns for feature in column.example(number)] for number in range(count)]
        made: dict[str, Array] = {}
        for group in self._groups:
            for place, array in zip(group.places, group.arrays(group.block(rows), 0, count), strict=True):
                made[self.outputs[place][0]] = array
        return made

    def prepare(self, requests: Sequence[Sequence[Value]], check: Check) -> list[list[Array] | RequestError]:
        results: list[list[Array] | RequestError] = [[] for _ in requests]
        read: list[Records] = []
        for request, values in enumerate(requests):
            try:
                rows = self._reader.rows(values, partial(check, request))
                read.append(Records(request, rows, self._features(rows)))
            except RequestError as error:
                results[request] = detached(error)
        try:
            self._write(read, results)
        except (struct.error, OverflowError):  # of JSON's short way: one holds a number that the graph's datatype does not
            for records in read:
                self._write_alone(records, results)
        return results

    def _write(self, read: Sequence[Records], results: list[list[Array] | RequestError]) -> None:
        rows = [row for records in read for row in records.features]
        if not rows:
            return
        blocks = [(group, group.block(rows)) for group in self._groups]
        end = 0
        for records in read:
            first, end = end, end + len(records.features)
            arrays: list[Any] = [None] * len(self.outputs)
            for group, block in blocks:
                for place, array in zip(group.places, group.arrays(block, first, end), strict=True):
                    arrays[place] = array
            results[records.request] = arrays

    def _write_alone(self, records: Records, results: list[list[Array] | RequestError]) -> None:
        try:
            for row, values in enumerate(records.values):
                for column, value in zip(self._columns, values, strict=True):
                    self._reader.settled(row, column, value)
        except RequestError as error:
            results[records.request] = detached(error)
        else:
            self._write([records], results)

    def _features(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The features that the columns' encodings make of settled rows."""
        if not self._encoded and not self._fills:
            return rows
        features: list[Row] = []
        place = 0
        try:
            for row in rows:
                converted = self._converted if self._fills and None in row else self._encoded
                values: Any = list(row) if converted else row
                for place, convert in converted:
                    values[place : place + 1] = convert(values[place])
                features.append(values)
        except BadValue as error:
            raise self._reader.wrong(len(features), self._columns[place], str(error)) from None
        return features


def compile_table(entry: Preprocess, place: EntryPlace) -> TablePipeline:
    """The pipeline of an entry whose step is `columns`. Raises ConfigError."""

    def wrong(why: str) -> ConfigError:
        return place.wrong(0, "columns", why)

    if len(entry.steps) != 1:
        raise place.wrong(1, entry.steps[1].WhichOneof("step") or "", "columns is the only step of its list: remove this one")
    step = entry.steps[0].columns
    columns = _columns(step, wrong)
    goes = _targets(entry, columns, place, wrong)
    for column, written in zip(columns, step.columns, strict=True):
        datatypes = {place.free[goes[name]].datatype for name in column.names}
        if len(datatypes) > 1:
            raise wrong(f"the parts of column {column.name!r} go into inputs of several datatypes: {', '.join(sorted(datatypes))}")
        try:
            missing = written.missing if written.HasField("missing") else None
            column.aim(datatypes.pop(), missing, written.allowed)
        except BadValue as error:
            raise wrong(f"column {column.name!r}: {error}") from None
    outputs, groups = _groups(columns, goes, place, wrong)
    return TablePipeline(_wire(entry, step, columns, wrong), outputs, columns, groups, _reader(entry, step, columns, wrong))


def _columns(step: options.Columns, wrong: Wrong) -> list[Column]:
    if not 1 <= len(step.columns) <= MAX_COLUMNS:
        raise wrong(f"it has {len(step.columns)} columns; it must have 1 to {MAX_COLUMNS}: list what clients send")
    columns: list[Column] = []
    for number, written in enumerate(step.columns):
        if not written.name:
            raise wrong(f"columns[{number}] has no name: name it as clients do")
        if any(column.name == written.name for column in columns):
            raise wrong(f"column {written.name!r} is there twice: remove one, or name it otherwise")
        if written.allow_absent and step.format in (options.Columns.CSV, options.Columns.TENSORS):
            form = options.Columns.Format.Name(step.format)
            raise wrong(f"column {written.name!r}: allow_absent is for JSON and ARROW; what comes as {form} has all columns: remove it")
        try:
            columns.append(column_of(written))
        except BadValue as error:
            raise wrong(f"column {written.name!r}: {error}") from None
    return columns


def _targets(entry: Preprocess, columns: Sequence[Column], place: EntryPlace, wrong: Wrong) -> dict[str, str]:
    """For each feature the graph's input that it goes into: its column's, its own (a part of a date), or one for all."""
    goes: dict[str, str] = {}
    for column in columns if not entry.input else ():
        if column.name in place.free:
            goes |= dict.fromkeys(column.names, column.name)
        elif all(name in place.free for name in column.names):
            goes |= {name: name for name in column.names}
    names = [name for column in columns for name in column.names]
    missing = next((column.name for column in columns if column.names[0] not in goes), None)
    if goes and missing is not None:
        raise wrong(
            f"column {missing!r} is none of the graph's inputs, and others are ({listed(list(goes))}): name columns as the graph does, "
            "or, where all go into one matrix, say which by `input`"
        )
    return goes or dict.fromkeys(names, place.only_free(entry.input)[0])


def _groups(
    columns: Sequence[Column], goes: dict[str, str], place: EntryPlace, wrong: Wrong
) -> tuple[list[tuple[str, TensorType]], list[Group]]:
    """The graph's inputs that are fed, and which features are written into them."""
    names = [name for column in columns for name in column.names]
    fed: dict[str, list[int]] = {}  # input -> its features, by their place in a row
    for feature, name in enumerate(names):
        fed.setdefault(goes[name], []).append(feature)
    outputs: list[tuple[str, TensorType]] = []
    alone: dict[tuple[str, tuple[int, ...]], list[tuple[int, int]]] = {}  # datatype and shape -> place of the output, of the feature
    groups: list[Group] = []
    for number, (name, features) in enumerate(fed.items()):
        kind = place.free[name]
        if kind.shape not in ((len(features),), (-1,)) and not (kind.shape == () and len(features) == 1):
            given = listed([names[feature] for feature in features])
            raise wrong(f"the columns give {len(features)} values a row ({given}), and the graph's input {name!r} is {kind}")
        tail: tuple[int, ...] = (len(features),) if kind.shape else ()
        outputs.append((name, TensorType(kind.datatype, tail)))
        if len(features) == 1:
            alone.setdefault((kind.datatype, tail), []).append((number, features[0]))
        else:
            groups.append(Group(kind.datatype, _picking(features, len(names)), len(features), True, (number,), tail))
    for (datatype, tail), entries in alone.items():
        pick = _picking([feature for _, feature in entries], len(names))
        groups.append(Group(datatype, pick, len(entries), False, tuple(number for number, _ in entries), tail))
    return outputs, groups


def _picking(features: Sequence[int], count: int) -> Callable[[Row], Row] | None:
    if list(features) == list(range(count)):
        return None
    if len(features) == 1:
        (feature,) = features
        return lambda row: (row[feature],)
    return itemgetter(*features)


def _wire(entry: Preprocess, step: options.Columns, columns: Sequence[Column], wrong: Wrong) -> list[tuple[str, TensorType]]:
    """The inputs that clients send, each with its type."""
    if step.format != options.Columns.TENSORS:
        return [(entry.name or RECORD, TensorType("BYTES", (1,)))]
    if entry.name:
        raise wrong(f"name is {entry.name!r}, and TENSORS has an input for each column, named as it is: remove name")
    if len(columns) > MAX_TENSOR_COLUMNS:
        raise wrong(f"TENSORS has an input for each column, of which a request has at most {MAX_TENSOR_COLUMNS}: use another format")
    return [(column.name, TensorType(column.datatype, (1,))) for column in columns]


def _reader(entry: Preprocess, step: options.Columns, columns: Sequence[Column], wrong: Wrong) -> Reader:
    if step.format not in READERS:
        raise wrong(f"format is {step.format}, which is none: use JSON, CSV, ARROW or TENSORS")
    try:
        return READERS[step.format](entry.name or RECORD, columns, refuse_unknown=step.refuse_unknown)
    except ImportError:
        raise wrong("format ARROW needs pyarrow: pip install 'inferd[table]'") from None
