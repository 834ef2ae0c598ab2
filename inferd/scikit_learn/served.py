"""The model as a server runs it, without a server: the step `columns` reads records in the clients' format, and then the graph runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from inferd.engine.runtime.onnx.arrays import fits
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.errors import ConfigError, InvalidArgument
from inferd.protocol import options
from inferd.scikit_learn.conversion import MATRIX
from inferd.steps.csv_lines import write_csv
from inferd.steps.pipeline import EntryPlace, TensorType, Value
from inferd.steps.records import arrow_record
from inferd.steps.table import compile_table
from inferd.tensors import DTYPES, Array

FORMATS = tuple(options.Columns.Format.keys())

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """The configuration of one column; see Column in steps.proto."""

    name: str
    datatype: str = "FP32"
    missing: str | None = None
    allowed: tuple[str, ...] = ()


class Served:
    """A converted model with the columns of its records. form: of these, one of FORMATS."""

    def __init__(self, model: OnnxModel, columns: Sequence[Column], *, matrix: bool, outputs: Mapping[str, str], form: str) -> None:
        """matrix: all columns go into one input. outputs: see Converted. Raises ConfigError."""
        self._model = model
        self._outputs = outputs
        self.columns = tuple(columns)
        self.form = form
        self._matrix = matrix
        self._pipeline = self._compiled()

    def changed(self, column: Column) -> Served:
        """The same model with one column's settings changed. Raises ConfigError where they cannot be."""
        columns = [column if old.name == column.name else old for old in self.columns]
        return Served(self._model, columns, matrix=self._matrix, outputs=self._outputs, form=self.form)

    def needs_value(self, column: Column) -> bool:
        """Whether no record can say that it has none; a client may send what stands in for it, if that is one."""
        return self.form == "TENSORS" and column.datatype in ("INT64", "BOOL")

    def _compiled(self) -> Any:
        for column in self.columns:
            if self.needs_value(column) and column.missing == "NaN":
                raise ConfigError(f"column {column.name!r}: a tensor of {column.datatype} has no NaN")
        free = {
            tensor.name: TensorType(tensor.datatype, tuple(size if isinstance(size, int) else -1 for size in tensor.shape[1:]))
            for tensor in self._model.graph.inputs
        }
        step = options.Columns(
            format=options.Columns.Format.Value(self.form), columns=[options.Column(**asdict(column)) for column in self.columns]
        )
        entry = options.Preprocess(input=MATRIX if self._matrix else "", steps=[options.Step(columns=step)])
        return compile_table(entry, EntryPlace("config.toml", free))

    def results(self, records: Sequence[Record]) -> dict[str, Array]:
        """The outputs for these records by name.

        Raises InvalidArgument where a record is rejected, and onnxruntime's errors where it fails. Raises ConfigError where an output has
        another shape than the graph declares, which a server checks, too."""
        found = self._run(records)
        for tensor in self._model.graph.outputs:
            if not fits(tensor.shape, found[tensor.name].shape):
                told = f"output {tensor.name!r} is of shape {list(found[tensor.name].shape)}, and the graph says {list(tensor.shape)}"
                raise ConfigError(f"the converted model cannot be served: {told}")
        return {self._outputs.get(name, name): array for name, array in found.items()}

    def shapes(self, records: Sequence[Record]) -> dict[str, tuple[int, ...]]:
        """The shape of a row of each output, by its name in the graph. Raises as outputs do, whatever shapes the model declares."""
        return {name: array.shape[1:] for name, array in self._run(records).items()}

    def _run(self, records: Sequence[Record]) -> dict[str, Array]:
        (arrays,) = self._pipeline.prepare([self._sent(records)], lambda place: None)
        if isinstance(arrays, InvalidArgument):
            raise arrays
        return self._model.trial({name: array for (name, _), array in zip(self._pipeline.outputs, arrays, strict=True)})

    def _sent(self, records: Sequence[Record]) -> list[Value]:
        """The values of a request's inputs, as a client makes them of records."""
        if self.form == "TENSORS":
            return [self._tensor(column, [record.get(column.name) for record in records]) for column in self.columns]
        write = {"JSON": self._object, "CSV": self._line, "ARROW": self._stream}[self.form]
        return [[memoryview(write(record)) for record in records]]

    def _line(self, record: Record) -> bytes:
        values = [record.get(column.name) for column in self.columns]
        return _utf8(write_csv([str(value).lower() if isinstance(value, bool) else value for value in values]))

    def _object(self, record: Record) -> bytes:
        return _utf8(json.dumps({column.name: record.get(column.name) for column in self.columns}, ensure_ascii=False))

    def _stream(self, record: Record) -> bytes:
        return arrow_record({column.name: record.get(column.name) for column in self.columns})

    def _tensor(self, column: Column, values: list[Any]) -> Value:
        if column.datatype == "BYTES":
            return [memoryview(_utf8(value or "")) for value in values]
        stand_in: Any = math.nan
        if self.needs_value(column) and None in values:
            if column.missing is None:
                raise InvalidArgument(f"column {column.name!r}: a tensor of {column.datatype} cannot say that a value is missing")
            stand_in = json.loads(column.missing)
        return np.array([stand_in if value is None else value for value in values]).astype(DTYPES[column.datatype])[:, None]


def _utf8(text: str) -> bytes:
    """Encodes a text. Invalid Unicode passes, for the server is to reject it."""
    return text.encode("utf-8", "surrogatepass")
