"""The model as a server runs it, without the server: records are read by the step `columns`, and the graph runs over what comes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inferd.engine.backend import OnnxModel
from inferd.errors import InvalidArgument
from inferd.features.conversion import MATRIX
from inferd.protocol import options
from inferd.steps.pipeline import Place, TensorType
from inferd.steps.table import compile_table

__all__ = ["FORMATS", "Column", "Served"]

Array = np.ndarray[Any, np.dtype[Any]]
FORMATS = tuple(options.Columns.Format.keys())


@dataclass(frozen=True)
class Column:
    """What the configuration says of one column; see Column in steps.proto."""

    name: str
    datatype: str = "FP32"
    missing: str | None = None
    allowed: tuple[str, ...] = ()

    def with_missing(self, text: str | None) -> Column:
        return replace(self, missing=text)

    def with_allowed(self, values: Sequence[str]) -> Column:
        return replace(self, allowed=tuple(values))


class Served:
    """A converted model with the columns of its records."""

    def __init__(self, model: OnnxModel, columns: Sequence[Column], *, matrix: bool, outputs: Mapping[str, str]) -> None:
        """matrix: all columns go into one input. outputs: see Converted. Raises ConfigError."""
        self._model = model
        self._outputs = outputs
        self.columns = tuple(columns)
        self._matrix = matrix
        self._pipeline = self._compiled()

    def changed(self, column: Column) -> Served:
        """The same model with one column's settings changed. Raises ConfigError where they cannot be."""
        columns = [column if old.name == column.name else old for old in self.columns]
        return Served(self._model, columns, matrix=self._matrix, outputs=self._outputs)

    def entry(self, form: str) -> options.Preprocess:
        """The configuration's entry for records of a format."""
        step = options.Columns(format=options.Columns.Format.Value(form), columns=[_written(column) for column in self.columns])
        return options.Preprocess(input=MATRIX if self._matrix else "", steps=[options.Step(columns=step)])

    def _compiled(self) -> Any:
        free = {
            tensor.name: TensorType(tensor.datatype, tuple(size if isinstance(size, int) else -1 for size in tensor.shape[1:]))
            for tensor in self._model.graph.inputs
        }
        return compile_table(self.entry("JSON"), Place("config.toml", free))

    def answers(self, records: Sequence[dict[str, Any]]) -> dict[str, Array]:
        """The outputs for these records by name. Raises InvalidArgument where one is refused, what onnxruntime raises where it fails."""
        views = [memoryview(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")) for record in records]
        (arrays,) = self._pipeline.prepare([[views]], lambda place: None)
        if isinstance(arrays, InvalidArgument):
            raise arrays
        found = self._model.trial({name: array for (name, _), array in zip(self._pipeline.outputs, arrays, strict=True)})
        return {self._outputs.get(name, name): array for name, array in found.items()}


def _written(column: Column) -> options.Column:
    written = options.Column(name=column.name, datatype=column.datatype, allowed=column.allowed)
    if column.missing is not None:
        written.missing = column.missing
    return written
